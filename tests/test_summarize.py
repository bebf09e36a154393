"""The summary of tables: measures by hand, groups, long form, the column dictionary, errors."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from sample_tables import make_table

from abawcli.cli import main
from abawcli.errors import InputError
from abawcli.formats.participants import Groups
from abawcli.formats.tables import write_table
from abawcli.labels import CLASSES
from abawcli.segments import segment_table
from abawcli.stages.summarize import summarize_files
from abawcli.summary import SummarySettings, count_transitions, summarize_table

SECOND = 25  # frames of `make_table`


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Four videos: 2 s of Happiness or Sadness, 1 s Neutral, 1 s without a face."""
    for name, label in (("P01", 4), ("P02", 4), ("P03", 5), ("P04", 5)):
        labels = [label] * 2 * SECOND + [0] * SECOND + [-1] * SECOND
        write_table(make_table(labels, name), tmp_path / f"{name}.csv", {})
    lines = ["video,condition", "P01,treatment", "P02,treatment", "P03,control", "P04,control"]
    (tmp_path / "people.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def summarize(study: Path, *options: str, code: int = 0) -> pd.DataFrame:
    tables = map(str, sorted(study.glob("P*.csv")))
    output = study / "out" / "summary.csv"
    result = CliRunner().invoke(main, ["summarize", *tables, "-o", str(output), *options])
    assert result.exit_code == code, result.output
    return pd.read_csv(output)


def test_measures_of_a_subject(study: Path) -> None:
    row = summarize(study).set_index("video").loc["P01"]
    assert row["seconds"] == pytest.approx(4.0) and row["frames"] == 4 * SECOND
    assert row["share_with_face"] == pytest.approx(0.75)
    assert row["share_happiness"] == pytest.approx(2 / 3)
    assert row["share_neutral"] == pytest.approx(1 / 3) and row["share_anger"] == 0
    assert row["segments_happiness"] == 1 and row["mean_segment_s_happiness"] == pytest.approx(2)
    assert np.isnan(row["longest_segment_s_anger"])
    assert row["mean_p_happiness"] == pytest.approx((0.65 * 2 + 0.05) / 3)
    assert row["mean_confidence"] == pytest.approx(0.65)


def test_shares_are_of_time_and_of_frames_with_a_face() -> None:
    table = make_table([4, 4, 0, 0])
    table["time_s"] = [0.0, 1.0, 4.0, 4.5]  # intervals 1, 3, 0.5 and their median, 1
    (row,) = summarize_table(table).to_dict("records")
    assert row["seconds"] == pytest.approx(5.5)
    assert row["share_happiness"] == pytest.approx(4 / 5.5)
    table.loc[3, "found"] = False
    (faces,) = summarize_table(table).to_dict("records")
    assert faces["share_neutral"] == pytest.approx(0.5 / 4.5)
    (all_frames,) = summarize_table(table, SummarySettings(all_frames=True)).to_dict("records")
    assert all_frames["share_neutral"] == pytest.approx(1.5 / 5.5)


def test_shares_of_all_classes_sum_to_one(study: Path) -> None:
    shares = summarize(study)[[f"share_{name.lower()}" for name in CLASSES]]
    assert shares.sum(axis=1).to_numpy() == pytest.approx(1)


def test_groups_have_n_mean_and_sd(study: Path) -> None:
    rows = summarize(study, "--by", f"{study / 'people.csv'}:condition")
    assert rows["condition"].tolist() == ["treatment"] * 2 + ["control"] * 2
    groups = pd.read_csv(study / "out" / "summary.groups.csv")
    share = groups[(groups["measure"] == "share") & (groups["class"] == "Happiness")]
    found = share.set_index("condition")[["n", "mean", "sd"]]
    assert found.loc["treatment"].tolist() == pytest.approx([2, 2 / 3, 0])
    assert found.loc["control"].tolist() == pytest.approx([2, 0, 0])


def test_long_form_has_a_row_a_measure(study: Path) -> None:
    wide, long = summarize(study), summarize(study, "--long")
    assert list(long.columns) == ["video", "subject", "measure", "class", "value"]
    assert len(long) == len(wide) * (len(wide.columns) - 2)
    chosen = long[(long["measure"] == "share") & (long["class"] == "Sadness")]
    assert chosen["value"].tolist() == wide["share_sadness"].tolist()


def test_transitions_count_what_follows_what(study: Path) -> None:
    summarize(study, "--transitions")
    counts = pd.read_csv(study / "out" / "summary.transitions.csv", index_col="from")
    assert counts.loc["Happiness", "Neutral"] == 2 and counts.loc["Sadness", "Neutral"] == 2
    assert counts.to_numpy().sum() == 4
    two = pd.concat([make_table([4] * SECOND), make_table([0] * SECOND, subject="1")])
    assert count_transitions(segment_table(two)).to_numpy().sum() == 0


def test_every_column_is_in_the_dictionary(study: Path) -> None:
    for options in ([], ["--long"], ["--by", f"{study / 'people.csv'}:condition"]):
        rows = summarize(study, *options)
        described = json.loads((study / "out" / "summary.json").read_text())
        assert set(rows.columns) <= set(described)
        assert all(entry["Description"] for entry in described.values())


def test_finished_work_is_kept_and_an_edited_table_is_not_lost(study: Path) -> None:
    summarize(study)
    output = study / "out" / "summary.csv"
    before = output.stat().st_mtime_ns
    summarize(study)
    assert output.stat().st_mtime_ns == before
    output.write_text(output.read_text() + "edited\n")
    arguments = ["summarize", *map(str, sorted(study.glob("P*.csv"))), "-o", str(output)]
    assert CliRunner().invoke(main, arguments).exit_code == 1
    assert output.read_text().endswith("edited\n")


def test_a_video_that_is_missing_or_twice_among_the_participants_is_named(study: Path) -> None:
    lines = ["video,condition", "P01,a", "P02,a", "P02,b", "P03,b"]
    (study / "people.csv").write_text("\n".join(lines) + "\n")
    tables = map(str, sorted(study.glob("P*.csv")))
    output = str(study / "summary.csv")
    by = ["--by", f"{study / 'people.csv'}:condition"]
    result = CliRunner().invoke(main, ["summarize", *tables, "-o", output, *by])
    assert result.exit_code == 1
    assert "P02 is 2 times in" in result.stderr and "P04 is not in" in result.stderr
    assert "1 of 5 inputs failed: " in result.stderr  # four tables and the participants file
    assert len(pd.read_csv(output)) == 4  # all are summarized
    groups = pd.read_csv(study / "summary.groups.csv")
    assert set(groups["n"]) <= {0, 1}


def test_blanks_in_the_participants_file_make_no_groups(study: Path) -> None:
    lines = ["video, condition", "P01,a", "P02 ,a ", "P03, ", "P04,None"]
    (study / "people.csv").write_text("\n".join(lines) + "\n")
    tables = map(str, sorted(study.glob("P*.csv")))
    arguments = ["summarize", *tables, "-o", str(study / "summary.csv")]
    people = str(study / "people.csv")
    for _ in range(2):  # the warning is repeated once if the work is skipped
        result = CliRunner().invoke(
            main, [*arguments, "--participants", people, "--by", "condition"]
        )
        assert result.exit_code == 0
        assert result.stderr.count("has no condition for P03; left out of the groups") == 1
    groups = pd.read_csv(study / "summary.groups.csv", keep_default_na=False)
    seconds = groups[groups["measure"] == "seconds"]
    assert dict(zip(seconds["condition"], seconds["n"], strict=True)) == {"None": 1, "a": 2}


def test_groups_without_a_video_have_a_header(study: Path) -> None:
    (study / "people.csv").write_text("video,condition\n")
    options = ["--participants", str(study / "people.csv"), "--by", "condition"]
    assert len(summarize(study, *options, code=1)) == 4
    groups = pd.read_csv(study / "out" / "summary.groups.csv")
    assert list(groups) == ["condition", "measure", "class", "n", "mean", "sd"]


def test_a_table_of_an_earlier_run_is_named(study: Path) -> None:
    tables, output = [str(study / "P01.csv")], str(study / "out.csv")
    run = ["summarize", *tables, "-o", output]
    assert CliRunner().invoke(main, [*run, "--transitions"]).exit_code == 0
    result = CliRunner().invoke(main, [*run, "--overwrite"])
    said = " ".join(result.stderr.split())
    assert result.exit_code == 0
    assert "out.transitions.csv is of an earlier run with other options" in said
    assert "groups" not in said


def test_groups_are_all_columns_by_default(study: Path) -> None:
    people, output = study / "people.csv", study / "s.csv"
    summarize_files(sorted(study.glob("P*.csv")), output, groups=Groups(people))
    assert pd.read_csv(study / "s.groups.csv")["condition"].unique().tolist() == [
        "control",
        "treatment",
    ]
    people.write_text("video\nP01\n")
    with pytest.raises(InputError, match="has only the column video, and none of groups"):
        summarize_files([study / "P01.csv"], study / "t.csv", groups=Groups(people))


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--by", "people.csv"], 2, "--by people.csv needs --participants"),
        (["--by", "list.csv:age"], 1, "list.csv has no column age; it has video"),
        (["--by", "people.csv:age"], 1, "people.csv has no column age; it has video, condition"),
        (["--by", "names.csv:frames"], 1, "names.csv: frames is also a column of the summary"),
        (["--by", "names.csv:n"], 1, "names.csv: n is also a column of the summary; rename it"),
        (["--by", "wide.csv:age"], 1, "wide.csv: its rows have more cells than its header"),
        (["--by", "nobody.csv:age"], 1, "no such file: nobody.csv"),
        (["--by", ".:age"], 1, "cannot read .: it is a folder"),
        (["--by", "empty.csv:age"], 1, "the participants file empty.csv is empty"),
        (["--by", "ansi.csv:age"], 1, "line 2 is not in UTF-8; save it as UTF-8 (in Excel: `CSV"),
        (["--by", "wide.txt:age"], 1, "wide.txt is in UTF-16; save it as UTF-8"),
        (["-o", "summary.xlsx"], 2, "summary.xlsx must end in .csv"),
    ],
)
def test_bad_input(
    study: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], code: int, message: str
) -> None:
    monkeypatch.chdir(study)
    Path("list.csv").write_text("video\nP01\n")
    Path("empty.csv").write_text("")
    Path("ansi.csv").write_text("video;age\nMüller;30\n", "cp1252")
    Path("wide.txt").write_text("video\tage\nP01\t30\n", "utf-16")
    Path("names.csv").write_text("video,frames,n\nP01,few,1\n")
    Path("wide.csv").write_text("video;age\nP01;30;\nP02;40;\n")
    result = CliRunner().invoke(main, ["summarize", "P01.csv", "-o", "s.csv", *options])
    assert result.exit_code == code, result.output
    assert message in " ".join(result.stderr.split())
    assert not Path("s.csv").exists()
