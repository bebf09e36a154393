"""Labels of any table survive each export, and segments and shares account for all their time."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sample_tables import make_table

from abawcli.config import IMPORT_FORMATS, Segmentation
from abawcli.formats.exports import EXPORTERS
from abawcli.formats.tables import read_table, write_table
from abawcli.labels import CLASSES
from abawcli.segments import segment_table
from abawcli.stages.export import export_table
from abawcli.stages.import_labels import import_into_table
from abawcli.summary import SummarySettings, summarize_table

EXACT = Segmentation(0, 0)
STEPS_MS = (4, 17, 33, 40, 500, 60_000)  # up to 250 frames a second; a pause of a camera


@st.composite
def tables(draw: st.DrawFn) -> pd.DataFrame:
    """One or two people with runs of labels, of frames at irregular times."""
    steps = draw(st.lists(st.sampled_from(STEPS_MS), min_size=2, max_size=40))
    start_s = draw(st.sampled_from([0, 1.5, 18_000]))  # of a camcorder that counts on
    time_s = np.round(start_s + np.cumsum([0, *steps]) / 1000, 6)
    names = draw(st.sampled_from([["main"], ["0", "1"]]))
    people = [_draw_person(draw, time_s, name) for name in names]
    return pd.concat(people).sort_values(["frame", "subject"], ignore_index=True)


def _draw_person(draw: st.DrawFn, time_s: NDArray[np.float64], name: str) -> pd.DataFrame:
    lengths = draw(st.lists(st.integers(1, 8), min_size=len(time_s), max_size=len(time_s)))
    labels = draw(st.lists(st.integers(-1, 7), min_size=len(time_s), max_size=len(time_s)))
    label = np.repeat(labels, lengths)[: len(time_s)]
    if (label == -1).all():  # programs without empty tiers do not name such a person
        label[0] = 4
    return make_table(label, subject=name).assign(time_s=time_s)


@given(table=tables(), kind=st.sampled_from(IMPORT_FORMATS))
def test_a_table_comes_back_from_each_format_as_it_was(table: pd.DataFrame, kind: str) -> None:
    with TemporaryDirectory() as folder:
        before, after = Path(folder, "clip.csv"), Path(folder, "after.csv")
        file = Path(folder, f"out{EXPORTERS[kind].suffix}")
        write_table(table, before, {})
        export_table(before, file, kind, EXACT)
        import_into_table(file, after, kind, before)
        pd.testing.assert_frame_equal(read_table(after), read_table(before))


@given(table=tables())
def test_segments_and_shares_account_for_the_same_time(table: pd.DataFrame) -> None:
    segments = segment_table(table, EXACT)
    summary = summarize_table(table, SummarySettings(all_frames=True, segmentation=EXACT))
    for row in summary.to_dict("records"):
        own = segments[segments["subject"] == row["subject"]]
        shares = np.array([row[f"share_{name.lower()}"] for name in CLASSES])
        labelled_s = row["seconds"] * row["share_labelled"]
        lasts = [own.loc[own["label"] == name, "duration_s"].sum() for name in CLASSES]
        np.testing.assert_allclose(shares * labelled_s, lasts, atol=1e-6)
        assert abs(shares.sum() - 1) < 1e-9
