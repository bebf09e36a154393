"""Contact sheets, read back from the pictures and from what they are drawn of."""

import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
from blob_faces import BlobDetector, picture
from hypothesis import given
from hypothesis import strategies as st
from media_files import write_media

from abawcli.config import ContactSheet
from abawcli.errors import InputError, OutputError
from abawcli.formats.crops import CropsMetadata, find_recorded
from abawcli.formats.faces import SCHEMA, TRACKS_NAME, read_faces, write_faces
from abawcli.formats.provenance import describe_input, read_provenance
from abawcli.formats.strategy import SubjectSegment
from abawcli.stages.crop import crop_folders, crop_video
from abawcli.views.sheet import SheetSummary, make_sheet
from abawcli.views.sheet_drawing import find_pixels, format_seconds
from abawcli.views.tracks import Tracks, choose_cells, read_tracks

CONFIG = ContactSheet()
FEW = replace(CONFIG, columns=3)  # drawn more quickly
GREEN, RED, BLUE = (26, 143, 60), (214, 39, 40), (138, 155, 181)


def write_clip(path: Path) -> Path:
    """Write 28 frames, two a column: a face on the left in 1-18, one on the right in 9-28."""
    pictures = [picture(40 * (k <= 18), 20 * (k >= 9)) for k in range(1, 29)]
    return write_media(path, pictures, options={"crf": "5"})


def write_crops(clip: Path, folder: Path) -> Path:
    """Write the crops of track 0 of the clip; track 1 has a low score in 21-24."""
    crop_video(clip, folder, subject="track 0", detector=BlobDetector())
    tracks, provenance = read_faces(folder / TRACKS_NAME)
    tracks.loc[(tracks["subject"] == 1) & tracks["frame"].between(21, 24), "score"] = 0.7
    write_faces(tracks, folder / TRACKS_NAME, provenance)
    return folder


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "clip.mkv")


