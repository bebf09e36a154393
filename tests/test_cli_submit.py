from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from sample_tables import make_table

from abawcli.cli import main
from abawcli.formats.abaw import write_annotation
from abawcli.formats.provenance import read_provenance
from abawcli.formats.submission import HEADER
from abawcli.formats.tables import write_table


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Predictions of two videos and a sample of them, in the working directory."""
    monkeypatch.chdir(tmp_path)
    write_table(make_table([0, 3, -1], "a"), Path("preds/a.csv"), {})
    write_annotation(np.array([2]), Path("preds/b.txt"))
    rows = ["b/00001.jpg,0", *(f"a/{k:05d}.jpg,0" for k in (1, 2, 3))]
    Path("sample.txt").write_text("\n".join([HEADER, *rows]) + "\n")
    return tmp_path


def submit(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, ["submit", *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, result.stdout, result.stderr


WRITE = ("preds", "--template", "sample.txt", "-o", "new/predictions.txt")
CHECK = ("--check", "new/predictions.txt", "--template", "sample.txt")


def test_a_submission_is_written_with_its_provenance(folder: Path) -> None:
    status, stdout, stderr = submit(*WRITE)
    assert (status, stdout) == (0, "")
    assert stderr.splitlines() == [
        "abaw: warning: a: 1 of 3 rows have no prediction of their own and take the nearest",
        "abaw: new/predictions.txt: 4 rows of 2 videos; "
        "1 rows have the prediction of the nearest frame",
    ]
    rows = "b/00001.jpg,2\na/00001.jpg,0\na/00002.jpg,3\na/00003.jpg,3\n"
    assert Path("new/predictions.txt").read_bytes() == f"{HEADER}\n{rows}".encode()
    provenance = read_provenance(Path("new/predictions.txt"))
    assert provenance["command"] == "submit"
    names = [each["name"] for each in provenance["inputs"]]
    assert names == ["preds/a.csv", "preds/b.txt", "sample.txt"]
    assert submit(*CHECK) == (
        0,
        "new/predictions.txt has every row of sample.txt and would be accepted\n",
        "",
    )


def test_quiet_says_nothing(folder: Path) -> None:
    assert submit(*WRITE, "-q") == (0, "", "")
    assert submit(*WRITE, "-q") == (0, "", "")  # it is made already
    assert "is already made from these predictions; skipped" in submit(*WRITE)[2]


def test_finished_work_is_skipped_until_something_changes(folder: Path) -> None:
    submit(*WRITE)
    before = Path("new/predictions.txt").stat().st_mtime_ns
    status, _, stderr = submit(*WRITE)
    assert (status, "is already made" in stderr) == (0, True)
    assert Path("new/predictions.txt").stat().st_mtime_ns == before
    write_annotation(np.array([6, 6]), Path("preds/b.txt"))
    assert submit(*WRITE)[0] == 0
    assert "b/00001.jpg,6\n" in Path("new/predictions.txt").read_text()


def test_strangers_are_not_replaced(folder: Path) -> None:
    Path("mine.txt").write_text("mine")
    arguments = ("preds", "--template", "sample.txt", "-o", "mine.txt")
    status, _, stderr = submit(*arguments)
    assert status == 1
    assert "mine.txt exists and was not made from this input; use --overwrite" in stderr
    assert Path("mine.txt").read_text() == "mine"
    assert submit(*arguments, "--overwrite")[0] == 0
    assert Path("mine.txt").read_text().startswith(HEADER)


@pytest.mark.parametrize("output", ["preds/b.txt", "sample.txt"])
def test_inputs_are_not_replaced(folder: Path, output: str) -> None:
    before = Path(output).read_text()
    status, _, stderr = submit("preds", "--template", "sample.txt", "-o", output, "--overwrite")
    assert (status, stderr) == (
        2, f"abaw: error: {output} is an input and would be replaced; choose another -o\n",
    )  # fmt: skip
    assert Path(output).read_text() == before


def test_a_video_that_is_absent_is_refused(folder: Path) -> None:
    Path("preds/b.txt").unlink()
    status, stdout, stderr = submit(*WRITE)
    assert (status, stdout) == (1, "")
    assert stderr == (
        "abaw: error: sample.txt: 1 of its 2 videos cannot be submitted; "
        "no predictions of this video: b (line 2)\n"
    )
    assert not Path("new").exists()


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["preds", "--template", "sample.txt"], 2, "give PREDICTIONS and -o, or --check FILE"),
        (["--template", "sample.txt", "-o", "x"], 2, "give PREDICTIONS and -o, or --check FILE"),
        (["preds", "-o", "x"], 2, "Missing option '--template'"),
        (["preds", *CHECK], 2, "--check takes neither PREDICTIONS nor -o"),
        ([*CHECK, "-o", "x"], 2, "--check takes neither PREDICTIONS nor -o"),
        (list(CHECK), 1, "no such file: new/predictions.txt"),
        (["preds", "--template", "gone.txt", "-o", "x"], 1, "no such file: gone.txt"),
        (["gone", "--template", "sample.txt", "-o", "x"], 1, "no such file: gone"),
        (["preds", "--template", "preds/b.txt", "-o", "x"], 1, "preds/b.txt, line 1: the header"),
    ],
)
def test_what_cannot_be_done(folder: Path, arguments: list[str], status: int, message: str) -> None:
    found, stdout, stderr = submit(*arguments)
    assert (found, stdout) == (status, "")
    assert message in stderr
    assert not Path("x").exists()


def test_a_wrong_submission_is_told_with_its_lines(folder: Path) -> None:
    submit(*WRITE, "-q")
    path = Path("new/predictions.txt")
    path.write_text(path.read_text().replace("a/00001.jpg,0", "a/00001.jpg,9"))
    status, stdout, stderr = submit(*CHECK)
    assert (status, stderr) == (1, "")
    assert stdout.splitlines() == [
        f"{path}: line 3: a row must be <name>/00001.jpg,<class> with a class from 0 to 7, "
        "not 'a/00001.jpg,9'",
        f"{path} would not be accepted",
    ]


def test_ten_differences_are_told_and_the_others_counted(folder: Path) -> None:
    rows = [f"a/{k:05d}.jpg,0" for k in range(1, 31)]
    Path("sample.txt").write_text("\n".join([HEADER, *rows]) + "\n")
    Path("short.txt").write_text(f"{HEADER}\n{rows[0]}\n")
    status, stdout, _ = submit("--check", "short.txt", "--template", "sample.txt")
    assert status == 1
    lines = stdout.splitlines()
    assert len(lines) == 12
    assert lines[0] == "short.txt: no row of a/00002.jpg, line 3 of the sample"
    assert lines[10:] == [
        "short.txt: and 19 more differences",
        "short.txt would not be accepted",
    ]
