"""Recipes: everything between pixels and labels, by name or by a checkpoint's path."""

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
    if not path.exists():
        raise UsageError(
            f"no recipe {name!r}: known are {', '.join(RECIPES)}, or give a checkpoint's path"
        )
    describe_checkpoint(path)
    return Recipe(str(path), path)
