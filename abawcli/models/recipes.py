"""Recipes: everything between pixels and labels, by name or by a checkpoint's path."""

import itertools
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from abawcli.config import COMPACT_FACE, COMPACT_VOICE, Smoothing
from abawcli.errors import CheckpointError, UsageError
from abawcli.formats.features import identify_backbone, name_backbone
from abawcli.formats.hashing import hash_file
from abawcli.models.checkpoint import describe_checkpoint
from abawcli.models.heads import find_head
from abawcli.models.image_backbones import hash_pretrained

LOG = logging.getLogger(__name__)

WEIGHTS = Path(__file__).parent.parent / "weights"


SEARCHED_FOLDERS = 4  # above a head: as deep as a study is nested, and no further


@dataclass(frozen=True)
class Recipe:
    """Backbones (which record their own preprocessing), heads, smoothing.

    Of several heads the probabilities are averaged. Without a head, faces are read by the image
    encoder's own classifier and sound is not heard.
    """

    name: str
    # Modality -> description of its backbone: `place`, as for `abaw extract --visual`, and of a
    # head's what its features have to agree in. What is not looked at has none.
    backbones: Mapping[str, Mapping[str, Any]]
    heads: Mapping[str, Path] = field(default_factory=dict)  # by the names of their recipes
    smoothing: Smoothing = Smoothing()

    def place_backbone(self, modality: str) -> str:
        """Return where the backbone of a modality is now; nothing if there is none.

        A file or folder that is gone is looked for in the folders above the heads, under every end
        of its old path: beside the head, or where it was in a study that was moved as a whole.
        Its sha256 decides.

        Raises:
            CheckpointError: it is not there either.
        """
        backbone = self.backbones.get(modality) or {}
        place = Path(backbone.get("place") or "")
        if not place.is_absolute() or place.exists():
            return str(backbone.get("place") or "")
        for head in self.heads.values():
            for folder in head.absolute().parents[:SEARCHED_FOLDERS]:
                for k in range(1, len(place.parts)):
                    found = folder.joinpath(*place.parts[k:])
                    if found.exists() and _hash_weights(found) == backbone.get("encoder"):
                        return str(found)
        raise CheckpointError(
            f"the {modality} backbone of {self.name} is gone: {place}. Put it, or a link to it, "
            f"beside the head, as {place.name}; it is told by its sha256, "
            f"{name_backbone(backbone)}"
        )

    def describe(self) -> dict[str, Any]:
        """Return what a result depends on beside the features, JSON-like, for its provenance."""
        return {
            "recipe": ", ".join(Path(name).name for name in self.name.split(", ")),
            "heads_sha256": [hash_file(path) for path in self.heads.values()],
            "smoothing": asdict(self.smoothing),
        }


def _hash_weights(place: Path) -> str | None:
    return hash_pretrained(str(place)) if place.is_dir() else hash_file(place)


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
        return Recipe(name, {"visual": {"place": str(path)}})
    if about.get("kind") != "head":
        raise CheckpointError(
            f"{path} holds {about.get('kind')!r} weights; a recipe is a head or an image encoder"
        )
    backbones = {modality: about.get(modality) or {} for modality in find_head(about, path).uses}
    return Recipe(name, backbones, {name: path}, _find_smoothing(path, about))


def _find_smoothing(path: Path, about: Mapping[str, Any]) -> Smoothing:
    """Return how a head's predictions are smoothed: as it was trained for, if by a user.

    The heads that come with the package are smoothed by the default, whatever their files name.

    Raises:
        CheckpointError: the file describes no smoothing.
    """
    if path.resolve().parent == WEIGHTS.resolve():
        return Smoothing()
    try:
        given = dict(about["smoothing"])
        if given["window_s"] is not None:  # files of older versions give frames beside seconds
            given["window_frames"] = None
        return Smoothing(**given)
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"{path} describes no smoothing known here: {error!r}") from error


def join_recipes(names: Sequence[str]) -> Recipe:
    """Return the recipe whose probabilities are the mean of several heads', each counted once.

    It smooths as the first one does; a warning says so where they differ. Of one name, that recipe.

    Raises:
        UsageError: as `find_recipe`; or one has no head, or two read features of different
            backbones.
        CheckpointError: as `find_recipe`.
    """
    # By the file: a head has more names than one, and would count as often.
    files: dict[str, str] = {}
    for name in names:
        files.setdefault(os.path.realpath(RECIPES.get(name, name)), name)
    first, *others = recipes = [find_recipe(name) for name in files.values()]
    for pair in itertools.combinations(recipes, 2):
        _check_pair(*pair)
    unlike = [recipe.name for recipe in others if recipe.smoothing != first.smoothing]
    if unlike:
        LOG.warning(
            "%s is to be smoothed otherwise than %s; their mean is smoothed as the latter",
            unlike[0], first.name,
        )  # fmt: skip
    return Recipe(
        ", ".join(recipe.name for recipe in recipes),
        {key: value for recipe in recipes for key, value in recipe.backbones.items()},
        {key: value for recipe in recipes for key, value in recipe.heads.items()},
        first.smoothing,
    )


def _check_pair(first: Recipe, other: Recipe) -> None:
    """Make sure that two recipes read the same features."""
    way_out = "predict with each and join the tables by `abaw fuse`"
    for recipe in (first, other):
        if not recipe.heads:
            raise UsageError(f"the recipe {recipe.name} has no head to average with; {way_out}")
    for modality in sorted(first.backbones.keys() & other.backbones.keys()):
        here, there = (recipe.backbones[modality] for recipe in (first, other))
        if identify_backbone(here) != identify_backbone(there):
            raise UsageError(
                f"{first.name} was trained on {modality} features of {name_backbone(here)}, "
                f"{other.name} on those of {name_backbone(there)}; {way_out}"
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
