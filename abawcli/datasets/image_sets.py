"""Readers of public data sets of labelled face images, in the forms in which they are distributed.

Each reader lists the images below a folder with their class, split and, if the data set has
them, face boxes and votes. A new reader goes into `stages.manifest.SET_READERS`.
"""

from collections.abc import Mapping
from pathlib import Path, PurePath

import numpy as np
from numpy.typing import NDArray

from abawcli.datasets.labelled_images import (
    BAD_ROW,
    MISSING,
    NO_LABEL,
    SPLIT_FOLDERS,
    TEST,
    TRAIN,
    VALID,
    FaceBox,
    ImageSet,
    LabelledImage,
    PictureIndex,
    ReadOptions,
    find_file,
    list_pictures,
    read_rows,
)
from abawcli.errors import InputError
from abawcli.formats.text_columns import read_text_columns
from abawcli.label_maps import map_label
from abawcli.labels import CLASSES, IGNORE, index_of

AFFECTNET_CODES = (
    "neutral", "happy", "sad", "surprise", "fear", "disgust", "anger", "contempt",
    "none", "uncertain", "no face",
)  # fmt: skip
RAF_DB_CODES = ("surprise", "fear", "disgust", "happy", "sad", "anger", "neutral")  # from 1
EXPW_CODES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
FERPLUS_VOTES = (
    "neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt",
    "unknown", "NF",
)  # fmt: skip
FERPLUS_SPLITS = {"Training": TRAIN, "PublicTest": VALID, "PrivateTest": TEST}


def read_affectnet(root: str | Path, options: ReadOptions) -> ImageSet:
    """Read AffectNet, in either of its two forms.

    - csv: `training.csv` and `validation.csv` with the columns subDirectory_filePath, face_x,
      face_y, face_width, face_height and expression, and whole images in folders of numbers.
    - folders: `train_set/` and `val_set/`, each with `images/N.jpg` (cropped faces) and
      `annotations/N_exp.npy`.

    Expressions are 0 neutral, 1 happy, 2 sad, 3 surprise, 4 fear, 5 disgust, 6 anger, 7 contempt,
    8 none, 9 uncertain, 10 no face.

    Raises:
        InputError: the folder has neither form, or a table cannot be read.
    """
    root = Path(root)
    lists = {split: find_file(root, f"{name}.csv", f"Manually_{name}.csv")
             for split, name in ((TRAIN, "training"), (VALID, "validation"))}  # fmt: skip
    if any(lists.values()):
        return _read_affectnet_lists(root, lists)
    folders = {split: find_file(root, f"{name}/annotations")
               for split, name in ((TRAIN, "train_set"), (VALID, "val_set"))}  # fmt: skip
    if not any(folders.values()):
        raise InputError(
            f"{root} has neither training.csv or validation.csv nor train_set/annotations/ or "
            "val_set/annotations/, as AffectNet has"
        )
    found = ImageSet()
    for split, folder in folders.items():
        for file in sorted(folder.glob("*_exp.npy")) if folder else ():
            image = file.parent.parent / "images" / f"{file.name.removesuffix('_exp.npy')}.jpg"
            try:
                label = AFFECTNET_CODES[_read_code(str(_read_array(file)))]
            except (OSError, ValueError, IndexError):
                found.leave_out(BAD_ROW, file)
            else:
                found.add(image, str(image), label, split=split)
    return found


def _read_array(path: Path) -> NDArray[np.generic]:
    """Return the array of an npy file; for empty files and archives, np.load raises other errors.

    Raises:
        OSError, ValueError: it cannot be read.
    """
    with path.open("rb") as file:
        array: NDArray[np.generic] = np.lib.format.read_array(file)
    return array


def _read_code(text: str) -> int:
    """Return a number that is not negative; a negative index would count from the end."""
    if not text.strip().isdecimal():
        raise ValueError(f"{text!r} is no label")
    return int(text)


def _read_box(x: float, y: float, w: float, h: float) -> FaceBox:
    """Return the box of a face, which has finite sides above 0."""
    if not np.isfinite((x, y, w, h)).all() or min(w, h) <= 0:
        raise ValueError(f"{x}, {y}, {w}, {h} is no box")
    return x, y, w, h


def _read_affectnet_lists(root: Path, lists: Mapping[str, Path | None]) -> ImageSet:
    found, pictures = ImageSet(), PictureIndex(root, 2)
    columns = ["subDirectory_filePath", "expression", "face_x", "face_y", "face_width",
               "face_height"]  # fmt: skip
    for split, path in lists.items():
        if path is None:
            continue
        rows = read_text_columns(path, columns)[columns].itertuples(index=False)
        for line, (name, code, *corners) in enumerate(rows, 2):
            try:
                label = AFFECTNET_CODES[_read_code(code)]
                box = _read_box(*map(float, corners)) if label != "no face" else None
            except (ValueError, IndexError):
                found.leave_out(BAD_ROW, f"{path}, line {line}")
                continue
            file = pictures.find(*PurePath(name).parts[-2:])
            found.add(file, name, label, split=split, box=box)
    return found


