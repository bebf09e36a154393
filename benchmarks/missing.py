"""Scores of heads when faces or speech are missing for seconds at a time.

Trains heads on features of composed train videos with several seeds: vision alone, audio alone,
gated fusion and the dual branch; the last two also without modality dropout, and the dual branch
with cross-entropy. Then removes faces, or audio, from the valid videos in runs, up to a share of
the frames that have it, and computes scores. A frame without a prediction counts as wrong.
Predictions are smoothed by the median of each head's settings.

Prints tables in Markdown: macro-F1 by share of missing faces and of missing audio, with mean and
standard deviation over the seeds; bootstrap intervals of differences, over whole videos; and the F1
of each class with focal loss and with cross-entropy. Draws figures: the first two tables as curves,
and the predictions of each head for one video whose face leaves in the middle.

    python benchmarks/missing.py --train DIR --valid DIR --features DIR --out DIR
        [--seeds 3] [--plot FILE.png] [--timeline FILE.png]

Folders as for benchmarks/fusion.py. Runs are stored under --out and reused.
"""

import argparse
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib
import numpy as np
from fusion import (
    SETTINGS,
    Composed,
    Labels,
    Mask,
    compare,
    count_videos,
    learn,
    predict,
)
from matplotlib import pyplot as plt
from numpy.typing import NDArray

from abawcli.config import DUAL_BRANCH_TRAINING, DualBranchHead, HeadTraining
from abawcli.datasets.annotated import AnnotatedFeatures, read_annotated
from abawcli.labels import CLASSES, IGNORE
from abawcli.metrics import Counts, find_macro_f1
from abawcli.models.heads import TrainedHead
from abawcli.training.head_task import classify_videos

matplotlib.use("Agg")
# As for the other heads (fusion.SETTINGS), and narrower than published: it is to ship.
DUAL_SETTINGS = replace(
    DUAL_BRANCH_TRAINING,
    epochs=4,
    lr=3e-4,
    class_weight_power=0.2,
    effective_beta=None,
    modality_dropout=0.3,
    audio_swap=0.3,
    network=DualBranchHead(hidden=128, layers=2, dropout=0.3),
)
SHORT = replace(SETTINGS, smoothing=replace(SETTINGS.smoothing, window_frames=25))
RUNS: dict[str, tuple[str, HeadTraining]] = {
    "visual": ("visual", SHORT),
    "audio": ("audio", SHORT),
    "gated": ("gated", SHORT),
    "gated, no modality dropout": ("gated", replace(SHORT, modality_dropout=0.0)),
    "dual-branch": ("dual-branch", DUAL_SETTINGS),
    "dual-branch, no modality dropout": (
        "dual-branch", replace(DUAL_SETTINGS, modality_dropout=0.0)
    ),
    "dual-branch, cross-entropy": ("dual-branch", replace(DUAL_SETTINGS, focal_gamma=0.0)),
}  # fmt: skip
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
RUN_FRAMES = (12, 100)  # half a second to four, as faces are missing in the composed videos
COLOURS = ("#9a9a9a", "#c0392b", "#6b8e23", "#7d3c98", "#e6a817", "#2e6da4", "#16a085", "#444444")

WHAT = {"visual": "faces", "audio": "audio"}

Table = dict[tuple[str, str, float, bool], list[Counts]]  # run, what is missing, share, smoothed


@dataclass(frozen=True)
class Study:
    """Heads by run and seed, and the valid videos with a missing modality."""

    heads: Mapping[str, Sequence[TrainedHead]]
    data: AnnotatedFeatures
    video: Labels  # (N,) which one each row is of

    def count_all(self) -> Table:
        """Score every head on every variant of the videos."""
        table: Table = {}
        cases = [(what, share) for what in WHAT for share in SHARES]
        for (what, share), run in itertools.product(cases, self.heads):
            data = hide(self.data, what, share)
            labels = [predict(head, data, RUNS[run][1]) for head in self.heads[run]]
            for smooth in (False, True):
                counts = [count_videos(data.labels, each[smooth], self.video) for each in labels]
                table[run, what, share, smooth] = counts
        return table


