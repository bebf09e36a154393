"""Audio backbones, chunks that do not show, and features at the times of frames."""

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from media_files import AudioTrack, make_clicks, write_media
from tiny_models import (
    AUDIO_KINDS,
    save_audio_backbone,
    save_vision_backbone,
    save_voice_encoder,
)

from abawcli.config import AUDIO_RATE_HZ, COMPACT_VOICE, AudioFeatures
from abawcli.errors import CheckpointError, UsageError
from abawcli.media.audio import Audio, read_audio, read_audio_blocks
from abawcli.models.audio_backbones import AudioBackbone, build_audio_backbone, choose_layers
from abawcli.pipeline.audio_features import AudioEncoder, AudioFrames, FrameAligner

CPU = torch.device("cpu")
SAMPLES = Path(__file__).parents[1] / "sample_videos"


class Loudness(AudioBackbone):
    """The loudest sample of every 20 ms."""

    def __init__(self) -> None:
        super().__init__("compact-voice", torch.nn.Identity(), 1, 320, field_samples=320)

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        return samples.unfold(1, 320, 320).abs().amax(dim=2, keepdim=True)


def cut(samples: np.ndarray, start_s: float = 0.0, size: int = 1024) -> Iterator[Audio]:
    for first in range(0, len(samples), size):
        yield Audio(samples[first : first + size], start_s + first / AUDIO_RATE_HZ)


def noise(seconds: float) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.normal(0, 0.1, round(seconds * AUDIO_RATE_HZ)).astype(np.float32)


def run_backbone(encoder: AudioEncoder, blocks: Iterator[Audio]) -> FrameAligner:
    config = encoder.config
    return FrameAligner(encoder.encode_blocks(blocks), encoder.dim, config.window_s)


@pytest.mark.parametrize("kind", sorted(AUDIO_KINDS))
def test_transformers_from_a_folder(tmp_path: Path, kind: str) -> None:
    backbone = build_audio_backbone(str(save_audio_backbone(tmp_path, kind)), "last2").eval()
    assert (backbone.dim, backbone.step_s, backbone.field_samples) == (16, 0.02, 400)
    audio = torch.from_numpy(noise(1.0))[None]
    with torch.inference_mode():
        features = backbone(audio)
        even = (audio - audio.mean()) / (audio.var(correction=0) + 1e-7).sqrt()
        states = backbone.network(even, output_hidden_states=True).hidden_states
    assert features.shape == (1, 49, 16)
    assert len(states) == 5  # the blocks' input and the four blocks
    torch.testing.assert_close(features, (states[-1] + states[-2]) / 2)
    metadata = backbone.describe()
    assert metadata.layers == "last2" and metadata.normalise and len(metadata.sha256 or "") == 64


@pytest.mark.parametrize("kind", sorted(AUDIO_KINDS))
def test_lower_precision_changes_little(tmp_path: Path, kind: str) -> None:
    folder, samples = str(save_audio_backbone(tmp_path, kind)), noise(2.0)
    backbone = build_audio_backbone(folder).eval()
    with torch.inference_mode():
        exact = backbone(torch.from_numpy(samples)[None])[0].numpy()
    backbone.cast_to(torch.bfloat16)
    with torch.inference_mode():
        rough = backbone(torch.from_numpy(samples)[None])[0].numpy()
    assert rough.dtype == np.float32
    np.testing.assert_allclose(rough, exact, atol=0.05 * np.abs(exact).max())
    encoder = AudioEncoder(build_audio_backbone(folder), CPU)
    found, _ = encoder.encode(samples)
    np.testing.assert_array_equal(found, exact if encoder.dtype == torch.float32 else rough)


def test_loudness_counts_only_where_the_model_says_so(tmp_path: Path) -> None:
    audio = torch.from_numpy(noise(1.0))[None]
    for normalise in (True, False):
        folder = save_audio_backbone(tmp_path / str(normalise), normalise=normalise)
        backbone = build_audio_backbone(str(folder)).eval()
        with torch.inference_mode():
            same = torch.allclose(backbone(audio), backbone(audio * 0.01), atol=1e-3)
        assert same == normalise


