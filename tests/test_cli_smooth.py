import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from sample_tables import make_table

from abawcli.cli import main
from abawcli.config import SMOOTHING_METHODS
from abawcli.formats.provenance import read_provenance
from abawcli.formats.tables import read_table, write_table
from abawcli.smoothing import SMOOTHERS

LABELS = [0] * 20 + [6] + [0] * 20 + [-1] * 5 + [0] * 5


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A table with a flicker and a gap, in the working directory."""
    monkeypatch.chdir(tmp_path)
    path = Path("raw.csv")
    write_table(make_table(LABELS), path, {"command": "predict", "recipe": "compact"})
    return path


def smooth(*arguments: str) -> tuple[int, str]:
    """Return the exit status, and what stderr has beside the summary of tables."""
    status, stderr = smooth_aloud(*arguments)
    return status, re.sub(r"abaw: [^:\n]+: (\d+ tables, )?[\d,]+ rows, .*\n", "", stderr)


def smooth_aloud(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["smooth", *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert result.stdout == ""
    return result.exit_code, result.stderr


def test_one_line_sums_up_all_tables(table: Path) -> None:
    line = "51 rows, 51 labelled, 5 filled; 1 of 3 segments smoothed away\n"
    window = ("--window", "11")
    assert smooth_aloud("raw.csv", "-o", "a.csv", *window) == (0, f"abaw: a.csv: {line}")
    kept = "abaw: a.csv is already made with these settings; skipped\n"
    assert smooth_aloud("raw.csv", "-o", "a.csv", *window) == (0, f"abaw: a.csv: {line}{kept}")
    assert smooth_aloud("raw.csv", "-o", "a.csv", *window, "-q") == (0, "")
    write_table(make_table(LABELS[:-5], "other"), Path("other.csv"), {})
    assert smooth_aloud("raw.csv", "other.csv", "-o", "out", *window) == (
        0,
        "abaw: out: 2 tables, 97 rows, 97 labelled, 10 filled; 2 of 6 segments smoothed away\n",
    )


def test_labels_that_were_edited_are_not_lost_in_silence(table: Path) -> None:
    edited = read_table(table)
    edited.loc[3:5, "label"] = 5
    write_table(edited, Path("edited.csv"), {})
    status, stderr = smooth("edited.csv", "-o", "a.csv")
    assert (status, " ".join(stderr.split())) == (
        0, "abaw: warning: edited.csv: 3 labels are not of the highest probability, as after an "
        "edit by hand; they are replaced by those of the smoothed probabilities",
    )  # fmt: skip


def test_the_line_of_a_table_on_stdout(table: Path) -> None:
    result = CliRunner().invoke(main, ["smooth", "raw.csv", "-o", "-"])
    assert result.exit_code == 0 and result.stdout.startswith("video,frame,time_s,")
    assert result.stdout.count("\n") == 52
    assert result.stderr.startswith("abaw: stdout: 51 rows, 51 labelled, 5 filled; ")


def test_the_methods_offered_are_those_there_are() -> None:
    assert tuple(SMOOTHERS) == SMOOTHING_METHODS


@pytest.mark.parametrize("method", SMOOTHING_METHODS)
@pytest.mark.parametrize("output", ["smooth.csv", "new/smooth.parquet"])
def test_one_table_to_a_file(table: Path, method: str, output: str) -> None:
    assert smooth("raw.csv", "-o", output, "--smoothing", method, "--window", "11") == (0, "")
    rows = read_table(Path(output))
    assert (rows["label"] == 0).all()
    assert rows["source"].tolist() == ["visual"] * 41 + ["filled"] * 5 + ["visual"] * 5
    provenance = read_provenance(Path(output))
    assert provenance["command"] == "smooth"
    assert [each["name"] for each in provenance["inputs"]] == ["raw.csv"]
    assert provenance["settings"] == {
        "method": method,
        "window_frames": 11,
        "window_s": None,
        "space": "probabilities",
    }
    assert provenance["made_from"] == [{"command": "predict", "recipe": "compact"}]


def test_a_median_of_logits(table: Path) -> None:
    assert smooth("raw.csv", "-o", "smooth.csv", "--space", "logits") == (0, "")
    assert read_provenance(Path("smooth.csv"))["settings"]["space"] == "logits"
    assert (read_table(Path("smooth.csv"))["label"] == 0).all()


def test_several_tables_to_a_folder(table: Path) -> None:
    write_table(make_table(LABELS, "other"), Path("other.parquet"), {})
    assert smooth("raw.csv", "other.parquet", "-o", "out") == (0, "")
    assert read_table(Path("out/raw.csv"))["video"].unique() == ["clip"]
    assert read_table(Path("out/other.parquet"))["video"].unique() == ["other"]


def test_a_window_in_seconds(table: Path) -> None:
    assert smooth("raw.csv", "-o", "a.csv", "--window", "0.44s", "--smoothing", "mean") == (0, "")
    assert smooth("raw.csv", "-o", "b.csv", "--window", "11", "--smoothing", "mean") == (0, "")
    assert Path("a.csv").read_bytes() == Path("b.csv").read_bytes()


@pytest.mark.parametrize("method", SMOOTHING_METHODS)
@pytest.mark.parametrize("window", ["100000000001", "100000000001s"])
def test_a_window_longer_than_any_video(table: Path, method: str, window: str) -> None:
    assert smooth("raw.csv", "-o", "a.csv", "--window", window, "--smoothing", method) == (0, "")
    assert (read_table(Path("a.csv"))["label"] == 0).all()


@pytest.mark.parametrize(
    ("window", "message"),
    [
        ("24", "24 is even"),
        ("0", "0 is even"),
        ("wide", "'wide' is neither seconds"),
        ("-3", "neither seconds"),
        ("1.5", "neither seconds"),
        ("0s", "neither seconds"),
        ("9" * 5000, "neither seconds"),
        ("9" * 500 + "s", "neither seconds"),
    ],
)
def test_windows_that_are_none(table: Path, window: str, message: str) -> None:
    status, stderr = smooth("raw.csv", "-o", "a.csv", "--window", window)
    assert status == 2
    assert message in stderr


def test_finished_work_is_kept_until_something_changes(table: Path) -> None:
    output = Path("a.csv")

    def again(*arguments: str) -> bool:
        before = output.stat().st_mtime_ns if output.exists() else 0
        assert smooth("raw.csv", "-o", "a.csv", *arguments)[0] == 0
        return output.stat().st_mtime_ns != before

    assert again()
    assert not again()
    assert again("--overwrite")
    assert again("--window", "5")
    write_table(make_table(LABELS[::-1]), table, {})
    assert again("--window", "5")


def test_an_output_that_is_not_ours_is_kept(table: Path) -> None:
    Path("a.csv").write_text("mine")
    status, stderr = smooth("raw.csv", "-o", "a.csv")
    assert status == 1
    assert stderr == (
        "abaw: error: a.csv exists and was not made from this input; use --overwrite\n"
    )
    assert Path("a.csv").read_text() == "mine"


def test_of_a_mistyped_input_the_output_is_not_blamed(table: Path) -> None:
    assert smooth("raw.csv", "-o", "a.csv")[0] == 0
    status, stderr = smooth("row.csv", "-o", "a.csv")
    assert (status, stderr) == (1, "abaw: error: no such file: row.csv\n")


@pytest.mark.parametrize("output", ["raw.csv", "other/../raw.csv", "link.csv", "."])
def test_smoothing_in_place_is_wrong_usage(table: Path, output: str) -> None:
    before = table.read_text()
    Path("other").mkdir()
    Path("link.csv").symlink_to("raw.csv")
    status, stderr = smooth("raw.csv", "-o", output, "--overwrite")
    assert status == 2
    assert stderr.endswith("is an input and would be replaced; choose another -o\n")
    assert table.read_text() == before


@pytest.mark.parametrize("output", ["tabs/s", "tabs/s.csv", "tabs", "tabs/../tabs/s/deep"])
def test_an_output_in_an_input_folder_is_wrong_usage(table: Path, output: str) -> None:
    write_table(make_table(LABELS), Path("tabs/raw.csv"), {})
    status, stderr = smooth("tabs", "-o", output)
    assert status == 2
    assert stderr == (
        f"abaw: error: {Path(output)} is in the input tabs; choose a folder beside it\n"
    )
    assert smooth("tabs", "-o", "tabs s") == (0, "")
    kept = f"abaw: {Path('tabs s/raw.csv')} is already made with these settings; skipped\n"
    assert smooth("tabs", "-o", "tabs s") == (0, kept)


def test_bad_inputs_are_named_and_the_others_done(table: Path) -> None:
    Path("notes.txt").write_text("hello")
    status, stderr = smooth("gone.csv", "raw.csv", "notes.txt", "-o", "out")
    assert status == 1
    assert stderr.splitlines() == [
        "abaw: error: no such file: gone.csv",
        "abaw: error: notes.txt is not a table file (.csv or .parquet)",
        "abaw: 2 of 3 inputs failed: gone.csv, notes.txt",
    ]
    assert [p.name for p in sorted(Path("out").glob("*.csv"))] == ["raw.csv"]


def test_several_tables_do_not_fit_in_a_file(table: Path) -> None:
    status, stderr = smooth("raw.csv", "gone.csv", "-o", "all.csv")
    assert status == 2
    assert "2 inputs need a folder as -o, not the file all.csv" in stderr


def test_an_output_that_is_no_table(table: Path) -> None:
    status, stderr = smooth("raw.csv", "-o", "smooth.txt")
    assert status == 2
    assert stderr == "abaw: error: smooth.txt must end in .csv or .parquet, or be a folder\n"


def test_an_unwritable_place(table: Path) -> None:
    Path("file").touch()
    status, stderr = smooth("raw.csv", "-o", "file/a.csv")
    assert (status, stderr) == (1, "abaw: error: cannot write file/a.csv: file is not a folder\n")


def test_names_that_are_too_long(table: Path) -> None:
    long = "x" * 300
    for arguments in ([long + ".csv", "-o", "a.csv"], ["raw.csv", "-o", long + ".csv"],
                      ["raw.csv", "-o", long]):  # fmt: skip
        status, stderr = smooth(*arguments)
        assert (status, len(stderr.splitlines())) == (1, 1)
        assert "File name too long" in stderr


def test_rows_that_stay_without_a_label_are_said_unless_quiet(table: Path) -> None:
    message = (
        "abaw: warning: clip, subject main: 3 of 51 frames have no label: no reliable speech, "
        "and no face within half a window of 3 frames\n"
    )
    assert smooth("raw.csv", "-o", "a.csv", "--window", "3") == (0, message)
    assert smooth("raw.csv", "-o", "b.csv", "--window", "3", "-q") == (0, "")


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_table_without_times_is_smoothed_by_frames(table: Path, suffix: str) -> None:
    write_table(make_table(LABELS).assign(time_s=np.nan), Path(f"bare{suffix}"), {})
    warning = "abaw: warning: frames have no times; a window of 1 s counts 25 frames a second\n"
    assert smooth(f"bare{suffix}", "-o", f"smooth{suffix}") == (0, warning)
    rows = read_table(Path(f"smooth{suffix}"))
    assert rows["time_s"].isna().all() and (rows["label"] == 0).all()
    assert smooth(f"bare{suffix}", "-o", f"s{suffix}", "--window", "25") == (0, "")
    assert read_table(Path(f"s{suffix}")).equals(rows)
