"""ONNX files as classifiers of faces, such as those of EmotiEffLib.

Their outputs, the logits, are the features too.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from abawcli.config import ONNX_INPUTS
from abawcli.errors import CheckpointError, UsageError
from abawcli.faces.detect import choose_providers, session_options
from abawcli.formats.metadata import Preprocess
from abawcli.models.hub import LabelledLayer, is_onnx, keep_logits
from abawcli.models.image_backbones import Backbone

# EmotiEffLib's labels in the order of its logits; models of seven have no contempt, and those of
# several tasks end with valence and arousal.
LABELS = (
    "Anger", "Contempt", "Disgust", "Fear", "Happiness", "Neutral", "Sadness", "Surprise",
)  # fmt: skip
FURTHER = ("valence", "arousal")


def find_preset(path: str, given: str | None) -> str | None:
    """Return the name in ONNX_INPUTS that was given, or that is in a file's name; None if none."""
    if given is not None:
        return given if given in ONNX_INPUTS else None
    return next((key for key in ONNX_INPUTS if key in Path(path).stem.lower()), None)


def choose_input(path: str, given: str | None) -> Preprocess:
    """Return the preprocessing of crops for an ONNX file: as given, or by its name.

    Raises:
        UsageError: neither gives it, or the given one is malformed.
    """
    preset = find_preset(path, given)
    if preset:
        side, centre, spread = ONNX_INPUTS[preset]
        return Preprocess(side, side, centre, spread, resample="bilinear")
    known = f"one of {', '.join(ONNX_INPUTS)}, or SIZE:MEAN,MEAN,MEAN:STD,STD,STD"
    if given is None:
        raise UsageError(f"the name of {path} does not say what its input is; give --onnx-input "
                         f"({known})")  # fmt: skip
    number = r"\d{1,3}(?:\.\d{1,9})?"
    three = f"({number},{number},{number})"
    found = re.fullmatch(f"(\\d{{1,4}}):{three}:{three}", given.replace(" ", ""))
    if not found:
        raise UsageError(f"--onnx-input {given!r} is not {known}")
    size = int(found[1])
    mean, std = (tuple(map(float, found[k].split(","))) for k in (2, 3))
    if not size or not all(std):
        raise UsageError(f"--onnx-input {given!r}: the size and deviations must be positive")
    return Preprocess(size, size, mean, std, resample="bilinear")


def check_onnx_input(given: str | Preprocess | None, names: Iterable[str]) -> None:
    """Check that the input of an ONNX file, if a user gave it, is given with such a file.

    Raises:
        UsageError: none of the backbones or recipes is one.
    """
    names = list(names)
    if isinstance(given, str) and not any(map(is_onnx, names)):
        raise UsageError(
            f"--onnx-input is for ONNX files, and {' and '.join(names)} "
            f"{'is none' if len(names) == 1 else 'are none'}; leave it out"
        )


class OnnxNetwork(nn.Module):
    """An ONNX file run by ONNX Runtime, which computes in float32."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path
        try:
            self.session = onnxruntime.InferenceSession(
                path, session_options(torch.get_num_threads()), providers=choose_providers()
            )
        except Exception as error:  # ONNX Runtime's errors have no class in common
            reason = str(error).splitlines()[0]
            raise CheckpointError(f"{path} is no ONNX file that can be run: {reason}") from error
        self.input = self.session.get_inputs()[0]
        self.single = self.input.shape[:1] == [1]  # it takes no batches

    def forward(self, pixels: Tensor) -> Tensor:
        """Map prepared input (B, 3, S, S) to logits (B, L).

        Raises:
            CheckpointError: the file cannot be run on such input.
        """
        batch = pixels.cpu().numpy().astype(np.float32)
        parts = np.split(batch, len(batch)) if self.single else [batch]
        try:
            out = [self.session.run(None, {self.input.name: part})[0] for part in parts]
        except Exception as error:  # as above
            reason = str(error).splitlines()[0]
            raise CheckpointError(f"{self.path} cannot be run: {reason}") from error
        return torch.from_numpy(np.concatenate(out)).to(pixels.device)


class OnnxBackbone(Backbone):
    """An ONNX file as a backbone. It computes in float32 on any device."""

    @property
    def computes_float32(self) -> bool:
        """Tell that it is not run in a reduced number format."""
        return True

    def _run(self, pixels: Tensor, **how: Any) -> Tensor:
        features: Tensor = self.network(pixels)
        return features

    def run_probe(self) -> Tensor:
        """Return the features (1, dim) of a fixed noise."""
        how = self.preprocess
        generator = torch.Generator().manual_seed(0)
        return self._run(torch.randn(1, how.channels, how.size, how.size, generator=generator))


def load_onnx_face(
    name: str, how: Preprocess, preset: str | None
) -> tuple[Backbone, LabelledLayer]:
    """Load an ONNX file as a backbone and its last layer, whose labels are those of the preset.

    Raises:
        CheckpointError: the file is missing, cannot be run, or does not take such input.
    """
    if not Path(name).is_file():
        raise CheckpointError(f"no such file: {name}")
    network = OnnxNetwork(name)
    sides = [side for side in network.input.shape[2:] if isinstance(side, int)]
    if any(side != how.size for side in sides):
        raise CheckpointError(
            f"{name} takes images of {sides[0]} pixels, not {how.size}; give another --onnx-input"
        )
    backbone = OnnxBackbone(name, network, 1, how)
    shape = backbone.run_probe().shape
    if len(shape) != 2:
        raise CheckpointError(
            f"{name} gives {tuple(shape)} for a face, not a number for each label"
        )
    backbone.dim = shape[1]
    return backbone, LabelledLayer(keep_logits(backbone.dim), _name_labels(backbone.dim, preset))


def _name_labels(count: int, preset: str | None) -> list[str]:
    """Return the labels of logits: the preset's, or numbers from 0."""
    names = [name for name in LABELS if count not in (7, 9) or name != "Contempt"]
    if preset and count in (len(names), len(names) + len(FURTHER)):
        return [*names, *FURTHER][:count]
    return [str(k) for k in range(count)]
