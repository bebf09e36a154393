"""`-o -`: tables and texts go to stdout, and nothing else is written."""

import io
import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from media_files import write_media
from sample_tables import make_table

from abawcli.cli import main
from abawcli.formats.atomic import name_temporary
from abawcli.formats.submission import HEADER
from abawcli.formats.table_schemas import COLUMNS
from abawcli.formats.tables import read_table, write_table

EMPTY = np.full((48, 64, 3), 90, np.uint8)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Tables of two videos in the working directory, and an empty place for temporaries."""
    work, temporary = tmp_path / "work", tmp_path / "temporary"
    temporary.mkdir()
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    write_table(make_table([0, 3, 3], "a"), Path("p/a.csv"), {})
    write_table(make_table([1, 1, -1], "b"), Path("p/b.parquet"), {})
    return work


def run(folder: Path, *arguments: str, status: int = 0) -> Result:
    """Run a command; nothing may be left of it, here or in the place for temporaries."""
    before = set(folder.parent.rglob("*"))
    result = CliRunner().invoke(main, list(arguments))
    assert result.exit_code == status, result.output
    assert set(folder.parent.rglob("*")) == before
    assert tempfile.gettempdir() not in result.stderr
    return result


def read(result: Result) -> pd.DataFrame:
    table = pd.read_csv(io.StringIO(result.stdout))
    assert list(table.columns) == COLUMNS
    return table


def test_one_table_is_what_a_file_would_hold(folder: Path) -> None:
    printed = run(folder, "smooth", "p/a.csv", "-o", "-").stdout_bytes
    CliRunner().invoke(main, ["smooth", "p/a.csv", "-o", "s.csv"])
    assert printed == Path("s.csv").read_bytes()


def test_several_tables_have_one_header(folder: Path) -> None:
    table = read(run(folder, "smooth", "p", "-o", "-"))
    assert table["video"].tolist() == ["a"] * 3 + ["b"] * 3


def test_a_bad_input_leaves_the_others(folder: Path) -> None:
    Path("p/c.csv").write_text("no,table\n1,2\n")
    result = run(folder, "smooth", "p", "-o", "-", status=1)
    assert set(read(result)["video"]) == {"a", "b"} and "p/c.csv" in result.stderr


def test_an_interrupted_run_prints_what_it_finished_and_says_so(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop_at_b(table: pd.DataFrame, path: Path, provenance: dict[str, Any]) -> None:
        if path.stem == "b":
            raise KeyboardInterrupt
        write_table(table, path, provenance)

    monkeypatch.setattr("abawcli.stages.smooth.write_table", stop_at_b)
    result = run(folder, "smooth", "p", "-o", "-", status=130)
    assert set(read(result)["video"]) == {"a"}
    assert result.stderr.splitlines()[-1] == (
        "abaw: interrupted; 1 of 2 inputs are done and printed, and the same command begins again"
    )


def test_the_folder_of_a_killed_run_is_swept(folder: Path) -> None:
    with subprocess.Popen(["true"]) as dead:
        pass
    ours = name_temporary(Path(tempfile.gettempdir(), "stdout")).name
    left = folder.parent / "temporary" / ours.replace(f"-{os.getpid():x}-", f"-{dead.pid:x}-")
    left.mkdir()
    CliRunner().invoke(main, ["smooth", "p/a.csv", "-o", "-"])
    assert not left.exists()


def test_tables_are_fused_to_stdout(folder: Path) -> None:
    write_table(read_table(Path("p/a.csv")), Path("q.csv"), {})
    assert read(run(folder, "fuse", "p/a.csv", "q.csv", "-o", "-"))["label"].tolist() == [0, 3, 3]


def test_videos_are_labelled_to_stdout(folder: Path) -> None:
    for name in ("x", "y"):
        write_media(Path(f"{name}.mp4"), [EMPTY] * 3)
    result = run(folder, "predict", "x.mp4", "y.mp4", "-o", "-", "--modality", "visual")
    assert read(result)["video"].tolist() == ["x"] * 3 + ["y"] * 3
    assert "Predictions" in result.stderr


def test_a_submission_goes_to_stdout(folder: Path) -> None:
    Path("sample.txt").write_text(f"{HEADER}\na/00001.jpg,0\na/00002.jpg,0\n")
    result = run(folder, "submit", "p/a.csv", "--template", "sample.txt", "-o", "-")
    assert result.stdout == f"{HEADER}\na/00001.jpg,0\na/00002.jpg,3\n"
    assert "abaw: stdout: 2 rows" in result.stderr


def test_segments_go_to_stdout(folder: Path) -> None:
    result = run(folder, "segment", "p", "-o", "-", "--min-duration", "0")
    table = pd.read_csv(io.StringIO(result.stdout))
    assert table[["video", "label"]].to_numpy().tolist() == [
        ["a", "Neutral"], ["a", "Fear"], ["b", "Anger"],
    ]  # fmt: skip
    assert "abaw: stdout: 3 segments of 2 videos" in result.stderr
    result = run(folder, "segment", "p/b.parquet", "-o", "-", "--min-duration", "0")
    assert "abaw: stdout: 1 segment of 1 video\n" in result.stderr


def test_a_score_goes_to_stdout_as_json(folder: Path) -> None:
    assert json.loads(run(folder, "score", "p", "p", "-o", "-", "-q").stdout)["macro_f1"] > 0


@pytest.mark.parametrize("order", [["-o", "-", "--json"], ["--json", "-o", "-"]])
@pytest.mark.parametrize("command", [["smooth", "p"], ["score", "p", "p"]])
def test_two_things_do_not_both_go_to_stdout(
    command: list[str], order: list[str], folder: Path
) -> None:
    assert "both write to stdout" in run(folder, *command, *order, status=2).stderr


@pytest.mark.parametrize(
    "call",
    [
        ["crop", "v.mp4"],
        ["extract", "v.mp4"],
        ["sheet", "crops"],
        ["summarize", "p"],  # it writes several files
        ["export", "p", "--format", "wide"],  # one for each video
        ["import", "x.eaf", "--from", "elan", "--frames", "9"],  # its suffix says in which form
        ["plot", "p"],
        ["render", "v.mp4", "p/a.csv"],
        ["report", "p"],
        ["calibrate", "head.safetensors", "f", "--labels", "l"],
        ["crossval", "f", "--labels", "l"],
        ["train", "head", "f", "--labels", "l"],
        ["train", "face", "--images", "i", "--manifest", "m.csv"],
        ["train", "voice", "--recordings", "i", "--manifest", "m.csv"],
    ],
)
def test_what_is_not_one_text_needs_a_name(call: list[str], folder: Path) -> None:
    assert "does not write to stdout" in run(folder, *call, "-o", "-", status=2).stderr


@pytest.mark.parametrize("output", ["new/", "new/.", "."])
@pytest.mark.parametrize(
    "call",
    [
        ["submit", "p", "--template", "t.txt"],
        ["score", "p", "l"],
        ["segment", "p"],
        ["manifest", "p"],
    ],
)
def test_what_is_one_file_is_not_given_the_name_of_a_folder(
    call: list[str], output: str, folder: Path
) -> None:
    refused = run(folder, *call, "-o", output, status=2)
    assert f"{output} is a folder; give the name of a file" in refused.stderr
    assert not (folder / "new").exists()
