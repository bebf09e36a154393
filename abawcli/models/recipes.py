"""Recipes: everything between pixels and labels, by name or by a checkpoint's path."""

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from abawcli.config import COMPACT_FACE, Smoothing
from abawcli.errors import UsageError
from abawcli.models.checkpoint import describe_checkpoint, hash_file

WEIGHTS = Path(__file__).parent.parent / "weights"


@dataclass(frozen=True)
class Recipe:
    """Detector, encoder (which records its own preprocessing and crop scales), smoothing."""

    name: str
    encoder: Path
    detector: str = "retinaface"
    smoothing: Smoothing = Smoothing()
    licence: str = "the user's own"

    def describe(self) -> dict[str, Any]:
        """Return what a result depends on, JSON-like, for its provenance."""
        return {
            "recipe": self.name,
            "encoder_sha256": hash_file(self.encoder),
            "detector": self.detector,
            "smoothing": asdict(self.smoothing),
        }


RECIPES = {
    "compact": Recipe(
        "compact",
        WEIGHTS / f"{COMPACT_FACE}.safetensors",
        licence="MIT (trained on FER2013 images with FER+ votes)",
    )
}


def find_recipe(name: str) -> Recipe:
    """Return the recipe of that name, or the one that a checkpoint at that path stands for.

    Raises:
        UsageError: neither a known name nor a file.
        CheckpointError: the file is no checkpoint of abaw.
    """
    if name in RECIPES:
        return RECIPES[name]
    path = Path(name)
    if not os.path.exists(path):
        raise UsageError(
            f"no recipe {name!r}: known are {', '.join(RECIPES)}, or give a checkpoint's path"
        )
    describe_checkpoint(path)
    return Recipe(str(path), path)


# Pretrained backbones that the published systems name; any other of their kind works too.
HUB_BACKBONES = {
    "facebook/dinov2-large": "Apache-2.0",
    "facebook/dinov2-small": "Apache-2.0",
    "microsoft/beit-large-patch16-224": "Apache-2.0",
}


def list_models() -> list[dict[str, str]]:
    """Return a row for every recipe and known backbone: name, kind, licence, size, weights."""
    rows = [
        _list_model(recipe.name, "recipe", recipe.licence, recipe.encoder)
        for recipe in RECIPES.values()
    ]
    compact = RECIPES["compact"]
    rows.append(_list_model(COMPACT_FACE, "backbone", compact.licence, compact.encoder))
    for name, licence in HUB_BACKBONES.items():
        place = _find_in_cache(name)
        rows.append(_list_model(name, "backbone", licence, place, f"hf download {name}"))
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
