import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sample_tables import make_table

from abawcli.errors import InputError, OutputError, UsageError
from abawcli.formats.hashing import hash_file
from abawcli.formats.label_tables import read_labels
from abawcli.formats.provenance import describe_work, find_finished, read_provenance
from abawcli.formats.table_schemas import COLUMNS, DECIMALS, PROBABILITIES, SCHEMA
from abawcli.formats.tables import check_table_name, read_table, write_table
from abawcli.stages.segment import segment_files

SUFFIXES = pytest.mark.parametrize("suffix", [".csv", ".parquet"])
WORK = describe_work("predict", [Path("clip.mp4")], {"recipe": "compact"})


@SUFFIXES
def test_what_is_written_is_read(tmp_path: Path, suffix: str) -> None:
    table = make_table([0, 7, -1, 3])
    path = tmp_path / f"labels{suffix}"
    write_table(table, path, WORK)
    back = read_table(path)
    pd.testing.assert_frame_equal(back, table, check_dtype=False)
    assert back["found"].dtype == bool
    assert back["label"].dtype == back["frame"].dtype == np.int64


def test_csv_is_plain_text_with_fixed_decimals_and_empty_cells(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    write_table(make_table([1, -1]), path, WORK)
    header, first, second = path.read_text().splitlines()
    assert header == (
        "video,frame,time_s,subject,found,face_score,x,y,w,h,source,label,confidence,"
        "p_neutral,p_anger,p_disgust,p_fear,p_happiness,p_sadness,p_surprise,p_other,"
        "sharpness,yaw,roll,face_quality"
    )
    assert first.startswith("clip,1,0.000000,main,true,0.9000,100.25,100.25,100.25,100.25,visual,1")
    assert first.endswith(",0.650000,0.050000,0.650000" + ",0.050000" * 6 + "," * 4)
    assert second == "clip,2,0.040000,main,false,,,,,,none,-1" + "," * 13


rows = st.lists(
    st.tuples(
        st.lists(st.floats(0, 1, allow_subnormal=False), min_size=8, max_size=8).filter(
            lambda p: sum(p) > 0.01
        ),
        st.floats(0, 1e5),
        st.floats(-1e4, 1e4),
        st.booleans(),
    ),
    min_size=1,
    max_size=8,
)
names = st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=8)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rows, names)
def test_csv_round_trips_to_its_decimals(tmp_path: Path, rows: list, name: str) -> None:
    p = np.array([r[0] for r in rows])
    p /= p.sum(axis=1, keepdims=True)
    table = make_table(p.argmax(axis=1), video=name, subject=name[::-1])
    table[PROBABILITIES], table["confidence"] = p, p.max(axis=1)
    table["time_s"], table["x"] = sorted(r[1] for r in rows), [r[2] for r in rows]
    table["found"] = [r[3] for r in rows]
    first, second = tmp_path / "first.csv", tmp_path / "second.csv"
    write_table(table, first, WORK)
    back = read_table(first)
    for column in COLUMNS:
        if column in DECIMALS:
            np.testing.assert_allclose(
                back[column], table[column], rtol=0, atol=0.51 * 10.0 ** -DECIMALS[column]
            )
        else:
            assert back[column].tolist() == table[column].tolist()
    assert (back[PROBABILITIES].sum(axis=1) - 1).abs().max() < 1e-5
    write_table(back, second, WORK)
    assert first.read_bytes() == second.read_bytes()


@SUFFIXES
def test_provenance_stands_beside_every_table(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"labels{suffix}"
    write_table(make_table([1]), path, WORK)
    assert read_provenance(path) == WORK | {"output": hash_file(path)}
    assert find_finished(path, WORK, overwrite=False)


@SUFFIXES
def test_a_name_that_is_no_text_is_written_with_replacements(tmp_path: Path, suffix: str) -> None:
    name = os.fsdecode(b"caf\xe9")
    path = tmp_path / f"{name}{suffix}"
    # pandas 3 takes such a text as an object only.
    table = make_table([1, 2]).assign(video=pd.Series([name] * 2, dtype=object))
    write_table(table, path, describe_work("predict", [Path(name)], {}))
    assert read_table(path)["video"].tolist() == ["caf\ufffd"] * 2
    assert read_provenance(path)["inputs"][0]["name"] == name


def test_parquet_has_types_and_carries_the_provenance(tmp_path: Path) -> None:
    path = tmp_path / "labels.parquet"
    write_table(make_table([1, -1]), path, WORK)
    schema = pyarrow.parquet.read_schema(path)
    assert schema.equals(SCHEMA)
    assert json.loads(schema.metadata[b"abaw"]) == WORK


def test_a_failed_write_leaves_the_old_table_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    write_table(make_table([1]), path, WORK)
    before = path.read_bytes()
    broken = make_table([1]).assign(x=np.inf)
    with pytest.raises(ValueError):
        write_table(broken, path, WORK)
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "labels.csv",
        "labels.csv.provenance.json",
    ]


