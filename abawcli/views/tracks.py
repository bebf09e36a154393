"""The tracks of a video, from its folder of crops, and the choice of faces to show."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from abawcli.config import ContactSheet
from abawcli.errors import InputError
from abawcli.formats.crops import CropsMetadata, is_own_crops
from abawcli.formats.faces import FACES_NAME, TRACKS_NAME, read_faces
from abawcli.formats.names import decode_name

_NAMED = 6  # segments named in the header of a sheet, which is one line


@dataclass(frozen=True)
class Tracks:
    """All faces of a video. In tables, `cropped` says whether the crops show the face."""

    name: str
    cropped: str  # subject that the crops show
    frames: NDArray[np.int64]  # (F,)
    times_s: NDArray[np.float64]  # (F,)
    faces: pd.DataFrame  # frame, time_s, subject, score, box, cropped: a row a face
    numbers: list[int]  # of all tracks, those that are there longest first

    @property
    def end_s(self) -> float:
        """Return the end of the last frame, which lasts the median interval."""
        steps = np.diff(self.times_s)
        return float(self.times_s[-1] + (np.median(steps) if len(steps) else 1.0))

    def locate(self, times_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the positions (...) of times (...) in the video, 0 to 1."""
        return np.asarray((times_s - self.times_s[0]) / (self.end_s - self.times_s[0]))


def read_tracks(folder: str | Path) -> tuple[Tracks, CropsMetadata]:
    """Return the tracks of the video of a folder of crops, and the crops' metadata.

    Raises:
        InputError: `abaw crop` did not write the folder, or a table in it cannot be read.
    """
    folder = Path(folder)
    if not is_own_crops(folder):
        raise InputError(f"{folder} is no folder that `abaw crop` wrote for a video")
    crops, provenance = read_faces(folder / FACES_NAME)
    metadata = CropsMetadata.from_json(provenance, folder / FACES_NAME)
    faces, _ = read_faces(folder / TRACKS_NAME)
    frames, first = np.unique(crops["frame"].to_numpy(), return_index=True)
    key = ["frame", "subject"]
    shown = pd.MultiIndex.from_frame(crops.loc[crops["found"], key])
    faces["cropped"] = pd.MultiIndex.from_frame(faces[key]).isin(shown)
    numbers, counts = np.unique(faces["subject"].to_numpy(), return_counts=True)
    tracks = Tracks(
        name=decode_name(folder.name),
        cropped=metadata.name_subject(_NAMED),
        frames=frames,
        times_s=crops["time_s"].to_numpy()[first],
        faces=faces,
        numbers=numbers[np.lexsort((numbers, -counts))].tolist(),
    )
    return tracks, metadata


def choose_cells(tracks: Tracks, config: ContactSheet) -> pd.DataFrame:
    """Return the faces to show, with their `column`: of each track those nearest to its middle.

    A column is an equal share of the time. It has no face of a track that is absent then.
    """
    shown = tracks.faces[tracks.faces["subject"].isin(tracks.numbers[: config.rows])]
    position = tracks.locate(shown["time_s"].to_numpy()) * config.columns
    column = np.minimum(position.astype(int), config.columns - 1)
    cells = shown.assign(column=column, off=np.abs(position - column - 0.5))
    cells = cells.sort_values(["subject", "column", "off", "frame"])
    return cells.drop_duplicates(["subject", "column"]).drop(columns="off")
