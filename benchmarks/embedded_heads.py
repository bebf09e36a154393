"""Train the embedded heads, compact-gated and compact-dual-branch, and compare them.

Composes videos (benchmarks/compose.py), computes features of them and of stills, trains heads on
those of the train splits, and scores them on the valid videos and images: vision alone, audio
alone, both concatenated, gated fusion and the dual branch. Prints macro-F1 with 95 % bootstrap
intervals from 1000 samples of whole videos, as predicted and smoothed; subsets of frames; with
missing faces; differences to the gated head; the classifier of the encoder beside each head on
stills; and the accuracy on the sample clips.

    python benchmarks/embedded_heads.py --faces DIR --voices DIR --out DIR
        [--face NAME] [--voice NAME] [--folds CSV --fold-encoder FILE --fold-encoder ...]
        [--held-voice FILE]
        [--videos 180 72] [--workers 2] [--seed 0] [--embedded DIR]

--faces and --voices are folders with manifest.csv. --folds lists the fold of each train image
(file, fold), and --fold-encoder, in the order of the folds, encoders that were trained without
them. --held-voice is an audio encoder that was trained without the speakers of
composed_features.is_held. benchmarks/held_out_manifests.py writes the manifests for both. Without
these, heads are trained on features of data that their encoders have learned from. Features and
runs are stored under --out and reused.

With --embedded, a folder with the weights of the package, nothing is trained: the heads of that
folder are scored, on features of the encoders --face and --voice.
"""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from composed_features import Work, make_features
from fusion import (
    DRAWN,
    SETTINGS,
    Composed,
    Labels,
    Mask,
    compare,
    count_videos,
    learn,
    predict,
    show_interval,
    show_score,
)
from missing import DUAL_SETTINGS, hide
from stills import check_heads

from abawcli.config import COMPACT_FACE, COMPACT_VOICE, ENCODER, HeadTraining, Smoothing
from abawcli.datasets.annotated import AnnotatedFeatures, read_annotated
from abawcli.formats.abaw import align_rows, read_annotation
from abawcli.formats.manifest import read_manifest
from abawcli.labels import IGNORE
from abawcli.metrics import score_labels
from abawcli.models.encoder import find_encoder, load_encoder
from abawcli.models.heads import TrainedHead, load_head
from abawcli.stages.predict import Predictor

CLIPS = Path(__file__).parents[1] / "sample_videos"
ALONE = ("expressions", "leaves_and_returns_vfr", "rotated_phone")  # clips of one person
# Smoothed as embedded heads are in use, whatever their files say. The speech of composed videos is
# of corpora that the audio encoder was trained on; it recognises strangers half as well. So audio
# is swapped more often than in benchmarks/fusion.py, most often for dual-branch, which follows it
# most.
AUDIO_SWAP, DUAL_AUDIO_SWAP = 0.8, 0.9
SINGLE = replace(SETTINGS, smoothing=Smoothing())
BOTH = replace(SINGLE, face_only=ENCODER, audio_swap=AUDIO_SWAP)
HEADS: dict[str, HeadTraining] = {
    "visual": SINGLE,
    "audio": SINGLE,
    "concat": BOTH,
    "gated": replace(BOTH, speech_only=ENCODER),
    "dual-branch": replace(DUAL_SETTINGS, face_only=ENCODER, audio_swap=DUAL_AUDIO_SWAP),
}
EMBEDDED = ("gated", "dual-branch")
WITH_STILLS = ("visual", "concat", "gated")  # dual-branch reads neighbours, which stills have not


@dataclass(frozen=True)
class Material:
    """Where the videos, stills and runs of a folder are."""

    out: Path

    def train(self, head: str) -> Composed:
        """Return the train data of a head."""
        stills = self.out / "stills" if head in WITH_STILLS else None
        return Composed(self.out / "train", self.out / "features" / "train", stills)

    def valid(self) -> Composed:
        """Return the videos to score on."""
        return Composed(self.out / "valid", self.out / "features" / "valid")

    def find_run(self, head: str) -> Path:
        """Return the folder of a head's training run."""
        return self.out / "heads" / head


