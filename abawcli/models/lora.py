"""LoRA: training of low-rank adapters in place of a transformer's weights (arXiv 2106.09685).

A linear layer W of a block becomes W + s B A, of which A and B are trained, by adapters of peft. An
encoder is saved with W + s B A as its weights, so that it needs neither peft nor the backbone that
training started from, and all commands load it as any other.
"""

from torch import Tensor, nn

from abawcli.config import LORA_SCALE
from abawcli.errors import UsageError
from abawcli.models.image_backbones import BACKBONES, Backbone


def add_lora(backbone: Backbone, rank: int, frozen_blocks: int) -> None:
    """Add adapters to the linear layers of all blocks but the first ones; freeze all else.

    Raises:
        UsageError: the backbone is not a transformer, all of its blocks are frozen, or peft is not
            installed.
    """
    if backbone.name in BACKBONES:
        raise UsageError(
            f"--lora is for DINOv2, BEiT and ViT, not for {backbone.name}, which is small enough "
            "to be trained whole"
        )
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise UsageError("--lora needs peft: pip install 'abawcli[lora]'") from error
    blocks = list(backbone.blocks)[frozen_blocks:]
    inside = {id(module) for block in blocks for module in block.modules()}
    names = [
        name
        for name, module in backbone.network.named_modules()
        if id(module) in inside and isinstance(module, nn.Linear)
    ]
    if not names:
        raise UsageError(
            f"--lora leaves nothing to train: {backbone.name} has {len(backbone.blocks)} blocks, "
            f"and {frozen_blocks} are frozen; give fewer --frozen-blocks"
        )
    config = LoraConfig(r=rank, lora_alpha=LORA_SCALE * rank, target_modules=names)
    inject_adapter_in_model(config, backbone.network)


def merge_lora(network: nn.Module) -> dict[str, Tensor]:
    """Return the weights of a network with its adapters merged, under their usual names."""
    from peft.tuners.lora import Linear

    adapted = {n: module for n, module in network.named_modules() if isinstance(module, Linear)}
    merged = {}
    for key, value in network.state_dict().items():
        layer, _, last = key.rpartition(".base_layer.")
        if layer and last == "weight":
            value = value + adapted[layer].get_delta_weight("default")
        if ".lora_" not in key:
            merged[f"{layer}.{last}" if layer else key] = value
    return merged
