"""`abaw score --sweep` and `--plot`."""

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from sample_tables import make_table

from abawcli.cli import main
from abawcli.formats.abaw import write_annotation
from abawcli.formats.provenance import read_provenance
from abawcli.formats.tables import write_table

STEADY = np.repeat([0, 4, 5, 2], 40)


def write_folders() -> None:
    """Write predictions that flicker and annotations of three videos."""
    rng = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        noise = rng.integers(0, 8, len(STEADY))
        labels = np.where(rng.random(len(STEADY)) < 0.3, noise, STEADY)
        write_table(make_table(labels, name), Path(f"my preds/{name}.csv"), {})
        write_annotation(STEADY, Path(f"truth/{name}.txt"))


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The predictions and annotations, in the working directory."""
    monkeypatch.chdir(tmp_path)
    write_folders()
    return tmp_path


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What a sweep of the folders prints."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("swept"))
        write_folders()
        status, stdout, stderr = sweep()
    assert (status, stderr) == (0, "")
    return stdout


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, list(arguments))
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, result.stdout, result.stderr


def sweep(*arguments: str) -> tuple[int, str, str]:
    return run("score", "my preds", "truth", "--sweep", *arguments)


def find_row(text: str, name: str) -> list[str]:
    """Return the cells of the first table row that begins with `name`."""
    rows = [[cell.strip() for cell in line.strip("│ ").split("│")] for line in text.splitlines()]
    return next(row for row in rows if row[0] == name)


@pytest.mark.usefixtures("folders")
def test_the_last_line_smooths_as_well_as_the_sweep_says(swept: str) -> None:
    name, *words = shlex.split(swept.splitlines()[-1])
    assert (name, words[:4]) == ("abaw", ["smooth", "my preds", "-o", "my preds-smoothed"])
    assert run(*words, "-q") == (0, "", "")
    status, scored, _ = run("score", "my preds-smoothed", "truth", "--json")
    assert status == 0
    best = find_row(swept, "best on these videos")
    assert best[1] == f"{json.loads(scored)['macro_f1']:.4f}"
    raw = json.loads(run("score", "my preds", "truth", "--json")[1])["macro_f1"]
    assert find_row(swept, "as predicted")[1] == f"{raw:.4f}"
    assert float(best[2]) == pytest.approx(json.loads(scored)["macro_f1"] - raw, abs=1e-4)


def test_the_tables_fit_a_narrow_terminal(swept: str) -> None:
    lines = swept.splitlines()
    assert max(map(len, lines[:-1])) <= 80
    assert "sweep, annotations: 3, annotated frames: 480" in lines
    assert sum(" * " in line for line in lines) == 1  # the winner


@pytest.mark.usefixtures("folders")
def test_json_is_all_there_is_on_stdout_and_is_written_with_its_provenance(swept: str) -> None:
    status, stdout, _ = sweep("--json", "-o", "sweep.json", "--plot", "sweep.svg")
    assert status == 0
    described = json.loads(stdout)
    assert described["command"] == swept.splitlines()[-1]
    assert described["cross_validated"] > described["as_predicted"]
    assert described["videos"] == ["a", "b", "c"]
    assert json.loads(Path("sweep.json").read_text()) == described
    assert Path("sweep.svg").read_text().startswith("<?xml")
    for name in ("sweep.json", "sweep.svg"):
        provenance = read_provenance(Path(name))
        assert provenance["command"] == "score"
        assert 25 in provenance["settings"]["sweep"]["windows"]


def test_a_sweep_that_gains_nothing_says_so(folders: Path) -> None:
    for name in ("a", "b", "c"):
        labels = np.tile(np.arange(8), 10)
        write_table(make_table(labels, name), Path(f"my preds/{name}.csv"), {})
        write_annotation(labels, Path(f"truth/{name}.txt"))
    lines = sweep()[1].splitlines()
    assert lines[-1] == "no smoothing scores better than the predictions as they are"
    assert "abaw smooth" not in "\n".join(lines)


def test_a_gain_that_holds_on_one_video_only_is_doubted(folders: Path) -> None:
    """Smoothing helps the long video and harms the short ones, which are right as they are."""
    quick = np.tile(np.repeat(np.arange(8), 2), 5)
    for name in ("b", "c"):
        write_table(make_table(quick, name), Path(f"my preds/{name}.csv"), {})
        write_annotation(quick, Path(f"truth/{name}.txt"))
    lines = sweep()[1].splitlines()
    assert lines[-2] == ("smoothing has no cross-validated gain: expect none on other videos")
    assert lines[-1].startswith("abaw smooth ")


def test_one_source_video_is_one_line(folders: Path) -> None:
    status, stdout, stderr = run("score", "my preds/a.csv", "truth/a.txt", "--sweep")
    assert (status, stdout) == (1, "")
    assert stderr == (
        "abaw: error: a sweep needs 2 or more annotated source videos, not 1: "
        "what is chosen on one is scored on another\n"
    )


def test_a_video_without_predictions_ends_with_one(folders: Path) -> None:
    Path("my preds/c.csv").unlink()
    status, stdout, stderr = sweep("--json")
    assert status == 1
    assert stderr.splitlines() == [
        "abaw: error: c: no predictions of this video",
        "abaw: 1 of 3 inputs failed: c",
    ]
    assert json.loads(stdout)["failed"] == {"c": "c: no predictions of this video"}


def test_the_confusion_matrix_is_drawn(folders: Path) -> None:
    plot = Path("new/plot.png")
    status, stdout, stderr = run("score", "my preds", "truth", "--plot", str(plot))
    assert (status, stderr) == (0, "")
    assert "macro-F1" in stdout
    assert plot.stat().st_size > 1000
    assert read_provenance(plot)["command"] == "score"


def test_a_picture_that_is_not_ours_is_kept(folders: Path) -> None:
    Path("mine.svg").write_text("mine")
    status, stdout, stderr = sweep("--plot", "mine.svg")
    assert (status, stdout) == (1, "")
    assert "mine.svg exists and was not made from this input; use --overwrite" in stderr
    assert Path("mine.svg").read_text() == "mine"
    Path("my preds/a.csv").unlink()  # two videos are enough
    Path("truth/a.txt").unlink()
    assert sweep("--plot", "mine.svg", "--overwrite")[0] == 0
    assert sweep("--plot", "mine.svg")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--plot", "a.gif"], "a.gif is no picture name; end it in .pdf, .png, .svg"),
        (["--plot", "a.png", "-o", "./a.png"], "-o and --plot are both a.png; give them different"),
        (["--plot", "truth/a.svg"], "truth/a.svg is an input and would be replaced"),
    ],
)
def test_bad_plots_are_refused_before_any_work(
    folders: Path, arguments: list[str], message: str
) -> None:
    Path("truth/a.txt").rename("truth/a.svg")
    status, stdout, stderr = run("score", "gone", "truth/a.svg", "--sweep", *arguments)
    assert (status, stdout) == (2, "")
    assert message in stderr
    assert len(stderr.splitlines()) == 1
