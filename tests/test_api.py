"""`from abawcli import ...`: what Python users call."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sample_clips import CLIPS, copy_labels, thin_clip
from sample_tables import make_table

import abawcli
from abawcli.errors import InputError
from abawcli.formats.tables import write_table
from abawcli.labels import CLASSES

LABELS = [4] * 30 + [0] * 20


def test_the_import_loads_nothing_that_takes_time() -> None:
    code = (
        "import sys, abawcli; "
        "print([m for m in ('torch', 'pandas', 'numpy', 'click', 'cv2') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_every_public_name_is_there_and_has_a_docstring() -> None:
    assert len(abawcli.__all__) <= 15
    for name in abawcli.__all__:
        assert getattr(abawcli, name).__doc__, name
        assert name in dir(abawcli)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        abawcli.nothing  # noqa: B018


def test_tables_and_their_files_are_the_same(tmp_path: Path) -> None:
    table, path = make_table(LABELS), tmp_path / "clip.csv"
    write_table(table, path, {})
    for verb in (abawcli.smooth, abawcli.segment, abawcli.summarize):
        pd.testing.assert_frame_equal(verb(table), verb(str(path)))
    assert abawcli.segment(table)["label"].tolist() == ["Happiness", "Neutral"]
    assert abawcli.summarize(path)["share_happiness"].tolist() == pytest.approx([0.6])


@pytest.mark.parametrize("verb", [abawcli.smooth, abawcli.segment, abawcli.summarize])
def test_a_table_without_a_column_is_an_expected_error(
    verb: Callable[[pd.DataFrame], pd.DataFrame],
) -> None:
    table = make_table(LABELS).drop(columns=["frame", "p_fear"])
    with pytest.raises(InputError, match="the table has no column frame, p_fear"):
        verb(table)


def test_a_table_without_rows_is_an_error_as_its_file_is(tmp_path: Path) -> None:
    table, path = make_table(LABELS)[:0], tmp_path / "clip.csv"
    write_table(table, path, {})
    truth = make_table(LABELS)[["video", "frame", "label"]]
    calls: list[tuple[Callable[[Any], object], str]] = [
        (abawcli.smooth, "the table"),
        (abawcli.segment, "the table"),
        (abawcli.summarize, "the table"),
        (lambda given: abawcli.export(given, "elan", tmp_path / "x.eaf"), "the table"),
        (lambda given: abawcli.score(given, truth), "the predictions"),
        (lambda given: abawcli.score(make_table(LABELS), given), "the annotations"),
    ]
    for call, name in calls:
        for given, what in ((table, name), (path, str(path))):
            with pytest.raises(InputError, match=f"^{re.escape(what)} holds no rows"):
                call(given)


def test_times_that_go_back_are_named() -> None:
    table = make_table([4, 4, 4]).assign(time_s=[0.0, 0.08, 0.04])
    with pytest.raises(InputError, match="the table, row 3: time_s of frame 3 is 0.04, and 0.08"):
        abawcli.segment(table)


VALUES: dict[str, Any] = {"source": "visual", "valence": 0.1, "arousal": 0.2}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (VALUES, "the table is of valence and arousal, not of expressions"),
        ({"label": 9}, "the table, row 1: label must be -1 to 7, not 9"),
        ({"frame": 1}, "the table, row 2: an earlier row has the same video, frame, subject"),
        ({"time_s": "soon"}, "the table has other values than numbers as time_s"),
    ],
)
def test_tables_are_checked_as_their_files_are(changes: dict[str, Any], message: str) -> None:
    table = make_va_table() if changes is VALUES else make_table(LABELS).assign(**changes)
    for call in (abawcli.segment, abawcli.summarize):
        with pytest.raises(InputError, match=f"^{message}"):
            call(table)


def test_labels_that_are_not_sure_may_be_removed() -> None:
    table = make_table(LABELS)
    table.loc[10:, "label"] = -1
    assert abawcli.segment(table)["end_s"].tolist() == [0.4]


def make_va_table() -> pd.DataFrame:
    return make_table([4] * 5).loc[:, :"source"].assign(**VALUES)


def test_tables_of_other_tasks_are_smoothed_and_so_are_their_files(tmp_path: Path) -> None:
    write_table(make_va_table(), tmp_path / "va.csv", {})
    for given in (make_va_table(), tmp_path / "va.csv"):
        assert abawcli.smooth(given)["valence"].tolist() == [0.1] * 5


def test_tables_that_are_no_labels_are_named() -> None:
    table = make_table(LABELS)
    truth = table[["video", "frame"]].assign(label=["Fear", *LABELS[1:]])
    with pytest.raises(InputError, match="^the annotations: Expected bytes"):
        abawcli.score(table, truth)
    with pytest.raises(InputError, match="^the annotations: Duplicate column names"):
        abawcli.score(table, truth.iloc[:, [0, 1, 2, 2]])
    with pytest.raises(InputError, match="^the predictions has no column confidence"):
        abawcli.score(table.drop(columns="confidence"), truth)


def test_score_takes_tables(tmp_path: Path) -> None:
    table = make_table(LABELS)
    truth = table[["video", "frame", "label"]].assign(label=[4] * 50)
    assert abawcli.score(table, truth).overall.accuracy == 0.6
    truth.to_csv(tmp_path / "truth.csv", index=False)
    assert abawcli.score(table, tmp_path).overall.accuracy == 0.6


def test_export_takes_tables(tmp_path: Path) -> None:
    (file,) = abawcli.export(make_table(LABELS), "wide", tmp_path)
    assert file == tmp_path / "clip.wide.csv"
    assert set(pd.read_csv(file)["label"]) == {CLASSES[4], CLASSES[0]}


def test_the_examples_of_the_documentation_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """docs/python.md, block by block, as one program."""
    root = Path(__file__).parents[1]
    blocks = re.findall("```python\n(.*?)```", (root / "docs" / "python.md").read_text(), re.S)
    assert len(blocks) >= 4
    copy_labels(tmp_path / "sample_videos")
    for clip in {clip for clip in CLIPS if any(f"{clip}.mp4" in block for block in blocks)}:
        (tmp_path / "sample_videos" / f"{clip}.mp4").symlink_to(thin_clip(clip))
    monkeypatch.chdir(tmp_path)
    exec(compile("\n".join(blocks), "docs/python.md", "exec"), {})
    assert "confidence" in capsys.readouterr().out
    assert (tmp_path / "labels.eaf").is_file()
