"""The scores and files of valence and arousal, and of action units."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import f1_score

from abawcli.config import EXPR, TASK_NAMES
from abawcli.datasets.task_pairing import gather_values
from abawcli.errors import InputError
from abawcli.formats.abaw import read_annotation
from abawcli.formats.submission import read_submission
from abawcli.formats.task_annotations import read_values
from abawcli.formats.task_submission import read_task_submission
from abawcli.labels import CLASSES
from abawcli.task_metrics import find_ccc, find_unit_f1, sum_agreement, sum_moments
from abawcli.tasks import TASKS, Task

VA, AU = TASKS["va"], TASKS["au"]
EXPR_HEADER = ",".join(CLASSES)
VALUES = arrays(np.float64, (20, 2), elements=st.floats(-1, 1, width=16))


def find_direct_ccc(x: np.ndarray, y: np.ndarray) -> float:
    """Return CCC by its definition with Pearson's correlation."""
    sx, sy = x.std(), y.std()
    rho = np.corrcoef(x, y)[0, 1]
    return float(2 * rho * sx * sy / (sx**2 + sy**2 + (x.mean() - y.mean()) ** 2))


def test_ccc_is_that_of_its_definition_without_ignored_frames() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (300, 2))
    y = np.clip(0.6 * x + rng.normal(0.1, 0.2, x.shape), -1, 1)
    x[50:90, 0] = np.nan
    known = ~np.isnan(x)
    expected = [find_direct_ccc(x[known[:, k], k], y[known[:, k], k]) for k in range(2)]
    np.testing.assert_allclose(find_ccc(sum_moments(x, y)), expected, rtol=1e-9)


@settings(max_examples=40, deadline=None)
@given(x=VALUES, y=VALUES, shift=st.floats(0.05, 1))
def test_ccc_is_symmetric_bounded_and_highest_for_equal_values(
    x: np.ndarray, y: np.ndarray, shift: float
) -> None:
    forth, back = find_ccc(sum_moments(x, y)), find_ccc(sum_moments(y, x))
    np.testing.assert_allclose(forth, back, atol=1e-9)
    assert (np.abs(forth) <= 1 + 1e-9).all()
    own = find_ccc(sum_moments(x, x))
    varies = x.var(axis=0) > 1e-6
    np.testing.assert_allclose(own[varies], 1)
    assert (find_ccc(sum_moments(x, x + shift))[varies] < own[varies]).all()


def test_constant_predictions_have_no_concordance() -> None:
    constant = np.full((5, 2), 0.3)
    assert find_ccc(sum_moments(constant, constant)).tolist() == [0, 0]
    varied = np.linspace(-1, 1, 10).reshape(5, 2)
    np.testing.assert_allclose(find_ccc(sum_moments(varied, constant)), 0, atol=1e-12)


@settings(max_examples=5, deadline=None)  # of twelve units each
@given(seed=st.integers(0, 999))
def test_unit_f1_is_that_of_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    y, p = rng.integers(-1, 2, (30, 12)).astype(float), rng.integers(0, 2, (30, 12)).astype(float)
    y[:, 3] = np.where(y[:, 3] < 0, -1, 0)
    p[:, 3] = 0  # neither annotated nor predicted
    y[y < 0] = np.nan
    expected = [
        f1_score(y[known, k], p[known, k], zero_division=0)
        for k in range(12)
        for known in [~np.isnan(y[:, k])]
    ]
    np.testing.assert_allclose(find_unit_f1(sum_agreement(y, p)), expected)


