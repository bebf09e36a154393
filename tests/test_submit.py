import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_tables import make_table

from abawcli.errors import InputError
from abawcli.formats.abaw import write_annotation
from abawcli.formats.submission import HEADER, write_submission
from abawcli.formats.tables import write_table
from abawcli.stages.submit import fill_sample, find_differences, find_nearest


def write_sample(path: Path, frames: dict[str, int]) -> Path:
    lines = [f"{name}/{k:05d}.jpg,\n" for name, n in frames.items() for k in range(1, n + 1)]
    path.write_text(f"{HEADER}\n{''.join(lines)}")
    return path


def write_labels(path: Path, labels: list[int]) -> Path:
    write_annotation(np.array(labels), path)
    return path


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    """Of two videos, not in the order of their names."""
    return write_sample(tmp_path / "sample.txt", {"b": 3, "a": 2})


def test_rows_are_the_samples_in_its_order(tmp_path: Path, sample: Path) -> None:
    write_table(make_table([1, 2], "a"), tmp_path / "a.csv", {})
    files = [tmp_path / "a.csv", write_labels(tmp_path / "b.txt", [5, 6, 7])]
    filled = fill_sample(files, sample)
    assert filled.rows["video"].tolist() == ["b", "b", "b", "a", "a"]
    assert filled.rows["frame"].tolist() == [1, 2, 3, 1, 2]
    assert filled.rows["label"].tolist() == [5, 6, 7, 1, 2]
    assert (filled.videos, filled.borrowed) == (2, 0)


def test_a_submission_is_a_prediction_too(tmp_path: Path, sample: Path) -> None:
    rows = pd.DataFrame({"video": ["a", "b"], "frame": [2, 1], "label": [3, 4]})
    write_submission(rows, tmp_path / "other.txt", {})
    filled = fill_sample([tmp_path / "other.txt"], sample)
    assert filled.rows["label"].tolist() == [4, 4, 4, 3, 3]
    assert filled.borrowed == 3


