import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from sample_tables import make_table

from abawcli.cli import main
from abawcli.formats.abaw import write_annotation
from abawcli.formats.files import read_provenance
from abawcli.formats.tables import write_table


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Predictions and annotations of two videos, in the working directory."""
    monkeypatch.chdir(tmp_path)
    write_table(make_table([0, 0, 1, -1], "a"), Path("preds/a.csv"), {})
    write_table(make_table([2, 2], "b"), Path("preds/b.parquet"), {})
    write_annotation(np.array([0, 1, 1, 1]), Path("truth/a.txt"))
    write_annotation(np.array([2, -1]), Path("truth/b.txt"))
    return tmp_path


def score(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, ["score", *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, result.stdout, result.stderr


def find_row(text: str, name: str) -> list[str]:
    """Return the cells of the first table row that begins with `name`."""
    rows = [[cell.strip() for cell in line.strip("│ ").split("│")] for line in text.splitlines()]
    return next(row for row in rows if row[0] == name)


def test_a_folder_against_a_folder(folders: Path) -> None:
    status, stdout, stderr = score("preds", "truth")
    assert (status, stderr) == (0, "")
    assert "score, annotations: 2" in stdout
    assert find_row(stdout, "Neutral") == ["Neutral", "0.500", "1.000", "0.667", "1"]
    assert find_row(stdout, "Anger") == ["Anger", "1.000", "0.333", "0.500", "3"]
    assert find_row(stdout, "macro-F1")[3:] == [f"{(2 / 3 + 1 / 2 + 1) / 8:.4f}", "5"]
    assert find_row(stdout, "macro-F1, face found")[3:] == [f"{(2 / 3 + 2 / 3 + 1) / 8:.4f}", "4"]
    assert find_row(stdout, "accuracy")[3:] == ["0.6000", "5"]
    assert "1 annotated frames have no prediction" in stdout


def test_the_confusion_matrix_fits_a_narrow_terminal(folders: Path) -> None:
    _, stdout, _ = score("preds", "truth")
    matrix = stdout[stdout.index("annotated (rows)") :]
    assert find_row(matrix, "Anger") == ["Anger", "1", "1", *["0"] * 6]
    assert max(map(len, stdout.splitlines())) <= 80


def test_a_file_against_a_file(folders: Path) -> None:
    status, stdout, _ = score("preds/a.csv", "truth/a.txt")
    assert status == 0
    assert find_row(stdout, "accuracy")[3:] == ["0.5000", "4"]


def test_json_is_all_there_is_on_stdout(folders: Path) -> None:
    status, stdout, stderr = score("preds", "truth", "--json")
    assert (status, stderr) == (0, "")
    scored = json.loads(stdout)
    assert scored["frames"] == 5
    assert scored["accuracy"] == pytest.approx(3 / 5)
    assert scored["classes"]["Anger"]["support"] == 3
    assert list(scored["videos"]) == ["a", "b"]


def test_the_score_is_written_with_its_provenance(folders: Path) -> None:
    status, stdout, _ = score("preds", "truth", "--json", "-o", "new/score.json")
    assert status == 0
    assert json.loads(Path("new/score.json").read_text()) == json.loads(stdout)
    provenance = read_provenance(Path("new/score.json"))
    assert provenance["command"] == "score"
    assert provenance["inputs"] == [str(folders / "preds"), str(folders / "truth")]


def test_the_score_is_made_anew_over_its_own_output_only(folders: Path) -> None:
    assert score("preds", "truth", "-o", "score.json")[0] == 0
    write_table(make_table([0, 1, 1, 1], "a"), Path("preds/a.csv"), {})
    assert score("preds", "truth", "-o", "score.json")[0] == 0
    assert json.loads(Path("score.json").read_text())["accuracy"] == 1
    status, stdout, stderr = score("preds/a.csv", "truth/a.txt", "-o", "score.json")
    assert (status, stdout) == (1, "")
    assert "score.json exists and was not made from this input; use --overwrite" in stderr
    assert score("preds/a.csv", "truth/a.txt", "-o", "score.json", "--overwrite")[0] == 0


@pytest.mark.parametrize("output", ["preds/a.csv", "truth/../truth/a.txt"])
def test_the_score_replaces_neither_side(folders: Path, output: str) -> None:
    before = Path(output).read_text()
    status, stdout, stderr = score("preds", "truth", "-o", output, "--overwrite")
    assert (status, stdout) == (2, "")
    assert stderr == (
        f"abaw: error: {Path(output)} is an input and would be replaced; choose another -o\n"
    )
    assert Path(output).read_text() == before


@pytest.mark.parametrize("form", ["table", "json"])
def test_a_video_without_predictions_ends_with_one(folders: Path, form: str) -> None:
    Path("preds/b.parquet").unlink()
    status, stdout, stderr = score("preds", "truth", *(["--json"] if form == "json" else []))
    assert status == 1
    assert stderr.splitlines() == [
        "abaw: error: b: no predictions of this video",
        "abaw: 1 of 2 inputs failed: b",
    ]
    if form == "json":
        assert json.loads(stdout)["failed"] == {"b": "b: no predictions of this video"}
        assert json.loads(stdout)["frames"] == 4
    else:
        assert find_row(stdout, "accuracy")[3:] == ["0.5000", "4"]


def test_an_annotation_longer_than_the_predictions(folders: Path) -> None:
    write_annotation(np.array([0] * 9), Path("truth/a.txt"))
    status, stdout, stderr = score("preds/a.csv", "truth/a.txt")
    assert (status, stdout) == (1, "")
    assert stderr == "abaw: error: a: the annotation has 9 rows and the video 4 frames\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gone.csv", "truth"], "no such file: gone.csv"),
        (["preds", "gone.txt"], "no such file: gone.txt"),
        (["empty", "truth"], "empty holds no .csv .parquet .txt file"),
        (["preds", "preds/*.avi"], "nothing matches preds/*.avi"),
    ],
)
def test_bad_inputs_are_one_line(folders: Path, arguments: list[str], message: str) -> None:
    Path("empty").mkdir()
    status, stdout, stderr = score(*arguments)
    assert (status, stdout) == (1, "")
    assert message in stderr
    assert len(stderr.splitlines()) == 1


def test_both_arguments_are_needed(folders: Path) -> None:
    assert score("preds")[0] == 2
