"""Neutral frames of people, as a table: rows of video and frame, or a prediction table.

Rows name frames of the videos that are predicted, and may have the column `subject`. A prediction
table is of a person's neutral seconds in any video, made with the same recipe.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from abawcli.errors import InputError
from abawcli.formats.hashing import hash_file
from abawcli.formats.json_values import JsonObject
from abawcli.formats.names import compose_name
from abawcli.formats.provenance import read_provenance
from abawcli.formats.table_schemas import PROBABILITIES
from abawcli.formats.tables import load_columns, read_table

LEAST = 5e-7  # csv rounds smaller probabilities to 0
COMPARED = ("recipe", "heads_sha256")  # settings of predictions with comparable probabilities


@dataclass(frozen=True)
class NeutralFrames:
    """Neutral frames that a file names, or the mean log-probabilities of a prediction table."""

    name: str
    sha256: str
    rows: frozenset[tuple[str, int, str | None]] = frozenset()  # video, frame, subject or any
    neutral: tuple[float, ...] | None = None  # (8,) mean log-probabilities, of a prediction table
    made_by: JsonObject = field(default_factory=dict, compare=False)  # settings of that table

    def describe(self) -> JsonObject:
        """Return it as JSON, for provenance."""
        return {"file": self.name, "sha256": self.sha256}

    def find_rows(self, table: pd.DataFrame) -> NDArray[np.bool_]:
        """Return which rows (N,) of a prediction table are neutral frames."""
        videos = table["video"].map(compose_name)
        keys = zip(videos, table["frame"].tolist(), table["subject"], strict=True)
        found = [(v, f, None) in self.rows or (v, f, s) in self.rows for v, f, s in keys]
        return np.array(found, bool)

    def check_recipe(self, settings: JsonObject) -> None:
        """Check that a prediction table was made with the same recipe as these settings.

        Raises:
            InputError: it was made with another recipe.
        """
        made_by = self.made_by
        if made_by and any(made_by.get(key) != settings[key] for key in COMPARED):
            raise InputError(
                f"{self.name} was predicted with the recipe {made_by.get('recipe')}, not "
                f"{settings['recipe']}, as it is now; predict it again, or name its frames"
            )


def read_neutral_frames(path: str | Path) -> NeutralFrames:
    """Read the neutral frames of people.

    Raises:
        InputError: the file cannot be read, has no columns video and frame, or is a prediction
            table of several people, without a face, or from which a baseline was removed.
    """
    path = Path(path)
    wanted = ["video", "frame", "subject", *PROBABILITIES]
    table = load_columns(path, wanted, wanted[2:])
    if not set(PROBABILITIES) <= set(table):
        subject = table["subject"].tolist() if "subject" in table else [None] * len(table)
        keys = zip(table["video"].map(compose_name), table["frame"].tolist(), subject, strict=True)
        return NeutralFrames(path.name, hash_file(path), frozenset(keys))
    faces = read_table(path)
    faces = faces[faces["found"] & (faces["label"] >= 0)]
    people = len(faces[["video", "subject"]].drop_duplicates())
    if people != 1:
        raise InputError(f"{path} has faces of {people} people; a baseline is of one person")
    made_by: JsonObject = read_provenance(path).get("settings", {})
    if made_by.get("baseline"):
        raise InputError(f"{path} was predicted with --baseline; predict it without")
    log_p = np.log(np.maximum(faces[PROBABILITIES].to_numpy(np.float64), LEAST))
    neutral = tuple(log_p.mean(axis=0).tolist())
    return NeutralFrames(path.name, hash_file(path), neutral=neutral, made_by=made_by)
