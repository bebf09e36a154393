"""Stage crop, read back from the files it writes."""

import json
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
from media_files import write_media

import abawcli.stages.crop as stage
from abawcli.config import Cropping, Detection
from abawcli.errors import InputError, OutputError, UsageError
from abawcli.faces.detect import Face
from abawcli.formats.faces import SCHEMA, read_faces, write_faces
from abawcli.formats.provenance import describe_input, provenance_path
from abawcli.formats.strategy import SubjectSegment
from abawcli.media.video import read_frames
from abawcli.stages.crop import CropSummary, crop_folders, crop_video, describe_tracks

TABLES = ["faces.parquet", "tracks.parquet"]


class SquareFinder:
    """A detector of bright squares."""

    name, sha256, config = "squares", "0", Detection()

    def detect(self, images: Sequence[np.ndarray]) -> list[list[Face]]:
        assert len({image.shape for image in images}) <= 1  # as a network's batch needs
        return [[self._face(*item[:4]) for item in self._find(image)] for image in images]

    def _find(self, image: np.ndarray) -> list[tuple[int, ...]]:
        bright = (image[..., 1] > 160).astype(np.uint8)  # all is grey
        return [tuple(map(int, s)) for s in cv2.connectedComponentsWithStats(bright)[2][1:]]

    def _face(self, x: int, y: int, w: int, h: int) -> Face:
        return Face((float(x), float(y), float(w), float(h)), 0.97, np.full((5, 2), x, np.float32))


def picture(*squares: tuple[int, int, int]) -> np.ndarray:
    """Return 160x96 dark pixels with a white square for each left, top, side."""
    image = np.full((96, 160, 3), 30, np.uint8)
    for x, y, side in squares:
        image[y : y + side, x : x + side] = 230
    return image


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """30 frames: a large square in 1-20, a small one in 8-30; uneven times from 0.5 s."""
    pictures = []
    for k in range(1, 31):
        squares = [(20 + k, 30, 40)] if k <= 20 else []
        pictures.append(picture(*squares, *([(124, 40, 16)] if k >= 8 else [])))
    times = [500 + 40 * k + 7 * (k % 3) for k in range(30)]
    return write_media(tmp_path / "clip.mkv", pictures, times=times, time_base=Fraction(1, 1000))