def test_layers() -> None:
    assert list(choose_layers("last4", 24)) == [20, 21, 22, 23]
    assert list(choose_layers("first4", 24)) == [0, 1, 2, 3]
    for wrong in ("all", "last", "last0", "4"):
        with pytest.raises(UsageError, match=f"unknown layers '{wrong}'; give last4"):
            choose_layers(wrong, 24)
    with pytest.raises(UsageError, match="'last25': the backbone has only 24"):
        choose_layers("last25", 24)


def test_our_own_by_path(tmp_path: Path) -> None:
    backbone = build_audio_backbone(str(save_voice_encoder(tmp_path / "voice.safetensors")))
    assert (backbone.name, backbone.dim, backbone.step_s) == ("compact-voice", 8, 0.08)
    with pytest.raises(CheckpointError, match="no such file"):
        build_audio_backbone(str(tmp_path / "none.safetensors"))


def test_what_is_no_audio_backbone_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    folder = save_vision_backbone(tmp_path / "eyes")
    with pytest.raises(CheckpointError, match="no known audio backbone but 'dinov2'"):
        build_audio_backbone(str(folder))
    folder = save_audio_backbone(tmp_path / "ears")
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="cannot load the backbone .*ears.*no file named"):
        build_audio_backbone(str(folder))
    with pytest.raises(CheckpointError, match="hf download nobody/nothing --local-dir DIR"):
        build_audio_backbone("nobody/nothing")


