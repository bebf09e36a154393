"""The recipes and backbones that are known, and where their weights are."""

from pathlib import Path

from abawcli.config import COMPACT_FACE, COMPACT_VOICE
from abawcli.models.recipes import LICENCES, RECIPES, find_weights

# Pretrained backbones that the published systems name; any other of their kind works too.
HUB_BACKBONES = {
    "facebook/dinov2-large": "Apache-2.0",
    "facebook/dinov2-small": "Apache-2.0",
    "microsoft/beit-large-patch16-224": "Apache-2.0",
    "facebook/wav2vec2-large-960h-lv60-self": "Apache-2.0",
    "microsoft/wavlm-large": "CC BY-SA 3.0",
}


def list_models() -> list[dict[str, str]]:
    """Return a row for every recipe and known backbone: name, kind, licence, size, weights."""
    rows = [_list_model(name, "recipe", LICENCES[name], path) for name, path in RECIPES.items()]
    for name in (COMPACT_FACE, COMPACT_VOICE):
        rows.append(_list_model(name, "backbone", LICENCES[name], find_weights(name)))
    for name, licence in HUB_BACKBONES.items():
        weights = _find_in_cache(name)
        rows.append(_list_model(name, "backbone", licence, weights, f"hf download {name}"))
    return rows


def _list_model(
    name: str,
    kind: str,
    licence: str,
    weights: Path | None,
    way_out: str = "install abawcli again",
) -> dict[str, str]:
    there = weights is not None and weights.is_file()
    return {
        "name": name,
        "kind": kind,
        "licence": licence,
        "size": f"{weights.stat().st_size / 1e6:.1f} MB" if weights and there else "",
        "weights": str(weights) if there else f"not here: {way_out}",
    }


def _find_in_cache(name: str) -> Path | None:
    """Return where Hugging Face's cache keeps a model's weights, without asking the network."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(name, "model.safetensors")
    return Path(found) if isinstance(found, str) else None
