"""The sample clips with their labels, and commands on files: what whole systems are tested with."""

import shutil
from pathlib import Path

from click.testing import CliRunner

from abawcli.cli import main

SAMPLES = Path(__file__).parents[1] / "sample_videos"
CLIPS = ("expressions", "leaves_and_returns_vfr", "rotated_phone")


def abaw(*arguments: object) -> str:
    """Run a command that has to succeed and return what it prints."""
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def copy_labels(folder: Path) -> None:
    """Copy the clips' annotations into a new folder."""
    folder.mkdir()
    for clip in CLIPS:
        shutil.copy(SAMPLES / f"{clip}.txt", folder)
