"""`abaw sheet`: contact sheets of the people in videos."""

from operator import attrgetter
from pathlib import Path

import click

from abawcli.cli.batch import run_each
from abawcli.cli.console import progress_bar
from abawcli.cli.options import (
    inputs_argument,
    json_option,
    output_option,
    overwrite_option,
    verbosity_options,
)
from abawcli.cli.summaries import Summaries

SUFFIXES = (".jpg", ".png")


COLUMNS = {name: attrgetter(name) for name in ("frames", "tracks", "shown")}


@click.command(name="sheet")
@inputs_argument
@output_option
@overwrite_option
@json_option
@verbosity_options
def command(
    inputs: tuple[str, ...], output: Path, overwrite: bool, as_json: bool, quiet: bool
) -> None:
    """Draw who is in a video when: a picture of the tracks in a folder of crops.

    An input is a folder that `abaw crop` wrote, or one of many. OUTPUT/<video>.jpg has a row for
    each track: its number, faces from the whole time with their frames, gaps, low scores, and
    what was cropped. With it a person edits strategy.csv for `abaw crop --strategy`. The faces are
    cut out of the video; where it is gone, only what was cropped is shown.

    Example: abaw sheet crops/ -o sheets/
    """
    from abawcli.formats.crops import is_own_crops
    from abawcli.formats.inputs import expand_inputs
    from abawcli.formats.outputs import name_outputs, name_videos
    from abawcli.views.sheet import make_sheet

    paths = expand_inputs(inputs, frozenset(), is_own_crops)
    names = name_videos(paths)
    outputs = name_outputs(paths, output, SUFFIXES[0], frozenset(SUFFIXES))
    summaries = Summaries("video", COLUMNS)

    def work(path: Path) -> None:
        with progress_bar(path.name, "frame", quiet) as update:
            done = make_sheet(path, outputs[path], overwrite=overwrite, progress=update)
        summaries.add(names[path], outputs[path], done)

    with summaries.show_at_end(f"sheets in {output}", as_json, quiet):
        run_each(paths, work)
