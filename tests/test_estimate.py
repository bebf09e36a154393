"""Estimates of frames for progress, and how bars show them."""

import io
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
from media_files import write_media

from abawcli.cli.console import count_files, progress_bar
from abawcli.cli.runs import Run, _show_progress
from abawcli.cli.summaries import Summaries
from abawcli.jobs import Job
from abawcli.media import estimate
from abawcli.media.estimate import estimate_frames

EMPTY = np.full((48, 64, 3), 90, np.uint8)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi"])
def test_videos(name: str, tmp_path: Path) -> None:
    estimate = estimate_frames(write_media(tmp_path / name, [EMPTY] * 50))
    assert estimate is not None and abs(estimate - 50) <= 2


def test_recordings(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(16000 * 4))
    assert estimate_frames(tmp_path / "a.wav") == 100


def test_what_does_not_say(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    assert estimate_frames(tmp_path / "text.mp4") is None
    assert estimate_frames(tmp_path / "gone.mp4") is None
    assert estimate_frames(tmp_path) is None


def test_a_file_is_not_opened_for_a_bar_that_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    opened: list[Path] = []
    monkeypatch.setattr(estimate, "estimate_frames", opened.append)
    current = Run([Job(tmp_path, "a", None, ())], {}, tmp_path, Summaries("video", {}))
    for terminal, quiet, expected in (
        (io.StringIO(), False, []), (Terminal(), True, []), (Terminal(), False, [tmp_path]),
    ):  # fmt: skip
        monkeypatch.setattr(sys, "stderr", terminal)
        with _show_progress(current, quiet):
            assert opened == expected


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("done", "total", "shown"),
    [
        (10, None, ["file 3 of 30", "a.mp4", " 25%", "10/~40", "frames/s", "<"]),
        (50, None, ["file 3 of 30", "a.mp4", "50 frames"]),  # the header was wrong
        (10, 20, ["file 3 of 30", " 50%", "10/20"]),  # now it is known
    ],
)
def test_bars_show_frames_of_total_and_time_left(
    done: int, total: int | None, shown: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with count_files(3, 30), progress_bar("a.mp4", "frames", expected=40) as update:
        update(done, total, "")
        terminal.truncate(0)
        update(done + 0, total, "still")  # draws
        from tqdm import tqdm

        for bar in tqdm._instances:  # type: ignore[attr-defined]
            bar.refresh()
    drawn = terminal.getvalue()
    assert all(text in drawn for text in shown), drawn
