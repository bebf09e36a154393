"""Ways to run the embedded face network on one core: their time, and their agreement with float32.

    python benchmarks/face_network.py FACES [--rounds 5]

FACES is a folder with a manifest.csv, as of `abaw train face`: its column `file` names images. The
int8 network is calibrated on every 200th of them, and all are compared on every 20th. Prints, in
Markdown, each way's least CPU time for a face in batches of 16, all ways in turn; the share of
labels that are those of float32 in torch, and the largest difference of a probability.

`int8` and `float32, ONNX Runtime` need the package onnx.
"""

import argparse
import csv
import logging
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from abawcli.config import COMPACT_FACE
from abawcli.faces.crop import read_square
from abawcli.faces.detect import session_options
from abawcli.models.compact import fold_batch_norm, pack_convolutions
from abawcli.models.encoder import load_backbone
from abawcli.models.image_backbones import Backbone
from abawcli.models.preprocessing import prepare_crops
from abawcli.models.recipes import find_weights

BATCH = 16
Run = Callable[[Tensor], Tensor]  # pixels (B, 1, S, S) to features (B, D)


def read_faces(folder: Path, every: int, side: int) -> NDArray[np.uint8]:
    """Return every n-th image of a manifest, (N, side, side, 3)."""
    with (folder / "manifest.csv").open(newline="") as file:
        names = [row["file"] for row in csv.DictReader(file)][::every]
    images = [read_square(folder / name, side) for name in names]
    return np.stack([image for image in images if image is not None])


def load_folded() -> tuple[Backbone, nn.Linear]:
    """Return the embedded backbone, without batch norms, and its classifier."""
    backbone, classifier, _ = load_backbone(find_weights(COMPACT_FACE))
    fold_batch_norm(backbone.eval())
    backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return backbone, classifier.eval()


def run_session(path: Path) -> Run:
    """Return an ONNX file as a function, on one thread."""
    session = onnxruntime.InferenceSession(
        path, session_options(1), providers=["CPUExecutionProvider"]
    )
    return lambda x: torch.from_numpy(session.run(None, {"x": x.numpy()})[0])


def write_int8(exact: Path, path: Path, pixels: Tensor) -> Path:
    """Write a network with 8-bit weights and activations, whose ranges are those of `pixels`."""
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.batches = iter([{"x": part.numpy()} for part in pixels.split(BATCH)])

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            return next(self.batches, None)

    quantize_static(
        exact, path, Reader(), per_channel=True,
        weight_type=QuantType.QInt8, activation_type=QuantType.QUInt8,
    )  # fmt: skip
    return path


def pool_fixed(
    pool: Callable[..., Tensor], x: Tensor, size: int | torch.Size, *args: Any, **options: Any
) -> Tensor:
    """Pool with a size of plain numbers, which the exporter needs."""
    fixed = size if isinstance(size, int) else [int(n) for n in size]
    return pool(x, fixed, *args, **options)


def list_ways(folder: Path, pixels: Tensor) -> Iterator[tuple[str, Run]]:
    """Yield the ways to run the network; `pixels` (N, 1, S, S) are to calibrate int8."""
    yield "float32, torch, packed", pack_convolutions(load_folded()[0])
    yield "float32, torch", load_folded()[0]
    reduced = load_folded()[0]
    reduced.cast_to(torch.bfloat16)
    yield "bfloat16, torch", reduced
    implicit = load_folded()[0]

    def run_implicit(x: Tensor) -> Tensor:
        torch.backends.mkldnn.conv.fp32_precision = "bf16"
        try:
            return implicit(x)
        finally:
            torch.backends.mkldnn.conv.fp32_precision = "none"

    yield "float32 with bfloat16 products, torch", run_implicit
    exact = folder / "face.onnx"
    with patch.object(F, "avg_pool2d", partial(pool_fixed, F.avg_pool2d)):
        torch.onnx.export(
            load_folded()[0].network, (pixels[:2],), exact, dynamo=False, input_names=["x"],
            dynamic_axes={"x": {0: "n"}},
        )  # fmt: skip
    yield "float32, ONNX Runtime", run_session(exact)
    yield "int8, ONNX Runtime", run_session(write_int8(exact, folder / "int8.onnx", pixels))


def time_face(run: Run, pixels: Tensor) -> float:
    """Return the CPU milliseconds of one face, of four batches."""
    run(pixels[:BATCH])
    start = time.process_time()
    for part in pixels[: 4 * BATCH].split(BATCH):
        run(part)
    return (time.process_time() - start) / (4 * BATCH) * 1e3


@torch.inference_mode()
def compare(faces: Path, rounds: int) -> None:
    """Print the table."""
    backbone, classifier = load_folded()
    how = backbone.preprocess
    pixels, some = (
        prepare_crops(read_faces(faces, every, how.resize), how).contiguous(
            memory_format=torch.channels_last
        )
        for every in (20, 200)
    )
    print(f"{len(pixels)} faces, oneDNN and ONNX Runtime on one thread")
    print("| way | ms CPU a face | same label | largest difference of a probability |")
    print("|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        ways = dict(list_ways(Path(folder), some))
        spent = {name: [] for name in ways}
        for _ in range(rounds):
            for name, run in ways.items():
                spent[name].append(time_face(run, pixels))
        answers = {
            name: torch.cat([classifier(run(part).float()) for part in pixels.split(BATCH)])
            for name, run in ways.items()
        }
    exact = answers["float32, torch"].softmax(dim=1)
    for name, logits in answers.items():
        found = logits.softmax(dim=1)
        same = (found.argmax(dim=1) == exact.argmax(dim=1)).double().mean()
        most = (found - exact).abs().max()
        print(f"| {name} | {min(spent[name]):.2f} | {same:.2%} | {most:.4f} |")


def main() -> None:
    """Parse the arguments and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("faces", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # of torch's exporter
    logging.getLogger().setLevel(logging.ERROR)  # of ONNX Runtime's advice
    compare(arguments.faces, arguments.rounds)


if __name__ == "__main__":
    main()
