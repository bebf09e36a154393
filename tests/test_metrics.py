import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support

from abawcli.errors import InputError
from abawcli.metrics import score_labels


def test_a_case_counted_by_hand() -> None:
    score = score_labels([0, 0, 0, 1, 1, -1], [0, 0, 1, 1, 7, 3])
    assert score.frames == 5
    assert score.accuracy == pytest.approx(3 / 5)
    assert score.precision[:2].tolist() == pytest.approx([1, 1 / 2])
    assert score.recall[:2].tolist() == pytest.approx([2 / 3, 1 / 2])
    assert score.f1.tolist() == pytest.approx([4 / 5, 1 / 2, 0, 0, 0, 0, 0, 0])
    assert score.macro_f1 == pytest.approx((4 / 5 + 1 / 2) / 8)
    assert score.support.tolist() == [3, 2, 0, 0, 0, 0, 0, 0]
    assert score.confusion[0].tolist() == [2, 1, 0, 0, 0, 0, 0, 0]
    assert score.confusion[1].tolist() == [0, 1, 0, 0, 0, 0, 0, 1]
    assert score.confusion.sum() == 5


def test_perfect_predictions_score_one() -> None:
    labels = np.arange(8).repeat(3)
    score = score_labels(labels, labels)
    assert score.macro_f1 == score.accuracy == 1
    np.testing.assert_array_equal(score.confusion, np.eye(8) * 3)


def test_a_prediction_of_none_is_wrong_for_its_class() -> None:
    score = score_labels([2, 2, 2, 2], [2, -1, -1, 2])
    assert score.recall[2] == score.accuracy == pytest.approx(1 / 2)
    assert score.precision[2] == 1
    assert score.f1[2] == pytest.approx(2 / 3)
    assert score.confusion.sum() == 2
    assert score.frames == 4


def test_only_predictions_of_none() -> None:
    score = score_labels([0, 1], [-1, -1])
    assert score.macro_f1 == score.accuracy == 0
    assert score.confusion.sum() == 0


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(-1, 7), st.integers(-1, 7)), min_size=1).filter(
        lambda pairs: any(truth != -1 for truth, _ in pairs)
    )
)
def test_agrees_with_scikit_learn_and_with_the_definition(pairs: list[tuple[int, int]]) -> None:
    truth, predicted = np.array(pairs).T
    score = score_labels(truth, predicted)
    y, p = truth[truth != -1], predicted[truth != -1]
    classes = list(range(8))
    expected = precision_recall_fscore_support(y, p, labels=classes, zero_division=0)
    for found, wanted in zip(
        (score.precision, score.recall, score.f1, score.support), expected, strict=True
    ):
        np.testing.assert_allclose(found, wanted, rtol=1e-12)
    assert score.macro_f1 == pytest.approx(expected[2].mean())
    assert score.accuracy == pytest.approx(accuracy_score(y, p))
    with_none = confusion_matrix(y, p, labels=[-1, *classes])
    np.testing.assert_array_equal(score.confusion, with_none[1:, 1:])
    for k in classes:
        hits, wrong = int(((y == k) & (p == k)).sum()), int(((y == k) != (p == k)).sum())
        assert score.f1[k] == pytest.approx(2 * hits / (2 * hits + wrong) if hits else 0)


def test_lengths_that_differ() -> None:
    with pytest.raises(InputError, match="3 annotations cannot be scored with 2 predictions"):
        score_labels([0, 1, 2], [0, 1])


@pytest.mark.parametrize(("truth", "predicted"), [([8], [0]), ([0], [8]), ([0], [-2]), ([-2], [0])])
def test_labels_that_are_no_class(truth: list[int], predicted: list[int]) -> None:
    wrong = next(label for label in truth + predicted if label)
    with pytest.raises(InputError, match=f"labels are -1 to 7, not {wrong}"):
        score_labels(truth, predicted)


@pytest.mark.parametrize("truth", [[], [-1, -1]])
def test_nothing_annotated(truth: list[int]) -> None:
    with pytest.raises(InputError, match="no annotated frame to score"):
        score_labels(truth, [0] * len(truth))
