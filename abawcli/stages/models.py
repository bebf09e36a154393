"""Stage models: the known recipes, backbones and classifiers with their weights."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from abawcli.config import COMPACT_FACE, COMPACT_VOICE
from abawcli.errors import UsageError
from abawcli.formats.hashing import hash_file
from abawcli.formats.metadata import HUB_PREFIX
from abawcli.models.hub import (
    find_input_modality,
    find_licence,
    find_weights_of,
    is_classifier,
    is_onnx,
)
from abawcli.models.image_backbones import find_files, hash_pretrained
from abawcli.models.recipes import LICENCES, RECIPES, find_weights

# Pretrained backbones that the published systems name; any other of their kind works too.
HUB_BACKBONES = {
    "facebook/dinov2-large": "Apache-2.0",
    "facebook/dinov2-small": "Apache-2.0",
    "microsoft/beit-large-patch16-224": "Apache-2.0",
    "facebook/wav2vec2-large-960h-lv60-self": "Apache-2.0",
    "microsoft/wavlm-large": "CC BY-SA 3.0",
}


def list_models(names: Sequence[str] = ()) -> list[dict[str, str]]:
    """Return a row for each model: name, kind, licence, size, path and sha256 of its weights.

    The names may be recipes, backbones and pretrained classifiers. Without names, the rows are the
    recipes and the backbones that the published systems use.

    Raises:
        UsageError: a model is unknown.
        CheckpointError: as `find_input_modality`.
    """
    return [_list_model(name, *kind) for name, kind in _choose_models(names)]


def _choose_models(names: Sequence[str]) -> Iterator[tuple[str, tuple[str, str, Path | None]]]:
    """Yield the names of models with the kind, licence and weights of each."""
    known: list[tuple[str, tuple[str, str, Path | None]]] = [
        (name, ("recipe", LICENCES[name], path)) for name, path in RECIPES.items()
    ]
    for name in (COMPACT_FACE, COMPACT_VOICE):
        known.append((name, ("backbone", LICENCES[name], find_weights(name))))
    for name, licence in HUB_BACKBONES.items():
        known.append((name, ("backbone", licence, find_files(name)[0])))
    if not names:
        yield from known
    for name in names:
        if is_onnx(name) and not os.path.isfile(name):
            raise UsageError(f"no such file: {name}")
        if is_classifier(name):
            kind = {"visual": "face classifier", "audio": "speech classifier"}[
                find_input_modality(name)
            ]
            yield name, (kind, find_licence(name), find_weights_of(name))
            continue
        found = [row for row in known if row[0] == name]
        if not found:
            listed = ", ".join(dict(known))
            raise UsageError(
                f"no model {name!r}: known are {listed}, and others by hf:NAME, hf:FOLDER or "
                "FILE.onnx"
            )
        yield from found


def _list_model(name: str, kind: str, licence: str, weights: Path | None) -> dict[str, str]:
    there = weights is not None and weights.is_file()
    hub = name.removeprefix(HUB_PREFIX) if "/" in name else ""
    way_out = f"hf download {hub}" if hub else "install abawcli again"
    return {
        "name": name,
        "kind": kind,
        "licence": licence,
        "size": f"{weights.stat().st_size / 1e6:.1f} MB" if weights and there else "",
        "weights": str(weights) if there else f"not here: {way_out}",
        "sha256": _hash_model(name, weights) if weights and there else "",
    }


def _hash_model(name: str, weights: Path) -> str:
    """Return the sha256 by which features and heads identify a model."""
    own = name in RECIPES or name == COMPACT_VOICE or is_onnx(name)
    return hash_file(weights) if own else hash_pretrained(name.removeprefix(HUB_PREFIX)) or ""
