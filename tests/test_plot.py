"""Pictures: what is drawn, and that it becomes files."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from abawcli.config import SMOOTHING_METHODS
from abawcli.errors import OutputError, UsageError
from abawcli.labels import CLASSES
from abawcli.metrics import score_labels
from abawcli.stages.sweep import Sweep, list_candidates
from abawcli.views.plot import (
    STYLES,
    check_plot_name,
    draw_confusion,
    draw_sweep,
    list_lines,
    write_figure,
)

MAGIC = {"PNG": b"\x89PNG", "pdf": b"%PDF-", "svg": b"<?xml"}


def read_cells(figure: Figure, columns: int) -> np.ndarray:
    """Return the text of the matrix's cells, (8, columns)."""
    return np.array([text.get_text() for text in figure.axes[0].texts]).reshape(8, columns)


def make_sweep() -> Sweep:
    candidates = list_candidates((3, 9))
    macro_f1 = np.linspace(0.3, 0.5, len(candidates))
    return Sweep(
        candidates,
        macro_f1,
        len(candidates) - 1,
        0.45,
        [],
        ["a", "b"],
        1234,
        {},
        (0.0,) * 8,
        0.5,
        0.45,
    )


class TestConfusion:
    def test_cells_hold_shares_of_the_row_and_counts(self) -> None:
        cells = read_cells(draw_confusion(score_labels([0, 0, 0, 0, 2], [0, 0, 0, 1, 2])), 8)
        assert cells[0].tolist() == ["75%\n3", "25%\n1", *["0%\n0"] * 6]
        assert cells[2, 2] == "100%\n1"
        assert cells[1].tolist() == ["0"] * 8  # nobody annotated it: there is no share

    def test_colours_are_the_shares(self) -> None:
        (image,) = draw_confusion(score_labels([0, 0, 0, 0, 2], [0, 0, 0, 1, 2])).axes[0].images
        shares = np.asarray(image.get_array())
        assert shares[0, :2].tolist() == [0.75, 0.25]
        assert shares.sum() == 2
        assert image.get_clim() == (0, 1)

    def test_frames_without_a_prediction_are_a_column(self) -> None:
        figure = draw_confusion(score_labels([0, 0, 1, 1], [0, -1, -1, -1]))
        assert read_cells(figure, 9)[:2, 8].tolist() == ["50%\n1", "100%\n2"]
        names = [label.get_text() for label in figure.axes[0].get_xticklabels()]
        assert names == [*CLASSES, "none"]

    def test_the_title_has_the_score(self) -> None:
        title = draw_confusion(score_labels(np.arange(8), np.arange(8))).axes[0].get_title()
        assert title == "macro-F1 1.0000, accuracy 1.0000, 8 frames"


class TestSweep:
    def test_a_line_a_method_and_space(self) -> None:
        sweep = make_sweep()
        lines = draw_sweep(sweep).axes[0].get_lines()
        drawn = [
            line for line in lines if np.size(line.get_xdata()) == 2 and line.get_marker() != "None"
        ]
        assert len(drawn) == len(list_lines(sweep)) == 7
        for line, values in zip(drawn, list_lines(sweep).values(), strict=True):
            assert dict(line.get_xydata().tolist()) == values

    def test_the_legend_names_them_and_what_they_are_compared_with(self) -> None:
        legend = draw_sweep(make_sweep()).axes[0].get_legend()
        assert legend is not None
        names = [text.get_text() for text in legend.get_texts()]
        assert set(names) == {
            *SMOOTHING_METHODS,
            *(f"{method} of logits" for method in ("median", "mean", "gaussian")),
            "as predicted, 0.3000",
            "cross-validated, 0.4500",
        }

    def test_windows_stand_on_the_axis(self) -> None:
        labels = draw_sweep(make_sweep()).axes[0].get_xticklabels()
        assert [label.get_text() for label in labels] == ["3", "9"]

    def test_every_method_has_a_style_of_its_own(self) -> None:
        assert tuple(STYLES) == SMOOTHING_METHODS
        assert len(set(STYLES.values())) == len(STYLES)


@pytest.mark.parametrize("suffix", MAGIC)
def test_a_figure_becomes_a_file(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_sweep = suffix == "svg"
    path = tmp_path / "new" / f"plot.{suffix}"
    made = []
    for second in range(2):  # they are the same bytes, whenever they are drawn
        monkeypatch.setenv("SOURCE_DATE_EPOCH", str(second))  # in place of the time
        figure = draw_sweep(make_sweep()) if is_sweep else draw_confusion(score_labels([0], [0]))
        write_figure(figure, path, {})
        made.append(path.read_bytes())
    assert made[0] == made[1] and made[0].startswith(MAGIC[suffix])
    assert {p.name for p in path.parent.iterdir()} == {path.name, path.name + ".provenance.json"}


@pytest.mark.parametrize("name", ["plot.jpeg", "plot", ".png"])
def test_other_suffixes_are_refused(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_plot_name(Path(name))
    assert str(caught.value) == f"{name} is no picture name; end it in .pdf, .png, .svg"


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file is not a folder"):
        write_figure(draw_confusion(score_labels([0], [0])), tmp_path / "file" / "a.png", {})
