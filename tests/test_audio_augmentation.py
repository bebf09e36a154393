"""Random changes of recordings."""

from dataclasses import replace

import pytest
import torch

from abawcli.config import NO_AUDIO_AUGMENTATION, AudioAugmentation
from abawcli.training.audio_augmentation import (
    add_noise,
    change_tempo,
    colour_bands,
    draw_ratios,
    mask_bands,
)

ON, OFF = AudioAugmentation(), NO_AUDIO_AUGMENTATION


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_ratios_are_between_the_ends_and_one_without_spread() -> None:
    ratios = draw_ratios(1000, 0.2, seeded())
    assert 0.8 <= ratios.min() < 0.82 and 1.22 < ratios.max() <= 1.25
    assert 0.45 < (ratios < 1).float().mean() < 0.55
    assert draw_ratios(3, 0.0, seeded()).tolist() == [1, 1, 1]


def test_noise_has_the_level_asked_for() -> None:
    recordings = 0.1 * torch.randn(8, 16_000, generator=seeded(1))
    config = replace(ON, gain_db=(-6.0, -6.0), noise_p=1.0, snr_db=(10.0, 10.0))
    quieter = recordings * 10 ** (-6 / 20)
    noise = add_noise(recordings, config, seeded()) - quieter
    snr_db = 10 * torch.log10(quieter.square().mean(dim=1) / noise.square().mean(dim=1))
    torch.testing.assert_close(snr_db, torch.full((8,), 10.0), atol=0.01, rtol=0)
    assert torch.equal(add_noise(recordings, OFF, seeded()), recordings)
    some = (add_noise(recordings, replace(OFF, noise_p=0.5), seeded()) != recordings).any(dim=1)
    assert 0 < some.sum() < 8


def test_silence_stays_finite() -> None:
    assert torch.isfinite(add_noise(torch.zeros(4, 1600), ON, seeded())).all()


def test_tempo_cuts_a_stretch_out() -> None:
    ramp = torch.arange(100.0).expand(50, 2, 100)
    cut = change_tempo(ramp, 60, 0.2, seeded())
    assert cut.shape == (50, 2, 60) and torch.equal(cut[:, 0], cut[:, 1])
    pace = (cut[..., -1] - cut[..., 0])[:, 0] / 59
    assert 0.8 <= pace.min() < 0.85 and 1.2 < pace.max() <= 1.251
    assert cut.min() >= 0 and cut.max() <= 99
    plain = change_tempo(ramp[:1], 60, 0.0, seeded())[0, 0]
    torch.testing.assert_close(plain.diff(), torch.ones(59))


def test_filters_change_bands_alike_at_all_times() -> None:
    energies = torch.rand(6, 64, 10, generator=seeded(1)) + 0.1
    ratio = colour_bands(energies, ON, seeded()) / energies
    torch.testing.assert_close(ratio, ratio[..., :1].expand_as(ratio))
    assert ratio.std(dim=1).min() > 0
    assert torch.equal(colour_bands(energies, OFF, seeded()), energies)
    narrow = colour_bands(energies, replace(OFF, band_limit_p=1.0), seeded()) / energies
    assert (narrow[:, -1] < 1e-3).all() and (narrow[:, 20] == 1).all()


def test_masks_hide_ranges_of_bands_and_frames() -> None:
    bands = torch.ones(20, 64, 256)
    masked = mask_bands(bands, ON, seeded())
    hidden = masked == 0
    assert hidden.all(dim=2).any(dim=1).sum() > 10 and hidden.all(dim=1).any(dim=1).sum() > 10
    assert hidden.float().mean() < 0.5
    assert torch.equal(mask_bands(bands, OFF, seeded()), bands)


@pytest.mark.parametrize("change", [add_noise, colour_bands, mask_bands])
def test_changes_repeat_by_seed(change: object) -> None:
    assert callable(change)
    shape = (4, 1600) if change is add_noise else (4, 64, 80)
    audio = torch.rand(shape, generator=seeded(1))
    first, again, other = (change(audio, ON, seeded(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
