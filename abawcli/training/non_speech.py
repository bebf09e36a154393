"""Synthetic non-speech audio, on which the voice encoder learns to detect no speech."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from abawcli.config import AUDIO_RATE_HZ

Samples = NDArray[np.float32]
Wave = NDArray[np.float64]
HIGHEST_HZ = 7600.0
SEMITONES = 37  # three octaves up from LOWEST_HZ
LOWEST_HZ = 82.4


def _silence(count: int, rng: np.random.Generator) -> Wave:
    return np.zeros(count)


def _noise(count: int, rng: np.random.Generator) -> Wave:
    """Coloured noise: from violet over white and pink to brown."""
    frequency = np.fft.rfftfreq(count, 1 / AUDIO_RATE_HZ)
    colour = np.maximum(frequency, 30) ** -rng.uniform(-0.5, 1.5)
    return np.fft.irfft(np.fft.rfft(rng.standard_normal(count)) * colour, count)


def _gusts(count: int, rng: np.random.Generator) -> Wave:
    """Noise that swells and ebbs: wind, waves, passing cars, breath."""
    points = rng.uniform(0, 1, max(2, round(count / AUDIO_RATE_HZ * rng.uniform(0.5, 5)))) ** 2
    swell = np.interp(np.linspace(0, len(points) - 1, count), np.arange(len(points)), points)
    return _noise(count, rng) * swell


def _hum(count: int, rng: np.random.Generator) -> Wave:
    """Mains, engines, fans: steady harmonics of a low frequency."""
    base = rng.choice([50.0, 60.0, rng.uniform(40, 200)])
    return _harmonics(count, base, rng.uniform(0, 1, rng.integers(1, 20)), rng)


def _tone(count: int, rng: np.random.Generator) -> Wave:
    """One tone, or one that glides: whistles, beeps, sirens."""
    ends = np.exp(rng.uniform(np.log(100), np.log(5000), 2))
    path = np.linspace(ends[0], ends[rng.integers(2)], count)
    phase = 2 * np.pi * np.cumsum(path) / AUDIO_RATE_HZ
    on = np.sin(2 * np.pi * rng.uniform(0.3, 4) * np.arange(count) / AUDIO_RATE_HZ) > -0.5
    return np.sin(phase) * (on if rng.random() < 0.5 else 1)


def _clicks(count: int, rng: np.random.Generator) -> Wave:
    """Knocks, steps, typing: short bursts of noise."""
    wave = np.zeros(count)
    length = int(rng.uniform(0.005, 0.08) * AUDIO_RATE_HZ)
    burst = np.exp(-5 * np.arange(length) / length)
    for start in rng.integers(
        0, max(1, count - length), max(1, int(count / rng.uniform(3e3, 2e4)))
    ):
        part = wave[start : start + length]
        part += (rng.uniform(0.2, 1) * rng.standard_normal(length) * burst)[: len(part)]
    return wave


def _harmonics(
    count: int, base_hz: float, shares: NDArray[np.floating[Any]], rng: np.random.Generator
) -> Wave:
    time_s = np.arange(count) / AUDIO_RATE_HZ
    wave = np.zeros(count)
    for k, share in enumerate(shares, 1):
        if base_hz * k < HIGHEST_HZ:
            wave += share * np.sin(2 * np.pi * (base_hz * k * time_s + rng.random()))
    return wave


def _music(count: int, rng: np.random.Generator) -> Wave:
    """Chords or single notes of one instrument on a beat, with or without drums."""
    wave, beat = np.zeros(count), int(rng.uniform(0.15, 1.0) * AUDIO_RATE_HZ)
    shares = np.arange(1, 9) ** -rng.uniform(0.5, 2.5)
    decay, drums, notes = rng.uniform(0, 6), rng.random() < 0.4, rng.integers(1, 5)
    for start in range(0, count, beat):
        length = min(beat, count - start)
        fade = np.exp(-decay * np.arange(length) / AUDIO_RATE_HZ)
        for semitone in rng.integers(0, SEMITONES, notes):
            note = _harmonics(length, LOWEST_HZ * 2 ** (semitone / 12), shares, rng)
            wave[start : start + length] += note * fade
        if drums:
            hit = rng.standard_normal(length) * np.exp(-np.arange(length) / 800)
            wave[start : start + length] += 2 * hit
    return wave


NON_SPEECH: dict[str, Callable[[int, np.random.Generator], Wave]] = {
    "silence": _silence,
    "noise": _noise,
    "gusts": _gusts,
    "hum": _hum,
    "tone": _tone,
    "clicks": _clicks,
    "music": _music,
}


def make_non_speech(kind: str, count: int, rng: np.random.Generator) -> Samples:
    """Return non-speech samples (count,) of a kind of `NON_SPEECH`, full scale 1.

    The level is random; faint noise is added.
    """
    wave = NON_SPEECH[kind](count, rng)
    loud = 10 ** (rng.uniform(-45, 0) / 20) / max(float(np.abs(wave).max()), 1e-9)
    faint = 10 ** (rng.uniform(-100, -50) / 20)
    return (wave * loud + faint * rng.standard_normal(count)).astype(np.float32)
