"""`abaw predict`: one label a frame."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from abawcli.cli.batch import run_each
from abawcli.cli.console import print_table, progress_bar, say
from abawcli.cli.options import (
    batch_size_option,
    device_option,
    inputs_argument,
    keep_suffix_option,
    output_option,
    overwrite_option,
    rotate_option,
    subject_option,
    verbosity_options,
)
from abawcli.config import MODALITIES, Prediction
from abawcli.labels import CLASSES

if TYPE_CHECKING:
    import pandas as pd


@click.command(name="predict")
@inputs_argument
@output_option
@click.option(
    "--recipe", "recipes", multiple=True, default=["compact"], show_default=True,
    metavar="NAME|PATH",
    help="What labels the faces: a name of `abaw models`, or a trained checkpoint. May be given "
    "several times, as for the heads of all folds: their probabilities are averaged.",
)  # fmt: skip
@click.option(
    "--modality", type=click.Choice(MODALITIES), default=MODALITIES[0], show_default=True,
    help="Faces and sound together, or one of them.",
)  # fmt: skip
@subject_option
@click.option("--no-smooth", is_flag=True, help="Leave each frame's own probabilities.")
@rotate_option
@batch_size_option
@device_option
@keep_suffix_option
@overwrite_option
@verbosity_options
def command(
    inputs: tuple[str, ...],
    output: Path,
    recipes: tuple[str, ...],
    modality: str,
    subject: str,
    no_smooth: bool,
    rotate: int,
    batch_size: int,
    device: str,
    keep_suffix: bool,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Label every frame of videos with one of eight expressions.

    An input is a video, a picture, a sound (25 rows a second) or features of `abaw extract`. One
    is written to the table -o (.csv or .parquet); several, or a folder, into the folder -o, a
    csv each: study/control/P01.mp4 of the folder study becomes control/P01.csv. Every decoded
    frame has a row, whether it shows a face or not.
    """
    from abawcli.device import spare_a_core
    from abawcli.formats import tables
    from abawcli.formats.features import FEATURES_SUFFIX
    from abawcli.formats.inputs import IMAGE_SUFFIXES, SOUND_SUFFIXES, VIDEO_SUFFIXES, expand_inputs
    from abawcli.formats.names import decode_name
    from abawcli.formats.outputs import name_outputs, name_videos
    from abawcli.formats.provenance import describe_work, find_finished
    from abawcli.stages.predict import Predictor

    suffixes = SOUND_SUFFIXES if modality == "audio" else IMAGE_SUFFIXES
    paths = expand_inputs(inputs, VIDEO_SUFFIXES | suffixes | {FEATURES_SUFFIX})
    names = name_videos(paths, keep_suffix)
    outputs = name_outputs(paths, output, ".csv", tables.TABLE_SUFFIXES, keep_suffix)
    spare_a_core()
    predictor = Predictor(recipes, device, Prediction(batch_size=batch_size), modality, rotate)
    settings = predictor.describe(subject, smooth=not no_smooth)
    rows = []

    def label(path: Path) -> None:
        work = describe_work("predict", [path], settings | {"video": decode_name(names[path])})
        if find_finished(outputs[path], work, overwrite):
            say(f"abaw: {outputs[path]} is there already, made with these settings")
            return
        start = time.perf_counter()
        with progress_bar(path.name, "frames", quiet) as update:
            table = predictor.predict_video(path, subject, not no_smooth, update, video=names[path])
        tables.write_table(table, outputs[path], work)
        rows.append(_summarise(path.name, table, time.perf_counter() - start))

    try:
        run_each(paths, label)
    finally:
        if rows and not quiet:
            columns = ["video", "frames", "faces", "labelled", "seconds", "frames/s", "labels"]
            print_table("Labelled", columns, rows, stderr=True)


def _summarise(name: str, table: "pd.DataFrame", seconds: float) -> list[str]:
    """Return a row: frames, rows with a face, share of rows with a label, time, classes."""
    frames = table["frame"].nunique()
    labelled = table["label"] >= 0
    shares = [(table["label"][labelled] == k).mean() for k in range(len(CLASSES))]
    by_share = sorted(range(len(CLASSES)), key=lambda k: -shares[k])
    return [
        name,
        str(frames),
        str(int(table["found"].sum())),
        f"{labelled.mean():.0%}",
        f"{seconds:.1f}",
        f"{frames / seconds:.0f}",
        ", ".join(f"{CLASSES[k]} {shares[k]:.0%}" for k in by_share if shares[k] > 0),
    ]
