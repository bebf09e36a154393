"""F1 of each class with 95 % bootstrap intervals: of heads by people, of encoders by image or clip.

    python benchmarks/per_class.py --features DIR --labels DIR --head FILE [--head FILE ...]
    python benchmarks/per_class.py --images DIR --manifest FILE [--encoder FILE] [--plot FILE]
    python benchmarks/per_class.py --audio DIR --manifest FILE [--encoder FILE] [--plot FILE]

Heads are scored on feature files and their annotations, as predicted, without smoothing; whole
people are resampled. An image encoder is scored on the images of the valid split. A voice encoder
is scored on the clips of the valid speakers of each corpus, as in benchmarks/voice.py; clips are
resampled, which are not independent where one person speaks many. The second table of encoders, of
images or of the audio frames near speech of each corpus, is of calibration and of the accuracy of
those that the encoder is surest of; `--plot` draws reliability diagrams.
"""

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from corpora import COVERAGES
from encoder import BATCH, read_crops
from fusion import DRAWS, count_videos
from numpy.typing import NDArray
from scipy import special
from voice import load_samples, read_clip

from abawcli.config import COMPACT_FACE, COMPACT_VOICE
from abawcli.datasets.annotated import read_annotated
from abawcli.formats.manifest import LabelledRecordings, read_audio_manifest, read_manifest
from abawcli.labels import CLASSES
from abawcli.metrics import Counts, choose_labels
from abawcli.models.encoder import load_encoder
from abawcli.models.heads import load_head
from abawcli.models.recipes import find_weights
from abawcli.models.voice import load_voice_encoder
from abawcli.reliability import measure_quality
from abawcli.training.head_task import classify_videos
from abawcli.views.reliability import draw_reliability

# By name: logits (N, 8), labels (N,), and the image or clip of each (N,).
Answers = dict[str, tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]]
DPI = 120
CPU = torch.device("cpu")
HEADER = f"| | {' | '.join(CLASSES)} |\n|---{'|---' * len(CLASSES)}|"


