import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from sample_tables import make_table

from abawcli.cli import main
from abawcli.formats.abaw import write_annotation
from abawcli.formats.provenance import read_provenance
from abawcli.formats.table_schemas import COLUMNS
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
    assert find_row(stdout, "macro-F1, face found")[3:] == [
        f"{(2 / 3 + 2 / 3 + 1) / 8:.4f}",
        "4",
    ]
    assert find_row(stdout, "accuracy")[3:] == ["0.6000", "5"]
    assert "1 annotated frames have no prediction (a); they count as wrong" in stdout


def test_the_confusion_matrix_fits_a_narrow_terminal(folders: Path) -> None:
    _, stdout, _ = score("preds", "truth")
    matrix = stdout[stdout.index("annotated (rows)") :]
    assert find_row(matrix, "Anger") == ["Anger", "1", "1", *["0"] * 6]
    assert max(map(len, stdout.splitlines())) <= 80


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_table_without_times_is_scored(folders: Path, suffix: str) -> None:
    table = make_table([0, 0, 1, -1], "a").assign(time_s=np.nan)
    write_table(table, Path(f"a{suffix}"), {})
    status, stdout, stderr = score(f"a{suffix}", "truth/a.txt")
    assert (status, stderr) == (0, "")
    assert find_row(stdout, "accuracy")[3:] == ["0.5000", "4"]


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
    assert [each["name"] for each in provenance["inputs"]] == ["preds", "truth"]


def test_the_score_is_made_anew_over_its_own_output_only(folders: Path) -> None:
    assert score("preds", "truth", "-o", "score.json")[0] == 0
    write_table(make_table([0, 1, 1, 1], "a"), Path("preds/a.csv"), {})
    assert score("preds", "truth", "-o", "score.json")[0] == 0
    assert json.loads(Path("score.json").read_text())["accuracy"] == 1
    status, stdout, stderr = score("preds/a.csv", "truth/a.txt", "-o", "score.json")
    assert (status, stdout) == (1, "")
    assert "score.json exists and was not made from this input; use --overwrite" in stderr
    assert score("preds/a.csv", "truth/a.txt", "-o", "score.json", "--overwrite")[0] == 0


@pytest.mark.parametrize("output", ["score.csv", "score.TXT", "new/score.png"])
def test_a_score_is_json(folders: Path, output: str) -> None:
    status, stdout, stderr = score("preds", "truth", "-o", output)
    assert (status, stdout) == (2, "")
    assert stderr == f"abaw: error: the score is written as JSON: {output} must end in .json\n"


def test_a_file_that_is_scored_against_itself_is_named(folders: Path) -> None:
    status, _, stderr = score("preds/a.csv", "./preds/a.csv")
    assert status == 0
    assert "preds/a.csv is given as predictions and as annotations: it agrees with" in stderr


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
    assert stderr == (
        "abaw: error: a: the annotation has 9 rows and the video 4 frames; official crops without "
        "their video end at the last crop: give --audio-from\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gone.csv", "truth"], "no such file: gone.csv"),
        (["preds", "gone.txt"], "no such file: gone.txt"),
        (["empty", "truth"], "empty has no .csv .parquet .txt file"),
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


HEADER = "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other\n"
SUBMISSION = f"image_location,{HEADER}"


