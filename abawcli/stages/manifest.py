"""Stage manifest: a list of labelled face images of public data sets, for `train face`."""

import hashlib
import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pandas as pd

from abawcli.config import VALID_SHARE
from abawcli.datasets.image_sets import (
    FERPLUS_VOTES,
    read_affectnet,
    read_expw,
    read_ferplus,
    read_folders,
    read_raf_db,
)
from abawcli.datasets.labelled_images import (
    TRAIN,
    VALID,
    ImageSet,
    LabelledImage,
    Reader,
    ReadOptions,
)
from abawcli.datasets.sampled_frames import read_aff_wild2
from abawcli.errors import InputError, UsageError
from abawcli.formats.manifest import FACE_BOX
from abawcli.formats.outputs import check_outside
from abawcli.formats.provenance import Provenance, describe_work, find_finished, write_result
from abawcli.formats.summary import keep_warnings
from abawcli.labels import CLASSES

LOG = logging.getLogger(__name__)
TIE = "no majority"  # of votes
SET_READERS: dict[str, Reader] = {
    "affectnet": read_affectnet,
    "raf-db": read_raf_db,
    "ferplus": read_ferplus,
    "expw": read_expw,
    "folders": read_folders,
    "aff-wild2": read_aff_wild2,
}


def read_image_set(kind: str, root: str | Path, options: ReadOptions) -> ImageSet:
    """Read a data set by its kind, with a warning for each reason why rows are left out.

    Raises:
        UsageError: the kind is unknown.
        InputError: the folder is missing or has another form, or no image is left.
    """
    root = Path(root)
    if kind not in SET_READERS:
        raise UsageError(f"unknown data set {kind!r}; known are {', '.join(SET_READERS)}")
    if not os.path.isdir(root):
        raise InputError(f"no such folder: {root}")
    found = SET_READERS[kind](root, options)
    for reason, names in found.left_out.items():
        LOG.warning("%s, left out: %d %s, such as %s", root, len(names), reason, names[0])
    if not found.images:
        raise InputError(f"{root}: no labelled image is left of {kind}")
    return found


def assign_splits(images: Sequence[LabelledImage], root: str | Path) -> list[LabelledImage]:
    """Return images with a split; images without one get it by groups, in the order of a hash.

    A share of `VALID_SHARE` of the groups is `valid`, at least one; a group is one image where the
    data set has no groups. The order does not depend on where the folder is.
    """
    root = Path(root)
    groups = [each.group or Path(os.path.relpath(each.file, root)).as_posix() for each in images]
    open_ones = {group for group, each in zip(groups, images, strict=True) if not each.split}
    ranked = sorted(open_ones, key=lambda group: hashlib.sha256(os.fsencode(group)).digest())
    held = set(ranked[: max(1, round(VALID_SHARE * len(ranked)))]) if len(ranked) > 1 else set()
    return [
        each if each.split else replace(each, split=VALID if group in held else TRAIN)
        for group, each in zip(groups, images, strict=True)
    ]


def make_valid(images: list[LabelledImage], root: str | Path) -> list[LabelledImage]:
    """Return images with a validation split: part of the training images if there is no other."""
    if VALID in (splits := [each.split for each in images]) or splits.count(TRAIN) < 2:
        return images
    opened = [replace(each, split="") if each.split == TRAIN else each for each in images]
    made = assign_splits(opened, root)
    if VALID in (each.split for each in made):
        LOG.warning(
            "no validation images: %.0f %% of the training images are held out", 100 * VALID_SHARE
        )
    else:
        LOG.warning(
            "no validation images, which `abaw train face` needs: all training images are of one "
            "video, so that none can be held out; add other videos or another set"
        )
    return made


def limit_classes(images: Sequence[LabelledImage], most: int, seed: int) -> list[LabelledImage]:
    """Return images with at most so many training images of a class, drawn at random."""
    random, kept = Random(seed), set(range(len(images)))
    for name in CLASSES:
        own = [k for k, each in enumerate(images) if (each.label, each.split) == (name, TRAIN)]
        if len(own) > most:
            kept -= set(own) - set(random.sample(own, most))
    return [images[k] for k in sorted(kept)]


