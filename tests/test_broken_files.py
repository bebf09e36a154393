"""Whatever is in a file, its reader returns what keeps its promises, or says which file is bad."""

import re
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_tables import make_table

from abawcli.errors import InputError
from abawcli.formats.abaw import read_annotation, write_annotation
from abawcli.formats.label_tables import read_labels
from abawcli.formats.submission import (
    is_submission,
    read_submission,
    read_test_list,
    write_submission,
)
from abawcli.formats.table_schemas import PROBABILITIES
from abawcli.formats.tables import read_table, write_table
from abawcli.stages.submit import find_differences

# What editors, spreadsheets and scripts put into text files, and what trips parsers.
PIECES = [b"\n", b"\r\n", b"\r", b",", b",,,,", b'"', b"'", b" ", b"\t", b"\0", b"\xef\xbb\xbf"]
PIECES += [b"-1", b"8", b"1.0", b"1e3", b"nan", b"inf", b"99999999999999999999", b"\xff", b"/"]
PIECES += [b"\xc2\x85", b"\xe2\x80\xa8", b"\x0c", b"true", b"0x1", b"\xd9\xa3", b".jpg", b"_left"]

EDIT = st.tuples(
    st.floats(0, 1),  # where, as a share of the file
    st.integers(0, 30),  # bytes that go
    st.one_of(st.sampled_from(PIECES), st.binary(max_size=8)),  # what comes
    st.booleans(),  # whether the line is doubled instead
)


def apply_edits(content: bytes, edits: list[tuple[float, int, bytes, bool]]) -> bytes:
    for share, length, piece, double in edits:
        place = round(share * len(content))
        if double:
            start, end = content.rfind(b"\n", 0, place) + 1, content.find(b"\n", place) + 1
            content = content[:end] + content[start:end] + content[end:]
        else:
            content = content[:place] + piece + content[place + length :]
    return content


def check_classes(labels: Any) -> None:
    values = np.asarray(labels)
    assert values.dtype == np.int64
    assert len(values) and values.min() >= -1 and values.max() <= 7


def check_rows(rows: pd.DataFrame) -> None:
    check_classes(rows["label"])
    assert (rows["frame"] >= 1).all()
    keys = rows.columns.intersection(["video", "subject", "frame"]).to_list()
    assert not rows.duplicated(keys).any()
    assert not rows[keys].isna().any(axis=None)


def check_table(table: pd.DataFrame) -> None:
    check_rows(table)
    p = table.loc[table["label"] >= 0, PROBABILITIES].to_numpy()
    assert (p >= 0).all() and np.allclose(p.sum(axis=1), 1, atol=2e-3)


def check_names(names: list[str]) -> None:
    assert names and len(set(names)) == len(names)
    assert not any("/" in name or "," in name or "\n" in name for name in names)


def check_answer(answer: bool) -> None:
    assert isinstance(answer, bool)


def write_sample(path: Path) -> None:
    rows = pd.DataFrame({"video": ["a", "a", "b_left"], "frame": [1, 2, 1], "label": [0, 3, 7]})
    write_submission(rows, path, {})


def write_predictions(path: Path) -> None:
    write_table(make_table([0, -1, 7]), path, {})


def check_against_sample(path: Path) -> list[str]:
    sample = path.with_name("sample.txt")
    write_sample(sample)
    differences = list(find_differences(path, sample))
    if not differences:  # then it is the sample but for its classes and the last line end
        assert re.sub(
            r",[0-7]$", ",", path.read_bytes().decode().rstrip("\n"), flags=re.M
        ) == re.sub(r",[0-7]$", ",", sample.read_bytes().decode().rstrip("\n"), flags=re.M)
    return differences


def check_differences(differences: list[str]) -> None:
    assert all("\n" not in difference for difference in differences)


Case = tuple[Callable[[Path], Any], Callable[[Any], None], Callable[[Path], Any], str]
CASES: dict[str, Case] = {
    "annotation": (
        read_annotation,
        check_classes,
        lambda path: write_annotation(np.array([0, -1, 7]), path),
        ".txt",
    ),
    "submission": (read_submission, check_rows, write_sample, ".txt"),
    "check": (check_against_sample, check_differences, write_sample, ".txt"),
    "first line": (is_submission, check_answer, write_sample, ".txt"),
    "test list": (
        read_test_list,
        check_names,
        lambda path: path.write_text("a\nb_left\n10-60-1280x720\n"),
        ".txt",
    ),
    "table": (read_table, check_table, write_predictions, ".csv"),
    "parquet table": (read_table, check_table, write_predictions, ".parquet"),
    "labels": (read_labels, check_rows, write_predictions, ".csv"),
    "parquet labels": (read_labels, check_rows, write_predictions, ".parquet"),
}


@cache
def make_good(name: str) -> bytes:
    """Return the content of a good file."""
    *_, write, suffix = CASES[name]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"file{suffix}"
        write(path)
        return path.read_bytes()


def judge(name: str, content: bytes) -> None:
    """Read a file with any content: a sound value, or one line that names it."""
    read, check, _, suffix = CASES[name]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"file{suffix}"
        path.write_bytes(content)
        try:
            value = read(path)
        except InputError as error:
            assert str(path) in str(error)
            assert "\n" not in str(error)
            return
        check(value)


@pytest.mark.parametrize("name", CASES)
def test_good_files_are_read(name: str) -> None:
    read, check, write, suffix = CASES[name]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"file{suffix}"
        write(path)
        check(read(path))


@pytest.mark.parametrize("name", CASES)
@settings(deadline=None, max_examples=12)
@given(edits=st.lists(EDIT, min_size=1, max_size=4))
def test_files_with_changes(name: str, edits: list[tuple[float, int, bytes, bool]]) -> None:
    judge(name, apply_edits(make_good(name), edits))


@pytest.mark.parametrize("name", CASES)
@settings(deadline=None, max_examples=12)
@given(content=st.one_of(st.binary(), st.lists(st.sampled_from(PIECES)).map(b"".join)))
def test_files_of_anything(name: str, content: bytes) -> None:
    judge(name, content)
