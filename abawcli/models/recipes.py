"""Recipes: all models and settings from pixels to labels, by name or by a checkpoint's path."""

import itertools
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path

from abawcli.config import COMPACT_FACE, COMPACT_VOICE, EXPR, Smoothing
from abawcli.errors import CheckpointError, UsageError
from abawcli.formats.hashing import hash_file
from abawcli.formats.json_values import JsonObject
from abawcli.formats.metadata import HUB_PREFIX, MODALITIES, Backbones
from abawcli.models.checkpoint import read_kind, read_metadata
from abawcli.models.heads import find_head
from abawcli.models.hub import find_input_modality, is_classifier
from abawcli.models.image_backbones import hash_pretrained
from abawcli.models.metadata import FaceEncoderMetadata, HeadMetadata

LOG = logging.getLogger(__name__)

WEIGHTS = Path(__file__).parent.parent / "weights"


SEARCHED_FOLDERS = 4  # above a head: as deep as a study is nested, and no further


@dataclass(frozen=True)
class Recipe:
    """Backbones (which record their own preprocessing), heads, smoothing.

    The probabilities of several heads are averaged. Without a head, the image encoder's own
    classifier labels faces and audio is not used, or pretrained classifiers label both.
    """

    name: str
    encoder: Path | None = None  # of a recipe without a head
    backbones: Backbones = Backbones()  # that the heads were trained with, of what they use
    heads: Mapping[str, Path] = field(default_factory=dict)  # by the names of their recipes
    classifiers: Mapping[str, str] = field(default_factory=dict)  # names by modality
    smoothing: Smoothing = Smoothing()
    task: str = EXPR  # of `config.TASK_NAMES`

    def find_backbone(self, modality: str) -> str:
        """Return the name or path of a modality's backbone; "" if there is none.

        If the path does not exist, every end of it is looked up in the folders above the heads, so
        that it is found beside the head, or in a study that was moved as a whole. The file found
        must have the backbone's sha256.

        Raises:
            CheckpointError: it is not found, or the head does not record its path.
        """
        if self.classifiers:
            return self.classifiers.get(modality, "")
        backbone = self.backbones.get(modality)
        if backbone is None:
            return str(self.encoder) if self.encoder and modality == "visual" else ""
        if backbone.parts:
            extracts = ", ".join(part.path or part.name for part in backbone.parts)
            raise CheckpointError(
                f"{self.name} was trained on {modality} features of {len(backbone.parts)} "
                f"backbones, which one run over a video cannot make: extract with each ({extracts})"
                " by `abaw extract`, then give the features of the first as inputs, and those of "
                "each further one by --features, in this order"
            )
        if not backbone.path:
            raise CheckpointError(
                f"{self.name} does not say where its {modality} backbone is, {backbone}; train "
                "the head again, or give feature files of `abaw extract` as inputs"
            )
        prefix = HUB_PREFIX if backbone.path.startswith(HUB_PREFIX) else ""
        path = Path(backbone.path.removeprefix(HUB_PREFIX))
        if not path.is_absolute() or path.exists():
            return backbone.path
        for head in self.heads.values():
            for folder in head.absolute().parents[:SEARCHED_FOLDERS]:
                for k in range(1, len(path.parts)):
                    found = folder.joinpath(*path.parts[k:])
                    if found.exists() and _hash_weights(found) == backbone.sha256:
                        return f"{prefix}{found}"
        raise CheckpointError(
            f"the {modality} backbone of {self.name} is gone: {path}. Put it, or a link to it, "
            f"beside the head, as {path.name}. Its weights must be those of {backbone}"
        )

    def describe(self) -> JsonObject:
        """Return as JSON what a result depends on beside the features, for its provenance."""
        return {
            "recipe": ", ".join(map(_drop_folder, self.name.split(", "))),
            "heads_sha256": [hash_file(path) for path in self.heads.values()],
            "smoothing": self.smoothing.to_json(),
            **({} if self.task == EXPR else {"task": self.task}),
        }


def _drop_folder(name: str) -> str:
    """Return the name of a recipe without its folder."""
    location = name.removeprefix(HUB_PREFIX)
    hub = name.startswith(HUB_PREFIX) and not os.path.exists(location)
    return name if hub else Path(location).name


def _hash_weights(path: Path) -> str | None:
    return hash_pretrained(str(path)) if path.is_dir() else hash_file(path)


def find_weights(name: str) -> Path:
    """Return the file with the weights of an embedded backbone or head."""
    return WEIGHTS / f"{name}.safetensors"


RECIPES = {
    "compact": find_weights("compact-gated"),
    "compact-dual-branch": find_weights("compact-dual-branch"),
    COMPACT_FACE: find_weights(COMPACT_FACE),
}
LICENCES = {  # of what comes with the package
    "compact": "CC BY-NC-SA 4.0, of its speech data; its face encoder alone: MIT",
    "compact-dual-branch": "CC BY-NC-SA 4.0, of its speech data; its face encoder alone: MIT",
    COMPACT_FACE: "MIT (trained on FER2013 images with FER+ votes)",
    COMPACT_VOICE: "CC BY-NC-SA 4.0 (trained on RAVDESS, nEMO and ASED; layers of Whisper, MIT)",
}
# Systems as they were published: backbones and head. Nobody has published their weights.
PUBLISHED = {
    "two-stage": ("facebook/dinov2-large", "facebook/wav2vec2-large-960h-lv60-self", "gated"),
    "dual-branch": ("microsoft/beit-large-patch16-224", "microsoft/wavlm-large", "dual-branch"),
}


