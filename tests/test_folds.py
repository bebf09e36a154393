"""Folds: balanced, grouped by source video, written and read."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from abawcli.datasets.folds import make_folds, read_folds, write_folds
from abawcli.errors import InputError, UsageError
from abawcli.formats.abaw import split_side


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10_000), st.integers(6, 20), st.integers(2, 5))
def test_sides_stay_together_and_no_fold_is_empty(seed: int, videos: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    names = [f"v{k}" for k in range(videos)] + ["v0_left", "v0_right", "v3_left"]
    labels = [rng.integers(-1, 8, 50) for _ in names]
    folds = make_folds(names, labels, count)
    assert list(folds) == names
    assert set(folds.values()) == set(range(1, count + 1))
    for name, fold in folds.items():
        assert fold == folds[split_side(name)[0]]
    assert make_folds(names, labels, count) == folds


def test_classes_are_balanced() -> None:
    rng = np.random.default_rng(0)
    labels = [np.repeat(rng.integers(0, 8, 12), 25) for _ in range(60)]
    folds = make_folds([f"v{k}" for k in range(60)], labels, 5)
    counts = np.zeros((5, 8))
    for part, fold in zip(labels, folds.values(), strict=True):
        counts[fold - 1] += np.bincount(part, minlength=8)
    share = counts / counts.sum(axis=0)
    assert np.abs(share - 0.2).max() < 0.08


def test_videos_without_a_label_are_somewhere() -> None:
    labels = [np.array([0, 1]), np.array([0, 1]), np.array([-1, -1])]
    assert make_folds(["a", "b", "c"], labels, 2)["c"] in (1, 2)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_folds_that_cannot_be(count: int) -> None:
    labels = [np.array([0, 1])] * 3
    with pytest.raises(UsageError, match=f"2 annotated source videos .* into {count} folds"):
        make_folds(["a", "b_left", "b_right"], labels, count)


def test_one_source_video_cannot_be_divided() -> None:
    with pytest.raises(UsageError, match="1 annotated .* cross-validation needs 2 or more"):
        make_folds(["b_left", "b_right"], [np.array([0, 1])] * 2, 2)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path, folds = tmp_path / "run" / "folds.csv", {"007": 1, "null": 2, "a,b": 2}
    write_folds(folds, path)
    assert path.read_text().splitlines()[:2] == ["name,fold", "007,1"]
    assert read_folds(path) == folds


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("video,fold\na,1\n", "no table of name and fold"),
        ("name,fold\na,one\n", "no table of name and fold"),
        ("name,fold\na,1.5\n", "no table of name and fold: invalid literal .* '1.5'"),
        ("name,fold\na,1\nb,1e300\n", "no table of name and fold: invalid literal .* '1e300'"),
        ("name,fold\na,18446744073709551616\n", "must be numbered from 1 without a gap"),
        ("name,fold\na,1\na,2\n", "a occurs twice"),
        ("name,fold\n\xe4,1\na\u0308,2\n", "\xe4 occurs twice"),
        ("name,fold\na,1\na_left,2\n", "tracks of a are in folds 1 and 2"),
        ("name,fold\na,1\nb,3\n", "without a gap"),
        ("name,fold\na,0\nb,1\n", "without a gap"),
        ("name,fold\n", "without a gap"),
    ],
)
def test_bad_files(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "folds.csv"
    path.write_text(text, "utf-8")
    with pytest.raises(InputError, match=message):
        read_folds(path)
    with pytest.raises(InputError, match="no such file"):
        read_folds(tmp_path / "gone.csv")


def test_every_class_has_fewer_frames_than_folds() -> None:
    labels = [np.array([k]) for k in range(4)]
    with pytest.raises(UsageError, match="no class has the 3 annotated frames that 3 folds need"):
        make_folds(list("abcd"), labels, 3)