def hide(data: AnnotatedFeatures, what: str, share: float) -> AnnotatedFeatures:
    """Remove a modality from a share of the frames that have it, in runs in each video."""
    random, name = np.random.default_rng(0), f"has_{what}"
    there: Mask = getattr(data, name).copy()  # (N,)
    for _, rows in data.videos():
        left = there[rows]  # a view
        goal = round(left.sum() * (1 - share))
        while left.sum() > goal:
            start = random.integers(-RUN_FRAMES[1], len(left))
            run = np.arange(max(start, 0), start + random.integers(*RUN_FRAMES))
            run = run[run < len(left)]
            left[run[left[run]][: left.sum() - goal]] = False
    return replace(data, **{name: there})


def describe_f1(counts: Sequence[Counts]) -> str:
    """Return mean and standard deviation of the macro-F1 over the seeds."""
    f1 = [float(find_macro_f1(each.sum(axis=0))) for each in counts]
    return f"{np.mean(f1):.3f} ± {np.std(f1):.3f}"


def tabulate_missing(table: Table, what: str, smooth: bool) -> None:
    """Print the table of one modality."""
    kind = "smoothed" if smooth else "as predicted"
    print(f"\nmacro-F1, {kind}, by share of missing {WHAT[what]}\n")
    print(f"| head | {' | '.join(f'{share:.0%}' for share in SHARES)} |")
    print("|---" * (1 + len(SHARES)) + "|")
    for run in RUNS:
        cells = [describe_f1(table[run, what, share, smooth]) for share in SHARES]
        print(f"| {run} | {' | '.join(cells)} |")


def show_differences(table: Table, smooth: bool) -> None:
    """Print the differences in question, with bootstrap intervals."""
    print(f"\n{'smoothed' if smooth else 'as predicted'}, 95 % of redrawn videos in brackets\n")
    pairs = [
        ("dual-branch", "audio", 1.0),
        *(("dual-branch", other, 0.5) for other in ("visual", "audio", "gated")),
        *(("dual-branch", "dual-branch, no modality dropout", share) for share in (0.0, 0.5, 1.0)),
        *(("gated", "gated, no modality dropout", share) for share in (0.0, 0.5, 1.0)),
    ]
    for first, second, share in pairs:
        a, b = (np.sum(table[run, "visual", share, smooth], axis=0) for run in (first, second))
        print(f"- {share:.0%} of faces missing, {first} - {second}: {compare(a, b)}")


def tabulate_classes(table: Table) -> None:
    """Print the F1 of each class with focal loss and with cross-entropy, smoothed."""
    print(f"\nF1 of each class, mean of the seeds\n\n| loss | macro | {' | '.join(CLASSES)} |")
    print("|---" * (2 + len(CLASSES)) + "|")
    for name, run in (("focal", "dual-branch"), ("cross-entropy", "dual-branch, cross-entropy")):
        f1 = np.mean([_class_f1(each) for each in table[run, "visual", 0.0, True]], axis=0)
        print(f"| {name} | {f1.mean():.3f} | {' | '.join(f'{value:.3f}' for value in f1)} |")


def _class_f1(counts: Counts) -> NDArray[np.float64]:
    total = counts.sum(axis=0)  # (8, 9)
    hits = np.diagonal(total)
    return np.asarray(2 * hits / np.maximum(total.sum(axis=1) + total[:, :8].sum(axis=0), 1))


def plot_missing(table: Table, path: Path) -> None:
    """Draw the tables as curves, with one panel per modality."""
    figure, panels = plt.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
    for panel, what in zip(panels, WHAT, strict=True):
        for number, run in enumerate(RUNS):
            if run.endswith("entropy"):
                continue
            seeds = [table[run, what, share, True] for share in SHARES]
            f1 = [np.mean([find_macro_f1(c.sum(axis=0)) for c in counts]) for counts in seeds]
            style = "--" if "no modality" in run else "-"
            panel.plot(
                SHARES, f1, style, marker="o", ms=3, label=run, color=f"C{number - ('no' in run)}"
            )
        panel.set(xlabel=f"share of {WHAT[what]} missing", xticks=SHARES)
        panel.grid(alpha=0.3)
    panels[0].set(ylabel="macro-F1, smoothed", ylim=(0, None))
    panels[1].legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=110)


