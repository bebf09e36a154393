"""`abaw sheet`: contact sheets of the people in videos."""

from dataclasses import astuple
from pathlib import Path

import click

from abawcli.cli.batch import run_each
from abawcli.cli.console import print_table, progress_bar
from abawcli.cli.options import (
    inputs_argument,
    output_option,
    overwrite_option,
    verbosity_options,
)
from abawcli.errors import UsageError

SUFFIXES = (".jpg", ".png")


@click.command(name="sheet")
@inputs_argument
@output_option
@overwrite_option
@verbosity_options
def command(inputs: tuple[str, ...], output: Path, overwrite: bool, quiet: bool) -> None:
    """Draw who is in a video when: a picture of the tracks in a folder of crops.

    An input is a folder that `abaw crop` wrote, or one of many. OUTPUT/<video>.jpg has a row for
    each track: its number, faces from the whole time with their frames, gaps, low scores, and
    what was cropped. With it a person edits strategy.csv for `abaw crop --strategy`. The faces are
    cut out of the video; where it is gone, only what was cropped is shown.
    """
    from abawcli.formats.crops import is_own_crops, name_features, name_video
    from abawcli.formats.inputs import expand_inputs
    from abawcli.views.sheet import make_sheet

    if output.suffix not in ("", *SUFFIXES) and not output.is_dir():
        raise UsageError(f"{output} must end in {' or '.join(SUFFIXES)}, or be a folder")
    paths = expand_inputs(inputs, frozenset(), is_own_crops)
    outputs = name_features(paths, output, SUFFIXES[0])
    rows: list[list[str]] = []

    def work(path: Path) -> None:
        with progress_bar(path.name, "frame", quiet) as update:
            done = make_sheet(path, outputs[path], overwrite=overwrite, update=update)
        numbers = astuple(done) if done else ("done", "", "")
        rows.append([name_video(path), *map(str, numbers)])

    try:
        run_each(paths, work)
    finally:
        if rows and not quiet:
            print_table(
                f"sheets in {output}", ["video", "frames", "tracks", "shown"], rows, stderr=True
            )