def test_rows_without_a_prediction_take_the_nearest(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sample = write_sample(tmp_path / "sample.txt", {"a": 8})
    labels = write_labels(tmp_path / "a.txt", [-1, 1, -1, -1, -1, 2, -1])
    filled = fill_sample([labels], sample)
    assert filled.rows["label"].tolist() == [1, 1, 1, 1, 2, 2, 2, 2]
    assert filled.borrowed == 6
    assert "a: 6 of 8 rows have no prediction of their own and take the nearest" in caplog.text


def test_a_surplus_row_is_counted_and_no_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sample = write_sample(tmp_path / "sample.txt", {"a": 101})
    assert fill_sample([write_labels(tmp_path / "a.txt", [0] * 100)], sample).borrowed == 1
    assert caplog.records == []


@pytest.mark.parametrize("frames", [7, 13])
def test_a_length_far_off_names_both(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, frames: int
) -> None:
    sample = write_sample(tmp_path / "sample.txt", {"a": 10})
    fill_sample([write_labels(tmp_path / "a.txt", [0] * frames)], sample)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert f"a: the sample ends with frame 10, its predictions with {frames}" in caplog.text


@settings(deadline=None)
@given(
    labels=st.lists(st.integers(-1, 7), min_size=1).filter(lambda labels: max(labels) >= 0),
    frames=st.lists(st.integers(1, 60), min_size=1),
)
def test_the_nearest_frame_is_the_nearest(labels: list[int], frames: list[int]) -> None:
    known = [k for k, label in enumerate(labels, 1) if label >= 0]
    expected = [min(known, key=lambda k: (abs(k - frame), k)) for frame in frames]
    assert find_nearest(np.array(frames), np.array(labels) >= 0).tolist() == expected


def test_a_side_is_found_as_in_scoring(tmp_path: Path) -> None:
    sample = write_sample(tmp_path / "sample.txt", {"x": 1, "x_right": 1, "y_left": 1})
    table = [make_table([4], "y", "left"), make_table([5], "y", "right"), make_table([3], "x")]
    write_table(pd.concat(table), tmp_path / "t.csv", {})
    right = write_labels(tmp_path / "x_right.txt", [7])
    filled = fill_sample([tmp_path / "t.csv", right], sample)
    assert filled.rows["label"].tolist() == [3, 7, 4]


def test_predictions_of_several_people_must_be_chosen_from(tmp_path: Path, sample: Path) -> None:
    tables = [make_table([4, 4], "a", "0"), make_table([5, 5], "a", "1"), make_table([1], "b")]
    write_table(pd.concat(tables), tmp_path / "t.csv", {})
    with pytest.raises(InputError, match=r"predictions of 2 subjects \(0, 1\); .*: a \(line 5\)$"):
        fill_sample([tmp_path / "t.csv"], sample)


def test_videos_that_the_sample_has_not_are_named(
    tmp_path: Path, sample: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = [write_labels(tmp_path / f"{name}.txt", [0] * 3) for name in ("a", "b", "z", "c")]
    fill_sample(files, sample)
    assert "2 predicted videos are not in the sample and are left out: c, z" in caplog.text


def test_all_videos_without_predictions_are_in_one_message(tmp_path: Path) -> None:
    sample = write_sample(tmp_path / "sample.txt", {"c": 1, "a": 1, "b": 1, "d": 1})
    files = [write_labels(tmp_path / "a.txt", [0]), write_labels(tmp_path / "b.txt", [-1])]
    with pytest.raises(InputError) as caught:
        fill_sample(files, sample)
    assert str(caught.value) == (
        f"{sample}: 3 of its 4 videos cannot be submitted; "
        "no predictions of this video: c (line 2), d (line 5); "
        "no frame with a prediction: b (line 4)"
    )


def test_predictions_that_cannot_be_read_or_come_twice(tmp_path: Path, sample: Path) -> None:
    files = [write_labels(tmp_path / name, [0] * 3) for name in ("a.txt", "b.txt", "o/a.txt")]
    with pytest.raises(
        InputError, match="o/a.txt: labels of a are in .*a.txt, too; they are left out here"
    ):
        fill_sample(files, sample)
    (tmp_path / "b.txt").write_text("0\n")
    with pytest.raises(InputError, match="b.txt, line 1: the header must be .*and another failure"):
        fill_sample(files, sample)


def check(sample: Path, content: bytes) -> list[str]:
    path = sample.with_name("predictions.txt")
    path.write_bytes(content)
    return list(find_differences(path, sample))


RIGHT = f"{HEADER}\nb/00001.jpg,0\nb/00002.jpg,7\nb/00003.jpg,1\na/00001.jpg,1\na/00002.jpg,1\n"


def test_what_is_right_has_no_differences(sample: Path) -> None:
    assert check(sample, RIGHT.encode()) == []
    assert check(sample, RIGHT.rstrip().encode()) == []


@pytest.mark.parametrize(
    ("old", "new", "differences"),
    [
        ("\n", "\r\n", ["Windows line ends (line 1)"]),
        ("image", "\ufeffimage", ["a byte order mark (line 1)"]),
        ("Other", "other", [f"a header that is not exactly {HEADER} (line 1)"]),
        ("Other", "Other,", [f"a header that is not exactly {HEADER} (line 1)"]),
        ("a/00002.jpg,1\n", "a/00002.jpg,1\n\n\n", ["blank lines at the end (line 7)"]),
        (HEADER, "Neutral", [f"line 1: the header must be {HEADER}, not 'Neutral'"]),
        ("2.jpg,7", "2.jpg,8", ["line 3: a row must be <name>/00001.jpg,<class> with a class "
                                "from 0 to 7, not 'b/00002.jpg,8'"]),
        ("2.jpg,7", "2.jpg,-1", ["line 3: a row must be <name>/00001.jpg,<class> with a class "
                                 "from 0 to 7, not 'b/00002.jpg,-1'"]),
        ("2.jpg,7", "2.jpg,", ["line 3: a row must be <name>/00001.jpg,<class> with a class "
                               "from 0 to 7, not 'b/00002.jpg,'"]),
        ("2.jpg,7", "2.jpg,7,,", ["line 3: a row must be <name>/00001.jpg,<class> with a class "
                                  "from 0 to 7, not 'b/00002.jpg,7,,'"]),
        ("b/00002.jpg,7\n", "", ["no row of b/00002.jpg, line 3 of the sample"]),
        ("a/00001", "c/00001", ["line 5: the sample has no c/00001.jpg",
                                "no row of a/00001.jpg, line 5 of the sample"]),
        ("b/00003", "b/00001", ["line 4: b/00001.jpg has a row in line 2 already",
                                "no row of b/00003.jpg, line 4 of the sample"]),
        ("b/00002.jpg,7\nb/00003.jpg,1", "b/00003.jpg,1\nb/00002.jpg,7",
         ["line 3: b/00003.jpg stands where b/00002.jpg must be",
          "line 4: b/00002.jpg stands where b/00003.jpg must be"]),
        (RIGHT[len(HEADER) + 15 :], "", [f"no row of {place}.jpg, line {line} of the sample"
         for line, place in enumerate(["b/00002", "b/00003", "a/00001", "a/00002"], 3)]),
    ],
)  # fmt: skip
def test_every_difference_is_found_with_its_line(
    sample: Path, old: str, new: str, differences: list[str]
) -> None:
    assert old in RIGHT
    changed = RIGHT.replace(old, new)
    assert check(sample, changed.encode()) == differences


@settings(deadline=None, max_examples=12)
@given(st.data())
def test_what_fills_a_sample_is_accepted(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    names = st.sampled_from(["a", "a_left", "a_right", "10-60-1280x720", "b 2"])
    frames = data.draw(st.dictionaries(names, st.integers(1, 9), min_size=1))
    folder = tmp_path_factory.mktemp("filled")
    sample = write_sample(folder / "sample.txt", frames)
    files = [
        write_labels(folder / f"{name}.txt", data.draw(st.lists(st.integers(0, 7), min_size=1)))
        for name in frames
    ]
    write_submission(fill_sample(files, sample).rows, folder / "predictions.txt", {})
    assert list(find_differences(folder / "predictions.txt", sample)) == []
