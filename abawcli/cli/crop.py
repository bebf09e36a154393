"""`abaw crop`: square face crops of videos."""

import math
from dataclasses import astuple, replace
from pathlib import Path

import click

from abawcli.cli.batch import run_each
from abawcli.cli.console import print_table, progress_bar
from abawcli.cli.options import (
    inputs_argument,
    output_option,
    overwrite_option,
    subject_option,
    verbosity_options,
)
from abawcli.config import DETECTOR_NAMES, Cropping, Tracking

CROPPING, TRACKING = Cropping(), Tracking()


def _check_finite(
    ctx: click.Context, option: click.Parameter, scales: tuple[float, ...]
) -> tuple[float, ...]:
    # A range of click's lets infinity and not-a-number pass.
    for scale in scales:
        if not math.isfinite(scale):
            raise click.BadParameter(f"{scale} is no finite number; the usual is 1 to 2.")
    return scales


@click.command(name="crop")
@inputs_argument
@output_option
@click.option(
    "--scale", "scales", type=click.FloatRange(min=0, min_open=True), multiple=True,
    default=CROPPING.scales, show_default=True, callback=_check_finite,
    help="Side of a crop over the longer side of the face's box; may be given several times.",
)  # fmt: skip
@click.option(
    "--size", "side", type=click.IntRange(min=1),
    help="Pixels that crops are resized to.  [default: as in the video]",
)  # fmt: skip
@subject_option
@click.option(
    "--detector", type=click.Choice(DETECTOR_NAMES), default="retinaface", show_default=True,
    help="What finds faces; insightface needs a model pack.",
)  # fmt: skip
@click.option(
    "--stride", type=click.IntRange(min=1), default=TRACKING.stride, show_default=True,
    help="Frames from one detection to the next while nothing is doubtful; 1: every frame.",
)  # fmt: skip
@overwrite_option
@verbosity_options
def command(
    inputs: tuple[str, ...],
    output: Path,
    scales: tuple[float, ...],
    side: int | None,
    subject: str,
    detector: str,
    stride: int,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Find the faces in videos and write square crops of them.

    OUTPUT/<video>/<scale>/00001.jpg is the face in frame 1, black outside the frame; a frame
    without a face has no file. OUTPUT/<video>/faces.parquet has a row for every frame: time,
    box, landmarks. With --subject all the crops are in <video>/subject0/<scale>/ and so on.
    """
    from abawcli.faces.detect import load_detector
    from abawcli.formats.files import VIDEO_SUFFIXES, expand_inputs, name_outputs
    from abawcli.stages.crop import crop_video

    cropping = replace(CROPPING, scales=tuple(dict.fromkeys(scales)), side=side)
    names = name_outputs(expand_inputs(inputs, VIDEO_SUFFIXES), Path(), "")
    folders = {path: output / name for path, name in names.items()}
    loaded = load_detector(detector)
    rows: list[list[str]] = []

    def work(path: Path) -> None:
        with progress_bar(path.name, "frame", quiet) as update:
            done = crop_video(
                path, folders[path], subject=subject, detector=loaded, cropping=cropping,
                tracking=replace(TRACKING, stride=stride), overwrite=overwrite, update=update,
            )  # fmt: skip
        numbers = astuple(done) if done else ("done", "", "", "")
        rows.append([str(names[path]), *map(str, numbers)])

    try:
        run_each(folders, work)
    finally:
        if rows and not quiet:
            print_table(
                f"crops in {output}", ["video", "frames", "with a face", "looked at", "subjects"],
                rows, stderr=True,
            )  # fmt: skip
