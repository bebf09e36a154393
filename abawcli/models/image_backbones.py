"""Image backbones: networks from face crops to features, and their loading."""

import hashlib
import inspect
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from abawcli.config import COMPACT_FACE, CompactFaceShape
from abawcli.errors import CheckpointError, UsageError, explain_os_error
from abawcli.formats.hashing import hash_file
from abawcli.formats.json_values import JsonObject, parse_object
from abawcli.formats.metadata import Preprocess
from abawcli.models.compact import CompactFace
from abawcli.models.metadata import FaceEncoderMetadata
from abawcli.models.mobilenet import PREPROCESS as MOBILENET_PREPROCESS
from abawcli.models.mobilenet import SIDES as MOBILENET_SIDES
from abawcli.models.mobilenet import MobileNet
from abawcli.models.precision import cast_weights


class Backbone(nn.Module):
    """An image network with its name, preprocessing, width and depth groups."""

    def __init__(self, name: str, network: nn.Module, dim: int, preprocess: Preprocess) -> None:
        super().__init__()
        self.name = name
        self.network = network
        self.dim = dim
        self.preprocess = preprocess

    @property
    def computes_float32(self) -> bool:
        """Tell whether it always runs in float32, as our MobileNet does."""
        return self.name in BACKBONES and not self.is_small

    @property
    def is_small(self) -> bool:
        """Tell whether it is compact-face; see `device.inference_dtype`."""
        return self.name == COMPACT_FACE

    def forward(self, pixels: Tensor) -> Tensor:
        """Map prepared input (B, C, S, S) to features (B, dim).

        A transformer's feature is its class token after the last norm (arXiv 2603.12221), or the
        normalised mean of its patches if it was trained with that, as BEiT.
        """
        return self._run(pixels)

    def _run(self, pixels: Tensor, **how: Any) -> Tensor:
        # What transformers keeps for later calls, as BEiT its positions, must serve training, too.
        grad = torch.is_grad_enabled()
        with torch.inference_mode(False), torch.set_grad_enabled(grad):
            out = self.network(pixels.to(next(self.parameters()).dtype), **how)
        if isinstance(out, Tensor):
            return out.float()  # (B, dim)
        # With mean pooling, the class token has no norm behind it, and its loss had no use for it.
        is_mean = getattr(self.network.config, "use_mean_pooling", False)
        features: Tensor = out.pooler_output if is_mean else out.last_hidden_state[:, 0]
        return features.float()  # (B, dim)

    def cast_to(self, dtype: torch.dtype) -> None:
        """Cast the network to `dtype`, except for the parts that need float32."""
        cast_weights(self.network, dtype)
        if isinstance(self.network, CompactFace):
            self.network.keep_gates()

    def run_probe(self) -> Tensor:
        """Return the features (1, dim) of fixed noise.

        The input is four patches wide if the network takes any size, for a tenth of the time.
        """
        side, how = self.preprocess.size, dict[str, Any]()
        config: Any = getattr(self.network, "config", None)
        if "interpolate_pos_encoding" in inspect.signature(self.network.forward).parameters:
            side, how = 4 * config.patch_size, {"interpolate_pos_encoding": True}
        elif config and config.model_type.startswith("dinov2"):
            side = 4 * config.patch_size  # it always interpolates
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(1, self.preprocess.channels, side, side, generator=generator)
        return self._run(noise.to(next(self.parameters()).device), **how)

    @property
    def blocks(self) -> nn.ModuleList:
        """Return the blocks in order: the longest list of modules."""
        return max((m for m in self.modules() if isinstance(m, nn.ModuleList)), key=len)

    def depth_groups(self) -> list[list[nn.Parameter]]:
        """Return the parameters by depth: the embedding, each block, and the layers after them.

        Layer-wise decay and freezing are defined on these. Parameters registered before the blocks
        belong to the embedding.
        """
        blocks = self.blocks
        inside = {id(p) for p in blocks.parameters()}
        before: list[nn.Parameter] = []
        after: list[nn.Parameter] = []
        side = before
        for parameter in self.parameters():
            if id(parameter) in inside:
                side = after
            else:
                side.append(parameter)
        return [before, *(list(block.parameters()) for block in blocks), after]

    def describe(self) -> FaceEncoderMetadata:
        """Return the description from which `rebuild_backbone` builds the network."""
        network: Any = self.network
        shape = network.shape if self.name in BACKBONES else network.config.to_dict()
        return FaceEncoderMetadata(self.name, self.preprocess, shape)


# Mean and deviation of FER2013's training images, at their own 48 pixels. The centre of 44: random
# crops in training show faces larger by as much (arXiv 1906.06423), as the published 224 of 256 do.
COMPACT_FACE_PREPROCESS = Preprocess(resize=48, size=44, mean=(0.508,), std=(0.255,))


