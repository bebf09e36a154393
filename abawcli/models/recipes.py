"""Recipes: everything between pixels and labels, by name or by a checkpoint's path."""

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from abawcli.config import COMPACT_FACE, COMPACT_VOICE, Hearing, Smoothing
from abawcli.errors import CheckpointError, UsageError
from abawcli.models.checkpoint import describe_checkpoint, hash_file

WEIGHTS = Path(__file__).parent.parent / "weights"


@dataclass(frozen=True)
class Recipe:
    """Backbones (which record their own preprocessing), head, smoothing.

    Without a head, faces are read by the image encoder's own classifier and sound is not heard.
    """

    name: str
    visual: str | None  # as for `abaw extract --visual`; None: faces are not looked at
    audio: str | None = None  # likewise `--audio`
    layers: str = Hearing.layers
    head: Path | None = None
    smoothing: Smoothing = Smoothing()

    def describe(self) -> dict[str, Any]:
        """Return what a result depends on beside the features, JSON-like, for its provenance."""
        return {
            "recipe": self.name,
            "head_sha256": self.head and hash_file(self.head),
            "smoothing": asdict(self.smoothing),
        }


def find_weights(name: str) -> Path:
    """Return the file with the weights of one of our own backbones or heads."""
    return WEIGHTS / f"{name}.safetensors"


RECIPES = {
    "compact": find_weights("compact-gated"),
    "compact-dual-branch": find_weights("compact-dual-branch"),
    COMPACT_FACE: find_weights(COMPACT_FACE),
}
LICENCES = {  # of what comes with the package
    "compact": "CC BY-NC-SA 4.0, of its voices; its face encoder alone: MIT",
    "compact-dual-branch": "CC BY-NC-SA 4.0, of its voices; its face encoder alone: MIT",
    COMPACT_FACE: "MIT (trained on FER2013 images with FER+ votes)",
    COMPACT_VOICE: "CC BY-NC-SA 4.0 (trained on RAVDESS and nEMO)",
}
# Systems as they were published: backbones and head. Nobody has published their weights.
PUBLISHED = {
    "two-stage": ("facebook/dinov2-large", "facebook/wav2vec2-large-960h-lv60-self", "gated"),
    "dual-branch": ("microsoft/beit-large-patch16-224", "microsoft/wavlm-large", "dual-branch"),
}


def find_recipe(name: str) -> Recipe:
    """Return the recipe of that name, or the one that a checkpoint at that path stands for.

    Raises:
        UsageError: neither a known name nor a file, or a system without published weights.
        CheckpointError: the file is no encoder or head of abaw.
    """
    path = RECIPES.get(name, Path(name))
    if name not in RECIPES and not os.path.exists(path):
        raise UsageError(_explain_missing(name))
    about = describe_checkpoint(path)
    if about.get("kind") == "encoder":
        return Recipe(name, str(path))
    if about.get("kind") != "head":
        raise CheckpointError(
            f"{path} holds {about.get('kind')!r} weights; a recipe is a head or an image encoder"
        )
    visual, audio = about.get("visual") or {}, about.get("audio") or {}
    return Recipe(
        name,
        visual.get("place"),
        audio.get("place"),
        audio.get("layers") or Hearing.layers,
        path,
        smoothing=Smoothing(**about["smoothing"]),
    )


def _explain_missing(name: str) -> str:
    if name not in PUBLISHED:
        return f"no recipe {name!r}: known are {', '.join(RECIPES)}, or give a checkpoint's path"
    visual, audio, head = PUBLISHED[name]
    return (
        f"the weights of {name} were not published; make your own with `abaw extract --visual "
        f"{visual} --audio {audio}` and `abaw train head --head {head}`, and give head.safetensors "
        "as the recipe"
    )


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