def test_annotations_are_read_with_ignored_values_as_nan(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("valence,arousal\n0.5,-0.25\n-5,-5\n1,-1.0\n")
    expected = [[0.5, -0.25], [np.nan, np.nan], [1, -1]]
    np.testing.assert_array_equal(read_values(path, VA), expected)
    path.write_text(f"{AU.header}\n{','.join('1' * 12)}\n{','.join(['-1'] * 12)}\n")
    np.testing.assert_array_equal(read_values(path, AU), [[1] * 12, [np.nan] * 12])


@pytest.mark.parametrize(
    ("task", "content", "message"),
    [
        ("va", f"{EXPR_HEADER}\n1\n", "line 1: the header must be valence.* --task expr"),
        ("au", "valence,arousal\n0,0\n", "line 1: the header must be AU1,.* --task va"),
        ("va", f"{AU.header}\n" + "0," * 12, "line 1: .* --task au"),
        ("va", "arousal,valence\n0,0\n", "not 'arousal,valence'$"),
        ("va", "valence,arousal\n", "holds no rows"),
        ("va", "valence,arousal\n0,0\n0,1.2\n", "line 3: a row must have 2 values.*'0,1.2'"),
        ("va", "valence,arousal\n0\n", "line 2: a row must have 2 values"),
        ("va", "valence,arousal\n0,x\n", "line 2: .*from -1 to 1 or -5, not '0,x'"),
        ("va", "valence,arousal\nnan,inf\n", "line 2: .*'nan,inf'"),
        ("au", f"{AU.header}\n{','.join(['0.5'] * 12)}\n", "line 2: .*whole number from 0 to 1"),
        ("au", f"{AU.header}\n{','.join(['inf', 'nan'] * 6)}\n", "line 2: .*'inf,nan,"),
    ],
)
def test_bad_files_are_named_with_line_and_task(
    tmp_path: Path, task: str, content: str, message: str
) -> None:
    path = tmp_path / "a.txt"
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        read_values(path, TASKS[task])


@pytest.mark.parametrize("task", [VA, AU])
def test_files_of_other_tasks_are_named_by_the_readers_of_expressions(
    tmp_path: Path, task: Task
) -> None:
    path = tmp_path / "a.txt"
    path.write_text(f"{task.header}\n0,0\n")
    with pytest.raises(InputError, match=f"--task {task.name}"):
        read_annotation(path)
    path.write_text(f"image_location,{task.header}\na/00001.jpg,0\n")
    with pytest.raises(InputError, match=f"--task {task.name}"):
        read_submission(path)


def test_an_annotation_given_as_a_submission_is_not_said_to_be_of_another_task(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.txt"
    path.write_text(f"{EXPR_HEADER}\n1\n")
    with pytest.raises(InputError, match="line 1: the header must be image_location,.*Other'$"):
        read_submission(path)


def test_submissions_are_read_by_video_and_frame(tmp_path: Path) -> None:
    path = tmp_path / "s.txt"
    path.write_text("image_location,valence,arousal\na/00002.jpg,0.5,-1\nb/00001.jpg,,\n")
    failed: dict[str, str] = {}
    videos = gather_values([path], VA, failed)
    assert not failed
    np.testing.assert_array_equal(videos["a"], [[np.nan, np.nan], [0.5, -1]])
    np.testing.assert_array_equal(videos["b"], [[np.nan, np.nan]])


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS.keys())
def test_a_sample_without_values_is_as_it_should_be(
    tmp_path: Path, task: Task, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "sample.txt"
    for end in (",", "," * len(task.columns)):
        path.write_text(f"image_location,{task.header}\na/00001.jpg{end}\na/00002.jpg{end}\n")
        rows = read_task_submission(path, task)
        assert rows["frame"].tolist() == [1, 2] and rows[list(task.columns)].isna().all(axis=None)
    assert caplog.messages == []
    path.write_text(f"image_location,{task.header}\na/00001.jpg{',1' * len(task.columns)},\n")
    assert (read_task_submission(path, task)[list(task.columns)] == 1).all(axis=None)
    assert "commas or blanks at line ends (line 2)" in caplog.text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (f"image_location,{EXPR_HEADER}\na/00001.jpg,3\n", "line 1: .* --task expr"),
        ("image_location,valence,arousal\n", "holds no rows"),
        ("image_location,valence,arousal\na/1.jpg,0,0\n", "line 2: a row must begin with"),
        ("image_location,valence,arousal\na/00000.jpg,0,0\n", "line 2: .*from 1"),
        ("image_location,valence,arousal\na/00001.jpg,0\n", "line 2: a row must have 2 values"),
        (
            "image_location,valence,arousal\na/00001.jpg,0,0\na/00001.jpg,0,0\n",
            "line 3: an earlier row has a/00001.jpg",
        ),
    ],
)
def test_bad_submissions_are_named_with_the_line(
    tmp_path: Path, content: str, message: str
) -> None:
    path = tmp_path / "s.txt"
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        read_task_submission(path, VA)


def test_units_are_those_of_the_challenge() -> None:
    assert AU.header == "AU1,AU2,AU4,AU6,AU7,AU10,AU12,AU15,AU23,AU24,AU25,AU26"


def test_the_option_knows_all_tasks() -> None:
    assert (EXPR, *TASKS) == TASK_NAMES


def test_rows_with_some_values_have_a_stratum() -> None:
    nan = np.nan
    rows = np.array([[0.5, -0.5], [0.5, nan], [nan, 0.5], [nan, nan]])
    assert VA.find_strata(rows).tolist() == [2, 2, 1, -1]
    units = np.array([[1.0, 1, nan, *[0.0] * 9], [nan] * 12])
    assert AU.find_strata(units).tolist() == [2, -1]
