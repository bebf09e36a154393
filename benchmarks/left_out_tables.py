"""Tables for benchmarks/voice_left_out.py: encoders of corpora that they did not learn from."""

from dataclasses import dataclass

import numpy as np
import torch
from corpora import COVERAGES
from numpy.typing import NDArray
from torch import Tensor, nn
from voice_layers import DRAWS, show

from abawcli.config import Scores
from abawcli.metrics import find_calibration_error, score_labels
from abawcli.training.voice_task import fit_temperature, mean_f1

Labels = NDArray[np.int64]
CONFIDENCES = (0.3, 0.4, 0.45, 0.5, 0.6)
# From other speakers of known corpora to those of an unknown one: of frozen layers of Whisper, and
# of the temperature of the embedded encoder.
RATIO = 1.8


@dataclass(frozen=True)
class Clips:
    """Recordings, described by the averages that `predict` classifies."""

    labels: Labels  # (N,)
    corpora: NDArray[np.str_]  # (N,)
    means: list[Tensor]  # of each clip, (S, D)

    def of(self, corpus: str) -> "Clips":
        """Return the clips of one corpus."""
        rows = np.flatnonzero(self.corpora == corpus)
        return Clips(self.labels[rows], self.corpora[rows], [self.means[k] for k in rows])

    def spread(self) -> Tensor:
        """Return the label of each frame, (F,)."""
        return torch.from_numpy(self.labels.repeat([len(mean) for mean in self.means]))

    @torch.inference_mode()
    def classify(self, linear: nn.Linear) -> Tensor:
        """Return the logits of each frame, (F, 8)."""
        logits: Tensor = linear(torch.cat(self.means))
        return logits

    def label(self, logits: Tensor) -> Labels:
        """Return the predicted label of each clip, (N,)."""
        parts = logits.softmax(dim=1).split([len(mean) for mean in self.means])
        return np.array([part.mean(dim=0).argmax().item() for part in parts])


@dataclass(frozen=True)
class LeftOut:
    """Classifiers of an encoder that did not learn from a corpus, and clips."""

    linear: dict[str, nn.Linear]  # by name
    left: Clips  # of that corpus
    valid: Clips  # of other speakers of the corpora that it learned from

    def answer(self, name: str) -> tuple[Tensor, Tensor]:
        """Return logits (F, 8) and labels (F,) of the frames of the left-out corpus."""
        return self.left.classify(self.linear[name]), self.left.spread()


def fit_to(answers: list[tuple[Tensor, Tensor]]) -> float:
    """Return the temperature that fits frames of corpora, as many of each."""
    rng = np.random.default_rng(0)
    count = min(len(truth) for _, truth in answers)
    rows = [torch.from_numpy(rng.permutation(len(truth))[:count]) for _, truth in answers]
    logits = torch.cat([part[k] for (part, _), k in zip(answers, rows, strict=True)])
    return fit_temperature(
        logits, torch.cat([y[k] for (_, y), k in zip(answers, rows, strict=True)])
    )


def describe(clips: Clips, linear: nn.Linear, temperature: float) -> str:
    """Return macro-F1, calibration error, accuracy of the surest frames and mean confidence."""
    logits = clips.classify(linear) / temperature
    frames = logits.softmax(dim=1).numpy()
    confidence, right = frames.max(axis=1), frames.argmax(axis=1) == clips.spread().numpy()
    error = find_calibration_error(confidence, right, Scores().calibration_bins)
    order = np.argsort(-confidence)
    sure = [right[order[: max(1, round(len(order) * share))]].mean() for share in COVERAGES]
    accuracy = "".join(f"{value:7.3f}" for value in sure)
    shown = show(clips.labels, clips.label(logits))
    return f"{shown:24s}{temperature:6.2f}{error:8.3f} {accuracy}{confidence.mean():11.3f}"


def print_scores(runs: dict[str, LeftOut]) -> None:
    """Print each left-out corpus, and the known ones at the same temperature."""
    columns = "".join(f"{share:7.0%}" for share in COVERAGES)
    print(f"{'':42s}{'macro-F1 of clips':24s}{'T':>6s}{'error':>8s} {columns}{'confidence':>11s}")
    for corpus, run in runs.items():
        for name, linear in run.linear.items():
            t = fit_to([other.answer(name) for c, other in runs.items() if c != corpus])
            print(f"{f'{corpus}, left out':24s}{name:18s}{describe(run.left, linear, t)}")
            for known in sorted(set(run.valid.corpora.tolist())):
                line = describe(run.valid.of(known), linear, t)
                print(f"{f'  {known}, speakers':24s}{name:18s}{line}", flush=True)


def print_differences(runs: dict[str, LeftOut]) -> None:
    """Print the mean macro-F1 of left-out corpora, and by how much each classifier changes it."""
    rng = np.random.default_rng(0)
    print(
        "\nmean macro-F1 of the left-out corpora, and the difference to the classifier as trained"
    )
    draws = [{c: rng.integers(len(r.left.labels), size=len(r.left.labels)) for c, r in runs.items()}
             for _ in range(DRAWS)]  # fmt: skip
    whole = {c: np.arange(len(run.left.labels)) for c, run in runs.items()}
    before: list[float] = []
    for name in next(iter(runs.values())).linear:
        found = {c: run.left.label(run.left.classify(run.linear[name])) for c, run in runs.items()}
        scores = [
            float(np.mean([mean_f1(score_labels(runs[c].left.labels[k], found[c][k]))
                           for c, k in rows.items()]))
            for rows in (whole, *draws)
        ]  # fmt: skip
        before = before or scores
        change = np.subtract(scores, before)
        low, high = np.quantile(change[1:], (0.025, 0.975))
        print(
            f"{name:18s}{scores[0]:.3f}  {change[0]:+.3f} ({low:+.3f} to {high:+.3f})", flush=True
        )


def print_reliable(runs: dict[str, LeftOut]) -> None:
    """Print each left-out corpus at RATIO times the temperature of other speakers of known ones.

    Right and share: of its frames from a confidence on.
    """
    print(
        f"\nT of the left-out corpus and of known ones, their ratio; at {RATIO} times the latter: "
        "error; from a confidence on, right/share"
    )
    print(" " * 64 + "".join(f"{least:12.2f}" for least in CONFIDENCES))
    for corpus, run in runs.items():
        truth, known = run.left.spread(), sorted(set(run.valid.corpora.tolist()))
        for name, linear in run.linear.items():
            logits = run.left.classify(linear)
            parts = [run.valid.of(each) for each in known]
            t = fit_to([(part.classify(linear), part.spread()) for part in parts])
            best = fit_to([(logits, truth)])
            p, label = (logits / (RATIO * t)).softmax(dim=1).max(dim=1)
            right = (label == truth).numpy()
            error = find_calibration_error(p.numpy(), right, Scores().calibration_bins)
            line = f"{corpus:24s}{name:18s}{best:5.2f}{t:5.2f}{best / t:5.2f}{error:7.3f}"
            for least in CONFIDENCES:
                sure = p.numpy() >= least
                line += f"{right[sure].mean() if sure.any() else np.nan:7.2f}/{sure.mean():.2f}"
            print(line, flush=True)
