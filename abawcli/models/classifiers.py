"""Pretrained classifiers as recipes: `hf:` models of the Hugging Face hub, and ONNX files."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from abawcli.config import COMPACT_FACE, Classifiers, Smoothing
from abawcli.errors import UsageError
from abawcli.formats.metadata import (
    Backbones,
    ImageBackboneMetadata,
    Preprocess,
)
from abawcli.label_maps import check_label_map, map_labels
from abawcli.models.audio_backbones import AudioBackbone, build_audio_backbone
from abawcli.models.classifier import AveragedClassifiers, MappedClassifier
from abawcli.models.heads import TrainedHead
from abawcli.models.hub import (
    LabelledLayer,
    find_classifier,
    hash_classifier,
    is_hub_classifier,
    is_onnx,
)
from abawcli.models.hub_audio import load_hub_audio
from abawcli.models.hub_faces import load_hub_face
from abawcli.models.image_backbones import Backbone
from abawcli.models.metadata import HeadMetadata
from abawcli.models.onnx_faces import check_onnx_input, choose_input, find_preset, load_onnx_face


@dataclass(frozen=True)
class LoadedBackbones:
    """The backbones of classifiers, loaded together with their last layers."""

    visual: tuple[Backbone, ImageBackboneMetadata] | None = None
    audio: AudioBackbone | None = None


def load_face_classifier(
    name: str, onnx_input: str | Preprocess | None = None
) -> tuple[Backbone, LabelledLayer, ImageBackboneMetadata]:
    """Load a classifier of faces: its backbone, its last layer, and the backbone's metadata.

    Args:
        name: `hf:NAME`, `hf:FOLDER`, or the path of an ONNX file.
        onnx_input: how crops are prepared for an ONNX file, as in `config.Classifiers`.

    Raises:
        CheckpointError: it cannot be loaded, or is not a classifier of faces.
        UsageError: the preprocessing of its input is unknown.
    """
    if is_onnx(name):
        if isinstance(onnx_input, Preprocess):
            how, preset = onnx_input, None
        else:
            how, preset = choose_input(name, onnx_input), find_preset(name, onnx_input)
        backbone, layer = load_onnx_face(name, how, preset)
    else:
        backbone, layer = load_hub_face(name)
    metadata = ImageBackboneMetadata(
        name=name,
        dim=backbone.dim,
        sha256=hash_classifier(name),
        path=find_classifier(name),
        preprocess=backbone.preprocess,
    )
    return backbone, layer, metadata


def load_classifiers(
    names: Mapping[str, str], config: Classifiers, device: torch.device
) -> tuple[TrainedHead, HeadMetadata, LoadedBackbones]:
    """Load a classifier of faces, of speech, or both: the last layers as one head, and backbones.

    Args:
        names: name by modality, in the order given by the user.
        config: their labels and temperatures.
        device: device of the head.

    Raises:
        CheckpointError: one cannot be loaded, or is not a classifier.
        UsageError: labels map to no class, the number of temperatures is wrong, or as
            `check_onnx_input`.
    """
    check_onnx_input(config.onnx_input, names.values())
    temperatures = config.temperatures or (1.0,) * len(names)
    if len(temperatures) != len(names) or not all(0 < t < float("inf") for t in temperatures):
        raise UsageError(
            f"--temperatures {','.join(f'{t:g}' for t in temperatures)}: give a positive number "
            f"for each of the {len(names)} recipes"
        )
    layers, face, audio = {}, None, None
    for modality, name in names.items():
        if modality == "visual":
            backbone, layers[modality], visual = load_face_classifier(name, config.onnx_input)
            face = backbone, visual
        else:
            audio, layers[modality] = load_hub_audio(name)
    check_label_map(config.label_map, (x for layer in layers.values() for x in layer.labels))
    mapped = {
        modality: MappedClassifier(
            layer.linear, map_labels(layer.labels, config.label_map, names[modality]), temperature
        )
        for (modality, layer), temperature in zip(layers.items(), temperatures, strict=True)
    }
    head = TrainedHead(AveragedClassifiers(mapped), device)
    kind = "concat" if len(names) == 2 else next(iter(names))
    backbones = Backbones(face[1] if face else None, audio.describe() if audio else None)
    metadata = HeadMetadata(kind, {}, backbones, Smoothing())
    return head, metadata, LoadedBackbones(face, audio)


def load_audio_backbone(name: str, layers: str) -> AudioBackbone:
    """Return an audio backbone: that of a classifier, or as `build_audio_backbone`.

    Raises:
        CheckpointError, UsageError: as `build_audio_backbone`; or it is a visual backbone.
    """
    if name == COMPACT_FACE:
        raise UsageError(f"{name} is a visual backbone; give it as --visual")
    if is_onnx(name):
        raise UsageError(f"{name}: ONNX files are classifiers of faces; give it as --visual")
    return (
        load_hub_audio(name)[0] if is_hub_classifier(name) else build_audio_backbone(name, layers)
    )
