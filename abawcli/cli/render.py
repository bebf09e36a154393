"""`abaw render`: review videos with labels and a timeline."""

import math
from pathlib import Path

import click

from abawcli.cli.console import progress_bar, say
from abawcli.cli.options import (
    from_option,
    output_option,
    overwrite_option,
    to_option,
    verbosity_options,
)
from abawcli.config import ROTATIONS


@click.command(name="render")
@click.argument("video", type=click.Path(path_type=Path))
@click.argument("table", type=click.Path(path_type=Path))
@output_option("Output file: .mp4, .mov, .mkv or .webm.")
@click.option(
    "--blur-faces", is_flag=True,
    help="Anonymise: blur every face in the video, also those of people without a label.",
)  # fmt: skip
@from_option
@to_option
@click.option(
    "--rotate", type=click.Choice(ROTATIONS), metavar="0|90|180|270",
    help="Rotate frames clockwise by this angle.  [default: as for the table]",
)  # fmt: skip
@overwrite_option
@verbosity_options
def command(
    video: Path,
    table: Path,
    output: Path,
    blur_faces: bool,
    from_s: float | None,
    to_s: float | None,
    rotate: int | None,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Render a video with the labels of its prediction table and a timeline below.

    Each face has a box in the colour of its class, the label with its confidence, and a bar for
    each of the eight probabilities. A cursor moves along the timeline. A table of
    `predict --subject all` shows everybody. The audio is kept.

    With --blur-faces, faces are detected in every frame and hidden. The audio, clothes and
    everything else that can identify a person are kept. Check the result before you share it.

    Example: abaw render interview.mp4 labels.csv -o review.mp4 --from 0:10 --to 0:30
    """
    from abawcli.formats.outputs import check_apart, check_writable
    from abawcli.views.render import RenderSettings, render_video

    check_apart([output], [video, table])
    check_writable([output])
    settings = RenderSettings(
        blur_faces, rotate, -math.inf if from_s is None else from_s,
        math.inf if to_s is None else to_s,
    )  # fmt: skip
    with progress_bar(video.name, "frames", quiet) as update:
        done = render_video(video, table, output, settings, overwrite=overwrite, progress=update)
    if not quiet:
        audio = "with" if done.audio else "without"
        say(f"abaw: {output}: {done.frames} frames, {done.fps:g} per second, {audio} audio")