def build_compact_face(shape: CompactFaceShape | None = None) -> Backbone:
    """Return compact-face with random weights.

    Raises:
        UsageError: the shape is invalid.
    """
    shape = shape or CompactFaceShape()
    if len(shape.widths) != len(shape.blocks):
        raise UsageError(
            f"{len(shape.widths)} widths and {len(shape.blocks)} numbers of blocks; "
            "each stage needs one of both"
        )
    network = CompactFace(shape.stem, shape.widths, shape.blocks)
    return Backbone(COMPACT_FACE, network, CompactFace.dim, COMPACT_FACE_PREPROCESS)


def build_mobilenet(side: int, shape: CompactFaceShape | None = None) -> Backbone:
    """Return MobileNet with random weights.

    Raises:
        UsageError: a shape of compact-face is given.
    """
    name = f"mobilenet-{side}"
    if shape:
        raise UsageError(f"--stem, --widths and --blocks are of {COMPACT_FACE}, not of {name}")
    return Backbone(name, MobileNet(side), MobileNet.dim, MOBILENET_PREPROCESS)


BACKBONES: dict[str, Callable[[CompactFaceShape | None], Backbone]] = {
    COMPACT_FACE: build_compact_face,
    **{f"mobilenet-{side}": partial(build_mobilenet, side) for side in MOBILENET_SIDES},
}


def _hub_preprocess(processor: JsonObject, image_size: int) -> Preprocess:
    """Return the published evaluation transform with the settings of a model's preprocessor."""
    crop = processor.get("crop_size") or processor.get("size") or {}
    crop = crop if isinstance(crop, dict) else {"height": crop}
    side = int(crop.get("height") or crop.get("shortest_edge") or min(image_size, 224))
    return Preprocess(
        resize=round(side * 256 / 224),  # arXiv 2603.12221: 256, centre 224
        size=side,
        mean=tuple(processor.get("image_mean", (0.485, 0.456, 0.406))),
        std=tuple(processor.get("image_std", (0.229, 0.224, 0.225))),
        crop_scales=(0.9, 1.2, 1.5),
        resample="bicubic",  # antialiased, as published
    )


# What published checkpoints may lack: only pretraining needs it.
SPARE_WEIGHTS = ("mask_token", "masked_spec_embed", "pooler")


def load_pretrained(name: str) -> tuple[Any, JsonObject]:
    """Load a network of transformers by hub name or folder, with its preprocessor's settings.

    Raises:
        CheckpointError: it is neither on disk nor reachable, lacks weights or is damaged.
    """
    from transformers import AutoModel
    from transformers.utils.hub import cached_file

    network = load_weights(AutoModel, name, SPARE_WEIGHTS)
    try:
        found = cached_file(
            name, "preprocessor_config.json", _raise_exceptions_for_missing_entries=False
        )
    except (OSError, ValueError) as error:
        raise CheckpointError(explain_failure(name, error)) from error
    return network, read_settings(Path(found)) if found else {}


def load_weights(kind: Any, name: str, spare: Sequence[str]) -> Any:
    """Load a network of an AutoModel class of transformers by hub name or folder, in float32.

    Weights whose names contain a word of `spare` may be missing.

    Raises:
        CheckpointError: it is neither on the disk nor on the hub, lacks weights, or is an adapter.
    """
    from huggingface_hub.utils.logging import set_verbosity_error
    from safetensors import SafetensorError
    from transformers.utils import logging as transformers_logging

    _check_whole(name)
    transformers_logging.disable_progress_bar()  # the command has its own, and none in a pipe
    # Each attempt to reach the hub, and each missing weight, is no news; what came of them is.
    set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers_logging.set_verbosity_error()
    failures = (OSError, ValueError, RuntimeError, ImportError, LookupError, SafetensorError)
    try:
        # transformers would keep the format of the file, in which training loses small steps.
        network, loading = kind.from_pretrained(name, output_loading_info=True, dtype=torch.float32)
    except failures as error:
        raise CheckpointError(explain_failure(name, error)) from error
    missing = [key for key in sorted(loading["missing_keys"]) if not any(k in key for k in spare)]
    if missing:
        more = len(missing) - 1
        raise CheckpointError(f"the weights of {name!r} lack {missing[0]} and {more} more")
    return network


