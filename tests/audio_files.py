"""Tiny recordings: bursts of tones whose pitch tells the class, as wav files with a manifest."""

import wave
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from abawcli.config import AUDIO_RATE_HZ
from abawcli.labels import CLASSES

Samples = NDArray[np.float32]


def make_bursts(pitch_hz: float, seconds: float = 1.5, seed: int = 0) -> Samples:
    """Return a tone with two harmonics that is on and off in turn, over faint noise."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(round(seconds * AUDIO_RATE_HZ)) / AUDIO_RATE_HZ
    tone = sum(np.sin(2 * np.pi * pitch_hz * k * time_s) / k for k in (1, 2, 3))
    on = np.sin(2 * np.pi * 3 * time_s + rng.uniform(0, 6)) > 0
    return (0.2 * tone * on + 1e-4 * rng.standard_normal(len(time_s))).astype(np.float32)


def write_wav(path: Path, samples: Samples) -> Path:
    """Write 16 kHz mono, 16 bits."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(AUDIO_RATE_HZ)
        file.writeframes((samples.clip(-1, 1) * 32767).astype("<i2").tobytes())
    return path


def save_audio_set(folder: Path, train: int = 12, valid: int = 4, classes: int = 2) -> Path:
    """Write recordings of the first few classes by two speakers of two corpora, and a manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for k in range(train + valid):
        label, split = k % classes, "train" if k < train else "valid"
        corpus = "ab"[k // classes % 2]
        write_wav(folder / f"{k}.wav", make_bursts(200 * 4**label, 1.2 + 0.1 * (k % 3), k))
        row = {"file": f"{k}.wav", "label": CLASSES[label], "split": split, "corpus": corpus}
        rows.append(row | {"speaker": f"{corpus}-{split}"})
    pd.DataFrame(rows).to_csv(folder / "manifest.csv", index=False)
    return folder / "manifest.csv"
