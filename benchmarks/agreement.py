"""Differences of the sample clips' tables between instruction sets, batch sizes and threads.

python benchmarks/agreement.py [--recipe NAME]

Labels every sample clip in a process under each limit of oneDNN, with batches of 1, 16 and 64 and
with 1 and 2 threads, and compares all tables with the first one. Then compares the head's
predictions from features that the embedded backbones compute in bfloat16 and in float32.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from abawcli.config import COMPACT_FACE, Prediction
from abawcli.models.encoder import load_backbone
from abawcli.models.recipes import find_weights
from abawcli.stages.predict import Predictor

CLIPS = sorted((Path(__file__).parents[1] / "sample_videos").glob("*.mp4"))
LIMITS = ("AVX2", "AVX512_CORE", "DEFAULT")
BATCHES, THREADS = (1, 16, 64), (1, 2)
Table = NDArray[np.float64]  # (T, 8) of all clips, smoothed as in use


def label(predictor: Predictor) -> Table:
    """Return the probabilities (T, 8) of all sample clips in succession."""
    tables = [predictor.predict_video(clip).filter(regex="^p_").to_numpy() for clip in CLIPS]
    return np.concatenate(tables)


def label_all(recipe: str) -> Iterator[tuple[str, Table]]:
    """Yield the tables of this process for each batch size and number of threads."""
    for batch in BATCHES:
        predictor = Predictor(recipe, "cpu", Prediction(batch_size=batch))
        for threads in THREADS:
            torch.set_num_threads(threads)
            yield f"batches of {batch}, {threads} threads", label(predictor)


def label_in(recipe: str, dtype: torch.dtype) -> Table:
    """Return the table whose features are computed in a number format."""
    predictor = Predictor(recipe, "cpu")
    encoder, audio = predictor.extractor.encoder, predictor.extractor.audio_encoder
    assert encoder and audio
    # The encoder's own backbone is packed, or in bfloat16 already.
    encoder.backbone = load_backbone(find_weights(COMPACT_FACE))[0].eval()
    if dtype != torch.float32:
        encoder.backbone.cast_to(dtype)
        audio.backbone.cast_to(dtype)
    return label(predictor)


def compare(one: Table, other: Table) -> tuple[float, float]:
    """Return the largest difference of a probability, and the share of labels that differ."""
    same = (np.isnan(one) == np.isnan(other)).all()
    known = ~np.isnan(one[:, 0])
    labels = one[known].argmax(axis=1) != other[known].argmax(axis=1)
    difference = np.abs(one - other)[known].max() if same else np.inf
    return float(difference), float(labels.mean())


def main() -> None:
    """Print a line for each setting, and one for features in bfloat16."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--recipe", default="compact")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        np.savez(arguments.worker, **dict(label_all(arguments.recipe)))
        return
    first: Table | None = None
    print(f"{arguments.recipe}, {len(CLIPS)} clips: largest difference of a probability, labels")
    with tempfile.TemporaryDirectory() as folder:
        for limit in LIMITS:
            out = str(Path(folder, f"{limit}.npz"))
            subprocess.run(
                [sys.executable, __file__, "--recipe", arguments.recipe, "--worker", out],
                env={**os.environ, "ONEDNN_MAX_CPU_ISA": limit},
                check=True,
            )
            for name, table in np.load(out).items():
                first = table if first is None else first
                difference, share = compare(first, table)
                print(f"{limit:12s} {name:26s} {difference:10.2g} {share:8.2%}", flush=True)
    if arguments.recipe == COMPACT_FACE:
        return  # no head whose features could be exchanged
    exact, reduced = (label_in(arguments.recipe, d) for d in (torch.float32, torch.bfloat16))
    difference, share = compare(exact, reduced)
    print(f"features in bfloat16 against float32    {difference:10.2g} {share:8.2%}")


if __name__ == "__main__":
    main()
