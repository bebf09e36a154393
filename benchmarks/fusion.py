"""Effects of fusion, smoothing, several crop scales and PadAug on composed videos.

Trains the four heads on features of the train videos and scores them on the valid videos. The epoch
is chosen on held-out train videos. The first table compares vision alone, audio alone, both
concatenated, and gated fusion; without and with smoothing; on all annotated frames, and by their
planned content. A frame without a prediction counts as wrong. Below it are bootstrap intervals of
differences, from 1000 samples of whole videos. The second table compares the visual head on
features of one crop scale or three, and of an encoder with or without PadAug, for whole faces and
faces that exceed the picture's edge, on frames with a detected face.

    python benchmarks/fusion.py --train DIR --valid DIR --out DIR
        --features NAME=DIR [--features NAME=DIR ...] [--stills DIR] [--window 25]

--train and --valid are folders of benchmarks/compose.py. Each --features is a folder with `train`
and `valid` of `abaw extract`; the first one is for the first table, the others may have visual
features only. Of two people, both have to be extracted:

    abaw extract TRAIN/videos -o DIR/train
    abaw extract TRAIN/videos/*_pair.mp4 --subject left -o DIR/train/left, and right

Runs are stored under --out and reused.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from abawcli.config import HeadTraining
from abawcli.datasets.annotated import AnnotatedFeatures, read_annotated
from abawcli.labels import IGNORE
from abawcli.metrics import Counts, choose_labels, count_confusion, find_macro_f1, score_labels
from abawcli.models.heads import TrainedHead, load_head
from abawcli.smoothing import smooth_probabilities
from abawcli.stages.train_head import train_fusion_head
from abawcli.training.head_task import classify_videos

# For backbones and data sets as small as these: the published settings would be 500 steps of 1e-4.
# The train videos show images and let speak voices that the encoders have learned from: a head that
# met them only, or for long, would trust the voice too much.
SETTINGS = HeadTraining(
    epochs=5,
    batch_frames=2048,
    lr=5e-4,
    class_weight_power=0.2,
    modality_dropout=0.5,
    audio_swap=0.3,
)

Labels = NDArray[np.int64]
Mask = NDArray[np.bool_]
DRAWS = 1000
# Which frames of the plan: with the person's face, with the person's voice.
DRAWN: dict[str, Callable[[pd.DataFrame], "pd.Series[bool]"]] = {
    "both": lambda plan: plan["face"] & plan["voice"],
    "face": lambda plan: plan["face"] & ~plan["voice"],
    "voice": lambda plan: ~plan["face"] & plan["voice"],
}


@dataclass(frozen=True)
class Composed:
    """A folder of composed videos and the folder of their features."""

    videos: Path
    features: Path
    stills: Path | None = None  # of benchmarks/stills.py, to train on beside the videos

    def list_files(self) -> tuple[list[Path], list[Path]]:
        """Return the feature files and the annotations."""
        features = sorted(self.features.rglob("*.safetensors"))
        labels = sorted((self.videos / "labels").glob("*.txt"))
        if self.stills:
            features += sorted((self.stills / "features").glob("*.safetensors"))
            labels += sorted((self.stills / "labels").glob("*.txt"))
        return features, labels

    def read_plans(self, data: AnnotatedFeatures) -> pd.DataFrame:
        """Return what was drawn in every row of the features; `video` is its number."""
        plans = []
        for number, (name, rows) in enumerate(data.videos()):
            plan = pd.read_csv(self.videos / "plan" / f"{name}.csv").assign(video=number)
            if len(plan) != rows.stop - rows.start:
                raise SystemExit(f"{name}: {len(plan)} frames are planned, not as many extracted")
            plans.append(plan)
        return pd.concat(plans, ignore_index=True)


def learn(head: str, train: Composed, out: Path, config: HeadTraining) -> TrainedHead:
    """Return a head, which is trained unless it was before."""
    train_fusion_head(train.list_files(), out, head, config, device="cpu")
    return load_head(out / "head.safetensors", torch.device("cpu"))[0]


def predict(head: TrainedHead, data: AnnotatedFeatures, config: HeadTraining) -> dict[bool, Labels]:
    """Return the labels (N,) of all rows, by whether they are smoothed."""
    raw, smoothed = [], []
    videos = data.everything()
    how = config.smoothing
    for rows, p in zip(videos.slices(), classify_videos(head, videos), strict=True):
        raw.append(choose_labels(p))
        known, frame = ~np.isnan(p[:, 0]), np.arange(1, len(p) + 1)
        time_s = data.time_s[rows]
        smooth = smooth_probabilities(p.astype(np.float64), known, frame, time_s, config=how)
        smoothed.append(choose_labels(smooth))
    return {False: np.concatenate(raw), True: np.concatenate(smoothed)}


def show_score(truth: Labels, predicted: Labels, rows: Mask) -> str:
    """Return the macro-F1 of a subset of rows as a table cell."""
    rows = rows & (truth != IGNORE)
    return f"{score_labels(truth[rows], predicted[rows]).macro_f1:.3f}" if rows.any() else "-"


def count_videos(truth: Labels, predicted: Labels, video: Labels) -> Counts:
    """Return the confusion counts of each video, (V, 8, 9); the last column: no prediction."""
    rows = [video == number for number in range(video.max() + 1)]
    return np.stack([count_confusion(truth[these], predicted[these]) for these in rows])


def show_interval(counts: Counts) -> str:
    """Return a macro-F1 with its 95 % bootstrap interval, of counts (V, 8, 9)."""
    drawn = np.random.default_rng(0).integers(len(counts), size=(DRAWS, len(counts)))
    low, high = np.percentile([find_macro_f1(counts[d].sum(axis=0)) for d in drawn], [2.5, 97.5])
    return f"{find_macro_f1(counts.sum(axis=0)):.3f} ({low:.3f} to {high:.3f})"


def compare(first: Counts, second: Counts) -> str:
    """Return the difference of two macro-F1 with its 95 % bootstrap interval."""
    drawn = np.random.default_rng(0).integers(len(first), size=(DRAWS, len(first)))
    gaps = [
        find_macro_f1(first[d].sum(axis=0)) - find_macro_f1(second[d].sum(axis=0)) for d in drawn
    ]
    low, high = np.percentile(gaps, [2.5, 97.5])
    gap = find_macro_f1(first.sum(axis=0)) - find_macro_f1(second.sum(axis=0))
    return f"{gap:+.3f} ({low:+.3f} to {high:+.3f})"


def compare_heads(train: Composed, valid: Composed, out: Path, config: HeadTraining) -> None:
    """Print the first table."""
    data = read_annotated(*valid.list_files())
    plan, truth = valid.read_plans(data), data.labels
    everything = np.ones(len(truth), np.bool_)
    counts = {}
    print(f"macro-F1, {(truth != IGNORE).sum()} annotated frames of {len(data.names)} people;")
    print("by what the video has, as predicted: face and speech, face alone, speech alone\n")
    print("| head | as predicted | smoothed | " + " | ".join(DRAWN) + " |")
    print("|---|---|---|" + "---|" * len(DRAWN))
    for head in ("visual", "audio", "concat", "gated"):
        labels = predict(learn(head, train, out / head, config), data, config)
        cells = [show_score(truth, labels[smooth], everything) for smooth in (False, True)]
        cells += [show_score(truth, labels[False], m(plan).to_numpy()) for m in DRAWN.values()]
        print(f"| {head} | {' | '.join(cells)} |", flush=True)
        for smooth, predicted in labels.items():
            counts[head, smooth] = count_videos(truth, predicted, plan["video"].to_numpy())
    print()
    for other in ("visual", "audio", "concat"):
        gap = compare(counts["gated", False], counts[other, False])
        smooth = compare(counts["gated", True], counts[other, True])
        print(f"gated - {other}: {gap}; both smoothed {smooth}")
    for head in ("visual", "audio", "concat", "gated"):
        gap = compare(counts[head, True], counts[head, False])
        print(f"{head}, smoothed - as predicted: {gap}")


def compare_features(
    sets: Sequence[tuple[str, Composed, Composed]], out: Path, config: HeadTraining
) -> None:
    """Print the second table."""
    print("\nmacro-F1 and accuracy of the visual head, frames with a face that was found\n")
    print("| features | whole face | accuracy | at the edge | accuracy |")
    print("|---|---|---|---|---|")
    for name, train, valid in sets:
        data = read_annotated(*valid.list_files())
        plan = valid.read_plans(data)
        predicted = predict(learn("visual", train, out / name / "visual", config), data, config)
        cells = []
        for edge in (False, True):
            drawn = (plan["face"] & (plan["edge"] == edge)).to_numpy()
            rows = drawn & data.has_visual & (data.labels != IGNORE)
            score = score_labels(data.labels[rows], predicted[False][rows])
            cells += [f"{score.macro_f1:.3f}", f"{score.accuracy:.3f}"]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Train the heads that are not trained yet and print both tables, in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--train", type=Path, required=True, help="Composed train videos.")
    parser.add_argument("--valid", type=Path, required=True, help="Composed valid videos.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--features", action="append", required=True, metavar="NAME=DIR")
    parser.add_argument("--stills", type=Path, help="To train on too: of benchmarks/stills.py.")
    parser.add_argument("--window", type=int, default=25, help="Frames of the median.")
    options = parser.parse_args()
    smoothing = replace(SETTINGS.smoothing, window_frames=options.window)
    config = replace(SETTINGS, smoothing=smoothing)
    sets = []
    for entry in options.features:
        name, _, folder = entry.partition("=")
        if not folder:
            parser.error(f"--features takes NAME=DIR, not {entry!r}")
        train = Composed(options.train, Path(folder) / "train", options.stills)
        sets.append((name, train, Composed(options.valid, Path(folder) / "valid")))
    (name, train, valid), *_ = sets
    compare_heads(train, valid, options.out / name, config)
    compare_features(sets, options.out, config)


if __name__ == "__main__":
    main()
