"""Timelines: what is drawn where, and what is refused."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_hex
from PIL import Image

from abawcli.cli import main
from abawcli.errors import InputError
from abawcli.formats.table_schemas import PROBABILITIES
from abawcli.formats.tables import write_table
from abawcli.labels import CLASSES
from abawcli.views.palette import COLOURS
from abawcli.views.timeline import (
    draw_timeline,
    find_spans,
    find_tick_step,
    format_time,
    split_timelines,
)

LABELS = [0, 0, 4, 4, -1, -1, 3, 3]


def make_table(video: str = "clip", subject: str = "main", start_s: float = 0.0) -> pd.DataFrame:
    """Return a table of two frames a second with LABELS, each at a probability of 0.65."""
    count, label = len(LABELS), np.array(LABELS)
    p = np.full((count, 8), 0.05)
    p[np.arange(count), label] = 0.65
    p[label < 0] = np.nan
    known = label >= 0
    table = pd.DataFrame(
        {
            "video": video,
            "frame": np.arange(1, count + 1),
            "time_s": start_s + np.arange(count) / 2,
            "subject": subject,
            "found": known,
            **dict.fromkeys(("face_score", "x", "y", "w", "h"), 1.0),
            "source": np.where(known, "av", "none"),
            "label": label,
            "confidence": np.where(known, 0.65, np.nan),
        }
    )
    return table.assign(**dict(zip(PROBABILITIES, p.T, strict=True)))


@pytest.fixture
def table(tmp_path: Path) -> Path:
    write_table(make_table(), tmp_path / "clip.csv", {})
    return tmp_path / "clip.csv"


def read_band(axes: Axes, band: int) -> list[tuple[float, float, str]]:
    """Return the spans of a band from the top, with their colours."""
    bars = [
        (path.get_extents(), to_hex(np.asarray(part.get_facecolor()).tolist()[0]))
        for part in axes.collections
        if isinstance(part, PolyCollection)
        for path in part.get_paths()
    ]
    heights = sorted({round(box.y0, 6) for box, _ in bars if box.y0 < -0.01}, reverse=True)
    return [(b.x0, b.x1, c) for b, c in bars if round(b.y0, 6) == heights[band]]


def test_the_label_band_shows_each_label_from_its_first_frame_to_the_next_one() -> None:
    (axes,) = draw_timeline(split_timelines(make_table())).axes
    assert read_band(axes, 0) == [
        (0.0, 1.0, COLOURS["Neutral"]),
        (1.0, 2.0, COLOURS["Happiness"]),
        (2.0, 3.0, "#ffffff"),
        (3.0, 4.0, COLOURS["Fear"]),
    ]


def test_annotations_have_a_band_of_their_own() -> None:
    labels = np.array([1, 1, 1, 1])  # and none for the other frames
    (axes,) = draw_timeline(split_timelines(make_table(), {"clip": labels})).axes
    assert [text.get_text() for text in axes.get_yticklabels()][-1] == "annotation"
    assert read_band(axes, 2) == [(0.0, 2.0, COLOURS["Anger"]), (2.0, 4.0, "#ffffff")]


def test_subjects_stand_below_each_other_with_one_colour_a_class() -> None:
    both = pd.concat([make_table(subject="0"), make_table(subject="1")])
    figure = draw_timeline(split_timelines(both), lines=True)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["clip, subject 0", "clip, subject 1"]
    for axes in figure.axes:
        drawn = [to_hex(line.get_color()) for line in axes.get_lines()]
        assert drawn == [COLOURS[name] for name in CLASSES]
    assert len(set(COLOURS.values())) == len(CLASSES)


def test_a_span_of_seconds_is_cut_out() -> None:
    (timeline,) = split_timelines(make_table(), None, (1.0, 2.6))
    assert timeline.start_s.tolist() == [1.0, 1.5, 2.0, 2.5]
    both = pd.concat([make_table(), make_table(subject="1", start_s=2.0)])
    for span_s in ((90.0, 100.0), (50.0, np.inf), (-np.inf, 0.0)):
        with pytest.raises(InputError, match=r"in the span .*; the frames go from 0\.00 s to 6\.0"):
            split_timelines(both, None, span_s)


def test_a_frame_without_a_time_is_named() -> None:
    table = make_table()
    with pytest.raises(InputError, match="clip, subject main, frame 1: its time_s is empty"):
        split_timelines(table.assign(time_s=table["time_s"].where(table["frame"] > 1)))


def test_runs_end_where_rows_were_left_out() -> None:
    start, end = np.array([0.0, 1.0, 9.0]), np.array([1.0, 2.0, 10.0])
    assert find_spans(np.array([4, 4, 4]), start, end) == [(4, 0.0, 2.0), (4, 9.0, 10.0)]


def test_times_are_minutes_and_seconds() -> None:
    assert [format_time(t) for t in (0, 59.6, 61, 3600)] == ["0:00", "1:00", "1:01", "60:00"]
    assert format_time(59.96, 1) == "1:00.0" and format_time(-0.25, 1) == "-0:00.2"


@given(st.floats(0.001, 1e6))
def test_ticks_are_few_and_named_exactly(span_s: float) -> None:
    step_s = find_tick_step(span_s)
    assert span_s <= 9 * step_s * (1 + 1e-9)
    digits = 0 if step_s >= 1 else 2
    minutes, seconds = format_time(3 * step_s, digits).split(":")
    assert int(minutes) * 60 + float(seconds) == pytest.approx(3 * step_s)


@pytest.mark.parametrize(
    ("factor", "expected"),
    [(1, ["0:00.0", "0:00.5", "0:01.0"]), (5, ["0:00", "0:05", "0:10"]), (400, ["0:00", "5:00"])],
)
def test_the_time_axis_names_the_times_of_its_ticks(factor: int, expected: list[str]) -> None:
    table = make_table()
    (timeline,) = split_timelines(table.assign(time_s=table["time_s"] * factor))
    axes = draw_timeline([timeline]).axes[0]
    name = axes.xaxis.get_major_formatter()
    assert [name(t) for t in axes.get_xticks() if t >= 0][: len(expected)] == expected


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_plot_writes_a_picture_and_keeps_finished_work(table: Path, suffix: str) -> None:
    output = table.parent / f"timeline.{suffix}"
    arguments = ["plot", str(table), "-o", str(output)]
    assert CliRunner().invoke(main, arguments).exit_code == 0
    first = output.stat().st_mtime_ns
    if suffix == "png":
        with Image.open(output) as picture:
            assert picture.width > 1000
    again = CliRunner().invoke(main, arguments)
    assert again.exit_code == 0 and output.stat().st_mtime_ns == first


def test_a_name_in_letters_that_the_font_lacks_is_drawn_without_a_warning(table: Path) -> None:
    write_table(make_table("面接"), table, {})
    result = CliRunner().invoke(main, ["plot", str(table), "-o", str(table.parent / "p.png")])
    assert (result.exit_code, len(result.stderr.splitlines())) == (0, 1)


def test_annotations_that_fail_count_beside_the_tables(table: Path) -> None:
    (table.parent / "clip.txt").write_text("")
    call = ["plot", str(table), "-o", str(table.parent / "p.png"), "--labels"]
    result = CliRunner().invoke(main, [*call, str(table.parent / "clip.txt")])
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith("abaw: 1 of 2 inputs failed: ")


def test_a_plot_from_zero_leaves_out_negative_times(table: Path) -> None:
    path, output = table.parent / "early.csv", table.parent / "early.png"
    write_table(make_table("early", start_s=-50.0), path, {})
    result = CliRunner().invoke(main, ["plot", str(path), "-o", str(output), "--from", "0"])
    assert result.exit_code == 1 and "no frame" in result.stderr


def test_segment_writes_all_tables_and_names_what_failed(table: Path) -> None:
    write_table(make_table("other", start_s=5.0), table.parent / "other.csv", {})
    (table.parent / "broken.csv").write_text("no table")
    names = [str(table.parent / name) for name in ("other.csv", "clip.csv", "broken.csv")]
    output = table.parent / "segments.csv"  # ordered by video, not by table
    result = CliRunner().invoke(main, ["segment", *names, "-o", str(output)])
    assert result.exit_code == 1 and "broken.csv" in result.stderr
    rows = pd.read_csv(output)
    assert rows["video"].tolist() == ["clip"] * 3 + ["other"] * 3
    assert rows["start_s"].tolist() == [0.0, 1.0, 3.0, 5.0, 6.0, 8.0]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["plot", "clip.csv", "-o", "p.xlsx"], 2, "p.xlsx is no picture name"),
        (["plot", "clip.csv", "-o", "p.png", "--from", "9", "--to", "0:08"], 2, "is empty"),
        (["plot", "clip.csv", "-o", "p.png", "--from", "soon"], 2, "'soon' is not a time"),
        (["plot", "nothing.csv", "-o", "p.png"], 1, "no such file: nothing.csv"),
        (["segment", "clip.csv", "-o", "s.txt"], 2, "s.txt must end in .csv"),
        (["segment", "clip.csv", "copy.csv", "-o", "s.csv"], 1, "has clip, subject main, too"),
    ],
)
def test_bad_input(
    table: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(table.parent)
    write_table(make_table(), Path("copy.csv"), {})
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == code, result.output
    assert message in " ".join(result.stderr.split())
    assert not Path("p.png").exists()
