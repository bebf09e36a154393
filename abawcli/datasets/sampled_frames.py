"""Annotated frames of Aff-Wild2 as labelled images: a sample of the crops of each video."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from abawcli.datasets.labelled_images import SPLIT_FOLDERS, ImageSet, LabelledImage, ReadOptions
from abawcli.errors import InputError
from abawcli.formats.abaw import match_tracks, read_annotation, split_side
from abawcli.formats.crops import (
    find_scales,
    is_crops,
    is_own_crops,
    list_images,
    list_scale,
    read_subject,
)
from abawcli.labels import CLASSES, IGNORE

CropFolders = dict[tuple[str, str], Path]  # (video, subject) -> folder of crops


def list_crops(root: str | Path) -> Iterator[Path]:
    """Yield the folders below `root` with the crops of one video."""
    root = Path(root)
    for folder, below, _ in os.walk(root):
        below.sort()
        if is_crops(folder):
            below.clear()
            yield Path(folder)


def list_frames(folder: str | Path) -> dict[int, Path]:
    """Return the crops of a folder by frame; of several scales, the middle one.

    Raises:
        InputError: it has no crops, or those of several subjects.
    """
    folder = Path(folder)
    if not is_own_crops(folder):
        return list_images(folder)
    if read_subject(folder) == "all":
        raise InputError(f"{folder} has crops of all subjects; crop again with one --subject")
    scales = find_scales(folder)
    return list_scale(folder, scales[len(scales) // 2]) if scales else {}


def find_annotations(root: str | Path, labels: str | Path | None) -> list[Path]:
    """Return the annotations below `labels`; of folders of several tasks, those of EXPR.

    Raises:
        InputError: there are none.
    """
    root = Path(root)
    labels = Path(labels) if labels else None
    folder = labels or root
    tasks = sorted(path for path in folder.rglob("EXPR_*") if path.is_dir())
    if not tasks and labels is None:
        raise InputError(f"{root} has no folder EXPR_*; give that of the annotations by --labels")
    found = sorted(path for each in tasks or [folder] for path in each.rglob("*.txt"))
    if not found:
        raise InputError(f"no annotation (.txt) in {(tasks or [folder])[0]}")
    return found


def read_aff_wild2(root: str | Path, options: ReadOptions) -> ImageSet:
    """Read crops of Aff-Wild2 with annotations of the EXPR challenge.

    Crops are folders, official ones (`cropped_aligned/<name>/00001.jpg`) or those of `abaw crop`
    (the middle scale), anywhere below `root`. Annotations are `<name>.txt` in `options.labels`, or
    in `EXPR_*/` below `root`; those in `Train_Set/` and `Validation_Set/` have that split, and
    others are split by source video. Every `options.every`-th annotated frame with a crop is taken.

    Raises:
        InputError: there are no annotations, or two of one name, or one is of another task.
    """
    root = Path(root)
    found, tracks = ImageSet(), CropFolders()
    for folder in list_crops(root):
        tracks[folder.relative_to(root).as_posix(), read_subject(folder)] = folder
    annotations = dict[str, Path]()
    for path in find_annotations(root, options.labels):
        if (first := annotations.setdefault(path.stem, path)) != path:
            raise InputError(f"{first} and {path} are annotations of the same name")
    chosen, failed = match_tracks(annotations, tracks, "crops")
    for name, path in annotations.items():
        try:
            frames = list_frames(tracks[chosen[name]]) if name in chosen else {}
        except InputError as error:
            failed[name] = str(error)
        if name in failed:
            found.leave_out("annotations have no crops of one subject", failed[name])
        else:
            _sample(found, path, frames, options.every)
    return found


def _sample(found: ImageSet, path: Path, frames: dict[int, Path], every: int) -> None:
    """Add the sampled frames of one annotation."""
    labels = read_annotation(path)
    annotated = np.flatnonzero(labels != IGNORE)
    there = [k for k in annotated.tolist() if k + 1 in frames]
    if missing := len(annotated) - len(there):
        found.leave_out("videos have annotated frames without a crop", f"{path.stem}: {missing}")
    split, group = SPLIT_FOLDERS.get(path.parent.name.lower(), ""), split_side(path.stem)[0]
    for k in there[::every]:
        image = LabelledImage(frames[k + 1], CLASSES[labels[k]], split, group=group)
        found.add_image(image, image.file)
