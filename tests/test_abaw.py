from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from abawcli.errors import InputError, OutputError
from abawcli.formats.abaw import align_rows, read_annotation, split_side, write_annotation

EIGHT = b"Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other"
SEVEN = EIGHT.removesuffix(b",Other")


PLAIN = EIGHT + b"\n0\n-1\n7\n"


@pytest.mark.parametrize("content", [PLAIN, PLAIN.rstrip()])
def test_reads_the_official_form(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    path = tmp_path / "102.txt"
    path.write_bytes(content)
    assert read_annotation(path).tolist() == [0, -1, 7]
    assert caplog.records == []


@pytest.mark.parametrize(
    ("content", "quirk"),
    [
        (PLAIN.replace(b"\n", b"\r\n"), "Windows line ends (line 1)"),
        (b"\xef\xbb\xbf" + PLAIN, "a byte order mark (line 1)"),
        (PLAIN.replace(b"-1\n", b"-1,,,,,,,\n"), "commas or blanks at line ends (line 3)"),
        (PLAIN.replace(b"-1\n", b"-1 \t\n"), "commas or blanks at line ends (line 3)"),
        (PLAIN + b"\n\n", "blank lines at the end (line 5)"),
        (PLAIN.lower(), "a header that is not exactly Neutral,Anger"),
        (PLAIN.replace(b",Anger", b", ANGER"), "a header that is not exactly Neutral,Anger"),
        (PLAIN.replace(b"Other", b"Other,"), "a header that is not exactly Neutral,Anger"),
    ],
)
def test_reads_what_says_the_same_and_notes_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes, quirk: str
) -> None:
    path = tmp_path / "102.txt"
    path.write_bytes(content)
    assert read_annotation(path).tolist() == [0, -1, 7]
    (record,) = caplog.records
    assert record.getMessage().startswith(f"{path} is read in spite of {quirk}")


def test_reads_the_older_seven_classes(tmp_path: Path) -> None:
    path = tmp_path / "102.txt"
    path.write_bytes(SEVEN + b"\n6\n-1\n")
    assert read_annotation(path).tolist() == [6, -1]
    path.write_bytes(SEVEN + b"\n6\n7\n")
    with pytest.raises(InputError, match="line 3: a row must be a class from -1 to 6, not '7'"):
        read_annotation(path)


def test_writes_exactly(tmp_path: Path) -> None:
    path = tmp_path / "new" / "102.txt"
    write_annotation(np.array([3, -1, 7]), path)
    assert path.read_bytes() == EIGHT + b"\n3\n-1\n7\n"


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(-1, 7), min_size=1))
def test_round_trip(tmp_path: Path, labels: list[int]) -> None:
    write_annotation(np.array(labels), tmp_path / "a.txt")
    assert read_annotation(tmp_path / "a.txt").tolist() == labels


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "102.txt is empty; its first line must be Neutral,Anger,.*,Other"),
        (b"0\n1\n", "line 1: the header must be .* not '0'"),
        (b"Valence,Arousal\n0.1,0.2\n", "not 'Valence,Arousal'"),
        (EIGHT + b"\n", "holds no rows"),
        (EIGHT + b"\n0\n8\n", "line 3: a row must be a class from -1 to 7, not '8'"),
        (EIGHT + b"\n0\n-2\n", "line 3: .*not '-2'"),
        (EIGHT + b"\n0\n1.0\n", "line 3: .*not '1.0'"),
        (EIGHT + b"\n0\n\n1\n", "line 3: .*not ''"),
        (EIGHT + b"\n0\n,,\n", "line 3: .*not ',,'"),
        (EIGHT + b"\n0\n1,2\n", "line 3: .*not '1,2'"),
        (EIGHT + b"\n\xff\n", "cannot read the annotation .*: line 2 is not in UTF-8; save it as"),
        (b"\x1aE\xff\0\n", "cannot read the annotation .*102.txt: it is no text file"),
    ],
)
def test_bad_files_are_named_with_the_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "102.txt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_annotation(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_and_unwritable(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_annotation(tmp_path / "gone.txt")
    with pytest.raises(InputError, match="it is a folder"):
        read_annotation(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write"):
        write_annotation(np.array([1]), tmp_path / "file" / "a.txt")


@pytest.mark.parametrize(
    ("name", "video", "side"),
    [
        ("10-60-1280x720", "10-60-1280x720", None),
        ("10-60-1280x720_right", "10-60-1280x720", "right"),
        ("video86_2", "video86_2", None),
        ("video5_left", "video5", "left"),
        ("left_video", "left_video", None),
        ("a_left_2", "a_left_2", None),
    ],
)
def test_only_a_side_at_the_end_is_stripped(name: str, video: str, side: str | None) -> None:
    assert split_side(name) == (video, side)


@pytest.mark.parametrize(
    ("frames", "expected"),
    [(4, [0, 1, 2, 3]), (3, [0, 1, 2, 2]), (2, [0, 1, 1, 1]), (6, [0, 1, 2, 3])],
)
def test_rows_take_the_nearest_frame(frames: int, expected: list[int]) -> None:
    assert align_rows(np.zeros(4, np.int64), frames, "a").tolist() == expected


@pytest.mark.parametrize("frames", [7, 13])
def test_rows_far_off_name_both_counts(frames: int) -> None:
    with pytest.raises(InputError, match=f"a: the annotation has 10 rows and .* {frames}"):
        align_rows(np.zeros(10, np.int64), frames, "a")