def make_table(images: Sequence[LabelledImage], folder: str | Path) -> pd.DataFrame:
    """Return the manifest; it has columns of boxes and votes if an image has them.

    If some images have votes, the label of the others counts as one vote.
    """
    folder = Path(folder)
    table = pd.DataFrame(
        {
            "file": [Path(os.path.relpath(each.file, folder)).as_posix() for each in images],
            "split": [each.split for each in images],
            "label": [each.label for each in images],
        }
    )
    if any(each.box for each in images):
        for k, name in enumerate(FACE_BOX):
            table[name] = [f"{each.box[k]:g}" if each.box else "" for each in images]
    if any(each.votes for each in images):
        for k, name in enumerate(FERPLUS_VOTES):
            table[f"v_{name}"] = [each.votes[k] if each.votes else 0 for each in images]
        unvoted = np.array([not each.votes for each in images])
        for name in CLASSES:
            column = f"v_{name.lower()}"
            table[column] = table.get(column, 0) + (unvoted & (table["label"] == name))
    return table


def make_manifest(
    sets: Sequence[tuple[str, str | Path]],
    output: str | Path,
    *,
    options: ReadOptions | None = None,
    max_per_class: int | None = None,
    seed: int = 0,
    overwrite: bool = False,
) -> Provenance:
    """Write one manifest of the images of data sets; return its provenance.

    Its `summary` has the folder that the files are relative to (`images`), and the number of
    images of each split and label (`counts`). Finished work is kept.

    Args:
        sets: kind (one of SET_READERS) and folder of each data set.
        output: csv file; its `file` is relative to the folder, or to the parent of all folders.
        options: options of the readers.
        max_per_class: largest number of training images of a class over all sets, drawn at random.
        seed: seed of the random choice.
        overwrite: replace existing outputs.

    Raises:
        InputError: a data set cannot be read, or no image is left.
        OutputError: the output exists and may not be replaced, or cannot be written.
        UsageError: the kind is unknown.
    """
    output, options = Path(output), options or ReadOptions()
    roots = [Path(root) for _, root in sets]
    folder = Path(os.path.commonpath([*roots] if len(roots) == 1 else map(os.path.abspath, roots)))
    where = {"images": os.path.relpath(folder)}  # from the working folder of this run
    check_outside(output, map(str, roots))
    settings = {
        "sets": [kind for kind, _ in sets],
        "folders": [Path(os.path.relpath(root, folder)).as_posix() for root in roots],
        "label_map": dict(options.label_map),
        "every": options.every,
        "valid_share": VALID_SHARE,
        "max_per_class": max_per_class,
        "seed": seed,
    }
    work = describe_work("manifest", [*roots, *filter(None, [options.labels])], settings)
    if finished := find_finished(output, work, overwrite):
        return finished | {"summary": finished["summary"] | where}
    images: list[LabelledImage] = []
    with keep_warnings(work):
        taken: dict[Path, str | Path] = {}  # images, and the folder whose set has them
        for kind, root in sets:
            own = read_image_set(kind, root, options).images
            _refuse_shared(own, root, taken)
            images += assign_splits(own, Path(root))
        images = make_valid(images, folder)
    if max_per_class is not None:
        images = limit_classes(images, max_per_class, seed)
    work["summary"] = where | {"counts": count_labels(images)}
    with write_result(output, work) as temporary:
        make_table(images, folder).to_csv(temporary, index=False)
    return work


def _refuse_shared(
    images: Sequence[LabelledImage], root: str | Path, taken: dict[Path, str | Path]
) -> None:
    """Check that no image is in a data set before, and add those of this one.

    Raises:
        InputError: one is, so that it could be a training and a validation image.
    """
    files = {Path(os.path.realpath(each.file)) for each in images}
    for file in sorted(files & taken.keys()):
        raise InputError(f"{file} is an image of {taken[file]} and of {root}; give it once")
    taken |= dict.fromkeys(files, root)


def count_labels(images: Sequence[LabelledImage]) -> dict[str, dict[str, int]]:
    """Return the number of images of each split and label; those without one are TIE."""
    counts: dict[str, dict[str, int]] = {}
    for each in images:
        own = counts.setdefault(each.split, {})
        own[each.label or TIE] = own.get(each.label or TIE, 0) + 1
    return counts
