"""The mean of predictions, some of which are none."""

from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from abawcli.fusion import average_outputs

Predicted = NDArray[np.float64]


@st.composite
def predictions(draw: st.DrawFn) -> list[Predicted]:
    """Up to five predictions of up to six rows, NaN where there is none."""
    count, rows = draw(st.integers(1, 5)), draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    p = rng.dirichlet(np.ones(8), (count, rows))
    p[rng.random((count, rows)) < draw(st.sampled_from([0.0, 0.3, 0.8]))] = np.nan
    return list(p)


def draw_weights(data: st.DataObject, count: int) -> list[float]:
    weight = st.floats(1e-3, 1e3)
    return data.draw(st.lists(weight, min_size=count, max_size=count))


@given(predictions(), st.data())
def test_each_row_is_the_weighted_mean_of_those_who_say_something(
    p: list[Predicted], data: st.DataObject
) -> None:
    weights = draw_weights(data, len(p))
    mean = average_outputs(p, weights)
    for row in range(len(mean)):
        said = [k for k in range(len(p)) if not np.isnan(p[k][row, 0])]
        if not said:
            assert np.isnan(mean[row]).all()
            continue
        expected = np.average([p[k][row] for k in said], axis=0, weights=[weights[k] for k in said])
        np.testing.assert_allclose(mean[row], expected, atol=1e-12)
        assert mean[row].sum() == pytest.approx(1)


@given(predictions(), st.data(), st.randoms())
def test_neither_order_nor_scale_matters(
    p: list[Predicted], data: st.DataObject, random: Random
) -> None:
    weights = draw_weights(data, len(p))
    mean = average_outputs(p, weights)
    scale = data.draw(st.sampled_from([1e-300, 0.1, 3.0, 1e300]))
    scaled = average_outputs(p, [scale * weight for weight in weights])
    np.testing.assert_allclose(scaled, mean, atol=1e-12)
    order = random.sample(range(len(p)), len(p))
    mixed = average_outputs([p[k] for k in order], [weights[k] for k in order])
    np.testing.assert_allclose(mixed, mean, atol=1e-12)


@given(predictions())
def test_a_weight_close_to_nothing_decides_only_where_nobody_else_does(p: list[Predicted]) -> None:
    mean = average_outputs([p[0], *p], [1.0, *[1e-300] * len(p)])
    alone = np.where(np.isnan(p[0]), average_outputs(p), p[0])
    np.testing.assert_allclose(mean, alone, atol=1e-12)


def test_by_default_all_weigh_the_same() -> None:
    p: list[NDArray[np.floating[Any]]] = [
        np.eye(8)[:2],
        np.eye(8)[2:4].astype(np.float32),
        np.full((2, 8), np.nan),
    ]
    expected = np.zeros((2, 8))
    expected[[0, 0, 1, 1], [0, 2, 1, 3]] = 0.5
    np.testing.assert_array_equal(average_outputs(p), expected)
