"""Make features and annotations from labelled still images: faces without audio.

In addition to composed videos, heads are trained on stills in their own proportions, so that a head
with a face and no speech is as good as the encoder's own classifier. `--check HEAD` compares the
two on the images of the validation split.

    python benchmarks/stills.py --images DIR --manifest FILE --like FEATURES
        (--out DIR | --check head.safetensors) [--encoder FILE]

Writes OUT/features/stills<k>.safetensors, of a thousand images each, and OUT/labels/stills<k>.txt.
`--like` is a file of `abaw extract` with audio, whose description of the audio backbone is copied.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from encoder import BATCH, read_crops
from numpy.typing import NDArray

from abawcli.config import COMPACT_FACE
from abawcli.formats.abaw import write_annotation
from abawcli.formats.features import Features, read_features, round_features, write_features
from abawcli.formats.manifest import LabelledImages, read_manifest
from abawcli.formats.metadata import FeatureSource
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


def lay_out(visual: NDArray[np.float16], like: Features, name: str) -> Features:
    """Return features like those of a video, with one image per frame and without audio."""
    count = len(visual)
    return Features(
        frame=np.arange(1, count + 1),
        time_s=np.arange(count) / 25,
        visual=visual,
        audio=np.zeros((count, like.audio.shape[1]), np.float16),
        has_visual=np.ones(count, bool),
        has_audio=np.zeros(count, bool),
        box=np.full((count, 4), np.nan, np.float32),
        face_score=np.full(count, np.nan, np.float32),
        quality=np.full((count, 4), np.nan, np.float32),
        metadata=replace(like.metadata, video=name, source=FeatureSource("stills")),
    )


def describe_score(name: str, score: Score) -> str:
    """Return a row of accuracy, macro-F1 and the F1 of each class."""
    cells = [f"{value:.3f}" for value in (score.accuracy, score.macro_f1, *score.f1)]
    return f"| {name} | {' | '.join(cells)} |"


def main() -> None:
    """Write the files, or print the comparison in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--like", type=Path, required=True)
    parser.add_argument("--encoder", type=Path, default=find_weights(COMPACT_FACE))
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--out", type=Path)
    what.add_argument("--check", type=Path)
    options = parser.parse_args()
    encoder, _ = load_encoder(options.encoder, CPU)
    splits, like = read_manifest(options.manifest, options.images), read_features(options.like)
    if options.check:
        visual = encode_images(encoder, splits["valid"])
        found = lay_out(visual, like, "valid")
        head = load_head(options.check, CPU)[0]
        arrays = (visual, found.audio, found.has_visual, found.has_audio)
        # Each image is a video of its own: a head may read the frames around it.
        p = np.concatenate(
            [head.classify(*(a[k : k + 1] for a in arrays))[0] for k in range(len(visual))]
        )
        own = encoder.read(torch.from_numpy(visual.astype(np.float32)))
        truth = splits["valid"].labels
        print(f"| reader | accuracy | macro-F1 | {' | '.join(CLASSES)} |")
        print("|---" * (3 + len(CLASSES)) + "|")
        print(describe_score("encoder's classifier", score_labels(truth, own.argmax(axis=1))))
        print(describe_score("head, no sound", score_labels(truth, p.argmax(axis=1))))
        return
    visual, labels = encode_images(encoder, splits["train"]), splits["train"].labels
    order = np.random.default_rng(0).permutation(len(labels))  # the manifest may be sorted
    for number, start in enumerate(range(0, len(order), PART)):
        rows, name = order[start : start + PART], f"stills{number:03d}"
        features = lay_out(visual[rows], like, name)
        write_features(features, options.out / "features" / f"{name}.safetensors", {})
        write_annotation(labels[rows], options.out / "labels" / f"{name}.txt")


if __name__ == "__main__":
    main()
