"""Stage extract, read back from the files it writes."""

import logging
import os
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from blob_faces import BlobDetector, picture
from extraction import extract, make_extractor, write_clip
from media_files import AudioTrack, make_clicks, write_media
from test_audio_features import Loudness
from tiny_models import save_audio_backbone, save_vision_backbone

from abawcli.config import GatedHead, Prediction, Smoothing
from abawcli.errors import CheckpointError, InputError, UsageError
from abawcli.formats.features import read_features
from abawcli.formats.metadata import Backbones
from abawcli.media.video import read_frames
from abawcli.models.encoder import Encoder
from abawcli.models.heads import build_head, save_head
from abawcli.models.metadata import HeadMetadata
from abawcli.models.recipes import find_weights
from abawcli.pipeline.audio_features import AudioEncoder
from abawcli.pipeline.feature_stream import Extractor
from abawcli.stages.crop import crop_video
from abawcli.stages.extract import extract_features
from abawcli.stages.predict import Predictor


@pytest.fixture
def extractor() -> Extractor:
    return make_extractor()


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return write_clip(tmp_path)


def test_every_frame_has_a_row_with_its_time_face_and_audio(
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


def test_features_are_what_predict_classifies(video: Path, tmp_path: Path) -> None:
    extractor = Extractor(modality="visual", device="cpu")
    extractor.detector = BlobDetector()
    found = extract(video, extractor, tmp_path / "f.safetensors")
    predictor = Predictor(str(find_weights("compact-face")), device="cpu")
    predictor.extractor.detector = BlobDetector()
    table = predictor.predict_video(video, smooth=False)
    encoder = predictor.extractor.encoder
    assert isinstance(encoder, Encoder)
    p = encoder.classify_features(torch.from_numpy(found.visual[:30].astype(np.float32)))
    np.testing.assert_allclose(p, table.filter(like="p_").to_numpy()[:30], atol=5e-3)


def test_a_click_shows_in_the_frames_within_half_a_second(tmp_path: Path) -> None:
    """A transformer's attention would spread it: here a feature is the loudest of 20 ms."""
    extractor = make_extractor("audio")
    extractor.audio_encoder = AudioEncoder(Loudness(), torch.device("cpu"))
    extractor.backbones = Backbones(None, extractor.audio_encoder.describe())
    audio = AudioTrack([(1.0, make_clicks([2.0], 4.0, 48_000))], codec="pcm_s16le")  # at 3.0 s
    path = write_media(tmp_path / "c.mkv", [picture()] * 160, audio=audio)
    found = extract(path, extractor, tmp_path / "f.safetensors")
    detected = found.audio[:, 0] > 0.005
    near = np.abs(found.time_s - 3.0)
    assert detected[near < 0.48].all() and not detected[near > 0.52].any()
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
    detected = extract(video, make_extractor("audio"), tmp_path / "h.safetensors")
    assert detected.visual.shape == (48, 0) and detected.metadata.backbones.visual is None
    assert detected.has_audio.all() and not detected.has_visual.any()
    assert detected.time_s.tolist() == seen.time_s.tolist()


def test_audio_alone_has_25_rows_a_second(tmp_path: Path) -> None:
    path = write_media(
        tmp_path / "s.wav",
        audio=AudioTrack([(0.0, make_clicks([1], 2.5, 16_000))], 16_000, "pcm_s16le"),
    )
    found = extract(path, make_extractor("audio"), tmp_path / "f.safetensors")
    assert found.frame[-1] == 63 and found.has_audio.all()
    np.testing.assert_allclose(found.time_s, np.arange(63) / 25)
    both = extract(path, make_extractor(), tmp_path / "g.safetensors")
    assert (both.audio == found.audio).all() and not both.has_visual.any()
    with pytest.raises(InputError, match=r"s\.wav"):
        extract_features(path, tmp_path / "h.safetensors", make_extractor("visual"))


def write_mov(path: Path, tag: bytes) -> Path:
    """Write a video with audio, in which the stream with the given tag has an unknown format."""
    audio = AudioTrack([(0.0, make_clicks([0.2], 0.5, 16_000))], 16_000, "pcm_s16le")
    write_media(path, [picture(30)] * 12, audio=audio)
    path.write_bytes(path.read_bytes().replace(tag, b"zzzz" + tag[4:]))
    return path


def test_audio_that_no_decoder_knows_costs_only_the_audio(
    tmp_path: Path, extractor: Extractor, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_mov(tmp_path / "v.mov", b"sowt")
    found = extract(path, extractor, tmp_path / "f.safetensors")
    assert found.has_visual.all() and not found.has_audio.any()
    assert f"{path}: its audio is in a format that FFmpeg cannot decode" in caplog.messages
    with pytest.raises(InputError, match="its audio is in a format.*; use --modality visual"):
        extract_features(path, tmp_path / "g.safetensors", make_extractor("audio"))


def test_a_video_that_no_decoder_knows_is_not_labelled_from_its_audio(
    tmp_path: Path, extractor: Extractor
) -> None:
    path = write_mov(tmp_path / "v.mov", b"avc1\0\0\0\0\0\0")
    with pytest.raises(InputError, match="its video is in a format that FFmpeg cannot decode"):
        extract_features(path, tmp_path / "f.safetensors", extractor)


def test_a_video_file_that_holds_only_audio_is_named(
    tmp_path: Path, extractor: Extractor, caplog: pytest.LogCaptureFixture
) -> None:
    audio = AudioTrack([(0.0, make_clicks([0.2], 0.5, 16_000))], 16_000, "pcm_s16le")
    path = write_media(tmp_path / "v.mkv", audio=audio)
    assert extract(path, extractor, tmp_path / "f.safetensors").has_audio.all()
    assert "v.mkv has no video: only its audio is labelled, 25 rows a second" in caplog.text


def test_a_sample_that_is_no_number_leaves_features_finite(
    tmp_path: Path, extractor: Extractor, caplog: pytest.LogCaptureFixture
) -> None:
    samples = make_clicks([0.2], 0.5, 16_000)
    samples[0, 4000] = np.nan
    audio = AudioTrack([(0.0, samples)], 16_000, "pcm_f32le")
    path = write_media(tmp_path / "v.mkv", [picture(30)] * 12, audio=audio)
    found = extract(path, extractor, tmp_path / "f.safetensors")
    assert found.has_audio.all() and np.isfinite(found.audio).all()
    assert caplog.text.count("are no finite numbers") == 1


def test_a_video_without_audio(
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
