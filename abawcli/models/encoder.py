"""Image encoders: from crops to features, and to probabilities if they have a classifier."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from abawcli.config import COMPACT_FACE, COMPACT_VOICE, Smoothing
from abawcli.device import move_pixels
from abawcli.errors import CheckpointError, UsageError
from abawcli.formats.hashing import hash_file
from abawcli.formats.metadata import Backbones, ImageBackboneMetadata, Preprocess
from abawcli.labels import N_CLASSES
from abawcli.models.calibration import calibrate_linear
from abawcli.models.checkpoint import find_location, load_checkpoint, load_network
from abawcli.models.classifier import EncoderClassifier
from abawcli.models.classifiers import load_face_classifier
from abawcli.models.compact import fold_batch_norm, pack_convolutions
from abawcli.models.heads import TrainedHead
from abawcli.models.hub import is_classifier
from abawcli.models.image_backbones import (
    BACKBONES,
    Backbone,
    hash_pretrained,
    load_hub_backbone,
    rebuild_backbone,
)
from abawcli.models.metadata import FaceEncoderMetadata, HeadMetadata
from abawcli.models.onnx_faces import check_onnx_input
from abawcli.models.precision import cast_if_accurate
from abawcli.models.preprocessing import prepare_crops
from abawcli.models.recipes import find_weights


class FeatureEncoder:
    """A backbone in inference form, on one device.

    Crops must have the scales and the size of `preprocess.crop_scales` and `preprocess.resize`.
    `dtype` is the number format of the weights.
    """

    def __init__(self, backbone: Backbone, device: torch.device) -> None:
        self.device = device
        self.preprocess = backbone.preprocess
        self.dim = backbone.dim
        fold_batch_norm(backbone.eval())
        self.backbone = backbone.to(device)
        self.backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.dtype = torch.float32
        if not backbone.computes_float32:
            self.dtype = cast_if_accurate(backbone, device, small=backbone.is_small)
        # In bfloat16, packing does not pay.
        own = backbone.name in BACKBONES and self.dtype == torch.float32
        if device.type == "cpu" and own:
            pack_convolutions(self.backbone)

    @torch.inference_mode()
    def encode(self, crops: NDArray[np.uint8]) -> Tensor:
        """Turn RGB crops (B, K, S, S, 3) at K scales into features (B, D), the scales' mean.

        Raises:
            CheckpointError: the features are not finite. Pixels always are, so the weights are
                the cause.
        """
        batch, scales = crops.shape[:2]
        # The device gets bytes and normalises them: a quarter of the transfer, and no work here.
        flat = torch.from_numpy(crops.reshape(-1, *crops.shape[2:]))
        flat = move_pixels(flat, self.device)
        pixels = prepare_crops(flat, self.preprocess)  # (B*K, C, S', S')
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        features: Tensor = self.backbone(pixels)  # (B*K, C, S', S') to (B*K, D)
        if self.preprocess.flip:
            features = (features + self.backbone(pixels.flip(dims=[3]))) / 2
        if not torch.isfinite(features).all():
            raise CheckpointError(
                f"the image backbone {self.backbone.name} gives features that are no finite "
                f"numbers (computed in {self.dtype}): its weights are damaged, or need --device cpu"
            )
        return features.view(batch, scales, -1).mean(dim=1)


class Encoder(FeatureEncoder):
    """A trained encoder, with the linear classifier of its features."""

    def __init__(self, backbone: Backbone, classifier: nn.Linear, device: torch.device) -> None:
        super().__init__(backbone, device)
        self.classifier = classifier.eval().to(device)

    @torch.inference_mode()
    def classify_features(self, features: Tensor) -> NDArray[np.float32]:
        """Turn features (B, D) into probabilities (B, 8)."""
        probabilities: Tensor = self.classifier(features.to(self.device)).softmax(dim=1)  # (B, 8)
        return np.asarray(probabilities.cpu().numpy(), np.float32)

    @torch.inference_mode()
    def find_logits(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Turn RGB crops (B, K, S, S, 3) into logits (B, 8)."""
        logits: Tensor = self.classifier(self.encode(crops))
        return np.asarray(logits.cpu().numpy(), np.float32)

    def classify(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Turn RGB crops (B, K, S, S, 3) into probabilities (B, 8)."""
        return self.classify_features(self.encode(crops))


def find_encoder(name: str | Path) -> Path:
    """Return the file of an encoder: the embedded one for `compact-face`, else the path itself."""
    return find_weights(COMPACT_FACE) if str(name) == COMPACT_FACE else Path(name)


def load_backbone(path: str | Path) -> tuple[Backbone, nn.Linear, FaceEncoderMetadata]:
    """Load the backbone, classifier and metadata that `abaw train face` wrote.

    The classifier is calibrated if the metadata have a calibration.

    Raises:
        CheckpointError: the file is missing or damaged, was made for other classes, or its
            weights do not fit the backbone that it names.
    """
    path = Path(path)
    tensors, metadata = load_checkpoint(path, FaceEncoderMetadata)

    def build() -> nn.ModuleDict:
        backbone = rebuild_backbone(metadata)
        classifier = nn.Linear(backbone.dim, N_CLASSES)
        return nn.ModuleDict({"backbone": backbone, "classifier": classifier})

    what = f"backbone {metadata.backbone!r}"
    network = load_network(path, tensors, metadata.network, build, what=what)
    backbone, classifier = network["backbone"], network["classifier"]
    assert isinstance(backbone, Backbone) and isinstance(classifier, nn.Linear)
    if metadata.calibration:
        calibrate_linear(classifier, metadata.calibration)
    return backbone, classifier, metadata


def load_encoder(path: str | Path, device: torch.device) -> tuple[Encoder, FaceEncoderMetadata]:
    """Load an encoder that `abaw train face` wrote, and its metadata.

    Raises:
        CheckpointError: as `load_backbone`.
    """
    backbone, classifier, metadata = load_backbone(path)
    return Encoder(backbone, classifier, device), metadata


def load_feature_encoder(
    name: str, device: torch.device, onnx_input: str | Preprocess | None = None
) -> tuple[FeatureEncoder, ImageBackboneMetadata]:
    """Load an image backbone, and the metadata of its features.

    Args:
        name: `compact-face`, the path of an `encoder.safetensors`, a DINOv2, BEiT or ViT of
            transformers by hub name or folder, or a classifier as in `load_face_classifier`.
        device: where it runs.
        onnx_input: as in `load_face_classifier`.

    Raises:
        CheckpointError: it cannot be loaded.
        UsageError: as `load_face_classifier` and `check_onnx_input`; or it is an audio backbone.
    """
    check_onnx_input(onnx_input, [name])
    if name == COMPACT_VOICE:
        raise UsageError(f"{name} is an audio backbone; give it as --audio")
    if is_classifier(name):
        backbone_of, _, classified = load_face_classifier(name, onnx_input)
        return FeatureEncoder(backbone_of, device), classified
    encoder: FeatureEncoder
    sha256: str | None
    path = find_encoder(name)
    if path.suffix == ".safetensors":
        encoder, metadata = load_encoder(path, device)
        backbone, sha256 = metadata.backbone, hash_file(path)
    else:
        encoder, sha256 = FeatureEncoder(load_hub_backbone(name), device), hash_pretrained(name)
        backbone = name
    return encoder, ImageBackboneMetadata(
        name=backbone,
        dim=encoder.dim,
        sha256=sha256,
        path=find_location(name),
        preprocess=encoder.preprocess,
    )


def load_classifier(path: str | Path, device: torch.device) -> tuple[TrainedHead, HeadMetadata]:
    """Load the classifier of an encoder that `abaw train face` wrote, as a head on its features.

    Raises:
        CheckpointError: as `load_backbone`.
    """
    backbone, linear, metadata = load_backbone(path)
    features = ImageBackboneMetadata(
        name=metadata.backbone,
        dim=backbone.dim,
        sha256=hash_file(path),
        path=find_location(str(path)),
        preprocess=backbone.preprocess,
    )
    head = TrainedHead(EncoderClassifier(linear), device)
    backbones = Backbones(features, None)
    return head, HeadMetadata("visual", {}, backbones, Smoothing(), neutral=metadata.neutral)


def load_own_classifier(features: ImageBackboneMetadata | None) -> EncoderClassifier:
    """Load the classifier of the encoder that made features.

    Raises:
        UsageError: the features are of no encoder, so that there is no classifier.
        CheckpointError: as `load_backbone`, or the encoder has changed since.
    """
    path = find_encoder(features.path or "") if features else None
    if features is None or path is None or path.suffix != ".safetensors":
        raise UsageError(
            f"{features.name if features else 'features without faces'}: only encoders of "
            "`abaw train face` have a classifier of faces; use --face-only head"
        )
    classifier = load_backbone(path)[1]
    if hash_file(path) != features.sha256:
        raise CheckpointError(f"{path} is not the encoder that made the features; extract again")
    return EncoderClassifier(classifier)
