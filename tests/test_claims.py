"""What labels claim, on whole videos: no more than a face or a voice says."""

import itertools
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from audio_files import make_bursts
from loaded_networks import load_predictor
from media_files import write_media
from sample_clips import SAMPLES, thin_clip, write_thinned

from abawcli.config import AUDIO_RATE_HZ
from abawcli.device import choose_device
from abawcli.formats.abaw import read_annotation
from abawcli.formats.features import TYPES, read_features, write_features
from abawcli.media.audio import read_audio
from abawcli.media.video import read_frames
from abawcli.models.audio_backbones import CompactVoiceBackbone, build_audio_backbone
from abawcli.pipeline.audio_features import AudioEncoder
from abawcli.stages.extract import extract_features
from abawcli.stages.predict import Predictor
from abawcli.stages.smooth import smooth_table
from abawcli.training.non_speech import NON_SPEECH, make_non_speech


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return load_predictor()


@pytest.fixture(scope="module")
def voice() -> AudioEncoder:
    return AudioEncoder(build_audio_backbone("compact-voice"), choose_device("cpu"))


def copy_start(source: Path, output: Path, end_s: float) -> Path:
    """Copy what a recording has before a time, as it is coded."""
    with av.open(str(source)) as media, av.open(str(output), "w") as out:
        streams = {s.index: out.add_stream_from_template(s) for s in media.streams.get()}
        for packet in media.demux():
            if packet.dts is not None and packet.dts * packet.time_base < end_s:
                packet.stream = streams[packet.stream.index]
                out.mux(packet)
    return output


@torch.inference_mode()
@pytest.mark.parametrize("kind", NON_SPEECH)
def test_no_speech_is_detected_in_non_speech_and_no_emotion_is_sure(
    voice: AudioEncoder, kind: str
) -> None:
    assert isinstance(voice.backbone, CompactVoiceBackbone)
    confidence = []
    for seed in range(2):  # other recordings than training made
        audio = make_non_speech(kind, 2 * AUDIO_RATE_HZ, np.random.default_rng(seed))
        features, detected = voice.encode(audio)
        assert not detected.any()
        confidence.append(voice.backbone.classifier(torch.from_numpy(features)).amax(dim=1))
    assert torch.cat(confidence).quantile(0.9) < 0.4


@pytest.mark.parametrize("pitch_hz", [120, 200, 800])
def test_no_speech_is_detected_in_bursts_of_tones(voice: AudioEncoder, pitch_hz: float) -> None:
    assert not voice.encode(make_bursts(pitch_hz, 3.0))[1].any()


def test_speech_is_detected_in_the_sample_clip(voice: AudioEncoder) -> None:
    audio = read_audio(SAMPLES / "leaves_and_returns_vfr.mp4")
    assert audio is not None
    detected = voice.encode(audio.samples)[1]
    assert 0.2 < detected.mean() < 0.5  # he speaks twice, with pauses


def test_rows_without_a_face_claim_no_face_of_their_own(
    predictor: Predictor, tmp_path: Path
) -> None:
    """He leaves while he speaks: for half a second rows are filled, beyond there is nothing."""
    clip = copy_start(thin_clip("leaves_and_returns_vfr"), tmp_path / "clip.mov", 7)
    raw = predictor.predict_video(clip, smooth=False)
    table = smooth_table(raw, predictor.recipe.smoothing)
    faces = raw["found"]
    assert (table["source"][faces] == raw["source"][faces]).all()
    away_s = np.abs(table["time_s"].to_numpy()[:, None] - table["time_s"][faces].to_numpy())
    near = away_s.min(axis=1) <= 0.5
    assert (table["source"][~faces & near] == "filled").all()
    assert (table["source"][~near] == "none").all()  # none of his words is sure enough
    assert near.sum() > faces.sum() and (~near).sum() > 8


@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("name", "frames"), [("noface_cartoon.mp4", 95), ("noface_car_with_sound.mp4", 63)]
)
def test_music_and_cars_without_a_face_have_no_emotion(
    predictor: Predictor, name: str, frames: int, shared_data: Path, tmp_path: Path
) -> None:
    clip = copy_start(shared_data / "videos" / name, tmp_path / name, 5)
    table = predictor.predict_video(clip)
    assert len(table) == frames and not table["found"].any()
    assert (table["label"] == -1).all() and (table["source"] == "none").all()


