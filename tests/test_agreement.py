"""Agreement against published worked examples, scikit-learn, and slow definitions."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import cohen_kappa_score

from abawcli.agreement import (
    count_coincidences,
    count_matched_segments,
    count_pairs,
    find_alpha,
    find_class_agreement,
    find_kappa,
    find_label_segments,
)

# Krippendorff (2011), section C: four observers, twelve units, labels 1 to 5, "." for none.
PUBLISHED = ("123321412...", "1233224125.3", ".3332342251.", "12332441251.")
LABELS = hnp.arrays(np.int64, (3, 25), elements=st.integers(-1, 7))


def read_observers(rows: tuple[str, ...]) -> np.ndarray:
    return np.array([[-1 if c == "." else int(c) for c in row] for row in rows])


def test_alpha_of_the_published_examples() -> None:
    coincidences = count_coincidences(read_observers(PUBLISHED))
    assert find_alpha(coincidences) == pytest.approx(0.743, abs=5e-4)
    assert coincidences.sum() == pytest.approx(40)  # pairable values
    binary = read_observers(("0100000010", "1110010000"))  # section A
    assert find_alpha(count_coincidences(binary)) == pytest.approx(0.095, abs=5e-4)


@given(LABELS)
def test_coincidences_are_weighted_pairs_of_labels(labels: np.ndarray) -> None:
    expected = np.zeros((8, 8))
    for unit in labels.T:
        known = unit[unit >= 0].tolist()
        for one, other in itertools.permutations(range(len(known)), 2):
            expected[known[one], known[other]] += 1 / (len(known) - 1)
    np.testing.assert_allclose(count_coincidences(labels), expected, atol=1e-9)


@given(LABELS)
def test_kappa_is_scikit_learns(labels: np.ndarray) -> None:
    one, other = labels[:2]
    both = (one >= 0) & (other >= 0)
    kappa = find_kappa(count_pairs(one, other))
    if len(set(one[both]) | set(other[both])) < 2:
        assert np.isnan(kappa)
    else:
        assert kappa == pytest.approx(cohen_kappa_score(one[both], other[both]))


def test_agreement_of_a_class_is_of_the_frames_that_were_given_it() -> None:
    one, other = np.array([0, 0, 4, 4, -1]), np.array([0, 4, 4, 4, 4])
    agreement = find_class_agreement(count_coincidences(np.stack([one, other])))
    assert agreement[0] == pytest.approx(2 / 3) and agreement[4] == pytest.approx(4 / 5)
    assert np.isnan(agreement[1])


@given(LABELS)
def test_runs_match_where_they_overlap_by_half_of_their_union(labels: np.ndarray) -> None:
    one, other = labels[:2]
    a, b = find_label_segments(one), find_label_segments(other)
    rows = [list(zip(r.label, r.start, r.end, strict=True)) for r in (a, b)]
    expected = 0
    for label, start, end in rows[0]:
        frames = set(range(start, end))
        found = [set(range(s, e)) for k, s, e in rows[1] if k == label]
        expected += any(len(frames & f) >= 0.5 * len(frames | f) for f in found)
    assert count_matched_segments(one, other) == (expected, len(rows[0]))
    assert count_matched_segments(one, one) == (len(rows[0]), len(rows[0]))


def test_perfect_agreement_and_none_at_all() -> None:
    labels = np.array([0, 1, 2, 3])
    assert find_kappa(count_pairs(labels, labels)) == 1
    assert find_alpha(count_coincidences(np.stack([labels, labels]))) == 1
    same = np.zeros(4, np.int64)
    assert np.isnan(find_alpha(count_coincidences(np.stack([same, same]))))
    assert np.isnan(find_kappa(count_pairs(same, np.full(4, -1))))