def find_f1(total: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the F1 (8,) of each class from counts (8, 9), NaN of a class that does not occur."""
    support = total.sum(axis=1)
    sums = support + total[:, : len(CLASSES)].sum(axis=0)
    f1 = 2 * np.diagonal(total) / np.maximum(sums, 1)
    return np.where(support > 0, f1, np.nan)


def describe_classes(name: str, counts: Counts) -> str:
    """Return a row of F1 with intervals, from counts (V, 8, 9) of what is resampled."""
    drawn = np.random.default_rng(0).integers(len(counts), size=(DRAWS, len(counts)))
    samples = np.stack([find_f1(counts[rows].sum(axis=0)) for rows in drawn])  # (DRAWS, 8)
    found, cells = find_f1(counts.sum(axis=0)), []
    for k, value in enumerate(found):
        if np.isnan(value):
            cells.append("-")
            continue
        low, high = np.nanpercentile(samples[:, k], [2.5, 97.5])
        cells.append(f"{value:.3f} ({low:.3f} to {high:.3f})")
    return f"| {name} | {' | '.join(cells)} |"


def tabulate_heads(heads: list[Path], features: Path, labels: Path) -> None:
    """Print a row per head."""
    pairs = [(file, labels / f"{file.stem}.txt") for file in sorted(features.glob("*.safetensors"))]
    data = read_annotated([file for file, _ in pairs], [text for _, text in pairs])
    people = np.concatenate(
        [np.full(rows.stop - rows.start, k) for k, (_, rows) in enumerate(data.videos())]
    )
    print(f"{len(pairs)} people\n\n{HEADER}")
    for path in heads:
        found = classify_videos(load_head(path, CPU)[0], data.everything())
        predicted = np.concatenate([choose_labels(p) for p in found])
        print(describe_classes(path.stem, count_videos(data.labels, predicted, people)), flush=True)


def tabulate_images(encoder_file: Path, images: Path, manifest: Path) -> Answers:
    """Print a row for an image encoder; return its answers."""
    encoder, _ = load_encoder(encoder_file, CPU)
    valid = read_manifest(manifest, images)["valid"]
    crops = read_crops(valid.files, encoder.preprocess.resize)
    parts = [encoder.find_logits(crops[k : k + BATCH]) for k in range(0, len(crops), BATCH)]
    logits, rows = np.concatenate(parts), np.arange(len(crops))
    print(HEADER)
    name = f"{len(rows)} images"
    print(describe_classes(name, count_videos(valid.labels, logits.argmax(axis=1), rows)))
    return {name: (logits, valid.labels, rows)}


def tabulate_clips(encoder_file: Path, audio: Path, manifest: Path) -> Answers:
    """Print a row per corpus for a voice encoder; return its answers by frame."""
    encoder, _ = load_voice_encoder(encoder_file, CPU)
    valid = read_audio_manifest(manifest, audio)["valid"]
    clips = [read_clip(encoder, load_samples(file)).calibrated for file in valid.files]
    return tabulate_corpora(clips, valid)


def tabulate_corpora(clips: Sequence[NDArray[np.float32]], valid: LabelledRecordings) -> Answers:
    """Print a row per corpus, given the probabilities (S, 8) of the frames of each clip."""
    predicted, found = np.array([p.mean(axis=0).argmax() for p in clips]), {}
    print(HEADER)
    for name in sorted(set(valid.corpora.tolist())):
        rows = np.flatnonzero(valid.corpora == name)
        counts = count_videos(valid.labels[rows], predicted[rows], np.arange(len(rows)))
        print(describe_classes(f"{name}, {len(rows)} clips", counts), flush=True)
        lengths = [len(clips[k]) for k in rows]
        logits = np.log(np.concatenate([clips[k] for k in rows]))
        found[name] = logits, np.repeat(valid.labels[rows], lengths), np.repeat(rows, lengths)
    return found


def find_coverage(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> list[float]:
    """Return the accuracy of the shares `COVERAGES` of which the encoder is surest."""
    order = np.argsort(-special.log_softmax(logits, axis=1).max(axis=1), kind="stable")
    right = (logits.argmax(axis=1) == labels)[order]
    return [float(right[: max(1, round(share * len(right)))].mean()) for share in COVERAGES]


def show_reliability(found: Answers, title: str, plot: Path | None) -> None:
    """Print calibration and risk against coverage, and draw the diagram if it is asked for."""
    shares = " | ".join(f"surest {share:.0%} right" for share in COVERAGES)
    print(f"\n| | calibration error | mean confidence | {shares} |")
    print("|---" * (3 + len(COVERAGES)) + "|")
    measured = {}
    for name, (logits, labels, groups) in found.items():
        quality = measure_quality(logits, labels, groups)
        error, measured[name] = quality.calibration_error, asdict(quality)
        sure = " | ".join(f"{value:.3f}" for value in find_coverage(logits, labels))
        print(f"| {name} | {error.value:.3f} ({error.low:.3f} to {error.high:.3f}) | "
              f"{quality.confidence:.3f} | {sure} |")  # fmt: skip
    if plot:
        draw_reliability(measured, title).savefig(plot, dpi=DPI)


def main() -> None:
    """Print the tables that are asked for, in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--features", type=Path)
    parser.add_argument("--labels", type=Path)
    parser.add_argument("--head", type=Path, action="append", default=[])
    parser.add_argument("--images", type=Path)
    parser.add_argument("--audio", type=Path)
    parser.add_argument("--manifest", type=Path, help="of --images or --audio")
    parser.add_argument("--encoder", type=Path, help="the embedded one by default")
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.features and options.labels:
        tabulate_heads(options.head, options.features, options.labels)
    if options.images and options.manifest:
        file = options.encoder or find_weights(COMPACT_FACE)
        found = tabulate_images(file, options.images, options.manifest)
        show_reliability(found, f"{file.stem} on the valid images", options.plot)
    if options.audio and options.manifest:
        file = options.encoder or find_weights(COMPACT_VOICE)
        found = tabulate_clips(file, options.audio, options.manifest)
        show_reliability(found, f"{file.stem} on frames of valid speakers", options.plot)


if __name__ == "__main__":
    main()