@pytest.mark.shared_data
def test_a_title_card_after_a_face_is_filled_for_half_a_second(
    predictor: Predictor, shared_data: Path, tmp_path: Path
) -> None:
    recording = shared_data / "videos" / "face_then_none_vfr.mov"
    source = copy_start(recording, tmp_path / "start.mov", 4.5)
    frames = list(read_frames(source))[::2]
    table = predictor.predict_video(write_thinned(frames, source, tmp_path / "v.mkv"))
    faces = table["found"].to_numpy()
    # The face is found from its first frame to its last: 1 to 72 of the recording.
    assert faces.tolist() == [True] * 8 + [False] * 5
    times_s = table["time_s"].to_numpy()
    near = np.abs(times_s[:, None] - times_s[faces]).min(axis=1) <= 0.5
    assert table["source"][~near].eq("none").all() and len(faces) > near.sum() > faces.sum()
    assert table["source"][near & ~faces].eq("filled").all()


@pytest.mark.shared_data
def test_the_last_frame_keeps_its_own_expression(predictor: Predictor, shared_data: Path) -> None:
    clip = shared_data / "videos" / "neutral_to_smile.mp4"
    raw = predictor.predict_video(clip, smooth=False)
    table = smooth_table(raw, predictor.recipe.smoothing)
    runs = [(k, len(list(rows))) for k, rows in itertools.groupby(table["label"])]
    assert runs == [(0, 18), (4, 53), (0, 1)]
    assert table["confidence"].iloc[-1] == pytest.approx(raw["confidence"].iloc[-1])


@pytest.mark.shared_data
@pytest.mark.parametrize("name", ["speech_bbaf2n.mpg", "speech_lrwp9a.mpg", "speech_sbwe5n.mpg"])
def test_speech_is_labelled_from_audio_alone(name: str, shared_data: Path) -> None:
    predictor = load_predictor(modality="audio")
    table = predictor.predict_video(shared_data / "videos" / name)
    assert (table["source"] == "audio").mean() > 0.6
    assert set(table["source"]) <= {"audio", "none"}


def find_middle(label: int) -> int:
    """Return the number of the frame in the middle of the longest run of a label in the clip."""
    truth = read_annotation(SAMPLES / "expressions.txt")
    runs = [list(run) for _, run in itertools.groupby(range(len(truth)), key=truth.__getitem__)]
    own = [run for run in runs if truth[run[0]] == label]
    longest = max(own, key=len)
    return longest[len(longest) // 2] + 1


def test_equal_expressions_have_equal_shares_at_any_frame_rate(
    predictor: Predictor, tmp_path: Path
) -> None:
    """Two expressions of 1 s and 1.6 s, each of equal frames, 10, 24 and 50 of them a second."""
    numbers = [find_middle(0), find_middle(4)]
    pictures = [
        frame.rgb() for frame in read_frames(SAMPLES / "expressions.mp4") if frame.frame in numbers
    ]
    clip = write_media(tmp_path / "two.mkv", pictures, codec="ffv1")
    extract_features(clip, tmp_path / "two.safetensors", predictor.extractor)
    two = read_features(tmp_path / "two.safetensors")
    shares = []
    for rate in (10, 24, 50):
        rows = np.repeat(
            [numbers[0] > numbers[1], numbers[0] < numbers[1]], [rate, round(1.6 * rate)]
        )
        filmed = replace(two, **{name: getattr(two, name)[rows.astype(int)] for name in TYPES})
        filmed = replace(filmed, frame=np.arange(len(rows)) + 1, time_s=np.arange(len(rows)) / rate)
        write_features(filmed, tmp_path / f"{rate}.safetensors", {})
        table = predictor.predict_video(tmp_path / f"{rate}.safetensors")
        assert len(table) == len(rows) and (table["label"] >= 0).all()
        shares.append(np.bincount(table["label"], minlength=8) / len(table))
    assert (np.sort(shares[0])[-2:] > 0.3).all()  # two labels, as there are two expressions
    np.testing.assert_allclose(shares[0], shares[2], atol=0.05)  # a frame of 26 is 0.038
    np.testing.assert_allclose(shares[1], shares[2], atol=0.05)
