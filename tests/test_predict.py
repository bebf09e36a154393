"""Prediction as a stream: rows, independence of how work is cut, bounded work ahead."""

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from blob_faces import BlobDetector, picture
from loaded_networks import load_predictor
from media_files import AudioTrack, write_media
from raw_checkpoints import read_raw, write_raw
from sample_clips import SAMPLES, thin_clip
from sample_features import SMALL_DUAL

from abawcli.config import PROBABILITY_TOLERANCE, QUALITY, Prediction, Smoothing
from abawcli.errors import CheckpointError, InputError, UsageError
from abawcli.formats.features import read_features, write_features
from abawcli.formats.table_schemas import PROBABILITIES
from abawcli.media.audio import read_audio
from abawcli.media.frame import Frame
from abawcli.media.recording import Recording, open_recording
from abawcli.media.video import read_frames
from abawcli.models.heads import build_head, save_head
from abawcli.models.metadata import HeadMetadata
from abawcli.pipeline import feature_stream
from abawcli.stages.extract import extract_features
from abawcli.stages.predict import Predictor, predict_video
from abawcli.stages.smooth import smooth_table

LEAVES = "leaves_and_returns_vfr"
COLUMNS = ["frame", "time_s", "found", "source", "label", *PROBABILITIES]


@pytest.fixture
def predictor() -> Predictor:
    made = load_predictor()
    made.extractor.detector = BlobDetector()
    return made


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A face on the left in frames 1-30, one on the right in 1-40, nothing in 41-48."""
    pictures = [picture(32 * (k < 30), 24 * (k < 40)) for k in range(48)]
    times = [3 + 2 * k + (k % 5 == 0) for k in range(48)]  # uneven, not from 0
    path = tmp_path_factory.mktemp("video") / "v.mp4"
    return write_media(path, pictures, times=times, time_base=Fraction(1, 50))


@pytest.fixture(scope="module")
def table(video: Path) -> pd.DataFrame:
    """The predictions for the main subject of the video."""
    predictor = load_predictor()
    predictor.extractor.detector = BlobDetector()
    return predictor.predict_video(video, smooth=False)


def test_every_frame_has_one_row_with_its_own_time(table: pd.DataFrame, video: Path) -> None:
    frames = list(read_frames(video))
    assert table["frame"].tolist() == list(range(1, 49))
    assert table["time_s"].tolist() == [frame.time_s for frame in frames]
    assert set(table["video"]) == {"v"} and set(table["subject"]) == {"main"}


def test_rows_without_a_face_say_so(table: pd.DataFrame) -> None:
    shown = table["frame"] <= 30  # the left one: 30 frames of 32 pixels, the other 40 of 24
    assert (table["found"] == shown).all()
    assert (table["source"] == np.where(shown, "visual", "none")).all()
    p = table.filter(like="p_")
    np.testing.assert_allclose(p[shown].sum(axis=1), 1, atol=1e-5)
    assert (table["label"][shown] == p[shown].to_numpy().argmax(axis=1)).all()
    assert (table["label"][~shown] == -1).all() and p[~shown].isna().all(axis=None)


def test_subjects(predictor: Predictor, video: Path) -> None:
    everyone = predictor.predict_video(video, "all", smooth=False)
    assert everyone.groupby("subject").size().tolist() == [48, 48]
    assert sorted(everyone.groupby("subject")["found"].sum()) == [30, 40]
    left = predictor.predict_video(video, "left", smooth=False)
    assert (left["x"][:29] < 64).all() and (left["x"][31:40] > 64).all()
    assert predictor.predict_video(video, "right", smooth=False)["x"][:40].min() > 64
    with pytest.raises(UsageError, match="unknown subject"):
        predictor.predict_video(video, "tallest")


def test_results_do_not_depend_on_batch_or_queue(predictor: Predictor, tmp_path: Path) -> None:
    pictures = [picture(32 * (k < 5), 24 * (k < 7)) for k in range(9)]
    video = write_media(tmp_path / "v.mp4", pictures)
    whole = predictor.predict_video(video, "all")
    # In bfloat16, in which the face network computes on CPUs with AMX, sums depend on the batch.
    assert predictor.extractor.encoder is not None
    exact = predictor.extractor.encoder.dtype == torch.float32
    atol = 1e-5 if exact else PROBABILITY_TOLERANCE / 20
    for config in (Prediction(1, 1), Prediction(3, 7), Prediction(64, 200)):
        predictor.extractor.config = config
        again = predictor.predict_video(video, "all")
        pd.testing.assert_frame_equal(again, whole, atol=atol, rtol=atol)


def test_smoothing_is_the_recipes(predictor: Predictor, table: pd.DataFrame, video: Path) -> None:
    smooth = predictor.predict_video(video)
    pd.testing.assert_frame_equal(smooth, smooth_table(table, predictor.recipe.smoothing))
    assert (smooth["source"] == "filled").sum() == 12  # half a window into the gap of 18


def test_frames_come_as_they_are_done_and_stopping_early_stops_the_work(
    predictor: Predictor, video: Path
) -> None:
    stream = predictor.predict_frames(video)
    first = next(stream)
    assert first.frame == 1 and [face.subject for face in first.faces] == [0, 1]
    stream.close()  # type: ignore[attr-defined]
    assert not [t for t in threading.enumerate() if t.name == "abaw-frames"]


def test_after_an_error_no_thread_reads_from_a_closed_recording(
    predictor: Predictor, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = []

    @contextmanager
    def watch(source: Path) -> Iterator[Recording]:
        with open_recording(source) as recording:
            try:
                yield recording
            finally:
                left.append([t for t in threading.enumerate() if t.name == "abaw-frames"])

    def fail(crops: np.ndarray) -> np.ndarray:
        raise RuntimeError("no memory")

    monkeypatch.setattr(feature_stream, "open_recording", watch)
    monkeypatch.setattr(predictor.extractor, "encode_crops", fail)
    with pytest.raises(RuntimeError, match="no memory"):
        list(predictor.predict_frames(video))
    assert left == [[]]


def test_decoded_frames_are_not_kept(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_media(tmp_path / "long.mp4", [picture(20)] * 80)
    monkeypatch.setattr(predictor.extractor, "config", Prediction(4, 8))
    most = 0
    for found in predictor.predict_frames(path):
        if found.frame % 20 == 0:
            alive = sum(type(thing) is Frame for thing in gc.get_objects())
            most = max(most, alive)
    assert 0 < most < 40


@pytest.fixture(scope="module")
def compact() -> Predictor:
    return load_predictor()


@pytest.fixture(scope="module")
def features(compact: Predictor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The features of a clip: he speaks until just before he leaves."""
    path = tmp_path_factory.mktemp("features") / "f.safetensors"
    extract_features(thin_clip(LEAVES), path, compact.extractor)
    return path


