"""Contact sheets: the tracks of a video over time, one row each, for editing strategies.

The pictures are cut from the video that crops were made from. If it is missing, only the crops are
shown.
"""

import logging
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from abawcli.config import ContactSheet
from abawcli.faces.crop import crop_frame, read_square
from abawcli.faces.pose import count_quarters
from abawcli.formats.crops import find_recorded, find_scales
from abawcli.formats.faces import BOX, FACES_NAME, LANDMARKS, TRACKS_NAME
from abawcli.formats.provenance import describe_work, find_finished, write_result
from abawcli.formats.summary import Summary, keep_warnings, note_summary, read_summary
from abawcli.media.video import read_frames
from abawcli.progress import Progress, ignore_progress
from abawcli.views.sheet_drawing import Pictures, draw_sheet
from abawcli.views.tracks import choose_cells, read_tracks

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class SheetSummary(Summary):
    """The summary of a sheet."""

    frames: int
    tracks: int
    shown: int  # of the tracks


def cut_faces(
    cells: pd.DataFrame,
    video: str | Path,
    config: ContactSheet,
    *,
    progress: Progress = ignore_progress,
    rotate: int = 0,
) -> Pictures:
    """Return the pictures of faces, cut from their video, rotated as for its crops.

    Raises:
        InputError: the video cannot be read.
    """
    video = Path(video)
    wanted = dict(cells.groupby("frame").indices)
    subjects, boxes = cells["subject"].to_numpy(), cells[list(BOX)].to_numpy()  # (N,), (N, 4)
    landmarks = cells[list(LANDMARKS)].to_numpy(np.float32).reshape(-1, 5, 2)
    pictures: Pictures = {}
    for frame in read_frames(video, rotate) if wanted else ():
        for row in wanted.pop(frame.frame, ()):
            quarters = count_quarters(landmarks[row])
            (picture,) = crop_frame(
                frame, boxes[row], [config.scale], config.side, quarters=quarters
            )
            pictures[int(subjects[row]), frame.frame] = picture
        progress(frame.frame, None, "pictures")
        if not wanted:
            break
    return pictures


def collect_crops(cells: pd.DataFrame, folder: str | Path, config: ContactSheet) -> Pictures:
    """Return the pictures that are among the crops, from the folder."""
    folder = Path(folder)
    scales = find_scales(folder)
    pictures: Pictures = {}
    for subject, frame in cells.loc[cells["cropped"], ["subject", "frame"]].to_numpy().tolist():
        name = Path(str(min(scales, key=lambda s: abs(s - config.scale)))) / f"{frame:05d}.jpg"
        candidates = [parent / name for parent in (folder, folder / f"subject{subject}")]
        for path in filter(os.path.isfile, candidates):
            picture = read_square(path, config.side)
            if picture is not None:
                pictures[subject, frame] = picture
    return pictures


def make_sheet(
    folder: str | Path,
    output: str | Path,
    *,
    config: ContactSheet | None = None,
    overwrite: bool = False,
    progress: Progress = ignore_progress,
) -> SheetSummary:
    """Write the contact sheet of a folder of crops as a picture (.jpg or .png).

    Finished work is kept.

    Raises:
        InputError: `abaw crop` did not write the folder, or it is damaged.
        OutputError: the output exists and may not be replaced, or cannot be written.
    """
    folder = Path(folder)
    output = Path(output)
    config = config or ContactSheet()
    tracks, metadata = read_tracks(folder)
    video = find_recorded(folder, metadata)
    settings = asdict(config) | {"pictures_from": "video" if video else "crops"}
    tables = [folder / FACES_NAME, folder / TRACKS_NAME]
    work = describe_work("sheet", [folder], settings, companions=tables)
    if finished := find_finished(output, work, overwrite):
        return read_summary(finished, SheetSummary, made=False)
    with keep_warnings(work):
        cells = choose_cells(tracks, config)
        if video:
            pictures = cut_faces(cells, video, config, progress=progress, rotate=metadata.rotate)
        else:
            LOG.warning(
                "%s: its video is gone or has changed; the sheet shows only its crops", folder
            )
            pictures = collect_crops(cells, folder, config)
        shown = min(len(tracks.numbers), config.rows)
        note_summary(work, SheetSummary(len(tracks.frames), len(tracks.numbers), shown))
        with write_result(output, work) as temporary:
            draw_sheet(temporary, tracks, cells, pictures, config=config)
    return read_summary(work, SheetSummary, made=True)