def test_weights_that_are_missing_are_named(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = save_audio_backbone(tmp_path) / "model.safetensors"
    weights = {k: v for k, v in load_file(path).items() if "layers.3.attention" not in k}
    save_file(weights, path, {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"lack encoder\.layers\.3\.attention.* more"):
        build_audio_backbone(str(tmp_path))


def test_audio_frames_are_centred_in_what_they_depend_on() -> None:
    clicks = [0.51, 1.25, 30.07, 44.93, 61.0]
    samples = make_clicks(clicks, 63.0, AUDIO_RATE_HZ)[0]
    steps = list(AudioEncoder(Loudness(), CPU).encode_blocks(cut(samples, start_s=7.0)))
    times_s = np.concatenate([part.times_s for part in steps])
    loud = np.concatenate([part.features for part in steps])[:, 0] > 0.5
    assert len(steps) > 2  # chunks
    np.testing.assert_allclose(np.diff(times_s), 0.02, atol=1e-9)
    assert times_s[0] == pytest.approx(7.01) and times_s[-1] == pytest.approx(7 + 62.99)
    # a click of 2 ms at the border of two steps is in both
    detected = np.array([np.abs(times_s[loud] - 7 - click).min() for click in clicks])
    assert (detected <= 0.0101).all() and len(clicks) <= loud.sum() <= 2 * len(clicks)
    assert steps[-1].end_s == pytest.approx(70.0) and steps[0].start_s == 7.0


def test_chunks_of_our_own_encoder_do_not_show(tmp_path: Path) -> None:
    backbone = build_audio_backbone(str(save_voice_encoder(tmp_path / "voice.safetensors")))
    encoder, samples = AudioEncoder(backbone, CPU), noise(47.3)
    for size in (333, 200_000):  # of the blocks that the file comes in
        parts = list(encoder.encode_blocks(cut(samples, size=size)))
        assert len(parts) == 3
        whole, _ = encoder.encode(samples)
        np.testing.assert_allclose(
            np.concatenate([part.features for part in parts]), whole, rtol=1e-4, atol=1e-4
        )


def test_chunks_of_transformers_hardly_show(tmp_path: Path) -> None:
    backbone = build_audio_backbone(str(save_audio_backbone(tmp_path, normalise=False)))
    encoder, samples = AudioEncoder(backbone, CPU), noise(25.0)
    parts = list(encoder.encode_blocks(cut(samples)))
    assert [len(part.times_s) for part in parts] == [950, 299]
    whole, _ = encoder.encode(samples)
    found = np.concatenate([part.features for part in parts])
    assert np.abs(found - whole).mean() < 0.1 * np.abs(whole).mean()
    np.testing.assert_allclose(np.diff(np.concatenate([p.times_s for p in parts])), 0.02)
    assert parts[0].times_s[0] == 0.0125  # the middle of the first 400 samples


class Counting(Loudness):
    """Counts the seconds that are encoded."""

    seconds = 0.0

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        self.seconds += samples.shape[1] / AUDIO_RATE_HZ
        return super().forward(samples)


@pytest.mark.parametrize("gap_s", [30.0, 36_000.0])
def test_a_gap_of_hours_costs_no_more_than_one_of_seconds(gap_s: float) -> None:
    backbone = Counting()
    encoder = AudioEncoder(backbone, CPU)
    later = Audio(np.full(16_000, 0.5, np.float32), 8.0 + gap_s)
    aligner = run_backbone(encoder, iter([*cut(noise(1.0), 7.0), later]))
    assert [aligner.at(time_s)[1] for time_s in (6.4, 6.6, 7.5, 8.4)] == [False, True, True, True]
    assert aligner.at(8.0 + gap_s / 2) == (np.float32(0.0), False)  # nothing was encoded there
    feature, there = aligner.at(8.5 + gap_s)
    assert there and feature == np.float32(0.5)
    assert backbone.seconds < 2 + 2 * (backbone.context_s + encoder.config.window_s) + 0.1


def test_a_gap_changes_nothing_near_the_audio(tmp_path: Path) -> None:
    path = save_voice_encoder(tmp_path / "voice.safetensors")
    encoder = AudioEncoder(build_audio_backbone(str(path)), CPU)
    first, second, gap = noise(3.1), noise(2.3), np.zeros(25 * 16_000 + 123, np.float32)
    later_s = (len(first) + len(gap)) / AUDIO_RATE_HZ
    sparse = [*encoder.encode_blocks([Audio(first, 0.0), *cut(second, later_s)])]
    dense = [*encoder.encode_blocks(cut(np.concatenate([first, gap, second])))]
    expected = dict(
        zip(
            np.concatenate([part.times_s for part in dense]).round(6),
            np.concatenate([part.features for part in dense]),
            strict=True,
        )
    )
    times_s = np.concatenate([part.times_s for part in sparse]).round(6)
    assert np.all(np.diff(times_s) > 0) and len(times_s) < 0.5 * len(expected)
    for time_s, feature in zip(times_s, np.concatenate([p.features for p in sparse]), strict=True):
        if time_s < 3.6 or time_s > later_s - 0.5:  # what frames near the audio look at
            np.testing.assert_allclose(feature, expected[time_s], rtol=1e-4, atol=1e-4)


def test_audio_shorter_than_a_step_is_one_step(tmp_path: Path) -> None:
    for backbone in (
        build_audio_backbone(str(save_audio_backbone(tmp_path / "w"))),
        build_audio_backbone(str(save_voice_encoder(tmp_path / "voice.safetensors"))),
    ):
        encoder = AudioEncoder(backbone, CPU)
        (part,) = encoder.encode_blocks(cut(noise(0.01), start_s=2.0))
        assert part.features.shape == (1, backbone.dim) and np.isfinite(part.features).all()
        feature, there = run_backbone(encoder, cut(noise(0.01), start_s=2.0)).at(2.1)
        # Ten milliseconds are never certainly a voice.
        assert there == (backbone.name != COMPACT_VOICE)
        assert not there or (feature == part.features[0].astype(np.float16)).all()


def test_chunks_must_hold_more_than_their_edges() -> None:
    with pytest.raises(UsageError, match=r"chunks of 1\.0 s are too short; at least 2\.02"):
        AudioEncoder(Loudness(), CPU, AudioFeatures(chunk_s=1.0))


def test_a_click_is_heard_in_the_frames_around_it_and_no_others(tmp_path: Path) -> None:
    """Audio that begins 0.7 s after the container's clock, with silence before the click."""
    clicks = AudioTrack([(0.7, make_clicks([2.3], 4.0, 48_000))], codec="pcm_s16le")
    path = write_media(tmp_path / "v.mkv", audio=clicks)
    aligner = run_backbone(AudioEncoder(Loudness(), CPU), read_audio_blocks(path))
    times_s = np.arange(200) / 25
    found = [aligner.at(time_s) for time_s in times_s]
    there = np.array([valid for _, valid in found])
    np.testing.assert_array_equal(there, (times_s >= 0.2 - 1e-9) & (times_s <= 5.2 + 1e-9))
    loud = np.array([feature[0] for feature, _ in found]) > 0.005
    assert (loud[np.abs(times_s - 3.0) < 0.48]).all()
    assert not loud[np.abs(times_s - 3.0) > 0.52].any()


def steps_of(
    times_s: list[float], start_s: float, end_s: float, silent: tuple[float, ...] = ()
) -> Iterator[AudioFrames]:
    """Yield one step a chunk, whose feature is its time."""
    for time_s in times_s:
        feature = np.full((1, 1), time_s, np.float32)
        detected = np.array([time_s not in silent])
        yield AudioFrames(np.array([time_s]), feature, detected, start_s, end_s)


def test_mean_of_the_steps_in_the_window_both_ends_included() -> None:
    aligner = FrameAligner(steps_of([0.5, 1.0, 1.5, 2.0, 2.5], 0.25, 2.75), 1)
    assert aligner.at(1.0) == (np.float32(1.0), True)
    assert aligner.at(1.2) == (np.float32(1.25), True)
    assert aligner.at(1.2) == (np.float32(1.25), True)
    assert aligner.at(3.0) == (np.float32(2.5), True)
    assert aligner.at(3.2) == (np.float32(2.5), True)  # no step, but audio within the window
    assert aligner.at(3.3) == (np.float32(0.0), False)


def test_steps_in_which_nothing_is_heard_take_no_part() -> None:
    aligner = FrameAligner(steps_of([0.5, 1.0, 1.5, 2.0], 0.25, 2.25, silent=(1.0, 1.5, 2.0)), 1)
    assert aligner.at(1.0) == (np.float32(0.5), True)
    assert aligner.at(1.2) == (np.float32(0.0), False)


def test_our_own_backbone_detects_speech_only() -> None:
    encoder = AudioEncoder(build_audio_backbone("compact-voice"), CPU)
    tone = 0.1 * np.sin(2 * np.pi * 440 * np.arange(3 * AUDIO_RATE_HZ) / AUDIO_RATE_HZ)
    for samples in (noise(3.0), np.zeros(3 * AUDIO_RATE_HZ), tone):
        _, detected = encoder.encode(samples.astype(np.float32))
        assert detected.mean() < 0.1
    speech = read_audio(SAMPLES / "expressions.mp4")
    assert speech is not None
    spoken = speech.samples[round(9.3 * AUDIO_RATE_HZ) : round(10.7 * AUDIO_RATE_HZ)]
    assert encoder.encode(spoken)[1].mean() > 0.5


def test_what_is_kept_does_not_depend_on_what_is_not() -> None:
    encoder = AudioEncoder(build_audio_backbone("compact-voice"), CPU)
    speech = read_audio(SAMPLES / "expressions.mp4")
    assert speech is not None
    whole, detected = encoder.encode(speech.samples)
    first, last = np.flatnonzero(detected)[[0, -1]]
    assert first > 0 and last + 1 < len(detected)
    for kept in (slice(0, first + 1), slice(first + 1, last), slice(last - 1, None)):
        features, mask = encoder.encode(speech.samples, kept)
        np.testing.assert_array_equal(mask, detected[kept])
        np.testing.assert_allclose(features, whole[kept], rtol=1e-4, atol=1e-4)


def test_no_audio_has_no_speech() -> None:
    assert FrameAligner(iter(()), 1).at(0.0) == (np.float32(0.0), False)
    late = FrameAligner(steps_of([100.0], 99.0, 101.0), 1)
    assert late.at(0.0) == (np.float32(0.0), False)
    assert late.at(99.8) == (np.float32(100.0), True)


def test_memory_does_not_grow_with_the_length() -> None:
    encoder = AudioEncoder(Loudness(), CPU)
    silence = np.zeros(16_000, np.float32)
    aligner = run_backbone(encoder, (Audio(silence, float(k)) for k in range(1200)))
    tracemalloc.start()
    peaks = []
    for minute in range(20):
        for time_s in range(60 * minute, 60 * minute + 60):
            aligner.at(float(time_s))
        peaks.append(tracemalloc.get_traced_memory()[1])
    tracemalloc.stop()
    assert peaks[-1] < 1.2 * peaks[2]