@pytest.fixture
def crops(clip: Path, tmp_path: Path) -> Path:
    return write_crops(clip, tmp_path / "crops" / "clip")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the same crops for tests that change nothing of them."""
    folder = tmp_path_factory.mktemp("kept")
    return write_crops(write_clip(folder / "clip.mkv"), folder / "crops" / "clip")


def draw(folder: Path, output: Path, **settings: object) -> np.ndarray:
    assert make_sheet(folder, output, **settings).made  # type: ignore[arg-type]
    return np.asarray(cv2.imread(str(output), cv2.IMREAD_COLOR_RGB))


def cell(image: np.ndarray, row: int, column: int) -> np.ndarray:
    """Return the pixels of a face, without its frame."""
    x, y = 150 + 96 * column, 76 + 130 * row
    return image[y + 4 : y + 88, x + 4 : x + 88]


def frame_colour(image: np.ndarray, row: int, column: int) -> tuple[int, ...]:
    return tuple(image[76 + 130 * row + 40, 150 + 96 * column + 1].tolist())


def strip(image: np.ndarray, row: int) -> list[tuple[int, ...]]:
    """Return the colours in the middle of each of the 28 frames, at the lower edge."""
    y = 76 + 130 * row + 92 + 16 + 2 + 8
    return [tuple(image[y, 150 + round(1340 * (k + 0.5) / 28)].tolist()) for k in range(28)]


def test_a_row_for_each_track_with_its_gaps_and_marks(kept: Path, tmp_path: Path) -> None:
    image = draw(kept, tmp_path / "sheet.png")
    assert image.shape == (76 + 2 * 130 + 40, 150 + 14 * 96 + 4, 3)
    for column in range(14):
        first, second = cell(image, 0, column), cell(image, 1, column)
        assert (first.min() < 80) == (column < 9)  # a picture has the dark ground
        assert (second.min() < 80) == (column >= 4)
        assert (first[42, 42].mean() > 140) and (column < 4 or second[42, 42].mean() > 140)
        assert (frame_colour(image, 0, column) == GREEN) == (column < 9)
        assert (frame_colour(image, 1, column) == RED) == (column in (10, 11))
    assert strip(image, 0)[:18] == [GREEN] * 18 and GREEN not in strip(image, 0)[18:]
    assert strip(image, 1)[8:] == [BLUE] * 20 and BLUE not in strip(image, 1)[:8]


def test_summary_and_provenance(kept: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheets" / "clip.jpg"
    assert make_sheet(kept, sheet) == SheetSummary(28, 2, 2)
    provenance = read_provenance(sheet)
    assert provenance["command"] == "sheet" and provenance["inputs"] == [describe_input(kept)]
    assert (
        provenance["settings"]["pictures_from"] == "video"
        and provenance["settings"]["low_score"] == 0.9
    )
    assert sheet.read_bytes()[:3] == b"\xff\xd8\xff"
    assert cv2.imread(str(sheet)).shape[1] == 1498


def test_finished_sheets_are_kept_until_the_crops_change(
    crops: Path, clip: Path, tmp_path: Path
) -> None:
    sheet = tmp_path / "s.jpg"

    def make(columns: int = 2, overwrite: bool = False) -> bool:
        config = replace(CONFIG, columns=columns)
        return make_sheet(crops, sheet, config=config, overwrite=overwrite).made

    assert make() and not make()
    assert make(overwrite=True)
    assert make(1)
    shutil.rmtree(crops)  # this fixture's are not as they were made
    crop_video(clip, crops, subject="right", detector=BlobDetector())
    assert make(1) and not make(1)
    (tmp_path / "mine.jpg").write_text("mine")
    with pytest.raises(OutputError, match="mine.jpg exists and was not made from this input"):
        make_sheet(crops, tmp_path / "mine.jpg")


def test_crops_of_earlier_versions_have_lost_their_video(clip: Path, crops: Path) -> None:
    old = {"inputs": [str(clip)], "files": {str(clip): [1, 2]}}
    assert find_recorded(crops, CropsMetadata.from_json(old, crops)) is None
    made = {"inputs": [describe_input(clip)]}
    assert find_recorded(crops, CropsMetadata.from_json(made, crops)) is not None


def test_without_its_video_a_sheet_shows_what_was_cropped(
    crops: Path, clip: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    said = "its video is gone or has changed; the sheet shows only its crops"
    complete = draw(crops, tmp_path / "a.png")
    write_media(clip, [picture()] * 5)
    with caplog.at_level(logging.WARNING, "abawcli"):
        image = draw(crops, tmp_path / "a.png")  # another one: no longer up to date
        assert caplog.text.count(said) == 1
        clip.unlink()
        assert make_sheet(crops, tmp_path / "b.png", config=FEW).made
        assert caplog.text.count(said) == 2
    assert image.shape == complete.shape
    for column in range(14):
        assert (cell(image, 0, column)[1].mean() < 190) == (column < 9)  # the face's upper edge
        assert cell(image, 1, column).mean() > 230
    assert strip(image, 0) == strip(complete, 0)
    assert strip(image, 1) == strip(complete, 1)


def test_crops_of_everybody_are_found_in_their_folders(
    crops: Path, clip: Path, tmp_path: Path
) -> None:
    shutil.rmtree(crops)
    crop_video(clip, crops, subject="all", detector=BlobDetector())
    clip.unlink()
    (crops / "subject1" / "1.0" / "00010.jpg").write_bytes(b"damaged")
    image = draw(crops, tmp_path / "a.png")
    assert (cell(image, 0, 0)[1].mean() < 190) and (cell(image, 1, 13)[1].mean() < 190)
    assert cell(image, 1, 4).mean() > 230
    assert strip(image, 1)[8:] == [GREEN] * 20


def test_a_video_without_faces_has_a_sheet(tmp_path: Path) -> None:
    clip = write_media(tmp_path / "dark.mp4", [picture()])
    crop_video(clip, tmp_path / "out", detector=BlobDetector())
    image = draw(tmp_path / "out", tmp_path / "s.png")
    assert image.shape == (76 + 130 + 40, 1498, 3)
    assert (image[76:180, 150:].min(axis=2) < 200).any()  # what is written there


def test_names_may_have_any_letters(crops: Path, tmp_path: Path) -> None:
    draw(
        crops.rename(crops.with_name("$a_b$ % \u4e2d\u6587 \udcff")), tmp_path / "s.png", config=FEW
    )


def test_the_head_says_whom_the_crops_show(clip: Path, tmp_path: Path) -> None:
    rows = (SubjectSegment("left", 3, 9), SubjectSegment("track 1", 12))
    crop_folders(clip, {tmp_path / "out": rows}, detector=BlobDetector())
    assert read_tracks(tmp_path / "out")[0].cropped == "left 3-9, track 1 12-"
    many = tuple(SubjectSegment("skip", k, k) for k in range(1, 9))
    crop_folders(clip, {tmp_path / "many": many}, detector=BlobDetector())
    assert read_tracks(tmp_path / "many")[0].cropped.endswith(", skip 6-6, ...")
    crop_video(clip, tmp_path / "one", subject="top", detector=BlobDetector())
    assert read_tracks(tmp_path / "one")[0].cropped == "top"


def test_what_is_no_folder_of_ours_is_refused(crops: Path, tmp_path: Path) -> None:
    official = tmp_path / "official"
    official.mkdir()
    (official / "00001.jpg").write_bytes(b"")
    for path in (official, tmp_path / "none", tmp_path / ("x" * 300)):
        with pytest.raises(InputError, match="is no folder that `abaw crop` wrote for a video"):
            make_sheet(path, tmp_path / "s.jpg")
    (crops / TRACKS_NAME).write_bytes(b"no table")
    with pytest.raises(InputError, match="cannot read the faces .*tracks.parquet"):
        make_sheet(crops, tmp_path / "s.jpg")
    assert not (tmp_path / "s.jpg").exists()


def test_an_unwritable_place(kept: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write .*: .*file is not a folder"):
        make_sheet(kept, tmp_path / "file" / "s.jpg", config=FEW)


def test_only_the_longest_tracks_are_shown(crops: Path, tmp_path: Path) -> None:
    row = dict.fromkeys(SCHEMA.names, 0.5) | {"found": True, "detected": True, "w": 9.0, "h": 9.0}
    rows = [row | {"frame": f, "subject": s} for s in range(15) for f in range(1, 3 + s)]
    write_faces(pd.DataFrame(rows), crops / TRACKS_NAME, {})
    assert make_sheet(crops, tmp_path / "s.png", config=FEW) == SheetSummary(28, 15, 12)
    tracks, _ = read_tracks(crops)
    assert tracks.numbers == list(range(14, -1, -1))
    assert set(choose_cells(tracks, CONFIG)["subject"]) == set(range(3, 15))


def make_tracks(times_s: list[float], faces: list[tuple[int, int]]) -> Tracks:
    """Return tracks with a face of a subject in a frame each."""
    frames, times = np.arange(1, len(times_s) + 1), np.array(times_s)
    table = pd.DataFrame(faces, columns=["subject", "frame"]).astype(int)
    table["time_s"] = times[table["frame"].to_numpy() - 1]
    return Tracks("t", "main", frames, times, table, sorted(set(table["subject"])))


clocks = st.lists(st.floats(0.001, 2), min_size=1, max_size=50).map(
    lambda steps: np.cumsum(steps).tolist()
)


@given(clocks, st.data())
def test_a_cell_is_the_face_nearest_to_its_middle(
    times_s: list[float], data: st.DataObject
) -> None:
    face = st.tuples(st.integers(0, 2), st.integers(1, len(times_s)))
    tracks = make_tracks(times_s, data.draw(st.lists(face, unique=True, max_size=60)))
    cells = choose_cells(tracks, replace(CONFIG, columns=6))
    start, span = times_s[0], tracks.end_s - times_s[0]
    best: dict[tuple[int, int], float] = {}
    one: Any
    for one in tracks.faces.itertuples():
        column = min(int((one.time_s - start) / span * 6), 5)
        off = abs((one.time_s - start) / span * 6 - column - 0.5)
        best[one.subject, column] = min(off, best.get((one.subject, column), 9))
    assert not cells.duplicated(["subject", "column"]).any()
    assert {(c.subject, c.column) for c in cells.itertuples()} == set(best)
    c: Any
    for c in cells.itertuples():
        off = abs((c.time_s - start) / span * 6 - c.column - 0.5)
        assert off == pytest.approx(best[c.subject, c.column], abs=1e-9)


@given(clocks, st.data(), st.integers(1, 60))
def test_a_strip_covers_each_frame_and_no_other_pixels(
    times_s: list[float], data: st.DataObject, width: int
) -> None:
    chosen = sorted(data.draw(st.sets(st.integers(1, len(times_s)))))
    tracks = make_tracks(times_s, [])
    starts, ends = find_pixels(tracks, np.array(chosen, int), width)
    assert (starts < ends).all() and (starts[1:] > ends[:-1]).all()
    covered = {x for a, b in zip(starts, ends, strict=True) for x in range(a, b)}
    edges = (np.array([*times_s, tracks.end_s]) - times_s[0]) / (tracks.end_s - times_s[0]) * width
    for frame in chosen:  # its middle is in
        assert min(int((edges[frame - 1] + edges[frame]) / 2), width - 1) in covered
    for x in covered:  # and every pixel touches a frame
        assert any(edges[f - 1] <= x + 1 + 1e-6 and x - 1e-6 <= edges[f] for f in chosen)


def test_times_are_minutes_and_seconds() -> None:
    times = (0, 3.26, 59.94, 59.96, 60, 754.31, -0.04)
    assert [format_seconds(t) for t in times] == [
        "0.0 s", "3.3 s", "59.9 s", "1:00.0", "1:00.0", "12:34.3", "-0.0 s",
    ]  # fmt: skip
