"""The log-mel front end: scale, timing, level."""

import math

import pytest
import torch

from abawcli.config import AUDIO_RATE_HZ
from abawcli.models.log_mel import BANDS, HOP, LEVEL_FRAMES, STEP_SAMPLES, LogMel, mel_filters


def tone(hz: float, seconds: float = 0.8) -> torch.Tensor:
    time_s = torch.arange(round(seconds * AUDIO_RATE_HZ)) / AUDIO_RATE_HZ
    return torch.sin(2 * math.pi * hz * time_s)[None]


def test_white_noise_has_its_mean_square_in_every_band() -> None:
    noise = 0.1 * torch.randn(1, 160_000, generator=torch.Generator().manual_seed(0))
    energies = (mel_filters() @ LogMel().power(noise)).mean(dim=2)[0]
    torch.testing.assert_close(energies, torch.full((BANDS,), 0.01), rtol=0.1, atol=0)


@pytest.mark.parametrize("samples", [1, 1279, 1280, 1281, 20_000])
def test_audio_is_filled_up_to_whole_steps(samples: int) -> None:
    frames = math.ceil(samples / STEP_SAMPLES) * 8
    assert LogMel()(torch.zeros(2, samples)).shape == (2, BANDS, frames)


def test_frames_stand_in_the_middle_of_their_ten_milliseconds() -> None:
    click = torch.zeros(1, 6400)
    click[0, 20 * HOP - 1 : 20 * HOP + 1] = 1.0  # between frames 19 and 20
    power = LogMel().power(click).sum(dim=1)[0]
    torch.testing.assert_close(power[:20], power[20:].flip(0))
    assert power.argmax() in (19, 20)


def test_bands_rise_with_frequency_and_follow_the_warp() -> None:
    front = LogMel()
    peaks = [(front.filters @ front.power(tone(hz)))[0, :, 20].argmax() for hz in (300, 1000, 4000)]
    assert peaks == sorted(peaks) and len(set(peaks)) == 3
    power = front.power(tone(1250))
    warped = mel_filters(torch.tensor([1.25]))[0] @ power  # looks at 1250 Hz for 1000
    assert warped[0, :, 20].argmax() == peaks[1]
    torch.testing.assert_close(mel_filters(torch.ones(1))[0], mel_filters())
    assert torch.isfinite(mel_filters(torch.tensor([0.5, 2.0]))).all()


def test_gain_and_filters_drop_out() -> None:
    front = LogMel()
    audio = torch.randn(1, 32_000, generator=torch.Generator().manual_seed(0))
    quiet = front(0.05 * audio)
    torch.testing.assert_close(quiet, front(0.4 * audio), atol=0.01, rtol=0)
    assert quiet.mean(dim=2).abs().max() < 0.05


def test_level_is_of_the_time_around_and_of_what_there_is_of_it() -> None:
    mel = torch.rand(1, BANDS, 1000, generator=torch.Generator().manual_seed(0)) + 0.1
    bands = LogMel().normalise(mel)
    level, weight = mel.log()[0], mel.mean(dim=1)[0].sqrt()
    for at, first, last in ((500, 350, 651), (10, 0, 161), (995, 845, 1000)):
        assert last - first <= 2 * LEVEL_FRAMES + 1
        share = weight[first:last] / weight[first:last].sum()
        expected = (level[:, at] - (level[:, first:last] * share).sum(dim=1)) / 2
        torch.testing.assert_close(bands[0, :, at], expected, atol=1e-4, rtol=0)


def test_pauses_do_not_change_the_level_of_a_voice() -> None:
    voice = 0.3 * torch.randn(1, 16_000, generator=torch.Generator().manual_seed(0))
    paused = torch.cat([voice, 1e-4 * torch.randn(1, 8000)], dim=1)
    apart = (LogMel()(paused)[..., :90] - LogMel()(voice)[..., :90]).abs()
    assert apart.max() < 0.05


def test_silence_is_zero() -> None:
    assert LogMel()(torch.zeros(1, 16_000)).abs().max() < 1e-5
