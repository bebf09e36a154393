"""Pretrained classifiers by name: `hf:NAME` or `hf:FOLDER` of the Hugging Face hub, or ONNX files.

The last linear layer of a classifier of the hub is separated from the network before it. The
outputs of that network are features, which all files and heads take like those of any backbone.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from abawcli.errors import CheckpointError
from abawcli.formats.hashing import hash_file
from abawcli.formats.metadata import HUB_PREFIX
from abawcli.models import checkpoint
from abawcli.models.image_backbones import (
    explain_failure,
    find_files,
    find_weights_file,
    hash_pretrained,
    load_weights,
)

FAILURES = (OSError, ValueError, RuntimeError, ImportError, LookupError, TypeError, AttributeError)


@dataclass(frozen=True)
class LabelledLayer:
    """The last layer of a classifier: from features to the logits of its own labels."""

    linear: nn.Linear
    labels: list[str]


def is_onnx(name: str) -> bool:
    """Tell whether a name is that of an ONNX file, which is a classifier of faces."""
    return Path(name).suffix.lower() == ".onnx"


def is_classifier(name: str) -> bool:
    """Tell whether a name is that of a pretrained classifier."""
    return is_hub_classifier(name) or is_onnx(name)


def find_input_modality(name: str) -> str:
    """Return the modality of a classifier's input.

    Raises:
        CheckpointError: as `find_modality`.
    """
    return find_modality(name) if is_hub_classifier(name) else "visual"


def is_hub_classifier(name: str) -> bool:
    """Tell whether a name is that of a classifier of the hub, and not of a backbone."""
    return name.startswith(HUB_PREFIX)


def find_classifier(name: str) -> str:
    """Return a name that finds a classifier from any working folder."""
    prefix = HUB_PREFIX if is_hub_classifier(name) else ""
    return prefix + checkpoint.find_location(name.removeprefix(HUB_PREFIX))


def hash_classifier(name: str) -> str | None:
    """Return the sha256 of a classifier's weights; None where they are not on this machine."""
    if is_hub_classifier(name):
        return hash_pretrained(name.removeprefix(HUB_PREFIX))
    return hash_file(name) if os.path.isfile(name) else None


def find_modality(name: str) -> str:
    """Return `visual` for a classifier of images, and `audio` for one of audio.

    Raises:
        CheckpointError: it is neither, or cannot be found on the disk or the hub.
    """
    from transformers.models.auto import modeling_auto as auto

    kind = _read_config(name).model_type
    if kind in auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES:
        return "visual"
    if kind in auto.MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES:
        return "audio"
    raise CheckpointError(f"{name} is {kind!r}, no classifier of images or audio")


def _read_config(name: str) -> Any:
    from transformers import AutoConfig

    location = name.removeprefix(HUB_PREFIX)
    if not location:
        raise CheckpointError(f"{name!r} names no model; give hf:OWNER/NAME or hf:FOLDER")
    try:
        return AutoConfig.from_pretrained(location)
    except FAILURES as error:
        raise CheckpointError(explain_failure(location, error)) from error


def load_hub_network(name: str, modality: str) -> tuple[Any, list[str]]:
    """Load a whole classifier of the hub, with its labels in the order of its logits.

    Raises:
        CheckpointError: it has the other modality, or its weights cannot be loaded or lack those
            of the classifier.
    """
    if find_modality(name) != modality:
        raise CheckpointError(f"{name} is no classifier of {modality} input")
    import transformers

    kinds = {
        "visual": transformers.AutoModelForImageClassification,
        "audio": transformers.AutoModelForAudioClassification,
    }
    network = load_weights(kinds[modality], name.removeprefix(HUB_PREFIX), ("mask",)).eval()
    labels = network.config.id2label
    return network, [str(labels[k]) for k in range(len(labels))]


def split_network(
    network: Any, labels: list[str], run: Callable[[], Tensor], name: str
) -> LabelledLayer:
    """Remove the last linear layer of a network, in place, and return it.

    The network then returns the layer's input, the features. If its logits are not a linear
    function of one vector, it is not changed, and its logits are the features.

    Args:
        network: the classifier.
        labels: of its logits.
        run: function that runs it on a fixed input and returns its output (1, D).
        name: of the classifier, for messages.

    Raises:
        CheckpointError: it cannot be run, or does not return a number for each label.
    """
    logits = _try(run, name)
    if logits.shape != (1, len(labels)):
        shape = tuple(logits.shape)
        raise CheckpointError(f"{name} gives {shape} for an input, not a number for each label")
    layers = [
        (path, module)
        for path, module in network.named_modules()
        if isinstance(module, nn.Linear) and module.out_features == len(labels)
    ]
    if layers:
        path, linear = layers[-1]
        network.set_submodule(path, nn.Identity())
        if _is_last(linear, run, logits):
            return LabelledLayer(linear, labels)
        network.set_submodule(path, linear)
    return LabelledLayer(keep_logits(len(labels)), labels)


@torch.inference_mode()
def _is_last(linear: nn.Linear, run: Callable[[], Tensor], logits: Tensor) -> bool:
    """Tell whether a layer maps the output of the network without it to the logits (1, L)."""
    try:
        again = linear(run().float())
    except RuntimeError:  # sizes that do not fit
        return False
    return again.shape == logits.shape and torch.allclose(again, logits, rtol=1e-4, atol=1e-4)


def keep_logits(count: int) -> nn.Linear:
    """Return a last layer that does not change logits."""
    linear = nn.Linear(count, count, bias=False)
    nn.init.eye_(linear.weight)
    return linear


def _try(run: Callable[[], Tensor], name: str) -> Tensor:
    try:
        with torch.inference_mode():
            return run().float()
    except FAILURES as error:
        reason = str(error).splitlines()[0] if str(error) else repr(error)
        raise CheckpointError(f"{name} cannot be run: {reason}") from error


def find_licence(name: str) -> str:
    """Return the licence that the model card beside a classifier's weights states."""
    from huggingface_hub import ModelCard
    from yaml import YAMLError

    card = find_weights_file(name.removeprefix(HUB_PREFIX), "README.md")
    if is_onnx(name) or card is None:
        return "unknown (no model card)"
    try:
        data = ModelCard(card.read_text("utf-8"), ignore_metadata_errors=True).data
    except (OSError, ValueError, YAMLError):
        return "unknown (its model card cannot be read)"
    return str(getattr(data, "license", None) or "unknown (the model card states none)")


def find_weights_of(name: str) -> Path | None:
    """Return the path of a classifier's weights on this machine; of several files, the first."""
    if is_onnx(name):
        return Path(name) if os.path.isfile(name) else None
    return find_files(name.removeprefix(HUB_PREFIX))[0]