@pytest.fixture
def windows(compact: Predictor, tmp_path: Path) -> Predictor:
    """A random dual-branch head on the embedded backbones, in windows of 12 frames."""
    torch.manual_seed(1)
    backbones = compact.extractor.backbones
    head = build_head("dual-branch", backbones, SMALL_DUAL)
    smoothing = Smoothing(window_frames=5)
    metadata = HeadMetadata("dual-branch", asdict(SMALL_DUAL), backbones, smoothing)
    save_head(tmp_path / "dual.safetensors", head, metadata)
    return Predictor(str(tmp_path / "dual.safetensors"), device="cpu")


def test_windows_of_a_stream_are_those_of_features(windows: Predictor, features: Path) -> None:
    columns = [*COLUMNS, *QUALITY]
    direct, later = (
        windows.predict_video(path, smooth=False)[columns] for path in (thin_clip(LEAVES), features)
    )
    assert {"av", "audio"} <= set(direct["source"])
    pd.testing.assert_frame_equal(direct, later, atol=1e-5)


def test_features_of_everybody_give_what_the_video_gives(
    compact: Predictor, windows: Predictor, tmp_path: Path
) -> None:
    """Who speaks where the face is away is unknown, though the features have the speech."""
    columns = [*COLUMNS, *QUALITY]
    extract_features(
        thin_clip(LEAVES), tmp_path / "f.safetensors", compact.extractor, subject="all"
    )
    files = sorted((tmp_path / "f").glob("*.safetensors"))
    away = [each.has_audio & ~each.has_visual for each in map(read_features, files)]
    assert files and any(mask.any() for mask in away)
    for predictor in (compact, windows):
        later = pd.concat([predictor.predict_video(file, smooth=False) for file in files])
        later = later.sort_values(["frame", "subject"], ignore_index=True)[columns]
        direct = predictor.predict_video(thin_clip(LEAVES), "all", smooth=False)[columns]
        assert "audio" not in set(later["source"])
        pd.testing.assert_frame_equal(direct, later, atol=1e-5)


