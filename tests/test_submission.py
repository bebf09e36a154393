import logging
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from abawcli.errors import InputError, OutputError
from abawcli.formats.submission import (
    is_submission,
    read_submission,
    read_test_list,
    write_submission,
)

HEADER = b"image_location,Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other"
ROWS = HEADER + b"\n102/00001.jpg,3\n102/00002.jpg,0\nx_left/00001.jpg,7\n"
# A name is a folder's: no slash, no line end; and no comma, which ends the field.
NAMES = st.text(st.characters(exclude_characters="/,\r\n\0", exclude_categories=["Cs"]), min_size=1)
KEYS = st.tuples(NAMES, st.integers(1, 9_999_999))


def make(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "predictions.txt"


def test_reads_a_submission_in_its_order(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = read_submission(make(file, ROWS))
    assert rows["video"].tolist() == ["102", "102", "x_left"]
    assert rows["frame"].tolist() == [1, 2, 1]
    assert rows["label"].tolist() == [3, 0, 7]
    assert caplog.records == []


def test_a_sample_may_have_no_classes(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = read_submission(make(file, HEADER + b"\nb/00001.jpg,\na/123456.jpg,\n"))
    assert rows["label"].tolist() == [-1, -1]
    assert rows["frame"].tolist() == [1, 123456]
    assert caplog.records == []


@pytest.mark.parametrize(
    ("content", "quirk"),
    [
        (b"\xef\xbb\xbf" + ROWS, "a byte order mark (line 1)"),
        (ROWS.replace(b"\n", b"\r\n"), "Windows line ends (line 1)"),
        (ROWS.replace(b"0\n", b"0\r\n"), "Windows line ends (line 3)"),
        (ROWS.replace(b"0\n", b"0,,,,,,,\n"), "commas or blanks at line ends (line 3)"),
        (ROWS.replace(b"7\n", b"7 \t\nz/00001.jpg,1"), "commas or blanks at line ends (line 4)"),
        (ROWS + b"\n\n", "blank lines at the end (line 5)"),
        (ROWS.replace(b"Neutral", b"NEUTRAL"), f"not exactly {HEADER.decode()} (line 1)"),
        (ROWS.replace(b"image_location", b"Image_Location"), "not exactly image_location,"),
        (ROWS.replace(b"Other\n", b"Other,\n"), "a header that is not exactly"),
    ],
)
def test_reads_what_says_the_same_and_notes_it(
    file: Path, caplog: pytest.LogCaptureFixture, content: bytes, quirk: str
) -> None:
    rows = read_submission(make(file, content))
    assert rows["label"].tolist()[:3] == [3, 0, 7]
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith(f"{file} is read in spite of")
    assert quirk in record.getMessage()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "predictions.txt is empty; its first line must be image_location,.*,Other"),
        (HEADER[15:] + b"\n0\n", "line 1: the header must be image_location,.* not 'Neutral"),
        (HEADER[:-6] + b"\na/00001.jpg,0\n", "line 1: the header must be"),
        (HEADER + b"\n", "holds no rows"),
        (ROWS + b"x_left/00002.jpg,8\n", "line 5: the class must be 0 to 7, not '8'"),
        (ROWS + b"x_left/00002.jpg,-1\n", "line 5: the class must be 0 to 7, not '-1'"),
        (ROWS + b"x_left/00002.jpg,1.0\n", "line 5: the class must be 0 to 7, not '1.0'"),
        (ROWS + b"102/00002.jpg,0\n", "line 5: 102/00002.jpg has a row in line 3 already"),
        (ROWS + b"102/3.jpg,0\n", "line 5: a row must be <name>/00001.jpg,<class>, not '102/3"),
        (ROWS + b"102/000003.jpg,0\n", "line 5: a row must be"),
        (ROWS + b"1\r2/00003.jpg,0\n", "line 5: a row must be"),
        (ROWS + b"102/00003.png,0\n", "line 5: a row must be"),
        (ROWS + b"102/00003.jpg\n", "line 5: a row must be"),
        (ROWS + b"a/102/00003.jpg,0\n", "line 5: a row must be"),
        (ROWS + b"102/00003.jpg,0,1\n", "line 5: a row must be"),
        (ROWS + b"102/00000.jpg,0\n", "line 5: frames are counted from 1, not 0"),
        (ROWS + b"\n102/00003.jpg,0\n", "line 5: a row must be .*, not ''"),
        (ROWS + b"\xff/00003.jpg,0\n", "cannot read the submission"),
    ],
)
def test_bad_files_are_named_with_the_line(file: Path, content: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_submission(make(file, content))
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_and_unwritable(tmp_path: Path) -> None:
    gone = tmp_path / "gone.txt"
    for read in (is_submission, read_submission, read_test_list):
        with pytest.raises(InputError, match="no such file: .*gone.txt"):
            read(gone)
        with pytest.raises(InputError, match=f"cannot read .*{tmp_path.name}"):
            read(tmp_path)
    (tmp_path / "file").touch()
    rows = pd.DataFrame({"video": ["a"], "frame": [1], "label": [0]})
    with pytest.raises(OutputError, match="cannot write"):
        write_submission(rows, tmp_path / "file" / "predictions.txt", {})


def test_writes_exactly(tmp_path: Path) -> None:
    file = tmp_path / "new" / "predictions.txt"
    rows = pd.DataFrame({"video": ["b", "a_left"], "frame": [1, 123456], "label": [3, 0]})
    write_submission(rows, file, {})
    assert file.read_bytes() == HEADER + b"\nb/00001.jpg,3\na_left/123456.jpg,0\n"


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(KEYS, st.integers(-1, 7), min_size=1))
def test_round_trip(tmp_path: Path, labels: dict[tuple[str, int], int]) -> None:
    rows = pd.DataFrame(
        [(*key, k) for key, k in labels.items()], columns=["video", "frame", "label"]
    )
    file = tmp_path / "predictions.txt"
    write_submission(rows, file, {})
    pd.testing.assert_frame_equal(read_submission(file), rows, check_dtype=False)
    assert is_submission(file)


