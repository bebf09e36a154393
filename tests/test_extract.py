"""Stage extract, read back from the files it writes."""

import json
import logging
import os
from copy import copy
from dataclasses import asdict
from fractions import Fraction
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from blob_faces import BlobDetector, picture
from media_files import Image, Sound, make_clicks, write_media
from test_audio_features import Loudness
from tiny_models import save_audio_backbone, save_vision_backbone, save_voice_encoder

from abawcli.config import Cropping, GatedHead, Prediction, Smoothing
from abawcli.errors import AbawError, CheckpointError, InputError, OutputError, UsageError
from abawcli.formats.features import Features, read_features
from abawcli.formats.metadata import Backbones
from abawcli.formats.provenance import describe_input, provenance_path
from abawcli.formats.strategy import SubjectSegment
from abawcli.media.video import read_frames
from abawcli.models.encoder import Encoder
from abawcli.models.heads import build_head, save_head
from abawcli.models.image_backbones import COMPACT_FACE_PREPROCESS
from abawcli.models.metadata import HeadMetadata
from abawcli.models.recipes import find_weights
from abawcli.pipeline.audio_features import AudioEncoder
from abawcli.pipeline.feature_stream import Extractor
from abawcli.stages import crop as crop_stage
from abawcli.stages.crop import crop_folders, crop_video
from abawcli.stages.extract import extract_features, extract_files
from abawcli.stages.predict import Predictor

CLICK_S = 1.3


@cache
def load_extractor(modality: str) -> Extractor:
    """Load the embedded face encoder and a tiny voice encoder."""
    with TemporaryDirectory() as folder:
        voice = save_voice_encoder(Path(folder) / "voice.safetensors")
        return Extractor(audio=str(voice), modality=modality, device="cpu")


def make_extractor(modality: str = "av", **settings: Any) -> Extractor:
    """Return an extractor with blobs as faces; without settings, its networks are shared."""
    if settings:
        made = Extractor(modality=modality, device="cpu", **settings)
    else:
        made = copy(load_extractor(modality))
    made.detector = BlobDetector()
    return made


@pytest.fixture
def extractor() -> Extractor:
    return make_extractor()


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """A face on the left in frames 1-30, one on the right in 1-40, nothing in 41-48.

    Frames from 0.06 s to 2 s, sound from 0.4 s with a click at 1.3 s.
    """
    pictures = [picture(32 * (k < 30), 24 * (k < 40)) for k in range(48)]
    times = [3 + 2 * k + (k % 5 == 0) for k in range(48)]  # uneven, not from 0
    sound = Sound([(0.4, make_clicks([CLICK_S - 0.4], 3.0, 48_000))], codec="pcm_s16le")
    return write_media(
        tmp_path / "v.mkv", pictures, times=times, time_base=Fraction(1, 50), sound=sound
    )


def extract(path: Path, extractor: Extractor, output: Path, **settings: object) -> Features:
    assert extract_features(path, output, extractor, **settings).made  # type: ignore[arg-type]
    return read_features(output)


def test_every_frame_has_a_row_with_its_time_face_and_sound(
    extractor: Extractor, video: Path, tmp_path: Path
) -> None:
    out = tmp_path / "features" / "v.safetensors"
    summary = extract_features(video, out, extractor)
    found = read_features(out)
    assert (summary.frames, summary.visual, summary.audio, summary.subjects) == (48, 30, 48, 1)
    assert found.frame.tolist() == list(range(1, 49))
    assert found.time_s.tolist() == [frame.time_s for frame in read_frames(video)]
    assert found.visual.shape == (48, 256) and found.audio.shape == (48, 8)
    there = found.frame <= 30
    assert (found.has_visual == there).all() and (found.visual[~there] == 0).all()
    assert np.abs(found.visual[there]).max(axis=1).min() > 0
    assert np.isnan(found.box[~there]).all() and np.isnan(found.face_score[~there]).all()
    np.testing.assert_allclose(found.box[4], [16, 24, 32, 32], atol=2)
    metadata = found.metadata
    assert (metadata.video, metadata.subject) == ("v", "main")
    visual, audio, source = metadata.backbones.visual, metadata.backbones.audio, metadata.source
    assert visual and audio and source
    assert visual.name == "compact-face" and visual.dim == 256
    assert len(visual.sha256 or "") == len(audio.sha256 or "") == 64
    assert audio.name == "compact-voice" and audio.window_s == 0.5
    assert source.kind == "recording" and source.name == os.path.relpath(video)