def find_recipe(name: str) -> Recipe:
    """Return the recipe of that name, or that of the checkpoint at that path.

    Raises:
        UsageError: the name is neither a known recipe nor a file, or has no published weights.
        CheckpointError: the file is not an encoder or head of abaw.
    """
    if is_classifier(name):
        return Recipe(name, classifiers={find_input_modality(name): name})
    path = RECIPES.get(name, Path(name))
    if name not in RECIPES and not os.path.exists(path):
        raise UsageError(_explain_missing(name))
    kind = read_kind(path)
    if kind == FaceEncoderMetadata.kind:
        return Recipe(name, path)
    if kind != HeadMetadata.kind:
        raise CheckpointError(
            f"{path} holds {kind!r} weights; a recipe is a head or an image encoder"
        )
    metadata = read_metadata(path, HeadMetadata)
    backbones = metadata.backbones.select(find_head(metadata, path).uses)
    smoothing = _find_smoothing(path, metadata)
    return Recipe(
        name, backbones=backbones, heads={name: path}, smoothing=smoothing, task=metadata.task
    )


def _find_smoothing(path: Path, metadata: HeadMetadata) -> Smoothing:
    """Return the smoothing of a head's predictions.

    It is that in a head's metadata. Embedded heads have the default, whatever their files name.

    Raises:
        CheckpointError: the metadata have none.
    """
    if path.resolve().parent == WEIGHTS.resolve():
        return Smoothing()
    if metadata.smoothing is None:
        raise CheckpointError(f"{path}: its metadata has no smoothing; train it again")
    return metadata.smoothing


def join_recipes(names: Sequence[str]) -> Recipe:
    """Return the recipe whose outputs are the mean of several heads; each file counts once.

    It has the smoothing of the first one, with a warning if they differ.

    Raises:
        UsageError: as `find_recipe`; or one has no head, or two have different tasks or backbones.
        CheckpointError: as `find_recipe`.
    """
    # By the file: a head has more names than one, and would count as often.
    files: dict[str, str] = {}
    for name in names:
        files.setdefault(os.path.realpath(RECIPES.get(name, name)), name)
    first, *others = recipes = [find_recipe(name) for name in files.values()]
    if others and any(recipe.classifiers for recipe in recipes):
        return _join_classifiers(recipes)
    for pair in itertools.combinations(recipes, 2):
        _check_pair(*pair)
    unlike = [recipe.name for recipe in others if recipe.smoothing != first.smoothing]
    if unlike:
        LOG.warning(
            "%s has another smoothing than %s; their mean is smoothed as the latter",
            unlike[0], first.name,
        )  # fmt: skip
    if not others:
        return first
    return Recipe(
        ", ".join(recipe.name for recipe in recipes),
        backbones=reduce(Backbones.join, (recipe.backbones for recipe in recipes)),
        heads={key: value for recipe in recipes for key, value in recipe.heads.items()},
        smoothing=first.smoothing,
        task=first.task,
    )


def _join_classifiers(recipes: Sequence[Recipe]) -> Recipe:
    """Return the recipe of a classifier of faces and one of speech."""
    way_out = "predict with each and join the tables by `abaw fuse`"
    joined: dict[str, str] = {}
    for recipe in recipes:
        if not recipe.classifiers:
            raise UsageError(f"{recipe.name} is no hf: or .onnx classifier; {way_out}")
        ((modality, name),) = recipe.classifiers.items()
        if modality in joined:
            raise UsageError(f"{joined[modality]} and {name} are both {modality}; {way_out}")
        joined[modality] = name
    return Recipe(", ".join(joined.values()), classifiers=joined)


def _check_pair(first: Recipe, other: Recipe) -> None:
    """Check that two recipes read the same features."""
    way_out = "predict with each and join the tables by `abaw fuse`"
    for recipe in (first, other):
        if not recipe.heads:
            raise UsageError(f"the recipe {recipe.name} has no head to average with; {way_out}")
    if first.task != other.task:
        raise UsageError(
            f"{first.name} is of --task {first.task}, {other.name} of --task {other.task}; predict "
            "with each by itself"
        )
    both = [key for key in MODALITIES if first.backbones.get(key) and other.backbones.get(key)]
    if modality := first.backbones.find_difference(other.backbones, both):
        raise UsageError(
            f"{first.name} was trained on {modality} features of "
            f"{first.backbones.name(modality)}, {other.name} on those of "
            f"{other.backbones.name(modality)}; {way_out}"
        )


def _explain_missing(name: str) -> str:
    if name not in PUBLISHED:
        listed = ", ".join(RECIPES)
        return (
            f"no recipe {name!r}: known are {listed}; or give a checkpoint's path, or hf:NAME for "
            "a classifier of the Hugging Face hub"
        )
    visual, audio, head = PUBLISHED[name]
    return (
        f"the weights of {name} were not published; make your own with `abaw extract --visual "
        f"{visual} --audio {audio}` and `abaw train head --head {head}`, and give head.safetensors "
        "as the recipe"
    )
