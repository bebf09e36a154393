"""Metrics of a voice encoder on other speakers and on non-speech, and its speed.

python benchmarks/voice.py --audio DIR --manifest FILE [--encoder FILE] [--sounds FILE ...]

A clip's label is predicted from the mean of its frames' probabilities. A frame is an audio frame of
80 ms; its prediction is from the mean of the audio frames with speech within half a second. The
temperature was fitted on the same speakers, so that the calibration error is optimistic. Corpora
that an encoder did not learn from: benchmarks/voice_left_out.py.
"""

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from abawcli.config import AUDIO_RATE_HZ, COMPACT_VOICE, SPEECH_PRESENT, AudioFeatures, Scores
from abawcli.formats.manifest import LabelledRecordings, read_audio_manifest
from abawcli.labels import CLASSES
from abawcli.media.audio import read_audio
from abawcli.metrics import find_calibration_error, score_labels
from abawcli.models.recipes import WEIGHTS
from abawcli.models.voice import VoiceEncoder, average_around, load_voice_encoder
from abawcli.training.non_speech import NON_SPEECH, make_non_speech

Samples = NDArray[np.float32]


@dataclass(frozen=True)
class Clip:
    """The encoder's output for one clip, with one row per audio frame near speech."""

    plain: NDArray[np.float32]  # (S, 8) probabilities without the temperature
    calibrated: NDArray[np.float32]  # (S, 8)
    speech_share: float  # share of the frames


def load_samples(file: Path) -> Samples:
    """Return the samples (N,) of a file, which must have audio."""
    audio = read_audio(file)
    if audio is None:
        raise SystemExit(f"{file} has no audio")
    return audio.samples


@torch.inference_mode()
def read_clip(encoder: VoiceEncoder, samples: Samples) -> Clip:
    """Return the output for a clip's frames near speech, or for all frames if there are none."""
    features = encoder.encode(samples)
    voiced = torch.from_numpy(encoder.speech_probability(features) >= SPEECH_PRESENT)
    reach = int(AudioFeatures.window_s / encoder.step_s)
    mean, valid = average_around(features, voiced if voiced.any() else ~voiced, reach)
    logits = encoder.classifier.expression(mean[valid])  # (S, 8)
    temperature = encoder.classifier.temperature
    plain, calibrated = logits.softmax(dim=1), (logits / temperature).softmax(dim=1)
    speech_share = average_around(features, voiced, reach)[1].float().mean().item()
    return Clip(plain.numpy(), calibrated.numpy(), speech_share)


def print_corpus(name: str, clips: list[Clip], labels: NDArray[np.int64]) -> None:
    """Print scores by clip and by frame, the confusion of clips, and the calibration."""
    means = {
        kind: np.stack([getattr(clip, kind).mean(axis=0) for clip in clips])
        for kind in ("plain", "calibrated")
    }
    frames = {
        kind: np.concatenate([getattr(clip, kind) for clip in clips])
        for kind in ("plain", "calibrated")
    }
    truth = np.repeat(labels, [len(clip.plain) for clip in clips])
    by_clip = score_labels(labels, means["calibrated"].argmax(axis=1))
    by_frame = score_labels(truth, frames["calibrated"].argmax(axis=1))
    there = by_clip.support > 0
    print(f"\n{name}: {len(clips)} clips, {len(truth)} frames with speech")
    print(f"{'':12s}{'F1 clip':>9s}{'frame':>7s}  row: label, column: prediction, clips")
    print(" " * 30 + "".join(f"{c[:5]:>7s}" for c in CLASSES))
    for k in np.flatnonzero(there):
        row = "".join(f"{n:7d}" for n in by_clip.confusion[k])
        print(f"{CLASSES[k]:12s}{by_clip.f1[k]:9.3f}{by_frame.f1[k]:7.3f}  {row}")
    print(
        f"macro-F1 over {there.sum()} classes: clips {by_clip.f1[there].mean():.3f}, frames "
        f"{by_frame.f1[there].mean():.3f}; accuracy {by_clip.accuracy:.3f}, {by_frame.accuracy:.3f}"
    )
    for what, p, y in (("frames", frames, truth), ("clips", means, labels)):
        before, after = (
            find_calibration_error(
                p[kind].max(axis=1), p[kind].argmax(axis=1) == y, Scores().calibration_bins
            )
            for kind in ("plain", "calibrated")
        )
        print(f"calibration error of {what}: {before:.3f}, with the temperature {after:.3f}")