def test_features_are_what_predict_classifies(
    extractor: Extractor, video: Path, tmp_path: Path
) -> None:
    found = extract(video, extractor, tmp_path / "f.safetensors")
    predictor = Predictor(str(find_weights("compact-face")), device="cpu")
    predictor.extractor.detector = BlobDetector()
    table = predictor.predict_video(video, smooth=False)
    encoder = predictor.extractor.encoder
    assert isinstance(encoder, Encoder)
    p = encoder.read(torch.from_numpy(found.visual[:30].astype(np.float32)))
    np.testing.assert_allclose(p, table.filter(like="p_").to_numpy()[:30], atol=5e-3)


def test_a_click_shows_in_the_frames_within_half_a_second(tmp_path: Path) -> None:
    """A transformer's attention would spread it: here a feature is the loudest of 20 ms."""
    extractor = make_extractor("audio")
    extractor.audio_encoder = AudioEncoder(Loudness(), torch.device("cpu"))
    extractor.backbones = Backbones(None, extractor.audio_encoder.describe())
    sound = Sound([(1.0, make_clicks([2.0], 4.0, 48_000))], codec="pcm_s16le")  # at 3.0 s
    path = write_media(tmp_path / "c.mkv", [picture()] * 160, sound=sound)
    found = extract(path, extractor, tmp_path / "f.safetensors")
    heard = found.audio[:, 0] > 0.005
    near = np.abs(found.time_s - 3.0)
    assert heard[near < 0.48].all() and not heard[near > 0.52].any()
    inside = (found.time_s >= 0.5) & (found.time_s <= 5.5)
    np.testing.assert_array_equal(found.has_audio, inside)
    assert (found.audio[~inside] == 0).all()


def test_results_do_not_depend_on_batch_or_queue(extractor: Extractor, tmp_path: Path) -> None:
    """Of the compact encoder within half precision, of transformers in bfloat16 within 2 %."""
    video = write_media(tmp_path / "v.mkv", [picture(32 * (k < 18)) for k in range(20)])
    for made in (
        extractor,
        make_extractor("visual", visual=str(save_vision_backbone(tmp_path / "d"))),
    ):
        rows = []
        for k, config in enumerate((Prediction(1, 1), Prediction(7, 3), Prediction(16, 64))):
            made.config = config
            rows.append(extract(video, made, tmp_path / f"{id(made)}{k}.safetensors").visual)
        scale = np.abs(rows[0]).max()
        tolerance = 2e-3 if made is extractor else 2e-2
        for other in rows[1:]:
            np.testing.assert_allclose(other, rows[0], atol=tolerance * scale)


def test_all_subjects_have_a_file_each(extractor: Extractor, video: Path, tmp_path: Path) -> None:
    out = tmp_path / "features" / "my.v.safetensors"
    summary = extract_features(video, out, extractor, subject="all")
    assert summary.subjects == 2 and summary.visual == 40
    folder = tmp_path / "features" / "my.v"
    files = sorted(folder.glob("*.safetensors"))
    assert [file.name for file in files] == ["subject0.safetensors", "subject1.safetensors"]
    both = [read_features(file) for file in files]
    assert sorted(int(one.has_visual.sum()) for one in both) == [30, 40]
    assert [one.metadata.subject for one in both] == ["0", "1"]
    np.testing.assert_array_equal(both[0].audio, both[1].audio)
    assert not extract_features(video, out, extractor, subject="all").made


