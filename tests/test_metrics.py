import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    f1_score,
    precision_recall_fscore_support,
)

from abawcli.errors import InputError
from abawcli.metrics import (
    count_confusion,
    find_macro_f1,
    find_own_f1,
    resample_videos,
    score_labels,
)

annotated = st.lists(st.tuples(st.integers(-1, 7), st.integers(-1, 7)), min_size=1).filter(
    lambda pairs: any(truth != -1 for truth, _ in pairs)
)


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
@given(annotated)
def test_agrees_with_scikit_learn_and_with_the_definition(pairs: list[tuple[int, int]]) -> None:
    truth, predicted = np.array(pairs).T
    score = score_labels(truth, predicted)
    y, p = truth[truth != -1], predicted[truth != -1]
    expected = f1_score(y, p, labels=list(range(8)), average="macro", zero_division=0)
    assert score.macro_f1 == pytest.approx(expected)
    assert score.accuracy == pytest.approx(accuracy_score(y, p))
    classes = list(range(8))
    each = precision_recall_fscore_support(y, p, labels=classes, zero_division=0)
    np.testing.assert_allclose([score.precision, score.recall, score.f1, score.support], each)
    matrix = confusion_matrix(y, p, labels=[-1, *classes])
    np.testing.assert_array_equal(score.confusion, matrix[1:, 1:])
    for k in range(8):
        hits, wrong = int(((y == k) & (p == k)).sum()), int(((y == k) != (p == k)).sum())
        assert score.f1[k] == pytest.approx(2 * hits / (2 * hits + wrong) if hits else 0)
        assert score.confusion[k].tolist() == [int(((y == k) & (p == j)).sum()) for j in range(8)]


def test_lengths_that_differ() -> None:
    with pytest.raises(InputError, match="3 annotations cannot be scored with 2 predictions"):
        score_labels([0, 1, 2], [0, 1])


@pytest.mark.parametrize("truth", [[], [-1, -1]])
def test_nothing_annotated(truth: list[int]) -> None:
    with pytest.raises(InputError, match="no annotated frame to score"):
        score_labels(truth, [0] * len(truth))


@pytest.mark.parametrize(("truth", "predicted"), [([8], [0]), ([0], [8]), ([-2], [0])])
def test_labels_that_are_none(truth: list[int], predicted: list[int]) -> None:
    with pytest.raises(InputError, match=r"labels must be -1 to 7, not (8|-2)"):
        score_labels(truth, predicted)


@settings(deadline=None)
@given(annotated)
def test_a_video_is_judged_by_the_classes_that_occur(pairs: list[tuple[int, int]]) -> None:
    truth, predicted = np.array([(truth, max(label, 0)) for truth, label in pairs]).T
    kept = truth != -1
    expected = f1_score(truth[kept], predicted[kept], average="macro", zero_division=0)
    assert find_own_f1(count_confusion(truth, predicted)) == pytest.approx(expected)
    assert find_own_f1(count_confusion(truth, truth)) == 1


def random_videos(seed: int, videos: int) -> np.ndarray:
    """Return counts (V, 8, 9) of videos, some of which are predicted better than others."""
    rng = np.random.default_rng(seed)
    counts = []
    for share in rng.random(videos):
        y = rng.integers(0, 8, 200)
        counts.append(count_confusion(y, np.where(rng.random(200) < share, y, 0)))
    return np.stack(counts)


def test_redrawn_videos_vary_as_other_videos_do() -> None:
    """Of sets of videos, as many as it says have an interval that the score of all lies in."""
    expected = find_macro_f1(random_videos(0, 2000).sum(axis=0))
    inside = 0
    for seed in range(1, 101):
        drawn = find_macro_f1(resample_videos(random_videos(seed, 40), 200, 0))
        low, high = np.percentile(drawn, (5, 95))
        inside += bool(low <= expected <= high)
    assert 80 <= inside <= 97


def test_an_interval_of_more_videos_is_narrower() -> None:
    widths = [
        np.ptp(find_macro_f1(resample_videos(random_videos(2, videos), 300, 0)))
        for videos in (5, 50, 500)
    ]
    assert widths == sorted(widths, reverse=True)


def test_absent_classes_are_named_and_the_mean_of_the_others_is_given() -> None:
    score = score_labels([0, 4, 4], [0, 4, 4])
    assert (score.macro_f1, score.occurring_f1) == (0.25, 1.0)
    assert score.absent == ["Anger", "Disgust", "Fear", "Sadness", "Surprise", "Other"]
    score = score_labels([0, 4, 4], [0, 4, 6])  # what is predicted occurs
    assert score.occurring_f1 == pytest.approx((1 + 2 / 3 + 0) / 3)
    assert "Surprise" not in score.absent
    assert score_labels(range(8), range(8)).absent == []
