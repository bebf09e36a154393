"""Who is who: appearance, and embeddings of a tiny network in the place of InsightFace's."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from insightface.utils.face_align import arcface_dst
from onnx import TensorProto, helper
from sample_faces import read_face

from abawcli.config import Detection, Tracking
from abawcli.errors import CheckpointError
from abawcli.faces.appearance import align_face, describe_face
from abawcli.faces.detect import Detector, Face, load_detector
from abawcli.faces.identity import Appearance, Embeddings, Identity, load_identity
from abawcli.faces.track import track_faces
from abawcli.media.video import read_frames
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


def place_landmarks(x: float, y: float, side: float) -> np.ndarray:
    """Return the landmarks of an upright face in a square."""
    return np.asarray(arcface_dst / 112 * side + [x, y], np.float32)


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


# By appearance: real pictures, the detector that comes with the installation

PERSON = read_face("anna", 320)
WALL = (205, 203, 200)
EMPTY = np.full((320, 480, 3), WALL, np.uint8)


def bend_face(strength: float) -> np.ndarray:
    """Return another person in the same clothes: other eyes, nose and mouth; no colour changes."""
    rows, columns = np.mgrid[:320, :320].astype(np.float32)
    x, y = (columns - 160) / 58, (rows - 156) / 75  # of the middle of the face
    inside = strength * np.exp(-(x**4 + y**4))
    across = columns + 58 * inside * x * np.where(y < 0, 0.6, -0.45)
    down = rows + 75 * inside * 0.3 * np.sin(2.5 * y + 0.6)
    return cv2.remap(PERSON, across.astype(np.float32), down.astype(np.float32), cv2.INTER_LINEAR)


def mirror_face(portrait: np.ndarray) -> np.ndarray:
    """Mirror the face and nothing else."""
    changed = portrait.copy()
    changed[81:231, 102:218] = portrait[81:231, 102:218][:, ::-1]
    return changed


def place(portrait: np.ndarray, x: int = 80, side: int = 320) -> np.ndarray:
    """Return a picture of the room, 480x320, with somebody in it, `side` pixels wide and high."""
    room = EMPTY.copy()
    shown = cv2.resize(portrait, (side, side), interpolation=cv2.INTER_AREA)[:320, : 480 - x]
    room[: len(shown), x : x + shown.shape[1]] = shown
    return room


@dataclass(eq=False)
class Picture:
    frame: int
    image: np.ndarray

    @property
    def time_s(self) -> float:
        return self.frame / 25

    @property
    def size(self) -> tuple[int, int]:
        return self.image.shape[1], self.image.shape[0]

    def rgb(self, long_side: int | None = None) -> np.ndarray:
        width, height = self.size
        size = (long_side or width), (long_side or width) * height // width
        return cv2.resize(self.image, size, interpolation=cv2.INTER_AREA)


@pytest.fixture(scope="module")
def detector() -> Detector:
    return load_detector("retinaface", threads=1)


def follow(detector: Detector, *parts: tuple[int, np.ndarray]) -> list[list[int]]:
    """Return who is in each part of a film, of which each picture is shown so many times."""
    images = [image for count, image in parts for _ in range(count)]
    frames = [Picture(k, image) for k, image in enumerate(images, 1)]
    found = [[face.subject for face in item.faces] for _, item in track_faces(frames, detector)]
    ends = np.cumsum([count for count, _ in parts])
    return [
        sorted({who for frame in found[end - count : end] for who in frame})
        for end, (count, _) in zip(ends, parts, strict=True)
    ]


@pytest.mark.parametrize(
    "other",
    [
        place(bend_face(0.7), x=110),
        place(bend_face(0.7), side=280),
        place(mirror_face(bend_face(0.7))),
    ],
    ids=["elsewhere", "smaller", "in the very place"],
)
def test_two_people_in_one_room_stay_two_over_a_cut(detector: Detector, other: np.ndarray) -> None:
    """Clothes, hair, wall and light are the same: the picture changes too little for a cut."""
    assert follow(detector, (9, place(PERSON)), (9, other), (9, place(PERSON))) == [[0], [1], [0]]


def test_one_person_stays_one_over_a_cut(detector: Detector) -> None:
    closer = place((PERSON * 0.85).astype(np.uint8), x=40, side=400)
    assert follow(detector, (9, place(PERSON)), (9, closer)) == [[0], [0]]


def test_who_leaves_and_returns_is_known_by_appearance(detector: Detector) -> None:
    back, other = place(PERSON, x=130, side=300), place(bend_face(0.7), x=130, side=300)
    assert follow(detector, (6, place(PERSON)), (60, EMPTY), (6, back)) == [[0], [], [0]]
    assert follow(detector, (6, place(PERSON)), (60, EMPTY), (6, other)) == [[0], [], [1]]


def remember(identity: Appearance, detector: Detector, image: np.ndarray) -> Any:
    template = identity.begin_template()
    (face,) = detector.detect([image])[0]
    template.update(image, face, lambda: image)
    return template


def test_face_and_colours_both_have_to_agree(detector: Detector) -> None:
    identity = Appearance()
    same, darker, other, blue = (
        remember(identity, detector, image)
        for image in (
            PERSON, (PERSON * 0.9).astype(np.uint8), bend_face(0.7), PERSON[..., ::-1].copy(),
        )
    )  # fmt: skip
    assert same.compare(same) == pytest.approx(1, abs=1e-5)
    assert same.compare(darker) > identity.min_similarity
    limit = identity.min_similarity
    assert same.compare(other) < limit < Appearance(colours=0).min_similarity + 0.01
    assert same.compare(blue) == -1


def test_a_look_does_not_depend_on_light_and_hardly_on_size(detector: Detector) -> None:
    look = describe_face(PERSON, detector.detect([PERSON])[0][0])
    assert np.linalg.norm(look) == pytest.approx(1, abs=1e-5)
    smaller = np.asarray(cv2.resize(PERSON, (130, 130), interpolation=cv2.INTER_AREA), np.uint8)
    for image in (PERSON // 2 + 60, smaller):
        assert look @ describe_face(image, detector.detect([image])[0][0]) > 0.85


def test_what_cannot_be_told_is_a_new_person(detector: Detector) -> None:
    """Too small a face, or one without any detail: nothing is like it."""
    identity = Appearance(min_similarity=-0.9, colours=0.0)
    for image, face in (
        (PERSON, Face((100, 60, 20, 23), 0.99, place_landmarks(100, 60, 23))),
        (EMPTY, Face((100, 60, 80, 80), 0.99, place_landmarks(100, 60, 80))),
    ):
        assert np.isnan(describe_face(image, face)).all()
        templates = [identity.begin_template(), identity.begin_template()]
        for template in templates:
            template.update(image, face, lambda: PERSON)
        assert templates[0].compare(templates[1]) < identity.min_similarity


# Recordings of people: M and W of whom two clips are, and another man, all before one wall


def join(folder: Path, *names: str) -> list[list[int]]:
    """Return who is in each of some clips when they are one film, the first 20 frames of each."""
    detector, parts = load_detector("retinaface", threads=1), []
    for name in names:
        parts.append([frame.rgb() for frame in islice(read_frames(folder / name), 20)])
    size = parts[0][0].shape[1::-1]
    frames = [Picture(k, cv2.resize(i, size)) for k, i in enumerate(chain(*parts), 1)]
    found = [[face.subject for face in item.faces] for _, item in track_faces(frames, detector)]
    ends = np.cumsum([len(part) for part in parts])
    return [
        sorted({who for frame in found[end - len(part) : end] for who in frame})
        for end, part in zip(ends, parts, strict=True)
    ]


@pytest.mark.shared_data
def test_people_of_recordings_stay_apart(shared_data: Path) -> None:
    videos = shared_data / "videos"
    assert join(videos, "talk_again.mkv", "talk_eat.mkv", "talk_school.mkv") == [[0], [1], [2]]
    assert join(videos, "talk_again.mkv", "talk_help.mkv") == [[0], [0]]
    assert join(videos, "talk_book.mkv", "talk_school.mkv") == [[0], [0]]
    assert join(videos, "neutral_to_smile.mp4", "cry_then_laugh_sound.mp4") == [[0], [1]]


@pytest.mark.shared_data
def test_a_loop_of_two_people_has_two(shared_data: Path) -> None:
    assert join(shared_data / "videos", *["twofaces_headpose.gif"] * 3) == [[0, 1]] * 3


@pytest.mark.shared_data
def test_a_person_who_leaves_a_recording_and_returns_is_one(shared_data: Path) -> None:
    names = "face_then_none_vfr.mov", "none_then_face_vfr.mov"
    detector = load_detector("retinaface", threads=1)
    clips = [islice(read_frames(shared_data / "videos" / name), 0, None, 3) for name in names]
    images = [frame.rgb(384) for frame in chain(*clips)]
    found = track_faces([Picture(k, image) for k, image in enumerate(images, 1)], detector)
    people = [[face.subject for face in item.faces] for _, item in found]
    first = people.index([])  # he is away for 2.6 s of this film
    assert [0] in people[:first] and [0] in people[first + 60 :]
    assert people.count([0]) + people.count([]) == len(people)