def explain_failure(name: str, error: Exception) -> str:
    """Return why a backbone does not load, and what to try, for a hub name or a folder."""
    reason = f"cannot load the backbone {name!r}: {str(error).splitlines()[0].rstrip('.')}"
    if os.path.isfile(name):
        way_out = "the folder or hub name of a model, or an encoder.safetensors"
        return f"{name} is no backbone; give {way_out}"
    if os.path.exists(name):
        return reason
    if name.startswith((".", "~")) or os.path.isabs(name) or name.count("/") > 1:
        return f"no such backbone folder: {name}; give the folder where it is now"
    return (
        f"{reason}. There is no such folder either. On a machine with internet: "
        f"`hf download {name} --local-dir DIR`; then give DIR instead of the name"
    )


def _check_whole(name: str) -> None:
    """Check that a folder has the weights of a network, and not only of an adapter.

    Raises:
        CheckpointError: it has only those of an adapter.
    """
    found = find_weights_file(name, "adapter_config.json")
    if found and not find_weights_file(name, "config.json"):
        base = read_settings(found).get("base_model_name_or_path")
        raise CheckpointError(
            f"{name} has an adapter (LoRA) of {base!r}, without that network's weights; merge both "
            "with peft (merge_and_unload), save the result, and give its folder"
        )


def read_settings(path: str | Path) -> JsonObject:
    """Return the JSON object in a file of a pretrained network.

    Raises:
        CheckpointError: it cannot be read, or is damaged.
    """
    try:
        return parse_object(Path(path).read_bytes())
    except OSError as error:
        raise CheckpointError(explain_os_error(path, error)) from error
    except ValueError as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error


def find_weights_file(name: str, file: str) -> Path | None:
    """Return the path of a file of a hub model or folder on this machine, without downloading."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    if os.path.isdir(name):
        return Path(name, file) if Path(name, file).is_file() else None
    try:
        found = try_to_load_from_cache(name, file)
    except HFValidationError:  # a path that is not there: no hub model is called so
        return None
    return Path(found) if isinstance(found, str) else None


def hash_pretrained(name: str) -> str | None:
    """Return the sha256 of a pretrained network's weights; of several files, of their hashes.

    None if their file format is unknown.

    Raises:
        CheckpointError: as `find_files`.
    """
    hashes = [hash_file(file) for file in find_files(name) if file]
    if len(hashes) < 2:
        return hashes[0] if hashes else None
    return hashlib.sha256("".join(hashes).encode()).hexdigest()


def find_files(name: str) -> list[Path | None]:
    """Return the files of a pretrained network's weights; None if it is not on this machine.

    Raises:
        CheckpointError: the list of the files is damaged.
    """
    index = find_weights_file(name, "model.safetensors.index.json")
    parts = ["model.safetensors"]
    if index:
        files_of = read_settings(index).get("weight_map")
        if not isinstance(files_of, dict):
            raise CheckpointError(f"{index} is damaged: it has no weight_map")
        parts = sorted(set(map(str, files_of.values())))
    files = [find_weights_file(name, part) for part in parts]
    if None in files:
        files = [find_weights_file(name, "pytorch_model.bin")]
    return files


def load_hub_backbone(name: str) -> Backbone:
    """Load a pretrained DINOv2, BEiT or ViT of transformers by hub name or folder.

    Raises:
        CheckpointError: the model is neither on the disk nor on the hub, or has no image size.
    """
    network, processor = load_pretrained(name)
    if not isinstance(getattr(network.config, "image_size", None), int):
        raise CheckpointError(f"{name!r} is no image backbone (no image_size in its config)")
    preprocess = _hub_preprocess(processor, network.config.image_size)
    return Backbone(name, network, int(network.config.hidden_size), preprocess)


def build_backbone(name: str, shape: CompactFaceShape | None = None) -> Backbone:
    """Return a backbone by our own name (random weights), or a pretrained one by hub name or
    folder.

    Raises:
        CheckpointError: the pretrained model cannot be loaded.
        UsageError: the name is unknown, or the shape is invalid, or the backbone has a fixed one.
    """
    if name in BACKBONES:
        return BACKBONES[name](shape)
    if name.startswith("mobilenet-"):
        raise UsageError(f"no backbone {name!r}; known are {', '.join(BACKBONES)}")
    if shape:
        raise UsageError(f"--stem, --widths and --blocks are of {COMPACT_FACE}, not of {name!r}")
    return load_hub_backbone(name)


def rebuild_backbone(metadata: FaceEncoderMetadata) -> Backbone:
    """Return the backbone that `Backbone.describe` described, without its weights."""
    name, preprocess = metadata.backbone, metadata.preprocess
    if name in BACKBONES:
        kind = CompactFace if name == COMPACT_FACE else MobileNet
        return Backbone(name, kind(**metadata.network), kind.dim, preprocess)
    from transformers import AutoConfig, AutoModel

    config = AutoConfig.for_model(**metadata.network)
    network = AutoModel.from_config(config)
    return Backbone(name, network, int(config.hidden_size), preprocess)
