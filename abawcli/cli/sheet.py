"""`abaw sheet`: contact sheets of the tracks in videos."""

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
@output_option("Output folder; for one video also a .jpg or .png file.")
@overwrite_option
@json_option
@verbosity_options
def command(
    inputs: tuple[str, ...], output: Path, overwrite: bool, as_json: bool, quiet: bool
) -> None:
    """Draw a contact sheet of the tracks in a video: who is in the video, and when.

    An input is a folder that `abaw crop` wrote, or a folder of such folders. OUTPUT/<video>.jpg
    has a row for each track: its number, faces with their frame numbers, gaps, low scores, and
    the cropped frames. Use it to edit strategy.csv for `abaw crop --strategy`. Faces are cut from
    the video; if the video is missing, only the cropped faces are shown.

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
