"""Make features and annotations from labelled still images: faces without audio.

In addition to composed videos, heads are trained on stills in their own proportions, so that a head
with a face and no speech is as good as the encoder's own classifier. `--check HEAD` compares the
two on the images of the validation split.

    python benchmarks/stills.py --images DIR --manifest FILE [--encoder FILE]
        (--like FEATURES --out DIR | --check head.safetensors)

Writes OUT/features/stills<k>.safetensors, of a thousand images each, and OUT/labels/stills<k>.txt.
`--like` is a file of `abaw extract` with audio, whose description of the backbones is copied.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from encoder import BATCH, read_crops
from numpy.typing import NDArray

from abawcli.config import COMPACT_FACE
from abawcli.formats.abaw import Labels, write_annotation
from abawcli.formats.features import Features, read_features, round_features, write_features
from abawcli.formats.manifest import LabelledImages, read_manifest
from abawcli.formats.metadata import Backbones, FeaturesMetadata, FeatureSource
from abawcli.labels import CLASSES
from abawcli.metrics import Score, score_labels
from abawcli.models.encoder import Encoder, load_encoder
from abawcli.models.heads import load_head
from abawcli.models.recipes import find_weights

PART = 1000  # images a file
CPU = torch.device("cpu")


def encode_images(encoder: Encoder, images: LabelledImages) -> NDArray[np.float16]:
    """Return features (N, D)."""
    crops = read_crops(images.files, encoder.preprocess.resize)
    parts = [encoder.encode(crops[k : k + BATCH]).numpy() for k in range(0, len(crops), BATCH)]
    return round_features(np.concatenate(parts))


def lay_out(visual: NDArray[np.float16], backbones: Backbones, name: str) -> Features:
    """Return features like those of a video, with one image per frame and without audio."""
    count = len(visual)
    return Features(
        frame=np.arange(1, count + 1),
        time_s=np.arange(count) / 25,
        visual=visual,
        audio=np.zeros((count, backbones.audio.dim if backbones.audio else 0), np.float16),
        has_visual=np.ones(count, bool),
        has_audio=np.zeros(count, bool),
        box=np.full((count, 4), np.nan, np.float32),
        face_score=np.full(count, np.nan, np.float32),
        quality=np.full((count, 4), np.nan, np.float32),
        metadata=FeaturesMetadata(name, "main", backbones, FeatureSource("stills")),
    )


def write_stills(
    out: Path, visual: NDArray[np.float16], labels: Labels, backbones: Backbones
) -> None:
    """Write features (N, D) and labels (N,) in random order: the manifest may be sorted."""
    order = np.random.default_rng(0).permutation(len(labels))
    for number, start in enumerate(range(0, len(order), PART)):
        rows, name = order[start : start + PART], f"stills{number:03d}"
        features = lay_out(visual[rows], backbones, name)
        write_features(features, out / "features" / f"{name}.safetensors", {})
        write_annotation(labels[rows], out / "labels" / f"{name}.txt")


def describe_score(name: str, score: Score) -> str:
    """Return a row of accuracy, macro-F1 and the F1 of each class."""
    cells = [f"{value:.3f}" for value in (score.accuracy, score.macro_f1, *score.f1)]
    return f"| {name} | {' | '.join(cells)} |"


def check_heads(heads: Mapping[str, Path], encoder: Encoder, valid: LabelledImages) -> None:
    """Print the scores of heads, without audio, and of the encoder's own classifier."""
    visual = encode_images(encoder, valid)
    print(f"| classifier | accuracy | macro-F1 | {' | '.join(CLASSES)} |")
    print("|---" * (3 + len(CLASSES)) + "|")
    own = encoder.classify_features(torch.from_numpy(visual.astype(np.float32)))
    print(describe_score("encoder's classifier", score_labels(valid.labels, own.argmax(axis=1))))
    audio, there = np.zeros((len(visual), 0), np.float16), np.ones(len(visual), bool)
    for name, path in heads.items():
        head = load_head(path, CPU)[0]
        # Each image is a video of its own: a head may read the frames around it.
        rows = [slice(k, k + 1) for k in range(len(visual))]
        p = [head.classify(visual[r], audio[r], there[r], ~there[r])[0] for r in rows]
        score = score_labels(valid.labels, np.concatenate(p).argmax(axis=1))
        print(describe_score(f"{name}, no audio", score), flush=True)


def main() -> None:
    """Write the files, or print the comparison in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--encoder", type=Path, default=find_weights(COMPACT_FACE))
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--like", type=Path)
    what.add_argument("--check", type=Path)
    parser.add_argument("--out", type=Path, help="With --like.")
    options = parser.parse_args()
    encoder, _ = load_encoder(options.encoder, CPU)
    splits = read_manifest(options.manifest, options.images)
    if options.check:
        check_heads({options.check.stem: options.check}, encoder, splits["valid"])
        return
    backbones = read_features(options.like).metadata.backbones
    visual = encode_images(encoder, splits["train"])
    write_stills(options.out, visual, splits["train"].labels, backbones)


if __name__ == "__main__":
    main()
