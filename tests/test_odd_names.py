"""Names may hold anything but a slash: what a terminal would obey is shown and not sent."""

import io
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from media_files import write_media
from sample_features import save_videos
from sample_tables import make_table

from abawcli.cli import main
from abawcli.cli.console import count_files, print_table, progress_bar, show
from abawcli.formats.abaw import write_annotation
from abawcli.formats.submission import HEADER
from abawcli.formats.tables import write_table

ODD = "x[red] [\\] :smile: \x1b[31m\u202e\n\x07"
SHOWN = r"x[red] [\] :smile: \x1b[31m\u202e\n\x07"
BYTES = os.fsdecode(b"bad\xff\x9b")
EMPTY = np.full((48, 64, 3), 90, np.uint8)
UNSEEN = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)))


def read_joined(text: str) -> str:
    """Return what tables and lines say, whatever they wrap and frame."""
    return re.sub(r"[\s│┃]", "", text)


def check(result: Result, name: str, status: int) -> None:
    """Make sure that a name was shown, all of it, in a run that ended so."""
    assert result.exit_code == status, result.output
    assert "Traceback" not in result.output and "internal error" not in result.output
    assert not UNSEEN.search(result.stdout + result.stderr)
    assert read_joined(name) in read_joined(result.output)


@given(st.text(st.characters(codec=None), max_size=20))
def test_what_is_shown_is_one_line_that_can_be_printed(text: str) -> None:
    shown = show(text)
    assert not UNSEEN.search(shown) and "\n" not in shown and len(shown.splitlines()) < 2
    shown.encode()
    assert show(shown) == shown


def test_letters_of_all_scripts_stay() -> None:
    name = "Zoë 北京 नमस्ते 👩‍👩‍👧 [a]\\b"
    assert show(name) == name
    assert show(BYTES) == r"bad\xff\x9b"


CALLS: dict[str, Sequence[str]] = {
    "probe": ["NAME.mp4"],
    "crop": ["NAME.mp4", "-o", "out"],
    "sheet": ["NAME", "-o", "out"],
    "extract": ["NAME.mp4", "-o", "out"],
    "predict": ["NAME.mp4", "-o", "out.csv"],
    "smooth": ["NAME.csv", "-o", "out.csv"],
    "fuse": ["NAME.csv", "other.csv", "-o", "out.csv"],
    "score": ["NAME.csv", "other.txt"],
    "submit": ["NAME.csv", "--template", "NAME.txt", "-o", "out.txt"],
    "train face": ["--images", "NAME", "--manifest", "NAME.csv", "-o", "out"],
    "train voice": ["--recordings", "NAME", "--manifest", "NAME.csv", "-o", "out"],
    "train head": ["NAME.safetensors", "--labels", "NAME.txt", "-o", "out"],
    "crossval": ["NAME.safetensors", "--labels", "NAME.txt", "-o", "out"],
}


@pytest.mark.parametrize("command", CALLS)
@pytest.mark.parametrize(("odd", "shown"), [(ODD, SHOWN), (BYTES, r"bad\xff\x9b")])
def test_a_missing_input_is_named_as_it_is(
    command: str, odd: str, shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*command.split(), *(word.replace("NAME", odd) for word in CALLS[command]))
    check(result, shown, result.exit_code)
    assert result.exit_code in (1, 2)


@pytest.mark.parametrize("odd", [ODD, BYTES])
@pytest.mark.parametrize("before", [[], ["--"], ["models", "--"], ["smooth", "a", "--space"]])
def test_what_is_unknown_is_named_as_it_is(before: list[str], odd: str) -> None:
    check(run(*before, odd), "", 2)
    check(run(*before[:-1], f"--{odd}"), "", 2)


@pytest.fixture
def odd_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    plain = write_media(tmp_path / "plain.mp4", [EMPTY] * 3)
    return plain.rename(tmp_path / f"{ODD}.mp4").relative_to(tmp_path)


@pytest.mark.parametrize("command", ["probe", "predict", "crop", "extract"])
def test_what_is_done_is_named_as_it_is(command: str, odd_video: Path, tmp_path: Path) -> None:
    output = [] if command == "probe" else ["-o", tmp_path / "out"]
    check(run(command, odd_video, *output), SHOWN, 0)


def test_a_path_like_a_closing_tag_is_probed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # a long path is folded, and not only after a slash
    Path("x[").mkdir()
    write_media(tmp_path / "x[" / "y].mov", [EMPTY] * 3)
    check(run("probe", "x[/y].mov"), "x[/y].mov", 0)


def test_videos_and_folds_of_tables_are_named_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name = "x[b] \x1b[31m"
    for video in (name, "b"):
        write_table(make_table([0, 1, 2], video), Path(f"p/{video}.csv"), {})
    write_table(make_table([0, 1, 1], "[/b]"), Path("t.csv"), {})
    write_table(make_table([0, 1, 1], "[/b]"), Path("q.csv"), {})
    check(run("score", "p", "p"), r"x[b] \x1b[31m", 0)
    check(run("score", "q.csv", "t.csv"), "score, annotations: 1", 0)
    check(run("fuse", *Path("p").glob("*.csv"), "-o", "f.csv"), r"x[b] \x1b[31m", 1)
    Path("sample.txt").write_text(f"{HEADER}\n[/c]\x1b/00001.jpg,0\n")
    check(run("submit", "p", "--template", "sample.txt", "-o", "s.txt"), r"[/c]\x1b", 1)


def test_runs_are_named_as_they_are(tmp_path: Path) -> None:
    features, labels = save_videos(tmp_path, ["a", "b", "c"], frames=24)
    out = tmp_path / f"[/run] {ODD}"
    result = run("train", "head", features, "--labels", labels, "-o", out, "--epochs", "1")
    check(result, SHOWN, 0)
    annotation = np.zeros(24, np.int64)
    write_annotation(annotation, labels / f"{ODD}.txt")
    result = run("crossval", features, "--labels", labels, "-o", tmp_path / "cv", "--epochs", "1",
                 "--folds", "2", "--head", "visual")  # fmt: skip
    check(result, SHOWN, 0)


def test_progress_bars_show_names_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with count_files(3, 30), progress_bar(ODD, "frames", expected=40) as update:
        update(10, None, BYTES)
    drawn = terminal.getvalue().replace("\r", "")
    assert SHOWN in drawn and "file 3 of 30" in drawn
    assert "\x1b[31m" not in drawn and "\u202e" not in drawn and "\udcff" not in drawn


def test_a_cell_may_have_several_lines_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("[/t]", ["[b]"], [[("one", "t\nwo")]])
    out = capsys.readouterr().out
    assert [line.strip("│ ") for line in out.splitlines()[4:6]] == ["one", r"t\nwo"]
    assert "[/t]" in out and "[b]" in out
