"""Corrected labels of other programs, put back into a prediction table."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from sample_tables import make_table

from abawcli.cli import main
from abawcli.config import IMPORT_FORMATS
from abawcli.formats.provenance import read_provenance
from abawcli.formats.tables import read_table, write_table
from abawcli.labels import LOGIT_COLUMNS, PROBABILITY_COLUMNS

# 25 frames a second: 1 s Happiness, 0.4 s nothing, 1 s Neutral, 0.08 s Anger, 0.6 s Fear.
LABELS = np.array([4] * 25 + [-1] * 10 + [0] * 25 + [1] * 2 + [3] * 15)
P = list(PROBABILITY_COLUMNS)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    rows = make_table(LABELS.tolist())
    rows = rows.assign(**{z: np.log(rows[p]) for z, p in zip(LOGIT_COLUMNS, P, strict=True)})
    write_table(rows, tmp_path / "clip.csv", {})
    return tmp_path / "clip.csv"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def bring_back(file: Path, table: Path, *options: object, kind: str = "elan") -> pd.DataFrame:
    output = table.parent / "corrected.parquet"
    result = run("import", file, "--format", kind, "--table", table, "-o", output, *options)
    assert result.exit_code == 0, result.output
    return read_table(output)


def write_intervals(folder: Path, *intervals: tuple[float, float, str]) -> Path:
    file = folder / "corrected.txt"
    file.write_text("".join(f"{start}\t{end}\t{name}\n" for start, end, name in intervals))
    return file


@pytest.mark.parametrize("kind", IMPORT_FORMATS)
def test_a_table_comes_back_as_it_was(table: Path, kind: str) -> None:
    output = table.parent / "out"
    exact = ["--min-duration", "0", "--max-gap", "0"]
    assert run("export", table, "--format", kind, "-o", output, *exact).exit_code == 0
    (file,) = (f for f in output.iterdir() if not f.name.endswith(".provenance.json"))
    before = read_table(table).drop(columns=list(LOGIT_COLUMNS))
    pd.testing.assert_frame_equal(bring_back(file, table, kind=kind), before)


def test_corrected_labels_replace_those_of_the_model(table: Path) -> None:
    # Happiness is corrected to Surprise, the gap is filled by Neutral, and Fear is removed.
    file = write_intervals(table.parent, (0, 1, "Surprise"), (1, 2.4, "neutral"), (2.4, 2.48, "1"))
    before, after = read_table(table), bring_back(file, table, kind="audacity")
    assert after["label"].tolist() == [6] * 25 + [0] * 35 + [1] * 2 + [-1] * 15
    kept = np.r_[0:25, 35:62]
    np.testing.assert_array_equal(after[P].iloc[kept], before[P].iloc[kept])
    np.testing.assert_array_equal(after["source"].iloc[kept], before["source"].iloc[kept])
    np.testing.assert_array_equal(after["confidence"][:25], before["p_surprise"][:25])
    filled = after.iloc[25:35]
    assert (filled["source"] == "filled").all() and (filled["confidence"] == 1).all()
    np.testing.assert_array_equal(filled[P], np.eye(8)[[0] * 10])
    lost = after.iloc[62:]
    assert (lost["source"] == "none").all() and lost[[*P, "confidence"]].isna().all(axis=None)
    work = read_provenance(table.parent / "corrected.parquet")
    assert work["summary"] == {"frames": 77, "labelled": 62, "changed": 50}


def test_commands_read_the_corrected_table(table: Path) -> None:
    folder = table.parent
    bring_back(write_intervals(folder, (0, 3.08, "Sadness")), table, kind="audacity")
    assert run("segment", folder / "corrected.parquet", "-o", folder / "s.csv").exit_code == 0
    row = pd.read_csv(folder / "s.csv").iloc[0]
    assert (row["label"], row["start_s"], row["end_s"]) == ("Sadness", 0, 3.08)
    assert run("summarize", folder / "corrected.parquet", "-o", folder / "m.csv").exit_code == 0
    assert pd.read_csv(folder / "m.csv")["share_sadness"].tolist() == [1]


def test_each_subject_has_the_tier_of_its_name(table: Path) -> None:
    rows = read_table(table)
    both = pd.concat([rows.assign(subject=name) for name in ("left", "right")])
    write_table(both, table, {})
    output = table.parent / "clip.eaf"
    assert run("export", table, "--format", "elan", "-o", output, "--min-duration", 0,
               "--max-gap", 0).exit_code == 0  # fmt: skip
    left, _, right = output.read_text().partition("expression right")
    output.write_text(left.replace("Fear", "Disgust") + "expression right" + right)
    after = bring_back(output, table)
    for name, fear in (("left", 2), ("right", 3)):
        own = after[after["subject"] == name]["label"].to_numpy()
        np.testing.assert_array_equal(own, np.where(LABELS == 3, fear, LABELS))


@pytest.mark.parametrize("kind", IMPORT_FORMATS)
def test_a_subject_without_any_label_stays_without(table: Path, kind: str) -> None:
    labelled = read_table(table).drop(columns=list(LOGIT_COLUMNS))
    nobody = make_table([-1] * len(LABELS)).assign(subject="right")
    write_table(pd.concat([labelled.assign(subject="left"), nobody]), table, {})
    output = table.parent / "out"
    exact = ["--min-duration", "0", "--max-gap", "0"]
    assert run("export", table, "--format", kind, "-o", output, *exact).exit_code == 0
    (file,) = (f for f in output.iterdir() if not f.name.endswith(".provenance.json"))
    pd.testing.assert_frame_equal(bring_back(file, table, kind=kind), read_table(table))


def test_finished_work_is_kept(table: Path) -> None:
    file = write_intervals(table.parent, (0, 1, "Anger"))
    bring_back(file, table, kind="audacity")
    made = (table.parent / "corrected.parquet").stat().st_mtime_ns
    again = run("import", file, "--format", "audacity", "--table", table, "-o",
                table.parent / "corrected.parquet")  # fmt: skip
    assert again.exit_code == 0
    assert "25 of 77 frames have a label; 67 labels differ from the table's" in again.stderr
    assert (table.parent / "corrected.parquet").stat().st_mtime_ns == made


def test_bad_input(table: Path) -> None:
    folder = table.parent
    file = write_intervals(folder, (0, 1, "Anger"))

    def fail(*options: object, output: str = "new.csv", into: Path = table) -> str:
        call = run("import", file, "--format", "audacity", "--table", into, "-o",
                   folder / output, *options)  # fmt: skip
        assert call.exit_code != 0
        assert output == "clip.csv" or not (folder / output).exists()
        return " ".join(call.stderr.split())

    assert "give it without --video and --frames" in fail("--frames", 3)
    assert "must end in .csv or .parquet" in fail(output="new.txt")
    assert "is an input and would be replaced" in fail(output="clip.csv")
    rows = read_table(table)
    cases = {
        "videos": rows.assign(video=["a"] * 40 + ["b"] * 37),
        "people": pd.concat([rows.assign(subject=name) for name in ("left", "right")]),
        "untimed": rows.assign(time_s=np.nan),
    }
    for name, each in cases.items():
        write_table(each, folder / f"{name}.csv", {})
    assert "videos.csv has 2 videos" in fail(into=folder / "videos.csv")
    people = folder / "people.csv"
    assert "has no tier 'expression left' or 'left'; it has" in fail(into=people)
    assert "--tier is for a table of one subject" in fail("--tier", "x", into=people)
    assert "untimed.csv: its frames have no times" in fail(into=folder / "untimed.csv")
    file.write_text("0\t1\tbored\n")
    assert "bored" in fail() and "--map" in fail()