def test_one_modality_alone(tmp_path: Path, video: Path) -> None:
    seen = extract(video, make_extractor("visual"), tmp_path / "s.safetensors")
    assert (
        seen.audio.shape == (48, 0)
        and not seen.has_audio.any()
        and seen.metadata.backbones.audio is None
    )
    heard = extract(video, make_extractor("audio"), tmp_path / "h.safetensors")
    assert heard.visual.shape == (48, 0) and heard.metadata.backbones.visual is None
    assert heard.has_audio.all() and not heard.has_visual.any()
    assert heard.time_s.tolist() == seen.time_s.tolist()


def test_sound_alone_has_25_rows_a_second(tmp_path: Path) -> None:
    path = write_media(
        tmp_path / "s.wav", sound=Sound([(0.0, make_clicks([1], 2.5, 16_000))], 16_000, "pcm_s16le")
    )
    found = extract(path, make_extractor("audio"), tmp_path / "f.safetensors")
    assert found.frame[-1] == 63 and found.has_audio.all()
    np.testing.assert_allclose(found.time_s, np.arange(63) / 25)
    both = extract(path, make_extractor(), tmp_path / "g.safetensors")
    assert (both.audio == found.audio).all() and not both.has_visual.any()
    with pytest.raises(InputError, match=r"s\.wav"):
        extract_features(path, tmp_path / "h.safetensors", make_extractor("visual"))


def write_mov(path: Path, tag: bytes) -> Path:
    """Write a video with sound, in which the stream with the given tag has an unknown format."""
    sound = Sound([(0.0, make_clicks([0.2], 0.5, 16_000))], 16_000, "pcm_s16le")
    write_media(path, [picture(30)] * 12, sound=sound)
    path.write_bytes(path.read_bytes().replace(tag, b"zzzz" + tag[4:]))
    return path