def test_unwritable_place(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write .*file/labels.csv: .*file is not a folder"):
        write_table(make_table([1]), tmp_path / "file" / "labels.csv", WORK)


@pytest.mark.parametrize("name", ["labels.xlsx", "labels"])
def test_unknown_suffix(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"must end in \.csv or \.parquet"):
        check_table_name(tmp_path / name)
    with pytest.raises(UsageError):
        write_table(make_table([1]), tmp_path / name, WORK)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("label", "8", "line 3: label must be -1 to 7, not 8"),
        ("label", "-2", "line 3: label must be -1 to 7, not -2"),
        ("label", "grumpy", "line 3: unknown label 'grumpy'; known are -1 to 7, Neutral, Anger"),
        ("label", "", "line 3: label is empty"),
        ("label", "-1", "line 3: label is -1; a row without a label has the source none, and no "),
        ("frame", "0", "line 3: frame must be 1 or more, not 0"),
        ("frame", "10000000", "line 3: frame must be 9999999 or less, not 10000000"),
        ("frame", "1", "line 3: an earlier row has the same video, frame, subject"),
        ("found", "", "line 3: found is empty"),
        ("found", "WAHR", "labels.csv, line 3: found must be true or false, not 'WAHR'"),
        ("frame", "two", "labels.csv, line 3: frame must be a number, not 'two'"),
        (
            "source",
            "\udcfc",
            "labels.csv: line 3 is not in UTF-8; save it as UTF-8 \\(in Excel: `CSV",
        ),
        ("source", "guess", "line 3: source must be one of av, visual, .*, not guess"),
        ("source", "none", "line 3: label must be -1 where source is none"),
        ("p_anger", "0.9", "line 3: probabilities must be eight numbers from 0 that sum to 1"),
        ("p_anger", "", "line 3: probabilities must be eight numbers from 0 that sum to 1"),
    ],
)
def test_bad_values_are_named_with_their_line(
    tmp_path: Path, column: str, value: str, message: str
) -> None:
    path = tmp_path / "labels.csv"
    write_table(make_table([2, 2, 2]), path, WORK)
    lines = path.read_text().splitlines()
    cells = lines[2].split(",")
    cells[COLUMNS.index(column)] = value
    lines[2] = ",".join(cells)
    path.write_bytes(("\n".join(lines) + "\n").encode(errors="surrogateescape"))
    with pytest.raises(InputError, match=message):
        read_table(path)


