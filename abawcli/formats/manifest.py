"""Labelled still images or sounds: a folder and a manifest, csv with a header.

Columns of images: `file` (relative to the images folder), `label` (any name that `labels.index_of`
knows; empty: none), `split` (train or valid, in any case), and, where several people labelled,
vote counts `v_<expression>`. Other vote columns (`v_unknown`, `v_NF`: no face) count against
all expressions. `dup_of_train` = 1 leaves an image of the valid split out.

Columns of sounds: `file`, `label` and `split` likewise, and, where known, `speaker` and `corpus`.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from abawcli.errors import InputError, explain_os_error
from abawcli.formats.lines import check_commas
from abawcli.formats.names import compose_name
from abawcli.labels import IGNORE, N_CLASSES, index_of, known_names


@dataclass(frozen=True)
class LabelledImages:
    """Files and their labels: `labels` (N,) class or -1, `targets` (N, 8) summing to 1."""

    files: list[Path]
    labels: NDArray[np.int64]
    targets: NDArray[np.float32]


def _vote_targets(table: pd.DataFrame) -> NDArray[np.float32]:
    """Sum the votes of each class (N, 8); rows without an expression's majority are 0."""
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


def _read_table(manifest: Path) -> tuple[pd.DataFrame, NDArray[np.int64]]:
    """Return the rows that are no copies, `split` in lower case, and their classes (N,) or -1."""
    check_commas(manifest)
    try:
        table = pd.read_csv(manifest, dtype=str, keep_default_na=False)
    except OSError as error:
        raise InputError(explain_os_error(manifest, error)) from error
    except ValueError as error:
        raise InputError(f"cannot read the manifest {manifest}: {error}") from error
    missing = {"file", "label", "split"} - set(table.columns)
    if missing:
        raise InputError(f"{manifest} has no column {', '.join(sorted(missing))}")
    if "dup_of_train" in table:
        table = table[table["dup_of_train"] != "1"].reset_index(drop=True)
    table["split"] = table["split"].str.lower()
    labels = np.array([index_of(name) if name else IGNORE for name in table["label"]], np.int64)
    return table, labels


def _find_files(manifest: Path, folder: Path, names: pd.Series) -> list[Path]:
    """Return the files of some rows, whichever way their accents are spelled.

    Raises:
        InputError: some are not there; the message counts them and names the first.
    """
    listed: dict[Path, dict[str, Path]] = {}  # of folders in which names are not found as written
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
            f"{manifest}: {len(missing)} of {len(names)} files are not there, the first is "
            f"{missing[0]}"
        )
    return files


def read_manifest(
    manifest: str | Path, images: str | Path, soft: bool = True
) -> dict[str, LabelledImages]:
    """Read a manifest into its two splits, `train` and `valid`.

    With `soft` and vote columns, a training target is the distribution of the votes, ties
    included; otherwise the label alone. Validation always needs a label.

    Raises:
        InputError: no such file, a missing column, an unknown label, an empty split, or images
            that are not there.
    """
    manifest = Path(manifest)
    images = Path(images)
    table, labels = _read_table(manifest)
    hard = np.eye(N_CLASSES, dtype=np.float32)[labels] * (labels != IGNORE)[:, None]
    has_votes = any(c.startswith("v_") for c in table.columns)
    try:
        votes = _vote_targets(table) if soft and has_votes else hard
    except ValueError as error:
        raise InputError(f"{manifest}: a vote is no number: {error}") from error
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
        )
    return out


@dataclass(frozen=True)
class LabelledRecordings:
    """Files, their `labels` (N,), and who speaks where: "" where the manifest does not say."""

    files: list[Path]
    labels: NDArray[np.int64]
    speakers: NDArray[np.str_]
    corpora: NDArray[np.str_]


def read_audio_manifest(manifest: str | Path, sounds: str | Path) -> dict[str, LabelledRecordings]:
    """Read a manifest of sounds into its two splits, `train` and `valid`.

    Raises:
        InputError: no such file, a missing column, an unknown label, an empty split, sounds that
            are not there, or a speaker who is in both: figures of such a split say nothing of
            other speakers.
    """
    manifest = Path(manifest)
    sounds = Path(sounds)
    table, labels = _read_table(manifest)
    for column in ("speaker", "corpus"):
        if column not in table:
            table[column] = ""
    out = {}
    for name in ("train", "valid"):
        rows = (table["split"] == name).to_numpy() & (labels != IGNORE)
        if not rows.any():
            raise InputError(f"{manifest} has no labelled sound in split {name!r}")
        files = _find_files(manifest, sounds, table["file"][rows])
        speakers, corpora = (table[c][rows].to_numpy(np.str_) for c in ("speaker", "corpus"))
        out[name] = LabelledRecordings(files, labels[rows], speakers, corpora)
    both = set(out["train"].speakers) & set(out["valid"].speakers) - {""}
    if both:
        raise InputError(f"{manifest} has the speaker {str(min(both))!r} in both splits")
    return out