def read_raf_db(root: str | Path, options: ReadOptions) -> ImageSet:
    """Read the single-label subset of RAF-DB.

    `list_patition_label.txt` (as it is spelt) has lines such as `train_00001.jpg 5`; the images are
    `train_00001_aligned.jpg` in any folder. 1 surprise, 2 fear, 3 disgust, 4 happy, 5 sad, 6 anger,
    7 neutral. There is no validation split, so the test images are `valid`.

    Raises:
        InputError: the folder has no such list, or it cannot be read.
    """
    root = Path(root)
    path = find_file(root, "list_patition_label.txt", "list_partition_label.txt")
    if path is None:
        raise InputError(f"{root} has no list_patition_label.txt, as RAF-DB has")
    found, pictures = ImageSet(), PictureIndex(root, 1)
    for line, words in read_rows(path, "list of RAF-DB"):
        try:
            name, code = words
            label = RAF_DB_CODES[_read_code(code) - 1] if code != "0" else None
            split = {"train": TRAIN, "test": VALID}[name.partition("_")[0]]
        except (ValueError, IndexError, KeyError):
            label = None
        if label is None:
            found.leave_out(BAD_ROW, line)
            continue
        aligned = f"{PurePath(name).stem}_aligned{PurePath(name).suffix}"
        found.add(pictures.find(aligned), aligned, label, split=split)
    return found


def read_ferplus(root: str | Path, options: ReadOptions) -> ImageSet:
    """Read FER2013 with the votes of FER+.

    `fer2013new.csv` has the columns Usage (Training, PublicTest or PrivateTest), Image name (such
    as fer0000000.png; empty: removed) and the votes of ten annotators; the images, which are made
    from fer2013.csv, are in any folder. The label is the expression with most votes, and empty on a
    tie. PublicTest is `valid`, PrivateTest is `test`, which training does not read.

    Raises:
        InputError: the folder has no such table, or it cannot be read.
    """
    root = Path(root)
    path = find_file(root, "fer2013new.csv")
    if path is None:
        raise InputError(f"{root} has no fer2013new.csv, as FER+ has")
    found, pictures = ImageSet(), PictureIndex(root, 1)
    columns = ["Usage", "Image name", *FERPLUS_VOTES]
    rows = read_text_columns(path, columns)[columns].itertuples(index=False)
    for line, (usage, name, *counts) in enumerate(rows, 2):
        try:
            votes, split = tuple(map(_read_code, counts)), FERPLUS_SPLITS[usage]
        except (ValueError, KeyError):
            found.leave_out(BAD_ROW, f"{path}, line {line}")
            continue
        best = [k for k, count in enumerate(votes) if count == max(votes)]
        if not name:
            found.leave_out("rows have no image", f"{path}, line {line}")
        elif set(best) & {FERPLUS_VOTES.index("unknown"), FERPLUS_VOTES.index("NF")}:
            found.leave_out("faces have most votes for unknown or no face", name)
        elif (file := pictures.find(name)) is None:
            found.leave_out(MISSING, name)
        else:
            label = CLASSES[index_of(FERPLUS_VOTES[best[0]])] if len(best) == 1 else NO_LABEL
            found.add_image(LabelledImage(file, label, split, votes=votes), name)
    return found


def read_expw(root: str | Path, options: ReadOptions) -> ImageSet:
    """Read ExpW.

    `label.lst` has lines of image_name, face_id_in_image, face_box_top, face_box_left,
    face_box_right, face_box_bottom, face_box_confidence and expression_label; the images, which may
    have several faces, are in any folder. 0 angry, 1 disgust, 2 fear, 3 happy, 4 sad, 5 surprise,
    6 neutral. It has no splits; faces of one image are in the same split.

    Raises:
        InputError: the folder has no such list, or it cannot be read.
    """
    root = Path(root)
    path = find_file(root, "label.lst")
    if path is None:
        raise InputError(f"{root} has no label.lst, as ExpW has")
    found, pictures = ImageSet(), PictureIndex(root, 1)
    for line, words in read_rows(path, "list of ExpW"):
        try:
            name, _, *sides, _, code = words
            top, left, right, bottom = map(float, sides)
            label = EXPW_CODES[_read_code(code)]
            box = _read_box(left, top, right - left, bottom - top)
        except (ValueError, IndexError):
            found.leave_out(BAD_ROW, line)
            continue
        found.add(pictures.find(name), name, label, box=box, group=name)
    return found


def read_folders(root: str | Path, options: ReadOptions) -> ImageSet:
    """Read images in folders that are named by their class, in folders of splits or not.

    Such as `happy/1.jpg`, or `train/happy/1.jpg` and `val/happy/2.jpg`. Folders within a class
    belong to it. Names are those of classes, their synonyms, or those of `options.label_map`, which
    may also map a name to `none`.

    Raises:
        InputError: folders have unknown names, or there are none.
    """
    root = Path(root)
    found, unknown = ImageSet(), dict[str, None]()
    for path in list_pictures(root):
        *folders, _ = path.relative_to(root).parts
        split = SPLIT_FOLDERS.get(folders[0].lower(), "") if folders else ""
        if not (classes := folders[1:] if split else folders):
            found.leave_out("images are in no folder of a class", path)
            continue
        number = map_label(classes[0], options.label_map)
        if number is None:
            unknown[classes[0]] = None
        elif number == IGNORE:
            found.leave_out(f"images are in folders {classes[0]!r}", path)
        else:
            found.add_image(LabelledImage(path, CLASSES[number], split), path)
    if unknown:
        raise InputError(
            f"{root} has folders that are no class: {', '.join(unknown)}; give each a class, as by "
            f"--label-map {next(iter(unknown))}=Anger,... (one of {', '.join(CLASSES)}, or none)"
        )
    return found