def test_windows_follow_each_person(windows: Predictor, video: Path) -> None:
    windows.extractor.detector = BlobDetector()
    everyone = windows.predict_video(video, "all", smooth=False).set_index("subject")
    assert everyone["found"].groupby("subject").sum().tolist() == [30, 40]
    # There is no audio. Frames 31 to 42 share a window with the face that is gone.
    left = everyone.loc[everyone["found"].groupby("subject").sum().idxmin()].set_index("frame")
    assert (left["source"][:30] == "visual").all()
    filled = left.index[left["source"] == "filled"]
    assert filled[0] == 31 and 36 <= filled[-1] <= 41 and (left["source"].loc[44:] == "none").all()
    main = windows.predict_video(video, smooth=False)
    assert main["source"].tolist() == left["source"].tolist()
    np.testing.assert_allclose(main[PROBABILITIES], left[PROBABILITIES], atol=1e-6)


def test_frames_of_windows_come_in_order(windows: Predictor, video: Path) -> None:
    windows.extractor.detector = BlobDetector()
    windows.extractor.config = Prediction(queue_frames=5)
    found = list(windows.predict_frames(video))
    assert [item.frame for item in found] == list(range(1, 49))
    assert len(found[29].faces) == 2 and not found[29].absent
    assert len(found[30].faces) == 1 and len(found[30].absent) == 1
    assert found[0].audio_only is None and not found[0].has_audio


def test_a_recipe_of_an_unknown_head(windows: Predictor, tmp_path: Path) -> None:
    tensors, metadata = read_raw(tmp_path / "dual.safetensors")
    write_raw(tmp_path / "x.safetensors", tensors, metadata | {"head": "giant"})
    with pytest.raises(CheckpointError, match=r"x.safetensors describes no head .*: 'giant'"):
        Predictor(str(tmp_path / "x.safetensors"), device="cpu")


