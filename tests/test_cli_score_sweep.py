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


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Predictions that flicker and annotations of three videos, in the working directory."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        noise = rng.integers(0, 8, len(STEADY))
        labels = np.where(rng.random(len(STEADY)) < 0.3, noise, STEADY)
        write_table(make_table(labels, name), Path(f"my preds/{name}.csv"), {})
        write_annotation(STEADY, Path(f"truth/{name}.txt"))
    return tmp_path


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


def test_the_last_line_smooths_as_well_as_the_sweep_says(folders: Path) -> None:
    status, stdout, stderr = sweep()
    assert (status, stderr) == (0, "")
    name, *words = shlex.split(stdout.splitlines()[-1])
    assert (name, words[:4]) == ("abaw", ["smooth", "my preds", "-o", "my preds-smoothed"])
    assert run(*words) == (0, "", "")
    status, scored, _ = run("score", "my preds-smoothed", "truth", "--json")
    assert status == 0
    best = find_row(stdout, "best on these videos")
    assert best[1] == f"{json.loads(scored)['macro_f1']:.4f}"
    raw = json.loads(run("score", "my preds", "truth", "--json")[1])["macro_f1"]
    assert find_row(stdout, "as predicted")[1] == f"{raw:.4f}"
    assert float(best[2]) == pytest.approx(json.loads(scored)["macro_f1"] - raw, abs=1e-4)


def test_the_tables_fit_a_narrow_terminal(folders: Path) -> None:
    lines = sweep()[1].splitlines()
    assert max(map(len, lines[:-1])) <= 80
    assert "sweep, annotations: 3, annotated frames: 480" in lines
    assert sum(" * " in line for line in lines) == 1  # the winner


def test_json_is_all_there_is_on_stdout(folders: Path) -> None:
    described = json.loads(sweep("--json")[1])
    assert described["command"] == sweep()[1].splitlines()[-1]
    assert described["cross_validated"] > described["as_predicted"]
    assert described["videos"] == ["a", "b", "c"]


def test_the_sweep_is_written_with_its_provenance(folders: Path) -> None:
    status, stdout, _ = sweep("--json", "-o", "sweep.json", "--plot", "sweep.svg")
    assert status == 0
    assert json.loads(Path("sweep.json").read_text()) == json.loads(stdout)
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


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_the_confusion_matrix_is_drawn(folders: Path, suffix: str) -> None:
    plot = Path(f"new/plot.{suffix}")
    status, stdout, stderr = run("score", "my preds", "truth", "--plot", str(plot))
    assert (status, stderr) == (0, "")
    assert "macro-F1" in stdout
    assert plot.stat().st_size > 1000
    assert read_provenance(plot)["command"] == "score"


def test_a_picture_that_is_not_ours_is_kept(folders: Path) -> None:
    Path("mine.png").write_text("mine")
    status, stdout, stderr = sweep("--plot", "mine.png")
    assert (status, stdout) == (1, "")
    assert "mine.png exists and was not made from this input; use --overwrite" in stderr
    assert Path("mine.png").read_text() == "mine"
    assert sweep("--plot", "mine.png", "--overwrite")[0] == 0
    assert sweep("--plot", "mine.png")[0] == 0


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
