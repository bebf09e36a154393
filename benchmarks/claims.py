"""Claims of arXiv 2603.12221 and 2603.08034, tested with compact networks on composed data.

Trains what the claims compare, with several seeds, and prints one table: for each claim the
difference of macro-F1 with its 95 % bootstrap interval, over whole videos (or images), of the
counts of all seeds; shown if the interval is above 0, refuted if it is below 0. Composed videos and
small networks can support a claim or cast doubt on it; they do not repeat the papers' experiments.

    python benchmarks/claims.py --faces DIR --voices DIR --out DIR [--seeds 2] [--epochs 24]
        [--parts heads scales padaug] [further options of benchmarks/embedded_heads.py]

`heads`: fusion, smoothing, modality dropout and focal loss. `scales`: features of crops at 0.9, 1.2
and 1.5 of the face against 1.0, for the visual head. `padaug`: image encoders of a small shape,
trained from scratch. Features and runs are stored under --out and reused, also those of
benchmarks/embedded_heads.py.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from ablation import pad_crops
from composed_features import Work, make_features
from edges import change_scales
from embedded_heads import Material, add_sources, read_work
from encoder import BATCH, read_crops
from fusion import Labels, compare, count_videos, learn, predict
from missing import RUNS, hide

from abawcli.config import COMPACT_FACE, CompactFaceShape, default_training
from abawcli.datasets.annotated import AnnotatedFeatures, read_annotated
from abawcli.formats.manifest import read_manifest
from abawcli.labels import IGNORE
from abawcli.metrics import Counts
from abawcli.models.encoder import find_encoder, load_encoder
from abawcli.stages.train_face import train_face_encoder

SCALES = (0.9, 1.2, 1.5)  # as published
SMALL = CompactFaceShape(stem=8, widths=(16, 32, 64), blocks=(1, 1, 1))  # 24 epochs on a CPU


@dataclass(frozen=True)
class Claim:
    """One row: a difference that is claimed to be above 0."""

    text: str
    where: str
    first: Counts  # (V, 8, 9)
    second: Counts

    def describe(self) -> str:
        """Return the row, with the verdict."""
        gap = compare(self.first, self.second)
        low, high = (float(part) for part in gap.partition("(")[2].rstrip(")").split(" to "))
        verdict = "shown" if low > 0 else "refuted" if high < 0 else "neither"
        return f"| {self.text} | {self.where} | {gap} | {verdict} |"


@dataclass(frozen=True)
class Case:
    """Valid videos, with all of their faces or a part, to be scored with and without smoothing."""

    data: AnnotatedFeatures
    video: Labels  # (N,)

    def count(self, material: Material, run: str, seeds: int, smooth: bool) -> Counts:
        """Return the counts (V, 8, 9) of all seeds of a run."""
        head, config = RUNS[run]
        total = []
        for seed in range(seeds):
            folder = material.out / "claims" / run.replace(" ", "-") / str(seed)
            trained = learn(head, material.train("dual-branch"), folder, replace(config, seed=seed))
            labels = predict(trained, self.data, config)[smooth]
            total.append(count_videos(self.data.labels, labels, self.video))
        return np.sum(total, axis=0)


def compare_heads(material: Material, seeds: int) -> Iterator[Claim]:
    """Yield the claims on heads."""
    valid = material.valid()
    data = read_annotated(*valid.list_files())
    video = valid.read_plans(data)["video"].to_numpy()
    found: dict[tuple[str, bool, float], Counts] = {}

    def count(run: str, smooth: bool = True, share: float = 0.0) -> Counts:
        key = run, smooth, share
        if key not in found:
            case = Case(hide(data, "visual", share), video)
            found[key] = case.count(material, run, seeds, smooth)
        return found[key]

    for other in ("visual", "audio"):
        for smooth, where in ((False, "as predicted"), (True, "smoothed")):
            pair = count("gated", smooth), count(other, smooth)
            yield Claim(f"gated fusion is better than {other} alone", where, *pair)
    for run in ("visual", "gated", "dual-branch"):
        yield Claim(f"smoothing helps {run}", "all frames", count(run), count(run, smooth=False))
    pair = count("dual-branch"), count("gated")
    yield Claim("dual-branch is better than gated", "smoothed", *pair)
    for run, share in ((run, s) for run in ("gated", "dual-branch") for s in (0.0, 0.5, 1.0)):
        pair = count(run, share=share), count(f"{run}, no modality dropout", share=share)
        yield Claim(f"modality dropout helps {run}", f"{share:.0%} of faces missing", *pair)
    pair = count("dual-branch"), count("dual-branch, cross-entropy")
    yield Claim("focal loss is better than cross-entropy", "dual-branch, smoothed", *pair)


def compare_scales(work: Work, workers: int, seeds: int) -> Iterator[Claim]:
    """Yield the claim on crop scales, on whole faces and on those over the edge."""
    out = work.out / "three-scales"
    out.mkdir(parents=True, exist_ok=True)
    names = [work.face, *work.fold_encoders]
    files = [
        str(change_scales(find_encoder(name), SCALES, out / f"encoder{k}.safetensors"))
        for k, name in enumerate(names)
    ]
    wide = replace(work, out=out, face=files[0], fold_encoders=tuple(files[1:]))
    make_features(wide, workers)
    counts = {
        key: _count_faces(Material(folder), seeds)
        for key, folder in (("one", work.out), ("three", out))
    }
    for where in counts["one"]:
        pair = counts["three"][where], counts["one"][where]
        yield Claim("three crop scales are better than one", where, *pair)


def _count_faces(material: Material, seeds: int) -> dict[str, Counts]:
    """Return the counts of the visual head on whole faces and on those at the edge."""
    valid = material.valid()
    data = read_annotated(*valid.list_files())
    plan = valid.read_plans(data)
    masks = {"whole faces": ~plan["edge"], "faces over the edge": plan["edge"]}
    found = {}
    for where, mask in masks.items():
        labels = np.where(mask & plan["face"], data.labels, IGNORE)
        case = Case(replace(data, labels=labels), plan["video"].to_numpy())
        found[where] = case.count(material, "visual", seeds, smooth=False)
    return found


def compare_padaug(work: Work, epochs: int, seeds: int) -> Iterator[Claim]:
    """Yield the claim on PadAug, on images as they are and with black borders."""
    manifest = work.faces / "manifest.csv"
    valid = read_manifest(manifest, work.faces)["valid"]
    base = replace(default_training(COMPACT_FACE), epochs=epochs, shape=SMALL)
    none = replace(base, augmentation=replace(base.augmentation, padaug_p=0.0))
    counts: dict[str, list[list[Counts]]] = {"PadAug": [], "none": []}
    for seed in range(seeds):
        for name, config in (("PadAug", base), ("none", none)):
            out = work.out / "claims" / f"encoder-{name}" / str(seed)
            train_face_encoder(work.faces, manifest, out, config=replace(config, seed=seed))
            counts[name].append(
                _count_images(out / "encoder.safetensors", valid.files, valid.labels)
            )
    for k, where in enumerate(("images as they are", "images with black borders")):
        pair = (np.sum([each[k] for each in counts[name]], axis=0) for name in ("PadAug", "none"))
        yield Claim(f"PadAug helps an encoder, {epochs} epochs", where, *pair)


def _count_images(path: Path, files: Sequence[Path], truth: Labels) -> list[Counts]:
    """Return the counts (N, 8, 9) of an encoder's classifier, without and with borders."""
    encoder, _ = load_encoder(path, torch.device("cpu"))
    crops = read_crops(list(files), encoder.preprocess.resize)
    counts = []
    for shown in (crops, pad_crops(crops)):
        parts = [encoder.classify(shown[k : k + BATCH]) for k in range(0, len(shown), BATCH)]
        counts.append(
            count_videos(truth, np.concatenate(parts).argmax(axis=1), np.arange(len(truth)))
        )
    return counts


def main() -> None:
    """Make what is not there and print the table, in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_sources(parser)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=24, help="Of the encoders.")
    parts = ("heads", "scales", "padaug")
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts)
    options = parser.parse_args()
    work, seeds = read_work(options), options.seeds
    if {"heads", "scales"} & {*options.parts}:
        make_features(work, options.workers)
    tests = {
        "heads": lambda: compare_heads(Material(work.out), seeds),
        "scales": lambda: compare_scales(work, options.workers, seeds),
        "padaug": lambda: compare_padaug(work, options.epochs, seeds),
    }
    print("| claim | where | difference of macro-F1 | |\n|---|---|---|---|")
    for part in options.parts:
        for claim in tests[part]():
            print(claim.describe(), flush=True)


if __name__ == "__main__":
    main()