def test_bad_recipes(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no recipe 'grand'"):
        Predictor("grand")
    (tmp_path / "x.safetensors").write_text("nothing")
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        Predictor(str(tmp_path / "x.safetensors"))
    write_raw(tmp_path / "h.safetensors", {"a": torch.zeros(1)}, {"kind": "training-state"})
    with pytest.raises(CheckpointError, match="a recipe is a head or an image encoder"):
        Predictor(str(tmp_path / "h.safetensors"))


def test_a_system_without_weights_says_how_to_make_them() -> None:
    with pytest.raises(UsageError, match="abaw train head --head gated"):
        Predictor("two-stage")


def test_audio_stands_in_where_there_is_no_face() -> None:
    both = load_predictor(label_all=True).predict_video(thin_clip(LEAVES), smooth=False)
    assert set(both["source"]) == {"av", "visual", "audio", "none"}
    assert (both["found"] == both["source"].isin(["av", "visual"])).all()
    alone = load_predictor(modality="audio").predict_video(thin_clip(LEAVES), smooth=False)
    assert set(alone["source"]) == {"audio", "none"}
    detected = both["source"].isin(["av", "audio"])
    assert (detected == (alone["source"] == "audio")).all()
    p = [table.filter(like="p_").to_numpy()[both["source"] == "audio"] for table in (both, alone)]
    np.testing.assert_allclose(*p, atol=1e-5)
    seen = load_predictor(modality="visual").predict_video(thin_clip(LEAVES), smooth=False)
    assert set(seen["source"]) == {"visual", "none"}
    silent = both["source"] == "visual"
    p = [table.filter(like="p_").to_numpy()[silent] for table in (both, seen)]
    np.testing.assert_allclose(*p, atol=1e-5)


def test_the_face_encoder_alone_is_a_recipe() -> None:
    table = predict_video(thin_clip("rotated_phone"), "compact-face")
    assert set(table["source"]) == {"visual"}
    assert load_predictor("compact-face").extractor.audio_encoder is None
    with pytest.raises(UsageError, match="compact-face is visual only, not audio"):
        Predictor("compact-face", modality="audio")


@pytest.mark.parametrize("recipe", ["compact", "compact-dual-branch"])
def test_nobody_in_particular_is_not_given_a_voice(recipe: str) -> None:
    table = load_predictor(recipe).predict_video(thin_clip(LEAVES), "all")
    assert set(table.loc[~table["found"], "source"]) <= {"filled", "none"}


def test_features_give_what_the_video_gives(compact: Predictor, features: Path) -> None:
    columns = [*COLUMNS, *QUALITY]
    direct, later = (compact.predict_video(path)[columns] for path in (thin_clip(LEAVES), features))
    pd.testing.assert_frame_equal(direct, later, atol=1e-6)


def test_features_of_another_encoder_are_refused(
    compact: Predictor, features: Path, tmp_path: Path
) -> None:
    found = read_features(features)
    assert found.metadata.backbones.visual
    visual = replace(found.metadata.backbones.visual, sha256="0" * 64)
    backbones = replace(found.metadata.backbones, visual=visual)
    metadata = replace(found.metadata, backbones=backbones)
    write_features(replace(found, metadata=metadata), tmp_path / "f.safetensors", {})
    with pytest.raises(CheckpointError, match="the head was trained on"):
        compact.predict_video(tmp_path / "f.safetensors")


def test_features_of_another_subject_are_refused(
    compact: Predictor, features: Path, tmp_path: Path
) -> None:
    assert len(compact.predict_video(features, "main", smooth=False))
    wrong = "f.safetensors has features of subject 'main', not 'left'; extract again with --subj"
    with pytest.raises(InputError, match=wrong):
        compact.predict_video(features, "left")
    found = read_features(features)
    track = replace(found, metadata=replace(found.metadata, subject="1"))
    write_features(track, tmp_path / "1.safetensors", {})
    for subject in ("all", "track 1", None):
        table = compact.predict_video(tmp_path / "1.safetensors", subject, smooth=False)
        assert set(table["subject"]) == {"1"}
    with pytest.raises(InputError, match="not 'track 2'; extract again with --subject track 2"):
        compact.predict_video(tmp_path / "1.safetensors", "track 2")


def test_the_face_encoder_alone_reads_features(features: Path) -> None:
    predictor = load_predictor("compact-face")
    direct, later = (
        predictor.predict_video(path)[COLUMNS] for path in (thin_clip(LEAVES), features)
    )
    assert {"visual", "none"} <= set(direct["source"])
    pd.testing.assert_frame_equal(direct, later, atol=1e-5)


def test_features_read_for_their_audio_show_no_face(features: Path) -> None:
    predictor = load_predictor(modality="audio")
    table = predictor.predict_video(features, smooth=False)
    assert not table["found"].any() and table[["x", "face_score"]].isna().all(axis=None)
    assert set(table["source"]) == {"audio", "none"}


def test_audio_without_a_video_has_rows_of_its_own(tmp_path: Path) -> None:
    audio = read_audio(SAMPLES / "expressions.mp4")
    assert audio is not None
    piece = AudioTrack([(0.0, audio.samples[None])], 16_000, "pcm_s16le")
    path = write_media(tmp_path / "s.wav", audio=piece)
    table = load_predictor().predict_video(path, smooth=False)
    assert np.allclose(np.diff(table["time_s"]), 1 / 25) and not table["found"].any()
    assert {"audio"} <= set(table["source"]) <= {"audio", "none"}


def test_a_file_without_frames_is_an_error(predictor: Predictor, tmp_path: Path) -> None:
    (tmp_path / "t.mp4").write_text("just text")
    with pytest.raises(InputError, match=r"t\.mp4"):
        predictor.predict_video(tmp_path / "t.mp4")


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_results_do_not_depend_on_the_number_of_threads(threads: None) -> None:
    tables = []
    for count in (1, 3):
        torch.set_num_threads(count)
        tables.append(load_predictor().predict_video(thin_clip("rotated_phone"), smooth=False))
    one, three = tables
    pd.testing.assert_frame_equal(one, three, atol=1e-3)