@dataclass(frozen=True)
class Study:
    """The valid videos with their plans, and the same with half of the faces missing."""

    data: AnnotatedFeatures
    less: AnnotatedFeatures
    video: Labels  # (N,)
    subsets: Mapping[str, Mask]

    def tabulate(self, heads: Mapping[str, TrainedHead]) -> None:
        """Print the scores of the heads, and differences of their smoothed predictions."""
        names = " | ".join([*self.subsets, "half of the faces missing, smoothed"])
        print(f"{(self.data.labels != IGNORE).sum()} annotated frames of {len(self.data.names)} ")
        print(f"\n| head | as predicted | smoothed | {names} |")
        print("|---" * (4 + len(self.subsets)) + "|")
        counts = {}
        for name, head in heads.items():
            labels = predict(head, self.data, HEADS[name])
            less = predict(head, self.less, HEADS[name])[True]
            found = {s: count_videos(self.data.labels, labels[s], self.video) for s in labels}
            cells = [show_interval(found[s]) for s in (False, True)]
            cells += [
                show_score(self.data.labels, labels[False], rows) for rows in self.subsets.values()
            ]
            missing = count_videos(self.data.labels, less, self.video)
            print(f"| {name} | {' | '.join([*cells, show_interval(missing)])} |", flush=True)
            counts[name] = found[True], missing
        print()
        for name in counts:
            if name != "gated":
                gaps = [compare(a, b) for a, b in zip(counts["gated"], counts[name], strict=True)]
                print(f"gated - {name}, smoothed: {gaps[0]}; half of the faces missing: {gaps[1]}")


def read_study(valid: Composed) -> Study:
    """Read the valid videos."""
    data = read_annotated(*valid.list_files())
    plan = valid.read_plans(data)
    subsets = {name: choose(plan).to_numpy() for name, choose in DRAWN.items()}
    return Study(data, hide(data, "visual", 0.5), plan["video"].to_numpy(), subsets)


def score_embedded(work: Work, valid: Composed, weights: Path, workers: int) -> None:
    """Print the scores of the heads of a folder on the valid videos."""
    make_features(work, workers, ("valid",))
    files = {name: weights / f"compact-{name}.safetensors" for name in EMBEDDED}
    heads = {name: load_head(file, torch.device("cpu"))[0] for name, file in files.items()}
    read_study(valid).tabulate(heads)


def score_clip(recipe: Path, clip: Path) -> float:
    """Return the accuracy on a sample clip, compared with its plan, without smoothing."""
    predicted = Predictor(str(recipe)).predict_video(clip, smooth=False)["label"].to_numpy()
    truth = read_annotation(clip.with_suffix(".txt"))
    return score_labels(truth, predicted[align_rows(truth, len(predicted), clip.stem)]).accuracy


def tabulate_clips(heads: Mapping[str, Path]) -> None:
    """Print the accuracy of heads on the sample clips of one person."""
    print(f"\n| head | {' | '.join(ALONE)} |\n|---" + "|---" * len(ALONE) + "|")
    for name, path in heads.items():
        cells = [f"{score_clip(path, CLIPS / f'{clip}.mp4'):.3f}" for clip in ALONE]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def add_sources(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what features are made of."""
    parser.add_argument("--faces", type=Path, required=True, help="Images and manifest.csv.")
    parser.add_argument("--voices", type=Path, required=True, help="Clips and manifest.csv.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--face", default=COMPACT_FACE)
    parser.add_argument("--voice", default=COMPACT_VOICE)
    parser.add_argument("--folds", type=Path, help="The fold of each train image.")
    parser.add_argument("--fold-encoder", action="append", default=[])
    parser.add_argument("--held-voice", help="An encoder without the speakers held out.")
    parser.add_argument("--videos", type=int, nargs=2, default=(180, 72))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)


def read_work(o: argparse.Namespace) -> Work:
    """Return what features are to be made of."""
    if bool(o.folds) != bool(o.fold_encoder):
        raise SystemExit("--folds and --fold-encoder belong together")
    return Work(
        o.faces, o.voices, o.out, o.face, o.voice, o.folds, tuple(o.fold_encoder), o.held_voice,
        tuple(o.videos), o.seed,
    )  # fmt: skip


def main() -> None:
    """Make what is not there and print the tables, in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_sources(parser)
    parser.add_argument("--embedded", type=Path, help="Score the heads of this folder.")
    options = parser.parse_args()
    work, material = read_work(options), Material(options.out)
    if options.embedded:
        score_embedded(work, material.valid(), options.embedded, options.workers)
        return
    make_features(work, options.workers)
    heads = {
        name: learn(name, material.train(name), material.find_run(name), config)
        for name, config in HEADS.items()
    }
    read_study(material.valid()).tabulate(heads)
    files = {name: material.find_run(name) / "head.safetensors" for name in HEADS}
    both = {name: files[name] for name in HEADS if HEADS[name].face_only == ENCODER}
    print()
    valid = read_manifest(work.faces / "manifest.csv", work.faces)["valid"]
    check_heads(both, load_encoder(find_encoder(work.face), torch.device("cpu"))[0], valid)
    tabulate_clips(both)


if __name__ == "__main__":
    main()