def plot_timeline(study: Study, path: Path) -> None:
    """Draw each head's predictions for one video, whose face leaves in the middle."""
    names = [name for name, _ in study.data.videos()]
    halves = [slice((r.start + r.stop) // 2, r.stop) for _, r in study.data.videos()]
    number = int(np.argmax([study.data.has_audio[half].mean() for half in halves]))
    seen = study.data.has_visual.copy()
    seen[halves[number]] = False
    data = replace(study.data, has_visual=seen)
    _, rows = list(data.videos())[number]
    time_s, truth = data.time_s[rows], data.labels[rows]
    runs = ("visual", "audio", "gated", "dual-branch")
    figure, panels = plt.subplots(
        4 + len(runs), 1, figsize=(10, 5), sharex=True, layout="constrained",
        height_ratios=(1, 0.5, 0.5, 4, *(1 for _ in runs)),
    )  # fmt: skip
    extent = (time_s[0], time_s[-1], 0, 1)
    palette = np.array([matplotlib.colors.to_rgb(c) for c in (*COLOURS, "white")])
    strips = [("true label", truth), ("face", np.where(seen[rows], 7, -1))]
    strips.append(("speech", np.where(data.has_audio[rows], 7, -1)))
    for k, run in enumerate(runs):
        head, config = study.heads[run][0], RUNS[run][1]
        strips.append((run, predict(head, data, config)[True][rows]))
        p = classify_videos(head, data.everything())[number]  # (T, 8)
        right = np.where(truth == IGNORE, np.nan, p[np.arange(len(p)), truth])
        panels[3].plot(time_s, right, lw=1, label=run, color=f"C{k}")
    for panel, (name, labels) in zip(np.delete(panels, 3), strips, strict=True):
        panel.imshow(palette[labels][None], aspect="auto", extent=extent)
        panel.set_yticks([])
        panel.set_ylabel(name, rotation=0, ha="right", va="center")
    panels[3].set(ylabel="probability of\nthe true label", ylim=(0, 1))
    panels[3].legend(loc="upper right", fontsize=8, ncols=4)
    panels[-1].set_xlabel(f"seconds of {names[number]}")
    patches = [
        matplotlib.patches.Patch(color=c, label=n) for c, n in zip(COLOURS, CLASSES, strict=True)
    ]
    figure.legend(handles=patches, loc="outside upper center", ncols=8, frameon=False, fontsize=8)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Train the heads that are not trained yet; print the tables and draw the figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--train", type=Path, required=True, help="Composed train videos.")
    parser.add_argument("--valid", type=Path, required=True, help="Composed valid videos.")
    parser.add_argument("--features", type=Path, required=True, help="Of both: train and valid.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--plot", type=Path, help="Draw the tables.")
    parser.add_argument("--timeline", type=Path, help="Draw one video.")
    options = parser.parse_args()
    train = Composed(options.train, options.features / "train")
    valid = Composed(options.valid, options.features / "valid")
    heads = {
        run: [
            learn(
                head, train, options.out / run.replace(" ", "-") / str(seed), replace(c, seed=seed)
            )
            for seed in range(options.seeds)
        ]
        for run, (head, c) in RUNS.items()
    }
    data = read_annotated(*valid.list_files())
    study = Study(heads, data, valid.read_plans(data)["video"].to_numpy())
    print(f"{(data.labels != IGNORE).sum()} annotated frames of {len(data.names)} people")
    table = study.count_all()
    for smooth in (False, True):
        for what in WHAT:
            tabulate_missing(table, what, smooth)
        show_differences(table, smooth)
    tabulate_classes(table)
    if options.plot:
        plot_missing(table, options.plot)
    if options.timeline:
        plot_timeline(study, options.timeline)


if __name__ == "__main__":
    main()