def test_a_sound_that_no_decoder_knows_costs_only_the_sound(
    tmp_path: Path, extractor: Extractor, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_mov(tmp_path / "v.mov", b"sowt")
    found = extract(path, extractor, tmp_path / "f.safetensors")
    assert found.has_visual.all() and not found.has_audio.any()
    assert f"{path}: its audio is in a format that FFmpeg cannot decode" in caplog.messages
    with pytest.raises(InputError, match="its audio is in a format.*; use --modality visual"):
        extract_features(path, tmp_path / "g.safetensors", make_extractor("audio"))


def test_a_video_that_no_decoder_knows_is_not_labelled_from_its_sound(
    tmp_path: Path, extractor: Extractor
) -> None:
    path = write_mov(tmp_path / "v.mov", b"avc1\0\0\0\0\0\0")
    with pytest.raises(InputError, match="its video is in a format that FFmpeg cannot decode"):
        extract_features(path, tmp_path / "f.safetensors", extractor)


def test_a_video_file_that_holds_only_sound_is_named(
    tmp_path: Path, extractor: Extractor, caplog: pytest.LogCaptureFixture
) -> None:
    sound = Sound([(0.0, make_clicks([0.2], 0.5, 16_000))], 16_000, "pcm_s16le")
    path = write_media(tmp_path / "v.mkv", sound=sound)
    assert extract(path, extractor, tmp_path / "f.safetensors").has_audio.all()
    assert "v.mkv has no video: only its audio is labelled, 25 rows a second" in caplog.text


def test_a_sample_that_is_no_number_leaves_features_finite(
    tmp_path: Path, extractor: Extractor, caplog: pytest.LogCaptureFixture
) -> None:
    samples = make_clicks([0.2], 0.5, 16_000)
    samples[0, 4000] = np.nan
    sound = Sound([(0.0, samples)], 16_000, "pcm_f32le")
    path = write_media(tmp_path / "v.mkv", [picture(30)] * 12, sound=sound)
    found = extract(path, extractor, tmp_path / "f.safetensors")
    assert found.has_audio.all() and np.isfinite(found.audio).all()
    assert caplog.text.count("are no finite numbers") == 1


def test_a_video_without_sound(
    tmp_path: Path, extractor: Extractor, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_media(tmp_path / "mute.mp4", [picture(30)] * 12)
    with caplog.at_level(logging.INFO, "abawcli"):
        found = extract(path, extractor, tmp_path / "f.safetensors")
    assert caplog.messages == [f"{path} has no audio"]
    assert found.audio.shape == (12, 8) and not found.has_audio.any() and found.has_visual.all()
    with pytest.raises(InputError, match=r"mute.mp4 has no audio; use --modality visual"):
        extract_features(path, tmp_path / "g.safetensors", make_extractor("audio"))


def test_nobody_to_see(tmp_path: Path, extractor: Extractor) -> None:
    path = write_media(tmp_path / "dark.mp4", [picture()] * 6)
    for subject, name in (("main", "d.safetensors"), ("all", "d/subject-1.safetensors")):
        extract_features(path, tmp_path / "d.safetensors", extractor, subject=subject)
        found = read_features(tmp_path / name)
        assert len(found.frame) == 6 and not found.has_visual.any()
    crop_video(path, tmp_path / "crops", detector=BlobDetector(), subject="all")
    extract_features(tmp_path / "crops", tmp_path / "c.safetensors", extractor)
    found = read_features(tmp_path / "c" / "subject-1.safetensors")
    assert len(found.frame) == 6 and not found.has_visual.any()


def test_the_published_pair_of_backbones(tmp_path: Path, video: Path) -> None:
    extractor = make_extractor(
        visual=str(save_vision_backbone(tmp_path / "dino")),
        audio=str(save_audio_backbone(tmp_path / "w2v")),
        layers="first2",
    )
    found = extract(video, extractor, tmp_path / "f.safetensors")
    assert found.visual.shape == found.audio.shape == (48, 16)
    visual, audio = found.metadata.backbones.visual, found.metadata.backbones.audio
    assert visual and visual.preprocess and visual.preprocess.crop_scales == (0.9, 1.2, 1.5)
    assert audio and audio.layers == "first2"
    assert found.metadata.source
    assert set(found.metadata.source.computed_in.values()) <= {"bfloat16", "float32"}


# Our own crops


def test_own_crops_give_what_the_video_gives(
    extractor: Extractor, video: Path, tmp_path: Path
) -> None:
    crop_video(video, tmp_path / "crops" / "v", detector=BlobDetector())
    direct = extract(video, extractor, tmp_path / "direct.safetensors")
    found = extract(tmp_path / "crops" / "v", extractor, tmp_path / "f.safetensors")
    for name in ("frame", "time_s", "has_visual", "has_audio", "audio"):
        np.testing.assert_array_equal(getattr(found, name), getattr(direct, name))
    np.testing.assert_allclose(found.box, direct.box, atol=1e-3)
    # a crop as a file has whole pixels and is compressed
    a, b = found.visual[:30].astype(float), direct.visual[:30].astype(float)
    alike = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert alike.min() > 0.9
    assert found.metadata.source and found.metadata.source.kind == "crops"
    assert found.metadata.source.audio == os.path.relpath(video)


def test_scales_of_crops_are_averaged(
    tmp_path: Path, video: Path, caplog: pytest.LogCaptureFixture
) -> None:
    eyes = {"visual": str(save_vision_backbone(tmp_path / "d"))}
    extractor = make_extractor("visual", **eyes)
    scales = (0.9, 1.2, 1.5)
    crop_video(video, tmp_path / "v", detector=BlobDetector(), cropping=Cropping(scales))
    together = extract(tmp_path / "v", extractor, tmp_path / "f.safetensors").visual[:30]
    alone = []
    for scale in scales:
        crop_video(
            video, tmp_path / f"{scale}", detector=BlobDetector(), cropping=Cropping((scale,))
        )
        with caplog.at_level(logging.WARNING, "abawcli"):
            rows = extract(tmp_path / f"{scale}", extractor, tmp_path / f"{scale}.safetensors")
        assert (
            f"has crops of {scale}; the backbone needs those of `abaw crop --scale 0.9"
            in caplog.text
        )
        alone.append(rows.visual[:30].astype(float))
    np.testing.assert_allclose(together, np.mean(alone, axis=0), atol=0.02 * np.abs(together).max())
    crop_video(video, tmp_path / "1.0", detector=BlobDetector())
    with pytest.raises(InputError, match="has crops of 1; the backbone needs those of `abaw crop"):
        extract_features(tmp_path / "1.0", tmp_path / "g.safetensors", extractor)


def test_crops_of_everybody_and_of_somebody(
    tmp_path: Path, extractor: Extractor, video: Path
) -> None:
    crop_video(video, tmp_path / "all", detector=BlobDetector(), subject="all")
    summary = extract_features(tmp_path / "all", tmp_path / "f" / "all.safetensors", extractor)
    assert summary.subjects == 2
    assert len(list((tmp_path / "f" / "all").glob("subject?.safetensors"))) == 2
    right = extract(tmp_path / "all", extractor, tmp_path / "r.safetensors", subject="right")
    assert right.has_visual.sum() == 40 and (right.box[:40, 0] > 64).all()
    crop_video(video, tmp_path / "left", detector=BlobDetector(), subject="left")
    assert (
        extract(tmp_path / "left", extractor, tmp_path / "l.safetensors").metadata.subject == "left"
    )
    with pytest.raises(InputError, match="crops of subject 'left', not 'main'; crop again"):
        extract_features(tmp_path / "left", tmp_path / "m.safetensors", extractor, subject="main")


def test_crops_that_several_rows_chose(tmp_path: Path, extractor: Extractor, video: Path) -> None:
    rows = (SubjectSegment("left", 2, 10), SubjectSegment("track 1", 21, 30))
    crop_folders(video, {tmp_path / "v_left": rows}, detector=BlobDetector())
    found = extract(tmp_path / "v_left", extractor, tmp_path / "f.safetensors")
    assert found.metadata.subject == "strategy" and found.metadata.video == "v_left"
    assert np.flatnonzero(found.has_visual).tolist() == [*range(1, 10), *range(20, 30)]
    assert (found.box[1:10, 0] < 64).all() and (found.box[20:30, 0] > 64).all()


def test_rows_of_a_video_give_what_its_crops_give(
    tmp_path: Path, extractor: Extractor, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = (SubjectSegment("left", 2, 10), SubjectSegment("track 1", 21, 35))
    people = {"v_left": rows, "v_right": (SubjectSegment("right"),)}
    names = {name: tmp_path / f"{name}.safetensors" for name in people}
    extract_files(video, names, extractor, people)
    direct = {name: read_features(path) for name, path in names.items()}

    def compare(kind: str, cropping: Cropping) -> float:
        """Return the largest distance of features from those of crops, over their norm."""
        folders = {tmp_path / kind / name: segments for name, segments in people.items()}
        crop_folders(video, folders, detector=BlobDetector(), cropping=cropping)
        apart = []
        for name, one in direct.items():
            other = extract(tmp_path / kind / name, extractor, tmp_path / f"{kind}_{name}")
            assert one.metadata.video == other.metadata.video == name
            assert one.metadata.subject == other.metadata.subject
            for column in ("frame", "time_s", "has_visual", "has_audio", "audio"):
                np.testing.assert_array_equal(getattr(one, column), getattr(other, column))
            a, b = (x.visual[x.has_visual].astype(np.float32) for x in (one, other))
            apart.append(float((np.linalg.norm(a - b, axis=1) / np.linalg.norm(a, axis=1)).max()))
        return max(apart)

    assert np.flatnonzero(direct["v_left"].has_visual).tolist() == [*range(1, 10), *range(20, 35)]
    side = COMPACT_FACE_PREPROCESS.resize
    jpeg = compare("jpeg", Cropping(side=side))
    monkeypatch.setattr(crop_stage, "_write_jpeg", write_lossless)
    assert compare("png", Cropping(side=side)) == 0
    assert 0 < jpeg < 0.1  # compression alone; on these faces 0.04


def write_lossless(path: Path, image: Image, quality: int) -> None:
    """Write a crop under its usual name; readers go by the content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes())


def test_half_deleted_crops_are_refused(tmp_path: Path, extractor: Extractor, video: Path) -> None:
    crop_video(video, tmp_path / "v", detector=BlobDetector())
    for k in range(25, 31):
        (tmp_path / "v" / "1.0" / f"{k:05d}.jpg").unlink()
    message = (
        r"v: 6 of 30 pictures of faces in its faces\.parquet are missing, the first is 1\.0/00025"
    )
    with pytest.raises(InputError, match=message):
        extract_features(tmp_path / "v", tmp_path / "f.safetensors", extractor)
    crop_video(video, tmp_path / "all", detector=BlobDetector(), subject="all")
    (tmp_path / "all" / "subject1" / "1.0" / "00002.jpg").unlink()
    with pytest.raises(InputError, match=r"the first is subject1/1\.0/00002\.jpg"):
        extract_features(tmp_path / "all", tmp_path / "g.safetensors", extractor)
    assert not list(tmp_path.glob("?.safetensors"))


def test_crops_that_are_damaged_are_frames_without(
    tmp_path: Path, extractor: Extractor, video: Path, caplog: pytest.LogCaptureFixture
) -> None:
    crop_video(video, tmp_path / "v", detector=BlobDetector())
    (tmp_path / "v" / "1.0" / "00005.jpg").write_bytes(b"no picture")
    with caplog.at_level(logging.WARNING, "abawcli"):
        found = extract(tmp_path / "v", extractor, tmp_path / "f.safetensors")
    assert np.flatnonzero(~found.has_visual[:30]).tolist() == [4]
    assert "00005.jpg cannot be read" in caplog.text


def test_sound_of_crops_comes_from_elsewhere_or_not_at_all(
    tmp_path: Path, extractor: Extractor, video: Path, caplog: pytest.LogCaptureFixture
) -> None:
    crop_video(video, tmp_path / "crops" / "v", detector=BlobDetector())
    with_sound = extract(tmp_path / "crops" / "v", extractor, tmp_path / "a.safetensors")
    (tmp_path / "videos").mkdir()
    video.rename(tmp_path / "videos" / "v.mkv")
    settings = {"audio_from": tmp_path / "videos"}
    moved = extract(tmp_path / "crops" / "v", extractor, tmp_path / "b.safetensors", **settings)
    np.testing.assert_array_equal(moved.audio, with_sound.audio)
    # what was made while the video was there is still good
    assert not extract_features(
        tmp_path / "crops" / "v", tmp_path / "a.safetensors", extractor
    ).made
    with caplog.at_level(logging.WARNING, "abawcli"):
        mute = extract(tmp_path / "crops" / "v", extractor, tmp_path / "c.safetensors")
    assert not mute.has_audio.any() and "give --audio-from DIR" in caplog.text
    with pytest.raises(InputError, match="its audio is not found; give --audio-from DIR"):
        extract_features(
            tmp_path / "crops" / "v", tmp_path / "d.safetensors", make_extractor("audio")
        )


# Official crops


@pytest.fixture
def official(tmp_path: Path) -> Path:
    """Crops of frames 2, 3 and 7 of a video."""
    folder = tmp_path / "cropped_aligned" / "12-24-1920x1080_left"
    folder.mkdir(parents=True)
    for k in (2, 3, 7):
        cv2.imwrite(str(folder / f"{k:05d}.jpg"), np.full((112, 112, 3), 25 * k, np.uint8))
    return folder


def test_official_crops_keep_their_gaps(
    tmp_path: Path, official: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "abawcli"):
        found = extract(official, make_extractor("visual"), tmp_path / "f.safetensors")
    assert found.frame.tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert (np.flatnonzero(found.has_visual) + 1).tolist() == [2, 3, 7]
    assert np.isnan(found.time_s).all() and np.isnan(found.box).all()
    assert "without its video the times of its frames are unknown" in caplog.text
    metadata = found.metadata
    assert (metadata.video, metadata.subject) == ("12-24-1920x1080_left", "left")
    assert metadata.source and metadata.source.kind == "official crops"


@pytest.mark.parametrize("frames", [5, 9])
def test_official_crops_with_their_video(
    tmp_path: Path, extractor: Extractor, official: Path, frames: int
) -> None:
    """Up to two crops more than frames are at the last one's time, as annotations are."""
    (tmp_path / "videos" / "batch1").mkdir(parents=True)
    sound = Sound([(0.0, make_clicks([0.1], 1.0, 48_000))], codec="pcm_s16le")
    write_media(
        tmp_path / "videos" / "batch1" / "12-24-1920x1080.avi",
        [picture()] * frames,
        codec="mpeg4",
        sound=sound,
    )
    settings = {"audio_from": tmp_path / "videos"}
    found = extract(official, extractor, tmp_path / "f.safetensors", **settings)
    times_s = np.arange(frames) / 25
    assert len(found.frame) == max(frames, 7)
    np.testing.assert_allclose(found.time_s[:frames], times_s)
    assert (found.time_s[frames:] == found.time_s[frames - 1]).all()
    assert found.has_audio.all() and found.has_visual.sum() == 3


def test_official_crops_that_are_wrong(
    tmp_path: Path, extractor: Extractor, official: Path
) -> None:
    def refuse(kind: type[Exception], message: str, **settings: object) -> None:
        with pytest.raises(kind, match=message):
            extract_features(official, tmp_path / "f.safetensors", extractor, **settings)  # type: ignore[arg-type]

    videos = {"audio_from": tmp_path / "videos"}
    refuse(UsageError, "no such folder: .*videos", **videos)
    (tmp_path / "videos").mkdir()
    path = write_media(tmp_path / "videos" / "12-24-1920x1080.mp4", [picture()] * 4)
    refuse(InputError, r"goes to frame 7, .*1080\.mp4 has only 4", **videos)
    path.with_suffix(".avi").write_bytes(path.read_bytes())
    refuse(InputError, "could both be the video of 12-24-1920x1080_left", **videos)
    refuse(UsageError, "shows one person only; leave out the subject 'all'", subject="all")
    (official / "7.png").write_bytes(b"")
    refuse(InputError, r"is frame 7; so is")
    (official / "7.png").rename(official / "0.png")
    refuse(InputError, r"0\.png is frame 0; frames are counted from 1")
    for file in official.iterdir():
        file.unlink()
    refuse(InputError, r"_left has no crops \(00001\.jpg and so on\)")


# Work that is done


def test_finished_work_is_skipped_and_stale_work_redone(
    tmp_path: Path, extractor: Extractor, official: Path, video: Path
) -> None:
    for path in (video, official):
        out = tmp_path / f"{path.name}.safetensors"
        assert extract_features(path, out, extractor).made
        assert not extract_features(path, out, extractor).made
        assert extract_features(path, out, extractor, overwrite=True).made
    cv2.imwrite(str(official / "00004.jpg"), np.full((112, 112, 3), 9, np.uint8))
    assert extract_features(official, out, extractor).made
    assert read_features(out).has_visual.sum() == 4
    other = make_extractor("visual")
    assert extract_features(official, out, other).made
    with pytest.raises(OutputError, match="was not made from this input"):
        extract_features(video, out, other)
    about = json.loads(provenance_path(out).read_text())
    assert about["command"] == "extract" and about["inputs"] == [describe_input(official)]


def test_bad_settings(tmp_path: Path, extractor: Extractor, video: Path) -> None:
    with pytest.raises(UsageError, match="unknown modality 'smell'; choose av, visual, audio"):
        Extractor(modality="smell")
    with pytest.raises(CheckpointError, match=r"no such file: .*none\.safetensors"):
        Extractor(visual=str(tmp_path / "none.safetensors"))
    folder = save_vision_backbone(tmp_path / "d")
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="cannot load the backbone .*no file named"):
        Extractor(visual=str(folder))
    with pytest.raises(UsageError, match="unknown subject 'tallest'"):
        extract_features(video, tmp_path / "f.safetensors", extractor, subject="tallest")


def test_features_do_not_depend_on_workers_and_one_that_dies_fails_its_input(
    tmp_path: Path, official: Path, video: Path, caplog: pytest.LogCaptureFixture
) -> None:
    backbone = str(save_vision_backbone(tmp_path / "vit", "vit"))  # crops of three scales
    (official / "00003.jpg").write_bytes(b"")
    alone = make_extractor("visual", visual=backbone)
    several = make_extractor("visual", visual=backbone, workers=2)
    for path in (official, video):
        made = [tmp_path / f"{path.name}{n}.safetensors" for n in (1, 2)]
        for extractor, out in zip((alone, several), made, strict=True):
            caplog.clear()
            extract_features(path, out, extractor)
            assert ("00003.jpg cannot be read" in caplog.text) == (path is official)
        assert made[0].read_bytes() == made[1].read_bytes()
    pool = several.workers._pool
    assert pool and len(pool._processes) == 2
    for process in pool._processes.values():
        process.kill()
    with pytest.raises(AbawError, match=r"v.mkv: a process that prepared its crops was ended"):
        extract_features(video, made[1], several, overwrite=True)
    assert made[0].read_bytes() == made[1].read_bytes()  # what was there stays
    extract_features(video, made[1], several, overwrite=True)
    assert made[0].read_bytes() == made[1].read_bytes()


def test_a_track_is_a_subject(tmp_path: Path, extractor: Extractor, video: Path) -> None:
    right = extract(video, extractor, tmp_path / "r.safetensors", subject="track 1")
    assert right.metadata.subject == "track 1" and right.has_visual.any()
    assert (right.box[right.has_visual, 0] > 64).all()
    with pytest.raises(InputError, match="has no track 7; they are 0 to 1"):
        extract_features(video, tmp_path / "s.safetensors", extractor, subject="track 7")
    for subject in ("track", "skip"):
        with pytest.raises(UsageError, match="unknown subject"):
            extract_features(video, tmp_path / "s.safetensors", extractor, subject=subject)


def test_mirror_images_are_averaged_and_the_head_remembers(tmp_path: Path, video: Path) -> None:
    crops = np.random.default_rng(0).integers(0, 256, (3, 1, 48, 48, 3), np.uint8)
    plain = Extractor(modality="visual", device="cpu")
    mirrored = Extractor(modality="visual", device="cpu", flip=True)
    both = plain.encode_crops(crops), plain.encode_crops(crops[..., ::-1, :].copy())
    np.testing.assert_allclose(mirrored.encode_crops(crops), np.mean(both, axis=0), atol=1e-4)
    mirrored.detector = BlobDetector()
    path = tmp_path / "features" / "v.safetensors"
    extract_features(video, path, mirrored)
    backbones = read_features(path).metadata.backbones
    assert backbones.visual and backbones.visual.preprocess and backbones.visual.preprocess.flip
    network = build_head("visual", backbones, GatedHead(hidden=4))
    head = tmp_path / "head.safetensors"
    save_head(
        head, network, HeadMetadata("visual", asdict(GatedHead(hidden=4)), backbones, Smoothing())
    )
    encoder = Predictor(str(head), device="cpu").extractor.encoder
    assert encoder and encoder.preprocess.flip