@pytest.mark.parametrize(
    ("extra", "name"),
    [(b"mood\xff", "frame"), (b'"a,b"', "frame"), (b"x" * 5000, "column 2")],
)
def test_a_bad_value_is_named_under_any_header(tmp_path: Path, extra: bytes, name: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes(extra + b",frame,video\n1,two,v\n")
    with pytest.raises(InputError, match=f"labels.csv, line 2: {name} must be a number, not 'two'"):
        read_table(path)


@SUFFIXES
def test_times_that_go_back_are_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"labels{suffix}"
    row = "line 4" if suffix == ".csv" else "row 3"
    write_table(make_table([2] * 4).assign(time_s=[0.0, 0.08, 0.04, 0.12]), path, WORK)
    wrong = f"{path}, {row}: time_s of frame 3 is 0.04, and 0.08 of frame 2 before it; times must"
    with pytest.raises(InputError, match=re.escape(wrong)):
        read_table(path)
    write_table(make_table([2] * 4).assign(time_s=[0.0, np.nan, 0.08, 0.04]), path, WORK)
    with pytest.raises(InputError, match=r"time_s of frame 4 is 0.04, and 0.08 of frame 3"):
        read_table(path)


def test_times_ascend_by_frame_for_each_person(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    left = make_table([2] * 4, subject="left").assign(time_s=[0.0, 0.04, 0.04, np.nan])
    later = make_table([2] * 3, subject="right").assign(time_s=[0.04, 0.08, 0.12])
    other = make_table([2] * 3, video="other").assign(time_s=[-9.0, 1.0, 2.0])
    good = pd.concat([left, later, other]).sort_values(["frame", "subject"])
    for table in (good, good[::-1], pd.concat([other, later, left])):
        write_table(table, path, WORK)
        pd.testing.assert_series_equal(
            read_table(path)["time_s"], table["time_s"], check_index=False
        )
    later["time_s"] = [0.04, 0.12, 0.08]
    write_table(pd.concat([left, later, other]).sort_values("frame"), path, WORK)
    with pytest.raises(InputError, match="time_s of frame 3 is 0.08, and 0.12 of frame 2"):
        read_table(path)


def test_negative_and_half_given_probabilities(tmp_path: Path) -> None:
    path = tmp_path / "labels.parquet"
    negative = make_table([2])
    negative[PROBABILITIES[:2]] = [-0.05, 0.15]
    write_table(negative, path, WORK)
    with pytest.raises(InputError, match="row 1: probabilities must be eight numbers from 0"):
        read_table(path)
    write_table(make_table([2, -1]).assign(p_fear=[0.05, 0.5]), path, WORK)
    with pytest.raises(InputError, match="row 2: probabilities must be empty where source is none"):
        read_table(path)


def test_missing_columns_are_all_named(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("video,frame\na,1\n")
    with pytest.raises(InputError, match="has no column time_s, subject, found"):
        read_table(path)


def test_an_output_of_another_command_is_named(tmp_path: Path) -> None:
    path, table = tmp_path / "segments.csv", tmp_path / "labels.csv"
    write_table(make_table([2, 2]), table, WORK)
    segment_files([table], path)
    with pytest.raises(InputError, match="segments.csv was written by `abaw segment`; it is no "):
        read_table(path)


def test_a_header_with_other_capitals_is_named(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("Video,frame, LABEL\na,1,0\n")
    message = "labels.csv has no column video, label; line 1 calls it 'Video', ' LABEL'$"
    with pytest.raises(InputError, match=message):
        read_labels(path)


def test_a_row_with_other_cells_than_the_header_is_named(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("video,frame,label\na,1,0\na,2,0,\n")
    with pytest.raises(InputError, match="labels.csv: CSV parse error: line 3: Expected 3 columns"):
        read_labels(path)


def test_a_column_that_is_there_twice_is_named(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("video,frame,label,label\na,1,0,1\n")
    with pytest.raises(InputError, match="labels.csv has the column label 2 times"):
        read_labels(path)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"\x80\n", "cannot read the table .*labels.csv: line 1 is not in UTF-8; save it as UTF-8"),
        (b"\x1aE\xff\0\n", "cannot read the table .*labels.csv: it is no text file"),
        (b'video,frame,label\na,1,"0\na,2,0\n', "labels.csv, line 2: unknown label '0.na,2,0"),
        (b'video,frame,label\na,"1\na,2,0\n', "labels.csv.*: CSV parse error"),
    ],
)
def test_what_no_csv_reader_takes_is_one_line(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=problem) as caught:
        read_labels(path)
    assert "\n" not in str(caught.value)


def test_files_that_are_no_tables(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_table(tmp_path / "gone.csv")
    with pytest.raises(InputError, match="File name too long"):
        read_table(tmp_path / ("x" * 300 + ".csv"))
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(InputError, match="not a table file"):
        read_table(tmp_path / "notes.txt")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(InputError, match="not a table file"):
        read_table(tmp_path / "folder.csv")
    for name in ("empty.csv", "empty.parquet"):
        (tmp_path / name).write_bytes(b"")
        with pytest.raises(InputError, match="cannot read the table"):
            read_table(tmp_path / name)
    write_table(make_table([]), tmp_path / "bare.csv", WORK)
    with pytest.raises(InputError, match="holds no rows"):
        read_table(tmp_path / "bare.csv")


def test_a_name_of_no_file_is_named_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="^no such file: .*labels$"):
        read_table(tmp_path / "labels")


def test_labels_of_any_table(tmp_path: Path) -> None:
    path = tmp_path / "truth.csv"
    path.write_text("video,frame,label,who\na,1,3,me\na,2,-1,me\n")
    assert read_labels(path)["label"].tolist() == [3, -1]
    path.write_text("video,frame,label\na,1,3\na,1,4\n")
    with pytest.raises(InputError, match="line 3: an earlier row has the same video, frame"):
        read_labels(path)
    path.write_text("video,frame,subject,label\na,1,0,3\na,1,1,4\n")
    with pytest.raises(InputError, match=r"a has labels of 2 subjects \(0, 1\), .*--subject main"):
        read_labels(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace(",", ";").replace(".", ",").encode(),
         "is separated by semicolons; separate it by commas, with points in numbers"),
        (lambda text: text.replace(",", "\t").encode(), "is separated by tabs"),
        (lambda text: re.sub("(?m)^.+$", r'"\g<0>"', text).encode(),
         "line 1 is in quotes as a whole, .* remove the quotes around each line"),
        (lambda text: text.encode("utf-16"), "is in UTF-16; save it as UTF-8"),
        (lambda text: text.encode("utf-16-le"), "is in UTF-16; save it as UTF-8"),
    ],
)  # fmt: skip
def test_another_form_of_table_is_told(
    tmp_path: Path, change: Callable[[str], bytes], message: str
) -> None:
    path = tmp_path / "t.csv"
    write_table(make_table([1, 2]), path, {})
    path.write_bytes(change(path.read_text()))
    with pytest.raises(InputError, match=message):
        read_table(path)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_whole_numbers_that_are_written_with_a_point(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"t{suffix}"
    table = make_table([1, 2, -1]).astype({"label": float, "frame": float})
    if suffix == ".csv":
        table.to_csv(path, index=False)
    else:
        table.to_parquet(path)
    pd.testing.assert_frame_equal(read_table(path), make_table([1, 2, -1]))
    table["label"] = [1.5, 2, -1]
    table.to_csv(path.with_suffix(".csv"), index=False)
    with pytest.raises(InputError, match=r"1\.5"):
        read_table(path.with_suffix(".csv"))


@SUFFIXES
def test_class_names_are_read_as_numbers_are(tmp_path: Path, suffix: str) -> None:
    names = ["Anger", "anger", " HAPPY ", "4", "-1", "Other", "4.0", "contempt"]
    path, frame = tmp_path / f"truth{suffix}", range(1, len(names) + 1)
    table = pd.DataFrame({"video": "a", "frame": frame, "label": names})
    table.to_csv(path, index=False) if suffix == ".csv" else table.to_parquet(path)
    assert read_labels(path)["label"].tolist() == [1, 1, 4, 4, -1, 7, 4, 7]
    table["label"] = ["Anger", "grumpy", "4", "bored", "grumpy", "9.5", "4", "4"]
    table.to_csv(path, index=False) if suffix == ".csv" else table.to_parquet(path)
    message = "(line 3|row 2): unknown label 'grumpy', 'bored', '9.5'; known are -1 to 7, Neutral"
    with pytest.raises(InputError, match=message):
        read_labels(path)


def test_labels_of_intervals(tmp_path: Path) -> None:
    path = tmp_path / "talk.csv"
    path.write_text("onset,duration,label\n2.5,1,sad\n0,2.5,Happiness\n")
    table = read_labels(path, "talk")
    assert table.to_numpy().tolist() == [["talk", 2.5, 3.5, 5], ["talk", 0.0, 2.5, 4]]
    path.write_text("video,onset,offset,label\na,0,1,3\nb,0.5,2,7\n")
    assert read_labels(path)["video"].tolist() == ["a", "b"]
    path.write_text("frame,label\n1,fear\n")
    assert read_labels(path, "talk").to_numpy().tolist() == [["talk", 1, 3]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("label\n1\n", "neither a column frame nor the columns onset and offset"),
        ("onset,label\n0,1\n", "neither a column frame nor the columns onset and offset"),
        ("onset,offset,label\n0,1,1\n3,2,1\n", "line 3: an interval must not end before"),
        ("onset,offset,label\n0,2,1\n1.5,3,1\n", "line 3: onset must not be before the end"),
        ("onset,offset,label\n0,,1\n", "line 2: onset and offset must be seconds"),
        ("onset,offset,label\n0,1,8\n", "line 2: label must be -1 to 7, not 8"),
    ],
)
def test_intervals_that_are_none(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        read_labels(tmp_path / "a.csv")