@pytest.mark.parametrize(
    ("content", "answer"),
    [
        (ROWS, True),
        (b"\xef\xbb\xbf" + ROWS.replace(b"\n", b"\r\n"), True),
        (b"IMAGE_LOCATION\n", True),
        (HEADER[15:] + b"\n0\n", False),
        (b"", False),
        (b"\xff\xfe\x00", False),
        (b"video,frame,label\n", False),
    ],
)
def test_a_submission_is_known_by_its_first_line(file: Path, content: bytes, answer: bool) -> None:
    assert is_submission(make(file, content)) is answer


def test_reads_a_test_list(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    content = b"10-60-1280x720\nvideo86_2\n10-60-1280x720_right\n"
    names = ["10-60-1280x720", "video86_2", "10-60-1280x720_right"]
    assert read_test_list(make(file, content)) == names
    assert read_test_list(make(file, content.rstrip())) == names
    assert caplog.records == []
    assert read_test_list(make(file, content.replace(b"2\n", b"2 ,\r\n"))) == names
    assert "Windows line ends (line 2), commas or blanks at line ends (line 2)" in caplog.text


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(NAMES.filter(lambda name: name == name.strip(" \t\ufeff")), min_size=1, unique=True)
)
def test_a_test_list_is_read_as_it_was_written(tmp_path: Path, names: list[str]) -> None:
    content = "\n".join(names) + "\n"
    assert read_test_list(make(tmp_path / "list.txt", content.encode())) == names


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\n", "holds no names"),
        (b"a\nb\na\n", "line 3: a is in line 1 already"),
        (b"a\n\nb\n", "line 2: a line must be one name, not ''"),
        (b"a\nb,c\n", "line 2: a line must be one name, not 'b,c'"),
        (b"a/00001.jpg\n", "line 1: a line must be one name, not 'a/00001.jpg'"),
        (b"a\n\xff\n", "cannot read the test list"),
    ],
)
def test_bad_test_lists_are_named_with_the_line(file: Path, content: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_test_list(make(file, content))
    assert str(file) in str(caught.value)
