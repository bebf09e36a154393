"""Augmentation of training audio: other speakers, rooms, microphones and noise.

Samples are (B, N), band energies (B, M, T). All random numbers are drawn from the given generator,
separately for each recording, so that a run is reproducible. Other speakers are simulated by
warped frequencies and another tempo, both applied to the spectrum, where they are cheap and
independent of each other.
"""

import math

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from abawcli.config import AUDIO_RATE_HZ, AudioAugmentation


def _uniform(count: int, low: float, high: float, generator: Generator) -> Tensor:
    return torch.rand(count, generator=generator) * (high - low) + low


def _chosen(count: int, share: float, generator: Generator) -> Tensor:
    return torch.rand(count, generator=generator) < share


def draw_ratios(count: int, spread: float, generator: Generator) -> Tensor:
    """Return random ratios (B,) between 1 - spread and 1 / (1 - spread), log-uniform."""
    edge = -math.log(1 - spread)
    return _uniform(count, -edge, edge, generator).exp()


def _normal(size: tuple[int, ...], generator: Generator, device: torch.device) -> Tensor:
    """Draw many normal numbers where they are needed, from a generator on the CPU."""
    if device.type != "cpu":
        seed = int(torch.randint(2**63 - 1, (), generator=generator))
        generator = Generator(device).manual_seed(seed)
    return torch.randn(size, generator=generator, device=device)


def add_rooms(samples: Tensor, config: AudioAugmentation, generator: Generator) -> Tensor:
    """Add the reverberation of a room to a share of samples (B, N), (B, N).

    The impulse response is noise that decays by 60 dB in a random time, after a direct impulse.
    """
    count, length = samples.shape
    if not config.room_p:
        return samples
    low, high = config.room_s
    tail = int(high * AUDIO_RATE_HZ)
    decay_s = _uniform(count, low, high, generator)[:, None].to(samples.device)
    time_s = torch.arange(tail, device=samples.device) / AUDIO_RATE_HZ
    response = _normal((count, tail), generator, samples.device)
    response = response * 10 ** (-3 * time_s / decay_s)  # (B, R)
    response = response / response.square().sum(dim=1, keepdim=True).sqrt()
    wet_db = _uniform(count, *config.room_db, generator)
    wet = 10 ** (wet_db / 20) * _chosen(count, config.room_p, generator)
    size = length + tail
    spectrum = torch.fft.rfft(samples, size) * torch.fft.rfft(response, size)
    reverberation = wet[:, None].to(samples) * torch.fft.irfft(spectrum, size)[:, :length]
    wet_samples: Tensor = samples + reverberation
    return wet_samples


def add_noise(samples: Tensor, config: AudioAugmentation, generator: Generator) -> Tensor:
    """Change the gain of samples (B, N), add noise to a share of them and clip some, (B, N).

    The noise is coloured, or in a share `babble_p` the sum of three other samples.
    """
    count, length = samples.shape
    device = samples.device
    low, high = config.gain_db
    samples = samples * 10 ** (_uniform(count, low, high, generator) / 20)[:, None].to(device)
    frequency = torch.fft.rfftfreq(length, 1 / AUDIO_RATE_HZ).clamp_min(30) / 1000  # (F,)
    colour = frequency ** -_uniform(count, -0.3, 1.2, generator)[:, None]  # (B, F)
    white = torch.view_as_complex(_normal((count, len(frequency), 2), generator, device))
    noise = torch.fft.irfft(white * colour.to(device), length)  # (B, N)
    if config.babble_p:
        shifts = torch.randint(1, max(count, 2), (3,), generator=generator).tolist()
        others = torch.stack([samples.roll(shift, dims=0) for shift in shifts]).sum(dim=0)
        babble = _chosen(count, config.babble_p, generator)[:, None].to(device)
        noise = torch.where(babble, others, noise)
    noise = noise / noise.square().mean(dim=1, keepdim=True).sqrt().clamp_min(1e-6)
    level = samples.square().mean(dim=1).sqrt().clamp_min(1e-4)  # (B,)
    snr_db = _uniform(count, *config.snr_db, generator)
    share = 10 ** (-snr_db / 20) * _chosen(count, config.noise_p, generator)
    noisy: Tensor = samples + (level * share.to(device))[:, None] * noise
    if not config.clip_p:
        return noisy
    # The limit is some share of the peak.
    limit = 10 ** (_uniform(count, -18.0, -3.0, generator) / 20)
    limit = torch.where(_chosen(count, config.clip_p, generator), limit, 1.0).to(device)
    edge = (noisy.abs().amax(dim=1) * limit)[:, None]
    return torch.minimum(torch.maximum(noisy, -edge), edge)


