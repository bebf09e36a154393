"""`abaw fuse` as a user calls it, results read from the files written."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from sample_tables import make_table

from abawcli.cli import main
from abawcli.formats.provenance import read_provenance
from abawcli.formats.tables import read_table, write_table


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two folders of tables of the same videos, in the working directory."""
    monkeypatch.chdir(tmp_path)
    for folder, label in (("A", 4), ("B", 5)):
        for name in ("one.csv", "deep/two.parquet"):
            write_table(make_table([label] * 6, name), Path(folder, name), {"made": folder})
    return tmp_path


def fuse(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["fuse", *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert result.stdout == ""
    return result.exit_code, result.stderr


@pytest.mark.parametrize("output", ["fused.csv", "new/fused.parquet"])
def test_tables_to_a_table(output: str) -> None:
    line = f"abaw: {output}: 6 rows, 6 labelled\n"
    assert fuse("A/one.csv", "B/one.csv", "-o", output, "--weights", "2,1") == (0, line)
    table = read_table(Path(output))
    np.testing.assert_allclose(table["p_happiness"], (2 * 0.65 + 0.05) / 3, atol=1e-6)
    assert (table["label"] == 4).all() and (table["source"] == "visual").all()
    provenance = read_provenance(Path(output))
    assert provenance["command"] == "fuse"
    assert [each["name"] for each in provenance["inputs"]] == ["A/one.csv", "B/one.csv"]
    assert provenance["settings"] == {"weights": [2, 1]}
    assert provenance["made_from"] == [{"made": "A"}, {"made": "B"}]


def test_folders_to_a_folder() -> None:
    line = "abaw: out: 2 tables, 12 rows, 12 labelled\n"
    assert fuse("A", "B", "-o", "out") == (0, line)
    for name in ("one.csv", "deep/two.parquet"):
        table = read_table(Path("out", name))
        assert set(table["video"]) == {name}
        np.testing.assert_allclose(table[["p_happiness", "p_sadness"]], 0.35, atol=1e-6)


def test_a_list_of_three_tables() -> None:
    write_table(make_table([5] * 6, "one.csv"), Path("c.csv"), {})
    Path("list.txt").write_text("B/one.csv\nc.csv\n")
    line = "abaw: out: 6 rows, 6 labelled\n"
    assert fuse("A/one.csv", "@list.txt", "-o", "out") == (0, line)
    kept = f"abaw: {Path('out/one.csv')} is already made with these settings; skipped\n"
    assert fuse("A/one.csv", "@list.txt", "-o", "out") == (0, line + kept)
    assert fuse("A/one.csv", "@list.txt", "-o", "out", "-q") == (0, "")
    assert (read_table(Path("out/one.csv"))["label"] == 5).all()


def test_files_of_some_folders_are_named_and_the_others_done() -> None:
    write_table(make_table([1]), Path("B/three.csv"), {})
    write_table(make_table([1] * 5, "one.csv"), Path("B/one.csv"), {})
    status, stderr = fuse("A", "B", "-o", "out")
    assert status == 1
    assert stderr.splitlines() == [
        "abaw: error: A has no three.csv, and there is B/three.csv",
        "abaw: error: B/one.csv has no row for one.csv, subject main, frame 6, and A/one.csv has "
        "(5 rows of them against 6); fuse tables of the same frames",
        "abaw: 2 of 3 inputs failed: three.csv, one.csv",
        "abaw: out: 6 rows, 6 labelled",
    ]
    assert [path.name for path in Path("out").rglob("*.*[tv]")] == ["two.parquet"]


def test_folders_with_nothing_in_common() -> None:
    write_table(make_table([1]), Path("C/three.csv"), {})
    status, stderr = fuse("A", "C", "-o", "out")
    assert (status, stderr.splitlines()[-1]) == (
        1, "abaw: 3 of 3 inputs failed: deep/two.parquet, one.csv, three.csv"
    )  # fmt: skip
    Path("void").mkdir()
    status, stderr = fuse("A", "void", "-o", "out")
    assert (status, stderr) == (1, "abaw: error: void has no .csv .parquet file\n")


def test_finished_work_is_kept_until_something_changes() -> None:
    output = Path("x.csv")

    def again(*arguments: str) -> bool:
        before = output.stat().st_mtime_ns if output.exists() else 0
        assert fuse("A/one.csv", "B/one.csv", "-o", "x.csv", *arguments)[0] == 0
        return output.stat().st_mtime_ns != before

    assert again()
    assert not again("--weights", "1,1")
    assert again("--overwrite")
    assert again("--weights", "1,3")
    write_table(make_table([0] * 6, "one.csv"), Path("B/one.csv"), {})
    assert again("--weights", "1,3")
    output.write_text("mine")
    output.with_name("x.csv.provenance.json").unlink()
    status, stderr = fuse("A/one.csv", "B/one.csv", "-o", "x.csv")
    assert status == 1 and "was not made from this input; use --overwrite" in stderr
    assert output.read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["A/one.csv", "-o", "x.csv"], "fusing needs two different tables or folders, not 1"),
        (["A/one.csv", "A/../A/one.csv", "-o", "x.csv"], "two different tables or folders, not 1"),
        (["A/one.csv", "B/one.csv", "-o", "x.csv", "--weights", "1"], "1 weights for 2 inputs"),
        (["A", "B", "-o", "x", "--weights", "1,-1"], "the weight -1 is no positive number"),
        (["A", "B", "-o", "x", "--weights", "1;2"], "'1;2' is not a list of numbers"),
        (["A", "B/one.csv", "-o", "x"], "B/one.csv is not a folder, but others are"),
        (["A", "gone", "-o", "x"], "gone is not a folder, but others are"),
        (["A", "B", "-o", "x.csv"], "2 inputs need a folder as -o, not the file x.csv"),
        (["A", "B", "-o", "A/out"], "A/out is in the input A; choose a folder beside it"),
        (["A/one.csv", "B/one.csv", "-o", "B/one.csv"], "B/one.csv is an input and would be"),
        (
            ["A/one.csv", "B/one.csv", "-o", "x.txt"],
            "x.txt must end in .csv or .parquet",
        ),
    ],
)
def test_wrong_usage_is_exit_2_and_writes_nothing(arguments: list[str], message: str) -> None:
    before = sorted(Path().rglob("*"))
    status, stderr = fuse(*arguments)
    assert status == 2 and message in stderr
    assert sorted(Path().rglob("*")) == before


def test_a_table_that_cannot_be_read() -> None:
    status, stderr = fuse("A/one.csv", "gone.csv", "-o", "x.csv")
    assert (status, stderr) == (1, "abaw: error: no such file: gone.csv\n")
    assert not Path("x.csv").exists()


def test_labels_that_were_edited_are_not_lost_in_silence() -> None:
    edited = read_table(Path("B/one.csv"))
    edited.loc[1:2, "label"] = 0
    write_table(edited, Path("edited.csv"), {})
    status, stderr = fuse("A/one.csv", "edited.csv", "-o", "fused.csv")
    assert (status, " ".join(stderr.split())) == (
        0, "abaw: warning: edited.csv: 2 labels are not of the highest probability, as after an "
        "edit by hand; they are replaced by those of the mean abaw: fused.csv: 6 rows, 6 labelled",
    )  # fmt: skip
