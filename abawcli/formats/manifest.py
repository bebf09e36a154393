"""Labelled images or recordings: a folder and a manifest, which is a csv with a header.

Columns for images: `file` (relative to the images folder), `label` (a name for `labels.index_of`;
empty: none), `split` (train or valid, in upper or lower case), and, if several people labelled,
vote counts `v_<expression>`. Other vote columns (`v_unknown`, `v_NF`: no face) are votes for no
expression. Images with `dup_of_train` = 1 are left out. Where an image is more than a face, `x`,
`y`, `w`, `h` are the face's box in pixels; they are empty for other images.

Columns for recordings: `file`, `label` and `split` as above, and optionally `speaker` and `corpus`.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from abawcli.errors import InputError
from abawcli.formats.names import compose_name
from abawcli.formats.table_checks import name_row
from abawcli.formats.text_columns import read_text_columns
from abawcli.labels import IGNORE, N_CLASSES, index_of, known_names

FACE_BOX = ("x", "y", "w", "h")  # columns


@dataclass(frozen=True)
class LabelledImages:
    """Image files with their labels and training targets."""

    files: list[Path]
    labels: NDArray[np.int64]  # (N,) class, or -1
    targets: NDArray[np.float32]  # (N, 8) distributions
    boxes: NDArray[np.float64] | None = None  # (N, 4) x, y, w, h in pixels; NaN: the whole image


def _vote_targets(table: pd.DataFrame) -> NDArray[np.float32]:
    """Return the votes for each class (N, 8); rows without a majority for expressions are 0."""
    votes = [c for c in table.columns if c.startswith("v_")]
    named = set(known_names(c.removeprefix("v_") for c in votes))
    counts = np.zeros((len(table), N_CLASSES), np.float32)
    other = np.zeros(len(table), np.float32)
    for column in votes:
        values = pd.to_numeric(table[column]).to_numpy(np.float32)
        if np.isnan(values).any():
            raise ValueError(f"{column} is empty for {table['file'][np.isnan(values).argmax()]}")
        name = column.removeprefix("v_")
        if name in named:
            counts[:, index_of(name)] += values
        else:
            other = np.maximum(other, values)
    counts[other >= counts.max(axis=1)] = 0  # mostly "unknown" or "no face"
    return counts


def _read_boxes(table: pd.DataFrame, manifest: Path) -> NDArray[np.float64] | None:
    """Return the faces' boxes (N, 4), NaN for whole images; None: there are none.

    Raises:
        InputError: a column is missing, or a box is not four numbers with w and h above 0.
    """
    there = [name for name in FACE_BOX if name in table]
    if not there:
        return None
    if missing := [name for name in FACE_BOX if name not in table]:
        raise InputError(f"{manifest} has the column {there[0]}, but not {', '.join(missing)}")
    texts = table[list(FACE_BOX)]
    whole = (texts == "").all(axis=1).to_numpy()
    numbers = [pd.to_numeric(texts[name], errors="coerce") for name in FACE_BOX]
    boxes = np.stack(numbers, axis=1).astype(np.float64)
    bad = ~whole & ~(np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > 0).all(axis=1))
    if bad.any():
        k = int(bad.argmax())
        raise InputError(
            f"{manifest}: the box of {table['file'][k]} must be four numbers, with w and h above "
            f"0, not {', '.join(map(str, texts.to_numpy()[k]))!r}"
        )
    return boxes


def _read_table(manifest: Path, split: bool = True) -> tuple[pd.DataFrame, NDArray[np.int64]]:
    """Return the rows that are no duplicates, and their classes (N,), or -1.

    The column `split` is converted to lower case; with `split` false it may be missing.

    Raises:
        InputError: the file cannot be read, or a column or label is missing or unknown.
    """
    table = read_text_columns(manifest, ["file", "label", *(["split"] if split else [])])
    if "dup_of_train" in table:
        table = table[table["dup_of_train"] != "1"]
    labels = np.array(_index_labels(manifest, table["label"]), np.int64)
    table = table.reset_index(drop=True)
    if "split" in table:
        table["split"] = table["split"].str.lower()
    return table, labels


def _index_labels(manifest: Path, names: pd.Series) -> list[int]:
    """Return the class of each label, or -1; the index of `names` counts the rows of the file.

    Raises:
        InputError: a label is unknown.
    """
    found = []
    for row, name in zip(names.index.tolist(), names.tolist(), strict=True):
        try:
            found.append(index_of(name) if name else IGNORE)
        except InputError as error:
            raise InputError(f"{name_row(manifest, row)}: {error}") from error
    return found


def _find_files(manifest: Path, folder: Path, names: pd.Series) -> list[Path]:
    """Return the files of rows; composed and decomposed accents in names are equal.

    Raises:
        InputError: files are missing; the message counts them and names the first.
    """
    listed: dict[Path, dict[str, Path]] = {}  # files of folders in which a name was not found
    files, missing = [], []
    for name in names:
        path = folder / name
        if not os.path.isfile(path):
            if path.parent not in listed:
                there = path.parent.iterdir() if os.path.isdir(path.parent) else ()
                listed[path.parent] = {compose_name(one.name): one for one in there}
            path = listed[path.parent].get(compose_name(path.name), path)
            if not os.path.isfile(path):
                missing.append(path)
        files.append(path)
    if missing:
        raise InputError(
            f"{manifest}: {len(missing)} of {len(names)} files are missing; the first is "
            f"{missing[0]}"
        )
    return files


def read_manifest(
    manifest: str | Path, images: str | Path, *, soft: bool = True
) -> dict[str, LabelledImages]:
    """Read a manifest of images into its two splits, `train` and `valid`.

    With `soft` and vote columns, a training target is the distribution of the votes, including
    ties; otherwise it is the label. Validation always uses the label.

    Raises:
        InputError: the file or a column is missing, a label is unknown, a box is invalid, a split
            is empty, or images are missing.
    """
    manifest = Path(manifest)
    images = Path(images)
    table, labels = _read_table(manifest)
    hard = np.eye(N_CLASSES, dtype=np.float32)[labels] * (labels != IGNORE)[:, None]
    has_votes = any(c.startswith("v_") for c in table.columns)
    try:
        votes = _vote_targets(table) if soft and has_votes else hard
    except ValueError as error:
        raise InputError(f"{manifest}: votes must be numbers: {error}") from error
    boxes = _read_boxes(table, manifest)
    split = table["split"].to_numpy()
    kept = {
        "train": (split == "train") & (votes.sum(axis=1) > 0),
        "valid": (split == "valid") & (labels != IGNORE),
    }
    out = {}
    for name, rows in kept.items():
        if not rows.any():
            raise InputError(f"{manifest} has no labelled image in split {name!r}")
        targets = (votes if name == "train" else hard)[rows]
        out[name] = LabelledImages(
            _find_files(manifest, images, table["file"][rows]),
            labels[rows],
            targets / targets.sum(axis=1, keepdims=True),
            None if boxes is None else boxes[rows],
        )
    return out


def read_labelled_images(
    manifest: str | Path, images: str | Path, split: str = "valid"
) -> LabelledImages:
    """Return the labelled images of a split, in upper or lower case, with targets of their labels.

    A manifest without the column `split` has one, which is all of its images.

    Raises:
        InputError: the file or a column is missing, a label is unknown, a box is invalid, no image
            is labelled, or images are missing.
    """
    manifest, images = Path(manifest), Path(images)
    table, labels = _read_table(manifest, split=False)
    rows = labels != IGNORE
    if "split" in table:
        rows &= (table["split"] == split.lower()).to_numpy()
    if not rows.any():
        raise InputError(f"{manifest} has no labelled image in split {split!r}")
    boxes = _read_boxes(table, manifest)
    return LabelledImages(
        _find_files(manifest, images, table["file"][rows]),
        labels[rows],
        np.eye(N_CLASSES, dtype=np.float32)[labels[rows]],
        None if boxes is None else boxes[rows],
    )


@dataclass(frozen=True)
class LabelledRecordings:
    """Recordings with their labels, speakers and corpora."""

    files: list[Path]
    labels: NDArray[np.int64]  # (N,)
    speakers: NDArray[np.str_]  # (N,) "": unknown
    corpora: NDArray[np.str_]  # (N,) "": unknown


def read_audio_manifest(
    manifest: str | Path, recordings: str | Path
) -> dict[str, LabelledRecordings]:
    """Read a manifest of recordings, in the folder `recordings`, into `train` and `valid`.

    Raises:
        InputError: the file or a column is missing, a label is unknown, a split is empty,
            recordings are missing, or a speaker is in both splits, whose scores would not hold
            for other speakers.
    """
    manifest = Path(manifest)
    recordings = Path(recordings)
    table, labels = _read_table(manifest)
    for column in ("speaker", "corpus"):
        if column not in table:
            table[column] = ""
    out = {}
    for name in ("train", "valid"):
        rows = (table["split"] == name).to_numpy() & (labels != IGNORE)
        if not rows.any():
            raise InputError(f"{manifest} has no labelled recording in split {name!r}")
        files = _find_files(manifest, recordings, table["file"][rows])
        speakers, corpora = (table[c][rows].to_numpy(np.str_) for c in ("speaker", "corpus"))
        out[name] = LabelledRecordings(files, labels[rows], speakers, corpora)
    both = set(out["train"].speakers) & set(out["valid"].speakers) - {""}
    if both:
        raise InputError(f"{manifest} has the speaker {str(min(both))!r} in both splits")
    return out
