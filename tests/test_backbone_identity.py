"""A backbone is its weights: how its folder is spelled, and where it stands, changes nothing."""

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from audio_files import make_bursts, write_wav
from tiny_models import save_audio_backbone

from abawcli.config import GatedHead, HeadTraining, Smoothing
from abawcli.errors import CheckpointError, OutputError
from abawcli.formats.abaw import write_annotation
from abawcli.formats.features import read_features
from abawcli.formats.provenance import read_provenance
from abawcli.media.audio import Audio
from abawcli.media.recording import Recording
from abawcli.models.checkpoint import load_checkpoint, save_checkpoint
from abawcli.models.metadata import HeadMetadata
from abawcli.models.recipes import find_weights, join_recipes
from abawcli.pipeline.feature_stream import Extractor
from abawcli.stages.extract import extract_features
from abawcli.stages.predict import Predictor
from abawcli.stages.train_head import train_fusion_head

CONFIG = HeadTraining(epochs=1, network=GatedHead(hidden=4))
PLACES = ["models/w2v", "./models/../models/w2v", "{study}/models/w2v"]


def extract(place: str, name: str, out: str = "features") -> Path:
    path = Path(out, f"{name}.safetensors")
    extractor = Extractor(audio=place, modality="audio", device="cpu")
    extract_features(Path(f"{name}.wav"), path, extractor)
    return path


def train(files: list[Path], out: str) -> Path:
    labels = [Path("labels", f"{file.stem}.txt") for file in files]
    train_fusion_head((files, labels), Path(out), "audio", CONFIG, device="cpu")
    return Path(out, "head.safetensors")


def load_predictor(head: Path) -> Predictor:
    return Predictor(str(head), device="cpu", modality="audio")


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with recordings, labels, and a backbone in models/w2v."""
    folder = tmp_path / "study"
    (folder / "labels").mkdir(parents=True)
    monkeypatch.chdir(folder)
    save_audio_backbone(Path("models/w2v"))
    for k, name in enumerate("ab"):
        write_wav(Path(f"{name}.wav"), make_bursts(200 + 400 * k, 1.0, k))
        write_annotation(np.arange(25) % 8, Path(f"labels/{name}.txt"))
    return folder


def test_every_spelling_of_a_folder_is_the_same_backbone(study: Path) -> None:
    places = [place.format(study=study) for place in PLACES]
    files = [extract(places[0], "a"), extract(places[2], "b")]
    head = train(files, "run")  # joined
    for place in places[
        1:
    ]:  # as features, as a recipe, as finished work, and as a run to go on with
        out = "again" + str(places.index(place))
        extract(place, "b", out)
        table = load_predictor(head).predict_video(extract(place, "a", out))
        assert (table["label"] >= 0).any()
        before = read_provenance(files[0])
        extractor = Extractor(audio=place, modality="audio", device="cpu")
        assert not extract_features(Path("a.wav"), files[0], extractor).made
        assert read_provenance(files[0]) == before and str(study) not in str(before["settings"])
        train([Path(out, "a.safetensors"), Path(out, "b.safetensors")], "run")
    other = train([Path("again2", file.name) for file in files], "run2")
    assert len(join_recipes([str(head), str(other)]).heads) == 2


def test_other_weights_of_the_same_name_are_another_backbone(study: Path) -> None:
    files = [extract("models/w2v", name) for name in "ab"]
    head = train(files, "run")
    shutil.rmtree("models/w2v")
    save_audio_backbone(Path("models/w2v"), "hubert")
    with pytest.raises(CheckpointError, match="but the head was trained on"):
        load_predictor(head)
    files = [extract("models/w2v", name, "other") for name in "ab"]
    with pytest.raises(CheckpointError, match="but the head was trained on"):
        Predictor("compact", device="cpu").predict_video(files[0])
    with pytest.raises(OutputError, match="other settings"):
        train(files, "run")


def test_a_study_that_was_moved_still_predicts(study: Path, tmp_path: Path) -> None:
    head = train([extract("models/w2v", name) for name in "ab"], "runs/one")
    expected = load_predictor(head).predict_video(Path("a.wav"))
    shutil.move(study, tmp_path / "moved")
    recipe = load_predictor(tmp_path / "moved" / head)
    found = recipe.predict_video(tmp_path / "moved" / "a.wav")
    np.testing.assert_array_equal(found["label"], expected["label"])


def test_a_backbone_that_is_gone_is_looked_for_beside_the_head(study: Path, tmp_path: Path) -> None:
    files = [extract("models/w2v", name) for name in "ab"]
    head = train(files, "run")
    shutil.move("models/w2v", tmp_path / "elsewhere")
    save_audio_backbone(Path("run/w2v"), "wavlm")  # of the same name, but other weights
    with pytest.raises(CheckpointError) as caught:
        load_predictor(head)
    said = str(caught.value)
    assert f"the audio backbone of {head} is gone: {study}/models/w2v" in said
    assert "beside the head, as w2v" in said and "hf download" not in said
    shutil.rmtree("run/w2v")
    Path("run/w2v").symlink_to(tmp_path / "elsewhere")
    for path in (Path("a.wav"), files[0]):
        assert (load_predictor(head).predict_video(path)["label"] >= 0).any()


def test_a_folder_that_is_not_there_is_no_hub_model(study: Path) -> None:
    for place in (f"{study}/none", "./none", "../none", "a/b/none"):
        with pytest.raises(CheckpointError, match=f"no such backbone folder: {place}") as caught:
            Extractor(audio=place, modality="audio", device="cpu")
        assert "hf download" not in str(caught.value)


def test_audio_that_is_no_number_costs_neither_the_features_nor_the_face(
    study: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A transformer spreads one NaN over its whole input."""
    head = train([extract("models/w2v", name) for name in "ab"], "run")
    blocks = Recording.read_audio

    def spoil(recording: Recording) -> Iterator[Audio]:
        for block in blocks(recording):
            yield replace(
                block, samples=np.where(np.arange(len(block.samples)), block.samples, np.nan)
            )

    monkeypatch.setattr(Recording, "read_audio", spoil)
    features = read_features(extract("models/w2v", "a", "spoilt"))
    assert not features.has_audio.any() and not features.audio.any()
    assert "49 audio frames gave features that are no finite numbers" in caplog.text
    assert set(load_predictor(head).predict_video(Path("a.wav"))["source"]) == {"none"}


@pytest.mark.parametrize(
    ("visual", "message"),
    [
        ({"path": None}, "does not say where its visual backbone is, compact-face (256 wide"),
        (None, "names no visual backbone, which its head 'gated' needs; train it again"),
    ],
)
def test_a_head_that_does_not_say_where_its_backbone_is(
    visual: dict[str, None] | None, message: str, tmp_path: Path
) -> None:
    tensors, metadata = load_checkpoint(find_weights("compact-gated"), HeadMetadata)
    there = metadata.backbones
    assert there.visual is not None
    own = None if visual is None else replace(there.visual, path=visual["path"])
    path = tmp_path / "h.safetensors"
    metadata = replace(metadata, backbones=replace(there, visual=own), smoothing=Smoothing())
    save_checkpoint(path, tensors, metadata)
    with pytest.raises(CheckpointError, match=re.escape(f"{path} {message}")):
        Predictor(str(path), "cpu")
