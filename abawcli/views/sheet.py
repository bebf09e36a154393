"""Contact sheets: who is in a video when, a row a track, from which a person edits strategies.

The pictures are cut out of the video that crops were made from; where it is gone, only what
was cropped can be shown.
"""

import logging
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from abawcli.config import ContactSheet
from abawcli.errors import InputError
from abawcli.faces.crop import Image, crop_frame, read_square
from abawcli.formats.crops import find_scales, is_own_crops
from abawcli.formats.faces import BOX, FACES_NAME, TRACKS_NAME, read_faces
from abawcli.formats.files import describe_work, is_finished, write_provenance, write_whole
from abawcli.formats.tables import decode_name
from abawcli.media.video import read_frames

LOG = logging.getLogger(__name__)
Update = Callable[[int, int | None, str], None]
Pictures = dict[tuple[int, int], Image]  # of a track in a frame


@dataclass(frozen=True)
class Tracks:
    """All faces of a video. In tables, `cropped` says whether the crops show the face."""

    name: str
    whom: str  # the crops show
    frames: NDArray[np.int64]  # (F,)
    times_s: NDArray[np.float64]  # (F,)
    faces: pd.DataFrame  # frame, time_s, subject, score, box, cropped: a row a face
    numbers: list[int]  # of all tracks, those that are there longest first

    @property
    def end_s(self) -> float:
        """Return when the last frame ends, if it is shown as long as most."""
        steps = np.diff(self.times_s)
        return float(self.times_s[-1] + (np.median(steps) if len(steps) else 1.0))

    def place(self, times_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return where times are in the video: 0 at its beginning, 1 at its end."""
        return np.asarray((times_s - self.times_s[0]) / (self.end_s - self.times_s[0]))


@dataclass(frozen=True)
class SheetSummary:
    """What a sheet shows."""

    frames: int
    tracks: int
    shown: int  # of the tracks


def read_tracks(folder: Path) -> tuple[Tracks, dict[str, Any]]:
    """Return the tracks of the video of a folder of crops, and the crops' provenance.

    Raises:
        InputError: `abaw crop` did not write the folder, or a table in it cannot be read.
    """
    if not is_own_crops(folder):
        raise InputError(f"{folder} is no folder that `abaw crop` wrote for a video")
    crops, about = read_faces(folder / FACES_NAME)
    faces, _ = read_faces(folder / TRACKS_NAME)
    frames, first = np.unique(crops["frame"].to_numpy(), return_index=True)
    key = ["frame", "subject"]
    shown = pd.MultiIndex.from_frame(crops.loc[crops["found"], key])
    faces["cropped"] = pd.MultiIndex.from_frame(faces[key]).isin(shown)
    numbers, counts = np.unique(faces["subject"].to_numpy(), return_counts=True)
    tracks = Tracks(
        decode_name(folder.name), _describe_choice(about), frames,
        crops["time_s"].to_numpy()[first], faces, numbers[np.lexsort((numbers, -counts))].tolist(),
    )  # fmt: skip
    return tracks, about


def _describe_choice(about: dict[str, Any]) -> str:
    settings = about.get("settings", {})
    rows = settings.get("stretches", [])
    parts = [f"{strategy} {first}-{last or ''}" for strategy, first, last in rows]
    return ", ".join(parts) or str(settings.get("subject", "main"))


def choose_cells(tracks: Tracks, config: ContactSheet) -> pd.DataFrame:
    """Return the faces to show, with their `column`: of each track those nearest to its middle.

    A column is an equal share of the time; a track that is not there then has no face in it.
    """
    shown = tracks.faces[tracks.faces["subject"].isin(tracks.numbers[: config.rows])]
    place = tracks.place(shown["time_s"].to_numpy()) * config.columns
    column = np.minimum(place.astype(int), config.columns - 1)
    cells = shown.assign(column=column, off=np.abs(place - column - 0.5))
    cells = cells.sort_values(["subject", "column", "off", "frame"])
    return cells.drop_duplicates(["subject", "column"]).drop(columns="off")


def find_source(about: dict[str, Any]) -> Path | None:
    """Return the video that crops were made from, if it is still the same."""
    for path in about.get("inputs", []):
        state = about.get("files", {}).get(path)
        if os.path.isfile(path) and describe_work("", [Path(path)], {})["files"][path] == state:
            return Path(path)
    return None


def cut_pictures(
    cells: pd.DataFrame, video: Path, config: ContactSheet, update: Update | None = None
) -> Pictures:
    """Return the pictures of faces, cut out of their video.

    Raises:
        InputError: the video cannot be read.
    """
    wanted = dict(iter(cells.groupby("frame")))
    pictures: Pictures = {}
    for frame in read_frames(video) if wanted else ():
        rows = wanted.pop(frame.number, cells[:0])
        for subject, box in zip(rows["subject"], rows[list(BOX)].to_numpy(), strict=True):
            (picture,) = crop_frame(frame, box, [config.scale], config.side)
            pictures[int(subject), frame.number] = picture
        if update:
            update(frame.number, None, "pictures")
        if not wanted:
            break
    return pictures


def collect_crops(cells: pd.DataFrame, folder: Path, config: ContactSheet) -> Pictures:
    """Return those of the pictures that were cropped, from the folder."""
    scales = find_scales(folder)
    pictures: Pictures = {}
    for subject, frame in cells.loc[cells["cropped"], ["subject", "frame"]].to_numpy().tolist():
        name = Path(str(min(scales, key=lambda s: abs(s - config.scale)))) / f"{frame:05d}.jpg"
        places = [place / name for place in (folder, folder / f"subject{subject}")]
        for path in filter(os.path.isfile, places):
            picture = read_square(path, config.side)
            if picture is not None:
                pictures[subject, frame] = picture
    return pictures


def make_sheet(
    folder: Path,
    output: Path,
    *,
    config: ContactSheet | None = None,
    overwrite: bool = False,
    update: Update | None = None,
) -> SheetSummary | None:
    """Write the contact sheet of a folder of crops as a picture (.jpg or .png).

    None is returned where it was there before.

    Raises:
        InputError: `abaw crop` did not write the folder, or it is damaged.
        OutputError: something else is in the way, or the place cannot be written.
    """
    config = config or ContactSheet()
    tracks, about = read_tracks(folder)
    video = find_source(about)
    settings = asdict(config) | {"video": os.path.abspath(video) if video else None}
    work = describe_work("sheet", [folder], settings)
    tables = [folder / FACES_NAME, folder / TRACKS_NAME]
    work["files"] = describe_work("sheet", tables, {})["files"]
    if is_finished(output, work, overwrite):
        return None
    cells = choose_cells(tracks, config)
    if video:
        pictures = cut_pictures(cells, video, config, update)
    else:
        LOG.warning("%s: its video is gone or has changed; the sheet shows only its crops", folder)
        pictures = collect_crops(cells, folder, config)
    from abawcli.views.sheet_drawing import draw_sheet

    figure = draw_sheet(tracks, cells, pictures, config)
    with write_whole(output) as temporary:
        quality = {"quality": config.quality} if output.suffix == ".jpg" else {}
        figure.savefig(temporary, dpi=figure.dpi, pil_kwargs=quality)
    write_provenance(output, work)
    shown = min(len(tracks.numbers), config.rows)
    return SheetSummary(len(tracks.frames), len(tracks.numbers), shown)