def print_prediction(name: str, encoder: VoiceEncoder, clips: list[Samples]) -> None:
    """Print the share of samples in which speech is detected, and the mean confidence."""
    features = torch.cat([encoder.encode(audio) for audio in clips])
    voice, p = encoder.speech_probability(features), encoder.classify(features)
    confidence = p.max(axis=1)
    most_frequent = CLASSES[np.bincount(p.argmax(axis=1)).argmax()]
    print(
        f"{name:32s}{(voice >= SPEECH_PRESENT).mean():8.3f}{confidence.mean():9.3f}"
        f"{np.quantile(confidence, 0.95):8.3f}  {most_frequent}"
    )


def print_non_speech(encoder: VoiceEncoder, voices: list[Samples], files: list[Path]) -> None:
    """Print the output for synthetic non-speech, for files, and for speech as a comparison."""
    print(f"\n{'audio':32s}{'speech':>8s}{'conf.':>9s}{'95 %':>8s}  most frequent label")
    rng = np.random.default_rng(2026)  # not the seed of any training
    for kind in NON_SPEECH:
        made = [make_non_speech(kind, 5 * AUDIO_RATE_HZ, rng) for _ in range(40)]
        print_prediction(kind, encoder, made)
    for file in files:
        print_prediction(file.name, encoder, [load_samples(file)])
    print_prediction("voices of the valid split", encoder, voices)


def time_one_second(encoder: VoiceEncoder, seconds: int = 20, rounds: int = 15) -> float:
    """Return the median CPU time in milliseconds for a second of audio on one core."""
    torch.set_num_threads(1)
    audio = 0.1 * np.random.default_rng(0).standard_normal(seconds * AUDIO_RATE_HZ, np.float32)
    times = []
    for _ in range(rounds):
        start = time.process_time()
        encoder.classify(encoder.encode(audio))
        times.append((time.process_time() - start) / seconds * 1e3)
    return float(np.median(times))


def print_scores(encoder: VoiceEncoder, valid: LabelledRecordings, voices: list[Samples]) -> None:
    """Print the metrics of each corpus."""
    clips = [read_clip(encoder, sound) for sound in voices]
    for name in sorted(set(valid.corpora.tolist())):
        rows = np.flatnonzero(valid.corpora == name)
        print_corpus(name or "all", [clips[k] for k in rows], valid.labels[rows])
    speech_share = np.array([clip.speech_share for clip in clips])
    print(f"\nclips without detected speech: {(speech_share == 0).sum()} of {len(clips)}")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--audio", type=Path, required=True)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--encoder", type=Path, default=WEIGHTS / f"{COMPACT_VOICE}.safetensors")
    parser.add_argument("--sounds", type=Path, nargs="*", default=[], help="files without speech")
    arguments = parser.parse_args()
    encoder, metadata = load_voice_encoder(arguments.encoder, torch.device("cpu"))
    valid = read_audio_manifest(arguments.manifest, arguments.audio)["valid"]
    voices = [load_samples(file) for file in valid.files]
    print_scores(encoder, valid, voices)
    print_non_speech(encoder, voices, arguments.sounds)
    size = arguments.encoder.stat().st_size / 1e6
    weights = sum(p.numel() for p in encoder.backbone.parameters())
    result = metadata.training and metadata.training.result
    if result and result.validation:
        print(f"\ntemperature {result.validation.temperature:.2f}, epoch {result.epoch}")
    print(f"{size:.2f} MB, {weights / 1e6:.2f} million weights; a second of audio on one core "
          f"{time_one_second(encoder):.2f} ms")  # fmt: skip


if __name__ == "__main__":
    main()