@pytest.mark.parametrize("side", ["predictions", "annotations"])
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", HEADER + "0\n8\n", "a.txt, line 3: a row must be a class from -1 to 7, not '8'"),
        ("a.txt", "0\n1\n", "a.txt, line 1: the header must be Neutral,Anger"),
        ("a.txt", HEADER, "a.txt holds no rows"),
        ("s.txt", SUBMISSION + "a/00001.jpg,8\n", "s.txt, line 2: the class must be 0 to 7"),
        (
            "s.txt",
            SUBMISSION + "a/00001.jpg,1\na/00001.jpg,2\n",
            "s.txt, line 3: a/00001.jpg has a row in line 2 already",
        ),
        ("s.txt", SUBMISSION + "a/1.jpg,1\n", "s.txt, line 2: a row must be <name>/00001.jpg,"),
        ("t.csv", "label 8", "t.csv, line 3: label must be -1 to 7, not 8"),
        ("t.csv", "row twice", "t.csv, line 6: an earlier row has the same video, frame"),
        (
            "t.csv",
            "row ends in a comma",
            f"Expected {len(COLUMNS)} columns",
        ),
        ("t.csv", "frame beyond all", "t.csv, line 3: frame must be 9999999 or less"),
        ("t.csv", "capitals", "t.csv has no column"),
    ],
)
def test_each_fault_is_named_with_file_and_line(
    folders: Path, side: str, name: str, content: str, message: str
) -> None:
    table = Path("preds/a.csv").read_text()
    lines = table.splitlines(keepends=True)
    spoiled = {
        "label 8": table.replace(lines[2], lines[2].replace(",visual,0,", ",visual,8,")),
        "row twice": table + lines[2],
        "row ends in a comma": table.replace(lines[2], lines[2].replace("\n", ",\n")),
        "frame beyond all": table.replace("a,2,", "a,123456789012,"),
        "capitals": table.replace("video,frame", "Video,Frame"),
    }
    Path("bad").mkdir()
    bad = Path("bad") / name
    bad.write_text(spoiled.get(content, content))
    arguments = (str(bad), "truth") if side == "predictions" else ("preds", str(bad))
    status, stdout, stderr = score(*arguments)
    assert (status, stdout) == (1, "")
    assert message in stderr and len(stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("content", "quirk"),
    [
        ((HEADER + "0\n1\n1\n1\n").replace("\n", "\r\n"), "Windows line ends (line 1)"),
        ("\ufeff" + HEADER + "0\n1\n1\n1\n", "a byte order mark (line 1)"),
        (HEADER + "0\n1,,,\n1\n1\n", "commas or blanks at line ends (line 3)"),
        (HEADER.lower() + "0\n1\n1\n1\n", "a header that is not exactly Neutral,Anger"),
        (SUBMISSION.upper() + "".join(f"a/{k:05d}.jpg,{k > 1:d}\n" for k in range(1, 5)),
         "a header that is not exactly image_location,Neutral"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("side", ["predictions", "annotations"])
def test_what_changes_no_meaning_is_read_with_a_note(
    folders: Path, side: str, content: str, quirk: str
) -> None:
    Path("odd").mkdir()
    Path("odd/a.txt").write_bytes(content.encode())
    files = ("odd/a.txt", "truth/a.txt") if side == "predictions" else ("preds/a.csv", "odd/a.txt")
    status, stdout, stderr = score(*files, "--json")
    assert status == 0
    assert f"abaw: warning: odd/a.txt is read in spite of {quirk}" in stderr
    assert json.loads(stdout)["frames"] == 4


@pytest.mark.parametrize(
    "spoil", [lambda t: t.replace("\n", "\r\n"), lambda t: "\ufeff" + t, lambda t: t + "\n\n"]
)
def test_tables_of_other_editors_score_the_same(folders: Path, spoil: Callable[[str], str]) -> None:
    expected = score("preds/a.csv", "truth/a.txt")
    Path("preds/a.csv").write_bytes(spoil(Path("preds/a.csv").read_text()).encode())
    assert score("preds/a.csv", "truth/a.txt") == expected


def test_two_predictions_of_one_video_in_two_files(folders: Path) -> None:
    Path("preds/copy.csv").write_text(Path("preds/a.csv").read_text())
    status, stdout, stderr = score("preds", "truth", "--json")
    assert status == 1
    message = "preds/copy.csv: labels of a are in preds/a.csv, too; they are left out here"
    assert stderr.splitlines()[0] == f"abaw: error: {message}"
    assert json.loads(stdout)["frames"] == 5


ROWS = "".join(f"{k},{'neutral' if k <= 10 else 'Happiness'}\n" for k in range(1, 21))


@pytest.mark.parametrize(
    "truth", ["onset,offset,label\n0,0.4,Neutral\n0.4,0.8,happy\n", "frame,label\n" + ROWS]
)
def test_perfect_agreement_with_names_says_which_classes_are_absent(
    tmp_path: Path, truth: str
) -> None:
    write_table(make_table([0] * 10 + [4] * 10), tmp_path / "clip.csv", {})
    (tmp_path / "truth").mkdir()
    (tmp_path / "truth" / "clip.csv").write_text(truth)
    command = ["score", str(tmp_path / "clip.csv"), str(tmp_path / "truth")]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    absent = ["Anger", "Disgust", "Fear", "Sadness", "Surprise", "Other"]
    assert f"absent classes, F1 = 0: {', '.join(absent)}\n" in result.stdout
    assert find_row(result.stdout, "F1 of occurring classes")[-1] == "1.0000"
    described = json.loads(CliRunner().invoke(main, [*command, "--json"]).stdout)
    assert (described["macro_f1"], described["occurring_f1"]) == (0.25, 1.0)
    assert described["absent_classes"] == absent


def test_intervals_need_the_times_of_frames(tmp_path: Path) -> None:
    table = make_table([0, 4]).assign(time_s=np.nan)
    write_table(table, tmp_path / "clip.csv", {})
    (tmp_path / "truth.csv").write_text("video,onset,offset,label\nclip,0,1,sad\n")
    result = CliRunner().invoke(
        main, ["score", str(tmp_path / "clip.csv"), str(tmp_path / "truth.csv")]
    )
    assert result.exit_code == 1
    assert (
        "clip: it is annotated in seconds, and the times of its frames are unknown" in result.stderr
    )