def crop(path: Path, output: Path, **settings: object) -> CropSummary:
    return crop_video(path, output, detector=SquareFinder(), **settings)  # type: ignore[arg-type]


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_main_subject_has_a_file_for_each_frame_it_is_in(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "crops" / "clip"
    summary = crop(clip, out, cropping=Cropping(scales=(1.0, 1.5), side=24))
    assert (summary.frames, summary.found, summary.subjects) == (30, 20, 1)
    files = [f"{scale}/{k:05d}.jpg" for scale in ("1.0", "1.5") for k in range(1, 21)]
    assert names(out) == [*files, *TABLES]
    tight, wide = (cv2.imread(str(out / scale / "00005.jpg")) for scale in ("1.0", "1.5"))
    assert tight.shape == wide.shape == (24, 24, 3)
    assert tight.mean() > 215  # all of it is the square
    assert wide[12, 12].mean() > 215 and wide[1, 1].mean() < 60
    assert sorted(path.name for path in out.parent.iterdir()) == ["clip", "clip.provenance.json"]


def test_table_has_every_frame_with_its_true_time(clip: Path, tmp_path: Path) -> None:
    summary = crop(clip, tmp_path / "out")
    table, provenance = read_faces(tmp_path / "out" / "faces.parquet")
    assert table["frame"].tolist() == list(range(1, 31))
    assert table["time_s"].to_numpy() == pytest.approx(
        [0.5 + 0.04 * k + 0.007 * (k % 3) for k in range(30)]
    )
    assert table["found"].tolist() == [True] * 20 + [False] * 10
    assert table["subject"].unique().tolist() == [0]
    there = table[table["found"]]
    assert there["x"].to_numpy() == pytest.approx(np.arange(21, 41), abs=1.0)
    assert there[["w", "h"]].to_numpy() == pytest.approx(40, abs=1.0)
    assert there["x0"].to_numpy() == pytest.approx(there["x"].to_numpy(), abs=1e-3)
    assert table.loc[~table["found"], ["detected", "score", "x", "y4"]].isna().all(axis=None)
    detected = there["detected"].astype(bool)
    assert 8 < detected.sum() == summary.detected < 20
    beside = json.loads(provenance_path(tmp_path / "out").read_text())
    assert list(beside.pop("output")) == names(tmp_path / "out") and beside == provenance
    assert (
        provenance["inputs"] == [describe_input(clip)]
        and provenance["settings"]["detector"]["name"] == "squares"
    )


def test_all_subjects_have_a_folder_and_a_row_each(clip: Path, tmp_path: Path) -> None:
    crop(clip, tmp_path / "out", subject="all")
    first = [f"subject0/1.0/{k:05d}.jpg" for k in range(1, 21)]
    second = [f"subject1/1.0/{k:05d}.jpg" for k in range(8, 31)]
    assert names(tmp_path / "out") == ["faces.parquet", *first, *second, "tracks.parquet"]
    table, _ = read_faces(tmp_path / "out" / "faces.parquet")
    assert table[["frame", "subject"]].to_numpy().tolist() == [
        [k, s] for k in range(1, 31) for s in (0, 1)
    ]
    assert table["found"].sum() == 43
    assert cv2.imread(str(tmp_path / "out" / second[0])).shape == (16, 16, 3)


def test_per_frame_choice_follows_the_frame(clip: Path, tmp_path: Path) -> None:
    crop(clip, tmp_path / "out", subject="right")
    table, _ = read_faces(tmp_path / "out" / "faces.parquet")
    assert table["subject"].tolist() == [0] * 7 + [1] * 23
    crop(clip, tmp_path / "followed", subject="follow-largest")
    table, provenance = read_faces(tmp_path / "followed" / "faces.parquet")
    assert table["subject"].tolist() == [0] * 20 + [-1] * 10  # the other square is elsewhere
    assert provenance["settings"]["following"] == {"keep": 0.9, "iou": 0.3}


def test_tracks_have_everybody_whoever_was_asked_for(clip: Path, tmp_path: Path) -> None:
    crop(clip, tmp_path / "out")
    tracks, provenance = read_faces(tmp_path / "out" / "tracks.parquet")
    faces, _ = read_faces(tmp_path / "out" / "faces.parquet")
    assert tracks["found"].all() and provenance["settings"]["subject"] == "main"
    assert tracks.loc[tracks["subject"] == 0, "frame"].tolist() == list(range(1, 21))
    assert tracks.loc[tracks["subject"] == 1, "frame"].tolist() == list(range(8, 31))
    mine = tracks[tracks["subject"] == 0].reset_index(drop=True)
    pd.testing.assert_frame_equal(mine, faces[faces["found"]], check_dtype=False)
    assert describe_tracks(tmp_path / "out") == "track 1: 23 of 30 frames; track 0: 20"


def test_a_track_by_number_and_nobody(clip: Path, tmp_path: Path) -> None:
    assert crop(clip, tmp_path / "one", subject="track 1") == CropSummary(30, 23, 13, 1)
    table, provenance = read_faces(tmp_path / "one" / "faces.parquet")
    assert (
        table["subject"].unique().tolist() == [1] and provenance["settings"]["subject"] == "track 1"
    )
    assert table["found"].tolist() == [False] * 7 + [True] * 23
    assert crop(clip, tmp_path / "none", subject="skip") == CropSummary(30, 0, 0, 0)
    table, _ = read_faces(tmp_path / "none" / "faces.parquet")
    assert len(table) == 30 and (table["subject"] == -1).all()
    assert names(tmp_path / "none") == TABLES


def test_segments_have_each_their_own_subject(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[Any] = []

    def read(*arguments: Any) -> Any:
        passes.append(arguments)
        return read_frames(*arguments)

    monkeypatch.setattr(stage, "read_frames", read)
    several = (
        SubjectSegment("left", 3, 9),
        SubjectSegment("track 1", 12, 14),
        SubjectSegment("main", 21),
    )
    folders = {tmp_path / "a": several, tmp_path / "b": (SubjectSegment("top"),)}
    done = crop_folders(clip, folders, detector=SquareFinder())
    assert len(passes) == 1  # for both folders
    table, provenance = read_faces(tmp_path / "a" / "faces.parquet")
    nobody = [-1] * 2
    assert table["frame"].tolist() == list(range(1, 31))
    assert table["subject"].tolist() == (
        nobody + [0] * 7 + nobody + [1] * 3 + [-1] * 6 + [1] * 10  # main of 21-30 alone
    )
    assert (table["found"] == (table["subject"] >= 0)).all()
    assert provenance["settings"]["subject"] == "strategy"
    assert provenance["settings"]["segments"] == [
        ["left", 3, 9], ["track 1", 12, 14], ["main", 21, None],
    ]  # fmt: skip
    assert done[tmp_path / "a"].found == 20
    files = names(tmp_path / "a" / "1.0")
    assert files == [f"{k:05d}.jpg" for k in [*range(3, 10), *range(12, 15), *range(21, 31)]]
    table, _ = read_faces(tmp_path / "b" / "faces.parquet")
    assert table["subject"].tolist() == [0] * 7 + [1] * 23  # centres at 50 and at 48
    # Only what was edited is done again.
    folders[tmp_path / "b"] = (SubjectSegment("right"),)
    again = crop_folders(clip, folders, detector=SquareFinder())
    assert not again[tmp_path / "a"].made and again[tmp_path / "b"].made


@pytest.mark.parametrize(
    ("segment", "message"),
    [
        (SubjectSegment("track 2"), "clip.mkv has no track 2; they are 0 to 1"),
        (SubjectSegment("main", 31), "clip.mkv has no frame 31; the last is 30"),
        (
            SubjectSegment("main", 31, 40, "s.csv, line 7"),
            "s.csv, line 7: .*clip.mkv has no frame 31",
        ),
    ],
)
def test_tracks_and_frames_that_are_not_there_write_nothing(
    segment: SubjectSegment, message: str, clip: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        crop_folders(clip, {tmp_path / "out": (segment,)}, detector=SquareFinder())
    assert names(tmp_path) == ["clip.mkv"]


def test_a_track_of_a_video_without_faces_is_refused(tmp_path: Path) -> None:
    path = write_media(tmp_path / "dark.mp4", [picture()] * 6)
    with pytest.raises(InputError, match="dark.mp4 has no track 0; no face was found in it"):
        crop(path, tmp_path / "out", subject="track 0")


def test_notes_name_the_tracks_that_are_there_longest(tmp_path: Path) -> None:
    path = write_media(tmp_path / "dark.mp4", [picture()] * 6)
    crop(path, tmp_path / "out")
    assert describe_tracks(tmp_path / "out") == "no face"
    row = {name: 0.5 for name in SCHEMA.names} | {"found": True, "detected": True}
    rows = [row | {"frame": f, "subject": s} for s in range(15) for f in range(1, 3 + (s == 7))]
    write_faces(pd.DataFrame(rows), tmp_path / "out" / "tracks.parquet", {})
    note = describe_tracks(tmp_path / "out")
    assert note.startswith("track 7: 3 of 6 frames; track 0: 2; track 1: 2; ")
    assert note.endswith("; track 11: 2; 3 more")
    with pytest.raises(InputError, match="no such file"):
        describe_tracks(tmp_path)


def test_video_without_faces_has_a_table_and_no_crops(tmp_path: Path) -> None:
    path = write_media(tmp_path / "dark.mp4", [picture()] * 6)
    assert crop(path, tmp_path / "out") == CropSummary(6, 0, 0, 0)
    table, _ = read_faces(tmp_path / "out" / "faces.parquet")
    assert len(table) == 6 and not table["found"].any() and (table["subject"] == -1).all()
    assert names(tmp_path / "out") == TABLES


def test_a_stream_may_change_its_size(tmp_path: Path) -> None:
    small = [picture((20, 30, 40))] * 11
    large = [np.full((192, 128, 3), 30, np.uint8) for _ in range(14)]
    for image in large:
        image[60:120, 40:100] = 230
    path = tmp_path / "joined.ts"
    parts = [
        write_media(tmp_path / f"{k}.ts", part, options={"g": "5"})
        for k, part in enumerate((small, large))
    ]
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    summary = crop(path, tmp_path / "out", subject="largest")
    assert (summary.frames, summary.found) == (25, 25)
    table, _ = read_faces(tmp_path / "out" / "faces.parquet")
    sides = table["w"].to_numpy()
    assert sides[:11] == pytest.approx(40, abs=1) and sides[11:] == pytest.approx(60, abs=1)
    crops = [cv2.imread(str(file)) for file in sorted((tmp_path / "out" / "1.0").iterdir())]
    assert len(crops) == 25 and all(image.mean() > 200 for image in crops)


def test_finished_work_is_skipped_and_other_settings_replace_it(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert crop(clip, out).made
    assert crop(clip, out) == replace(crop(clip, out, overwrite=True), made=False)
    assert crop(clip, out, cropping=Cropping(scales=(1.3,))).made
    assert not (out / "1.0").exists() and len(names(out / "1.3")) == 20
    assert crop(clip, out, cropping=Cropping(scales=(1.3,)), overwrite=True).made


def test_an_interruption_leaves_what_was_there(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "crops" / "out"
    crop(clip, out)
    before = names(tmp_path / "crops")
    original = stage._write_jpeg

    def stop_midway(path: Path, image: np.ndarray, quality: int) -> None:
        if path.name == "00007.jpg":
            raise KeyboardInterrupt
        original(path, image, quality)

    monkeypatch.setattr(stage, "_write_jpeg", stop_midway)
    for target in (out, tmp_path / "crops" / "new"):
        with pytest.raises(KeyboardInterrupt):
            crop(clip, target, subject="left")
        assert names(tmp_path / "crops") == before


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_no_folder_of_crops_is_refused_before_any_work(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overwrite: bool
) -> None:
    out, file = tmp_path / "out", tmp_path / "file"
    out.mkdir()
    for path in (out / "thesis.tex", file):
        path.write_text("years of work")
    monkeypatch.setattr(stage, "track_faces", None)  # not to be called
    for place in (out, file):
        with pytest.raises(OutputError, match="move it or change -o"):
            crop(clip, place, overwrite=overwrite)
    with pytest.raises(OutputError, match="cannot write .*: File name too long"):
        crop(clip, tmp_path / ("x" * 300), overwrite=overwrite)
    assert names(out) == ["thesis.tex"] and file.read_text() == "years of work"


def test_crops_of_another_video_are_replaced_only_when_asked(clip: Path, tmp_path: Path) -> None:
    other = write_media(tmp_path / "dark.mp4", [picture()] * 3)
    crop(clip, tmp_path / "out")
    with pytest.raises(OutputError, match="not made from this input; use --overwrite"):
        crop(other, tmp_path / "out")
    assert crop(other, tmp_path / "out", overwrite=True) == CropSummary(3, 0, 0, 0)
    assert names(tmp_path / "out") == TABLES


def test_an_unwritable_place_is_one_line(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write .*file/out: .*file is not a folder"):
        crop(clip, tmp_path / "file" / "out")


def test_an_unknown_subject_and_a_missing_video_write_nothing(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown subject 'nobody'"):
        crop(clip, tmp_path / "out", subject="nobody")
    with pytest.raises(InputError, match="no such file"):
        crop(tmp_path / "none.mp4", tmp_path / "out")
    assert names(tmp_path) == ["clip.mkv"]


def test_progress_goes_through_the_video_once(clip: Path, tmp_path: Path) -> None:
    steps: list[tuple[int, int | None, str]] = []
    crop(clip, tmp_path / "out", progress=lambda *step: steps.append(step))
    assert steps == [(k, None, "faces") for k in range(1, 31)]


def test_faces_files_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_faces(tmp_path / "none.parquet")
    (tmp_path / "text.parquet").write_text("no table")
    with pytest.raises(InputError, match="cannot read the faces"):
        read_faces(tmp_path / "text.parquet")
    pd.DataFrame({"frame": [1], "time_s": [0.0]}).to_parquet(tmp_path / "short.parquet")
    with pytest.raises(InputError, match="has no column subject, found"):
        read_faces(tmp_path / "short.parquet")


def test_faces_files_keep_types_and_provenance(tmp_path: Path) -> None:
    row = {name: [0.5] for name in SCHEMA.names}
    row |= {"frame": [7], "subject": [0], "found": [True], "detected": [False]}
    write_faces(pd.DataFrame(row), tmp_path / "faces.parquet", {"command": "crop"})
    table, provenance = read_faces(tmp_path / "faces.parquet")
    assert provenance == {"command": "crop"} and list(table.columns) == SCHEMA.names
    assert table.iloc[0].to_dict() == {name: values[0] for name, values in row.items()}
