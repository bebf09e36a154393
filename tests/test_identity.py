"""Who is who by embeddings, of a tiny network in the place of InsightFace's."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from insightface.utils.face_align import arcface_dst
from onnx import TensorProto, helper
from sample_faces import place_landmarks

from abawcli.config import Detection, Tracking
from abawcli.errors import CheckpointError
from abawcli.faces.appearance import align_face
from abawcli.faces.detect import Face
from abawcli.faces.identity import Appearance, Embeddings, Identity, load_identity
from abawcli.faces.track import track_faces
from abawcli.pipeline.feature_stream import Extractor
from abawcli.stages.crop import crop_folders

RED, BLUE, GREY = (220, 30, 30), (30, 30, 220), (127, 127, 127)
LONG_SIDE = 160


def write_network(path: Path, side: int = 112, values: Sequence[str] = ("mean",)) -> Path:
    """Write a network that answers with the mean colour of its input, R, G, B in -1..1."""
    given = helper.make_tensor_value_info("data", TensorProto.FLOAT, ["n", 3, side, side])
    nodes = [helper.make_node("GlobalAveragePool", ["data"], ["pooled"])]
    nodes += [helper.make_node("Flatten", ["pooled"], [name]) for name in values]
    made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3]) for name in values]
    graph = helper.make_graph(nodes, "g", [given], made)
    opset = [helper.make_opsetid("", 13)]
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


@pytest.fixture
def pack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("INSIGHTFACE_HOME", str(tmp_path))
    return write_network(tmp_path / "models" / "buffalo_l" / "w600k_r50.onnx")


@dataclass(eq=False)
class Shown:
    """A frame of 320x180 with faces: x, side and colour of squares; surroundings all alike."""

    frame: int
    faces: list[tuple[int, int, tuple[int, int, int]]]
    size: tuple[int, int] = (320, 180)

    @property
    def time_s(self) -> float:
        return self.frame / 25

    def rgb(self, long_side: int | None = None) -> np.ndarray:
        image = np.full((180, 320, 3), GREY, np.uint8)
        image[:2] = self.frame  # as the detector sees it
        for x, side, colour in self.faces:
            image[40 : 40 + side, x : x + side] = colour
        if long_side is None:
            return image
        return cv2.resize(image, (long_side, 180 * long_side // 320), interpolation=cv2.INTER_AREA)


class Squares:
    """Knows the faces of each frame, in pixels of the picture that it is given."""

    name, sha256, config = "squares", "", Detection(long_side=LONG_SIDE)

    def __init__(self, frames: Sequence[Shown]) -> None:
        self.frames = {frame.frame: frame.faces for frame in frames}

    def detect(self, images: Sequence[np.ndarray]) -> list[list[Face]]:
        return [list(self._find(int(image[0, 0, 0]))) for image in images]

    def _find(self, number: int) -> Iterator[Face]:
        for x, side, _ in self.frames[number]:
            half = side / 2
            box = (x / 2, 20.0, half, half)
            yield Face(box, 0.99, place_landmarks(x / 2, 20, half))


def subjects(frames: Sequence[Shown], identity: Identity | None) -> list[list[int]]:
    tracked = track_faces(frames, Squares(frames), Tracking(), identity)
    return [[face.subject for face in found.faces] for _, found in tracked]


def film(*parts: tuple[int, list[tuple[int, int, tuple[int, int, int]]]]) -> list[Shown]:
    """Return frames: of each part how many, and the faces in them."""
    faces = [faces for count, faces in parts for _ in range(count)]
    return [Shown(k, these) for k, these in enumerate(faces, 1)]


def test_the_pack_is_used_where_it_is(pack: Path) -> None:
    identity = load_identity(Tracking(same_embedding=0.4))
    assert isinstance(identity, Embeddings) and identity.name == "insightface"
    assert identity.sha256 == hashlib.sha256(pack.read_bytes()).hexdigest()
    assert identity.min_similarity == 0.4
    pack.unlink()
    looks = load_identity(Tracking(same_appearance=0.8, same_colours=0.6))
    assert isinstance(looks, Appearance) and (looks.name, looks.sha256) == ("appearance", None)
    assert (looks.min_similarity, looks.colours) == (0.8, 0.6)


def test_embeddings_have_length_one_and_see_rgb(pack: Path) -> None:
    faces = [np.full((112, 112, 3), colour, np.uint8) for colour in (RED, BLUE)]
    found = load_identity().embed(faces)  # type: ignore[attr-defined]
    assert found.shape == (2, 3)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    assert found[0].argmax() == 0 and found[1].argmax() == 2


def test_faces_are_aligned_by_their_landmarks() -> None:
    """Turned, scaled and moved, a face comes out as it was."""
    rng = np.random.default_rng(0)
    face = cv2.GaussianBlur(rng.integers(0, 255, (112, 112, 3)).astype(np.uint8), (0, 0), 6)
    turn = cv2.getRotationMatrix2D((56, 56), 25, 1.6) + [[0, 0, 80], [0, 0, 60]]
    turned = cv2.warpAffine(face, turn, (320, 260), flags=cv2.INTER_CUBIC)
    image = np.asarray(turned, np.uint8)
    landmarks = (arcface_dst @ turn[:, :2].T + turn[:, 2]).astype(np.float32)
    aligned = align_face(image, landmarks)
    off = np.abs(aligned[8:-8, 8:-8].astype(int) - face[8:-8, 8:-8].astype(int))
    assert aligned.shape == (112, 112, 3) and off.mean() < 2
    # Landmarks that no face has do no harm.
    assert align_face(image, np.zeros((5, 2), np.float32)).shape == (112, 112, 3)


def test_the_whole_frame_is_what_is_embedded(pack: Path) -> None:
    templates = []
    for colour in (RED, BLUE, RED):
        frame = Shown(1, [(100, 60, colour)])
        template = load_identity().begin_template()
        small = Face((50, 20, 30, 30), 0.9, place_landmarks(50, 20, 30))
        template.update(frame.rgb(LONG_SIDE), small, frame.rgb)
        (aligned,) = template.waiting
        assert np.abs(aligned[4:-4, 4:-4].astype(int) - colour).max() <= 1
        templates.append(template)
    assert templates[0].compare(templates[2]) == pytest.approx(1, abs=1e-5)
    assert templates[0].compare(templates[1]) < 0


def test_each_face_of_a_frame_is_described(pack: Path) -> None:
    frame = Shown(1, [(20, 60, RED), (120, 60, BLUE), (220, 60, RED)])
    faces = [Face((x, 40, 60, 60), 0.9, place_landmarks(x, 40, 60)) for x in (20, 120, 220)]
    found = load_identity().describe_faces(frame.rgb(), faces)
    assert np.linalg.norm(found, axis=1) == pytest.approx(1, abs=1e-5)
    assert found[0] @ found[2] == pytest.approx(1, abs=1e-5) and found[0] @ found[1] < 0


def test_a_memory_keeps_few_faces_and_embeds_each_once(pack: Path) -> None:
    identity = load_identity()
    embedded: list[int] = []
    embed = identity.embed  # type: ignore[attr-defined]
    identity.embed = lambda faces: embedded.append(len(faces)) or embed(faces)  # type: ignore
    frame = Shown(1, [(100, 60, RED)])
    face = Face((50, 20, 30, 30), 0.9, place_landmarks(50, 20, 30))
    first, second = identity.begin_template(), identity.begin_template()
    for _ in range(100):
        first.update(frame.rgb(LONG_SIDE), face, frame.rgb)
    assert len(first.waiting) == 7 and embedded == []  # 1, 2, 4, ... 64
    second.update(frame.rgb(LONG_SIDE), face, frame.rgb)
    for _ in range(3):
        assert first.compare(second) == pytest.approx(1, abs=1e-5)
    assert embedded == [7, 1] and first.waiting == []


def test_who_comes_back_is_known_and_others_are_not(pack: Path) -> None:
    away = (80, [])
    returns = film((12, [(40, 60, RED)]), away, (12, [(200, 40, RED)]))
    other = film((12, [(40, 60, RED)]), away, (12, [(200, 60, BLUE)]))
    assert subjects(returns, load_identity())[-12:] == [[0]] * 12
    assert subjects(other, load_identity())[-12:] == [[1]] * 12
    assert subjects(other, Embeddings(pack, min_similarity=-1.0))[-12:] == [[0]] * 12


def test_nothing_is_embedded_while_nobody_is_doubtful(
    pack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Embeddings, "embed", None)  # not to be called
    frames = film((40, [(40, 60, RED), (200, 60, BLUE)]), (20, []), (30, [(40, 60, RED)]))
    assert subjects(frames, load_identity()) == [[0, 1]] * 40 + [[]] * 20 + [[0]] * 30


def test_what_is_no_recognition_network_is_refused(pack: Path) -> None:
    pack.write_bytes(b"no network")
    with pytest.raises(CheckpointError, match=f"{pack} is no network of InsightFace: "):
        load_identity()
    write_network(pack, 96)  # what insightface takes for another kind of network
    with pytest.raises(CheckpointError, match=f"{pack} does not recognise faces; get the pack"):
        load_identity()


def test_it_is_recorded_and_other_work_is_done_again(pack: Path, tmp_path: Path) -> None:
    from blob_faces import BlobDetector, picture
    from media_files import write_media

    from abawcli.formats.provenance import read_provenance
    from abawcli.formats.strategy import SubjectSegment

    clip = write_media(tmp_path / "clip.mkv", [picture(40)] * 5)
    out = tmp_path / "out"
    folders = {out: (SubjectSegment("main"),)}
    assert crop_folders(clip, folders, detector=BlobDetector())[out].made
    identity = read_provenance(out)["settings"]["identity"]
    assert identity == {
        "name": "insightface", "sha256": hashlib.sha256(pack.read_bytes()).hexdigest(),
    }  # fmt: skip
    assert not crop_folders(clip, folders, detector=BlobDetector())[out].made
    assert Extractor(modality="visual").describe("main")["identity"] == identity
    pack.unlink()
    assert crop_folders(clip, folders, detector=BlobDetector())[out].made
    assert read_provenance(out)["settings"]["identity"] == {"name": "appearance", "sha256": None}
