"""Fusing tables: rows that are matched, what they rest on, tables that do not fit."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_tables import make_table

from abawcli.errors import InputError, UsageError
from abawcli.formats.table_schemas import COLUMNS, PROBABILITIES
from abawcli.stages.fuse import fuse_tables, resolve_weights

KEPT = ["video", "frame", "time_s", "subject", "found", "face_score", *"xywh"]
labels = st.lists(st.integers(-1, 7), min_size=1, max_size=12)


def set_sources(table: pd.DataFrame, *sources: str) -> pd.DataFrame:
    return table.assign(source=list(sources))


@settings(deadline=None, max_examples=12)
@given(labels, st.floats(1e-6, 1e6))
def test_a_table_with_itself_is_the_table(wanted: list[int], weight: float) -> None:
    table = make_table(wanted)
    pd.testing.assert_frame_equal(fuse_tables({"a": table, "b": table}, [1.0, weight]), table)


@settings(deadline=None, max_examples=10)
@given(st.lists(st.tuples(*[st.integers(-1, 7)] * 3), min_size=1, max_size=12), st.data())
def test_neither_the_order_of_tables_nor_of_rows_matters(
    wanted: list[tuple[int, int, int]], data: st.DataObject
) -> None:
    tables = [make_table(list(column)) for column in zip(*wanted, strict=True)]
    weights = data.draw(st.lists(st.floats(0.1, 10), min_size=3, max_size=3))
    fused = fuse_tables(dict(zip("abc", tables, strict=True)), weights)
    order = data.draw(st.permutations(range(3)))
    rows = data.draw(st.permutations(range(len(wanted))))
    mixed = {"abc"[k]: tables[k].iloc[rows] for k in order}
    again = fuse_tables(mixed, [weights[k] for k in order])
    again = again.sort_values("frame", ignore_index=True)
    pd.testing.assert_frame_equal(again.drop(columns="label"), fused.drop(columns="label"))
    known = fused["label"] >= 0
    np.testing.assert_allclose(fused.loc[known, PROBABILITIES].sum(axis=1), 1)
    assert ((fused["source"] == "none") == ~known).all()


def test_label_and_confidence_follow_from_the_mean() -> None:
    fused = fuse_tables({"a": make_table([4, 4, -1]), "b": make_table([5, -1, -1])}, [2, 1])
    assert list(fused.columns) == COLUMNS
    assert fused["label"].tolist() == [4, 4, -1]
    np.testing.assert_allclose(fused["confidence"], [(2 * 0.65 + 0.05) / 3, 0.65, np.nan])
    np.testing.assert_allclose(fused["p_sadness"], [(2 * 0.05 + 0.65) / 3, 0.05, np.nan])


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        (("visual", "none", "none"), "visual"),
        (("visual", "audio", "none"), "av"),
        (("visual", "filled", "none"), "visual"),
        (("filled", "audio", "audio"), "audio"),
        (("filled", "filled", "none"), "filled"),
        (("av", "visual", "filled"), "av"),
        (("none", "none", "none"), "none"),
    ],
)
def test_the_source_is_all_that_a_row_rests_on(sources: tuple[str, ...], expected: str) -> None:
    for order in (sources, sources[::-1]):
        tables = {
            str(k): set_sources(make_table([-1 if source == "none" else k]), source)
            for k, source in enumerate(order)
        }
        assert fuse_tables(tables)["source"].tolist() == [expected]


def test_a_filled_row_counts_like_any_other() -> None:
    filled = set_sources(make_table([4]), "filled")
    fused = fuse_tables({"a": filled, "b": make_table([5])})
    np.testing.assert_allclose(fused[["p_happiness", "p_sadness"]], [[0.35, 0.35]])


def test_the_face_is_of_the_first_table_with_one() -> None:
    first, second = make_table([-1, 4, -1]), make_table([3, 3, -1]).assign(x=7.0)
    fused = fuse_tables({"a": first, "b": second})
    for row, table in ((0, second), (1, first), (2, first)):
        pd.testing.assert_series_equal(fused[KEPT].iloc[row], table[KEPT].iloc[row])


def test_the_time_is_of_the_first_table_that_has_it() -> None:
    first, second = make_table([-1, 4, -1]), make_table([3, 3, -1])
    second["time_s"] += 0.0004
    for untimed, times in ((3, second), (0, first)):
        table = first.assign(time_s=[*[np.nan] * untimed, *first["time_s"][untimed:]])
        fused = fuse_tables({"a": table, "b": second})
        pd.testing.assert_series_equal(fused["time_s"], times["time_s"])


def test_several_videos_and_subjects_are_matched() -> None:
    parts = [make_table([k, k + 1], video, who) for k, (video, who) in
             enumerate([("a", "0"), ("a", "1"), ("b", "0")])]  # fmt: skip
    here, there = pd.concat(parts), pd.concat(parts[::-1])
    fused = fuse_tables({"a": here, "b": there})
    pd.testing.assert_frame_equal(fused, here.reset_index(drop=True))


def test_rows_that_only_one_table_has_are_named() -> None:
    long, short = make_table([0] * 9), make_table([0] * 7)
    message = (
        "^b.csv has no row for clip, subject main, frame 8, and a.csv has "
        r"\(7 rows of them against 9\); fuse tables of the same frames$"
    )
    for tables in ({"a.csv": long, "b.csv": short}, {"b.csv": short, "a.csv": long}):
        with pytest.raises(InputError, match=message):
            fuse_tables(tables)
    with pytest.raises(InputError, match=r"^b has no row for clip, .* \(0 rows of them against 9"):
        fuse_tables({"a": long, "b": make_table([0] * 9, "other")})


def test_times_of_another_recording_are_refused() -> None:
    other = make_table([0] * 9)
    other.loc[4:, "time_s"] += 0.0011
    message = "^b: clip, frame 5 is at 0.161100 s, in a at 0.160000 s; fuse tables of the same rec"
    with pytest.raises(InputError, match=message):
        fuse_tables({"a": make_table([0] * 9), "b": other})


@pytest.mark.parametrize(
    ("weights", "count", "message"),
    [
        (None, 1, "fusing needs two different tables or folders, not 1"),
        ([1.0], 2, "1 weights for 2 inputs"),
        ([1.0, 0.0], 2, "the weight 0 is no positive number; leave that input out"),
        ([1.0, -2.0], 2, "the weight -2 is no positive"),
        ([np.inf, 1.0], 2, "the weight inf is no positive"),
        ([1.0, np.nan], 2, "the weight nan is no positive"),
    ],
)
def test_weights_that_are_none(weights: list[float] | None, count: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        resolve_weights(weights, count)
    assert resolve_weights(None, 3) == [1, 1, 1]


def test_where_the_first_table_is_confident_it_alone_decides() -> None:
    first, second, third = (make_table([label] * 4) for label in (4, 5, 6))
    first.loc[1:, PROBABILITIES] = 1 / 8  # unsure
    first.loc[2, PROBABILITIES] = np.nan
    first["label"], first["source"] = [4, 0, -1, 0], ["visual", "visual", "none", "audio"]
    for table in (second, third):
        table.loc[3, PROBABILITIES] = np.nan
        table.loc[3, ["label", "source"]] = -1, "none"
    fused = fuse_tables({"a": first, "b": second, "c": third}, confident=0.5)
    assert fused["label"].tolist() == [4, 5, 5, 0]
    np.testing.assert_allclose(fused["p_happiness"], [0.65, 0.05, 0.05, 1 / 8])
    np.testing.assert_allclose(fused["p_sadness"], [0.05, 0.35, 0.35, 1 / 8])
    assert fused["source"].tolist() == ["visual", "visual", "visual", "audio"]
    at_most = fuse_tables({"a": first, "b": second}, confident=0.65)  # 0.65 does not exceed it
    assert at_most["label"].tolist() == [5, 5, 5, 0]
    with pytest.raises(UsageError, match="excludes weights"):
        fuse_tables({"a": first, "b": second}, [2, 1], confident=0.5)
