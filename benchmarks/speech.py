"""Detectors of speech compared: the speech mask of voice encoders, and Silero VAD.

python benchmarks/speech.py --audio DIR --manifest FILE [--encoder FILE ...] [--silero ONNX]
    [--sounds FILE ...] [--clips 60]

Prints the share of audio frames of 80 ms that are taken for speech: in synthetic non-speech, in
files without speech, and in clips of the valid split, alone and with noise or music added at some
signal-to-noise ratio. In clips it is the share of the loud frames, at most 20 dB below the loudest
one, and of the pauses, at least 42 dB below it. `--silero` is silero_vad/data/silero_vad.onnx of
the package silero-vad.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from abawcli.config import AUDIO_RATE_HZ, COMPACT_VOICE
from abawcli.formats.manifest import read_audio_manifest
from abawcli.media.audio import read_audio
from abawcli.models.audio_backbones import build_audio_backbone
from abawcli.training.non_speech import NON_SPEECH, make_non_speech

Samples = NDArray[np.float32]
Speech = NDArray[np.bool_]  # (S,)
Detector = Callable[[Samples], Speech]
STEP = 1280  # samples; 80 ms
LOUD_DB, PAUSE_DB = -20.0, -42.0
SNRS_DB = (20, 10, 5, 0)
SILERO_WINDOW, SILERO_CONTEXT = 512, 64  # samples; its own constants at 16 kHz


def make_own(name: str) -> Detector:
    """Return the speech mask of a voice encoder."""
    backbone = build_audio_backbone(name).eval()

    @torch.inference_mode()
    def detect(samples: Samples) -> Speech:
        return np.asarray(backbone.encode(torch.from_numpy(samples))[1].numpy(), np.bool_)

    return detect


def make_silero(path: Path) -> Detector:
    """Return Silero VAD with its usual threshold of 0.5, at the middles of audio frames."""
    session = onnxruntime.InferenceSession(path)
    rate = np.array(AUDIO_RATE_HZ, np.int64)

    def detect(samples: Samples) -> Speech:
        state = np.zeros((2, 1, 128), np.float32)
        padded = np.pad(samples, (SILERO_CONTEXT, -len(samples) % SILERO_WINDOW))
        found = []
        for at in range(0, len(padded) - SILERO_CONTEXT, SILERO_WINDOW):
            window = padded[None, at : at + SILERO_CONTEXT + SILERO_WINDOW]
            p, state = session.run(None, {"input": window, "state": state, "sr": rate})
            found.append(p.item() >= 0.5)
        steps = -(-len(samples) // STEP)
        middles = (np.arange(steps) * STEP + STEP // 2) // SILERO_WINDOW
        return np.array(found, np.bool_)[middles.clip(max=len(found) - 1)]

    return detect


def load_samples(file: Path) -> Samples:
    """Return the samples (N,) of a file, which must have audio."""
    audio = read_audio(file)
    if audio is None:
        raise SystemExit(f"{file} has no audio")
    return audio.samples


def find_levels(samples: Samples) -> NDArray[np.float64]:
    """Return the level (S,) of each audio frame in dB below the loudest one."""
    padded = np.pad(samples.astype(np.float64), (0, -len(samples) % STEP)).reshape(-1, STEP)
    power = np.square(padded).mean(axis=1)
    level: NDArray[np.float64] = 10 * np.log10((power + 1e-12) / (power.max() + 1e-12))
    return level


def mix(speech: Samples, sound: Samples, snr_db: float) -> Samples:
    """Add a sound to speech, at a ratio to the mean power of its loud frames."""
    loud = np.repeat(find_levels(speech) >= LOUD_DB, STEP)[: len(speech)]
    sound = np.resize(sound, len(speech))
    share = np.square(speech[loud]).mean() / max(float(np.square(sound).mean()), 1e-12)
    return np.asarray(speech + sound * np.sqrt(share * 10 ** (-snr_db / 10)), np.float32)


def print_row(name: str, figures: Sequence[float]) -> None:
    """Print one row of shares."""
    print(f"{name:36s}" + "".join(f"{figure:16.3f}" for figure in figures), flush=True)


def print_non_speech(detectors: Sequence[Detector], files: Sequence[Path]) -> None:
    """Print how often non-speech is taken for speech."""
    rng = np.random.default_rng(2026)  # not the seed of any training
    for kind in NON_SPEECH:
        made = [make_non_speech(kind, 5 * AUDIO_RATE_HZ, rng) for _ in range(20)]
        print_row(kind, [np.concatenate([d(s) for s in made]).mean() for d in detectors])
    for file in files:
        samples = load_samples(file)
        print_row(file.name, [d(samples).mean() for d in detectors])


def print_clips(detectors: Sequence[Detector], clips: Sequence[Samples]) -> None:
    """Print which share of loud frames and of pauses is taken for speech."""
    rng = np.random.default_rng(2027)
    levels = np.concatenate([find_levels(clip) for clip in clips])
    loud, pause = levels >= LOUD_DB, levels <= PAUSE_DB
    cases: dict[str, list[Samples]] = {"alone": list(clips)}
    for kind in ("noise", "music"):
        sounds = [make_non_speech(kind, 5 * AUDIO_RATE_HZ, rng) for _ in clips]
        cases |= {
            f"{kind} at {snr} dB": [mix(c, s, snr) for c, s in zip(clips, sounds, strict=True)]
            for snr in SNRS_DB
        }
    for name, case in cases.items():
        found = [np.concatenate([d(samples) for samples in case]) for d in detectors]
        print_row(f"speech, {name}", [f[loud].mean() for f in found])
        print_row(f"  pauses, {name}", [f[pause].mean() for f in found])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--audio", type=Path, required=True)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--encoder", nargs="*", default=[COMPACT_VOICE])
    parser.add_argument("--silero", type=Path)
    parser.add_argument("--sounds", type=Path, nargs="*", default=[], help="files without speech")
    parser.add_argument("--clips", type=int, default=60, help="of the valid split, evenly chosen")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    detectors = {Path(name).stem[-15:]: make_own(name) for name in arguments.encoder}
    if arguments.silero:
        detectors["Silero VAD"] = make_silero(arguments.silero)
    valid = read_audio_manifest(arguments.manifest, arguments.audio)["valid"].files
    chosen = np.linspace(0, len(valid) - 1, arguments.clips).round().astype(int)
    print(f"{'share taken for speech':36s}" + "".join(f"{name:>16s}" for name in detectors))
    print_non_speech(list(detectors.values()), arguments.sounds)
    print_clips(list(detectors.values()), [load_samples(valid[k]) for k in chosen])


if __name__ == "__main__":
    main()