def change_tempo(rows: Tensor, frames: int, spread: float, generator: Generator) -> Tensor:
    """Return a random crop (B, M, frames) of rows (B, M, T), played faster or slower.

    `spread` is the largest relative change of tempo.
    """
    count, bands, there = rows.shape
    ratio = draw_ratios(count, spread, generator).clamp_max((there - 1) / frames)  # (B,)
    start = torch.rand(count, generator=generator) * (there - 1 - ratio * frames)
    at = start[:, None] + ratio[:, None] * torch.arange(frames)  # (B, T')
    at = at.to(rows.device)
    left = at.long().clamp(0, there - 2)
    index = left[:, None].expand(-1, bands, -1)  # (B, M, T')
    cut: Tensor = torch.lerp(rows.gather(2, index), rows.gather(2, index + 1), (at - left)[:, None])
    return cut


def colour_bands(energies: Tensor, config: AudioAugmentation, generator: Generator) -> Tensor:
    """Apply a random filter to band energies (B, M, T), and limit the bands of some; (B, M, T).

    It simulates rooms, microphones and telephones. In a share `codec_p`, what is far below the
    loudest band of its frame is removed, as codecs of low bit rates do.
    """
    count, bands, _ = energies.shape
    points = torch.randn(count, 1, 7, generator=generator) * config.filter_db
    filter_db = F.interpolate(points, size=bands, mode="linear", align_corners=True)[:, 0]
    band = torch.arange(bands)
    top = _uniform(count, 0.5 * bands, bands, generator)[:, None]
    bottom = _uniform(count, 0, 0.15 * bands, generator)[:, None]
    beyond = torch.where(_chosen(count, config.band_limit_p, generator)[:, None], band - top, 0)
    below = torch.where(_chosen(count, config.band_limit_p, generator)[:, None], bottom - band, 0)
    steep = (beyond.clamp_min(0) + below.clamp_min(0)).clamp_max(6) * 8  # 8 dB a band
    energies = energies * 10 ** ((filter_db - steep) / 10)[..., None].to(energies.device)
    if not config.codec_p:
        return energies
    depth = 10 ** -_uniform(count, 2.0, 4.5, generator)  # of the loudest band
    depth = torch.where(_chosen(count, config.codec_p, generator), depth, 0.0).to(energies.device)
    return energies * (energies >= energies.amax(dim=1, keepdim=True) * depth[:, None, None])


def mask_bands(bands: Tensor, config: AudioAugmentation, generator: Generator) -> Tensor:
    """Set random ranges of bands and frames of normalised energies (B, M, T) to 0, (B, M, T).

    Source: SpecAugment, arXiv 1904.08779.
    """
    count = len(bands)
    for _ in range(config.masks):
        for axis, longest in ((1, config.mask_bands), (2, config.mask_frames)):
            index = torch.arange(bands.shape[axis])
            width = _uniform(count, 0, longest, generator)[:, None]
            first = torch.rand(count, 1, generator=generator) * (len(index) - width)
            hidden = (index >= first) & (index < first + width)  # (B, M or T)
            bands = bands.masked_fill(hidden.unsqueeze(3 - axis).to(bands.device), 0)
    return bands
