"""Annotations of other programs as they are: in score, agree, plot and training."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from matplotlib.figure import Figure
from sample_tables import make_table

from abawcli.cli import main
from abawcli.config import IMPORT_FORMATS
from abawcli.datasets.intervals import read_program_file
from abawcli.datasets.pairing import read_truth
from abawcli.errors import InputError
from abawcli.formats.abaw import write_annotation
from abawcli.formats.exports import EXPORTERS
from abawcli.formats.imports import detect_format
from abawcli.formats.tables import write_table
from abawcli.views.timeline import Timeline

# 25 frames a second: 1 s Happiness, 0.4 s nothing, 1 s Neutral, 0.6 s Fear.
LABELS = [4] * 25 + [-1] * 10 + [0] * 25 + [3] * 15


def abaw(*arguments: object) -> dict[str, Any]:
    result = CliRunner().invoke(main, [*map(str, arguments), "--json"])
    assert result.exit_code == 0, result.output
    return dict(json.loads(result.stdout))


@pytest.fixture
def table(tmp_path: Path) -> Path:
    write_table(make_table(LABELS), tmp_path / "clip.csv", {})
    return tmp_path / "clip.csv"


@pytest.fixture(params=IMPORT_FORMATS)
def exported(request: pytest.FixtureRequest, table: Path) -> Path:
    """The labels of the table in the format of another program."""
    arguments = ["export", table, "--to", request.param, "-o", table.parent / "human"]
    result = CliRunner().invoke(main, [*map(str, arguments)])
    assert result.exit_code == 0, result.output
    return table.parent / "human" / f"clip{EXPORTERS[request.param].suffix}"


def test_score_reads_files_of_other_programs(table: Path, exported: Path) -> None:
    named = exported.suffix == ".json"  # in a folder, a .json file may be anything
    found = abaw("score", table, exported if named else exported.parent)
    assert list(found["videos"]) == ["clip"]
    assert found["accuracy"] == 1.0 and found["frames"] == 65


def test_other_labels_are_wrong_where_they_differ(table: Path, exported: Path) -> None:
    write_table(make_table([4] * 75), table, {})
    assert abaw("score", table, exported)["accuracy"] == 25 / 65


def test_agree_compares_them_at_the_frames_of_a_table(table: Path, exported: Path) -> None:
    (pair,) = abaw("agree", table, exported)["pairs"]
    assert (pair["frames"], pair["kappa"], pair["segments"]) == (65, 1.0, 1.0)


def test_intervals_without_frames_are_compared_25_times_a_second(tmp_path: Path) -> None:
    rows = {"onset": [0.0, 1.0], "offset": [1.0, 3.0], "label": ["Happiness", "Fear"]}
    for coder, change in (("a", 0.0), ("b", 0.5)):
        moved = pd.DataFrame(rows) + {"onset": change, "offset": change, "label": ""}
        moved.to_csv(tmp_path / f"{coder}.csv", index=False)
    (pair,) = abaw("agree", tmp_path / "a.csv", tmp_path / "b.csv")["pairs"]
    assert pair["frames"] == 62  # from 0.52 s to 2.96 s
    assert pair["agreement"] == pytest.approx(2.0 / 2.5, abs=0.02)


def test_seconds_without_times_of_frames_are_an_error(tmp_path: Path) -> None:
    write_annotation(np.array([4] * 50), tmp_path / "clip.txt")
    (tmp_path / "clip.tsv").write_text("Behavior\tStart (s)\tStop (s)\nFear\t0\t2\n")
    arguments = [str(tmp_path / name) for name in ("clip.txt", "clip.tsv")]
    result = CliRunner().invoke(main, ["agree", *arguments])
    assert result.exit_code == 1
    assert (
        "it is annotated in seconds, and the times of its frames are unknown; a prediction table "
        "of the video has them" in " ".join(result.stderr.split())
    )


def test_plot_draws_them_beside_the_labels(
    table: Path, exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Timeline] = []

    def draw(timelines: list[Timeline], lines: bool = False) -> Figure:
        drawn.extend(timelines)
        return Figure()

    monkeypatch.setattr("abawcli.views.timeline.draw_timeline", draw)
    arguments = ["plot", table, "--labels", exported, "-o", table.parent / "t.svg"]
    result = CliRunner().invoke(main, [*map(str, arguments)])
    assert result.exit_code == 0, result.output
    annotation = drawn[0].annotation
    assert annotation is not None and annotation.tolist() == LABELS


def test_plot_says_which_annotations_it_does_not_draw(table: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_annotation(np.array(LABELS), tmp_path / "truth" / f"{name}.txt")
    for labels, said in (
        (tmp_path / "truth" / "a.txt", "the annotation a is drawn beside clip: names differ"),
        (tmp_path / "truth", "2 annotations match no video"),
    ):
        arguments = ["plot", table, "--labels", labels, "-o", tmp_path / "t.svg", "--overwrite"]
        result = CliRunner().invoke(main, [*map(str, arguments)])
        assert result.exit_code == 0 and said in result.stderr, result.output


def test_files_are_known_by_their_suffix_or_first_line(tmp_path: Path) -> None:
    texts = {
        "a.txt": ("Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other\n0\n", None),
        "b.txt": ("0.000000\t1.500000\tFear\n", "audacity"),
        "c.csv": ("video,frame,label\nc,1,0\n", None),
        "d.csv": ('"Subject","Behavior","Start (s)","Stop (s)"\n"","Fear",0,1\n', "boris"),
        "e.tsv": ("", "boris"),
    }
    for name, (text, expected) in texts.items():
        (tmp_path / name).write_text(text)
        assert detect_format(tmp_path / name) == expected, name
    assert detect_format(tmp_path / "missing.txt") is None
    (found,) = read_truth(tmp_path / "d.csv").values()
    assert not isinstance(found, np.ndarray) and found.offset.tolist() == [1.0]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("0\t1\tAwe\n", r"unknown labels 'Awe'; give --map .* \(options of `abaw import"),
        ("0\t1\ta: Fear\n0\t1\tb: Fear\n", r"several tiers; .* 'a', 'b' \(options of `abaw"),
        ("2\t1\tFear\n", "Fear ends at 1, before it begins"),
        ("0\t2\tFear\n1\t3\tOther\n", "Fear and Other overlap at 1; labels must not overlap"),
        ("\\\t1\t2\n", "has no label"),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, rows: str, message: str) -> None:
    (tmp_path / "a.txt").write_text(rows)
    with pytest.raises(InputError, match=message):
        read_program_file(tmp_path / "a.txt", "audacity")


def test_equal_labels_may_overlap(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("0\t9\tFear\n1\t3\tFear\n9\t10\tOther\n")
    found = read_program_file(tmp_path / "a.txt", "audacity")
    labels = found.label_frames(np.arange(11.0), 11, "a")
    assert labels.tolist() == [3] * 9 + [7, -1]
