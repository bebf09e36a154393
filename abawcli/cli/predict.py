"""`abaw predict`: one label a frame."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from abawcli.cli.batch import run_each
from abawcli.cli.console import print_table, progress_bar, say
from abawcli.cli.options import (
    Window,
    batch_size_option,
    choose_smoothing,
    device_option,
    inputs_argument,
    keep_suffix_option,
    output_option,
    overwrite_option,
    rotate_option,
    smoothing_options,
    subject_option,
    verbosity_options,
)
from abawcli.config import MODALITIES, Prediction
from abawcli.labels import CLASSES

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "video", "frames", "faces", "frames with a face say", "without one", "labelled",
    "runs smoothed away", "seconds", "frames/s",
)  # fmt: skip


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
@smoothing_options("or as the recipe has it")
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
    method: str | None,
    window: Window | None,
    space: str | None,
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
    frame has a row, whether it shows a face or not. Labels are smoothed over time: of an
    expression that lasts less than half a window nothing is left.
    """
    from abawcli.device import spare_a_core
    from abawcli.formats import tables
    from abawcli.formats.features import FEATURES_SUFFIX
    from abawcli.formats.inputs import IMAGE_SUFFIXES, SOUND_SUFFIXES, VIDEO_SUFFIXES, expand_inputs
    from abawcli.formats.names import decode_name
    from abawcli.formats.outputs import name_outputs, name_videos
    from abawcli.formats.provenance import describe_work, find_finished
    from abawcli.stages.predict import Predictor
    from abawcli.stages.smooth import smooth_table

    suffixes = SOUND_SUFFIXES if modality == "audio" else IMAGE_SUFFIXES
    paths = expand_inputs(inputs, VIDEO_SUFFIXES | suffixes | {FEATURES_SUFFIX})
    if no_smooth and (method or window or space):
        raise click.UsageError("--no-smooth leaves nothing to --smoothing, --window and --space")
    names = name_videos(paths, keep_suffix)
    outputs = name_outputs(paths, output, ".csv", tables.TABLE_SUFFIXES, keep_suffix)
    spare_a_core()
    predictor = Predictor(recipes, device, Prediction(batch_size=batch_size), modality, rotate)
    smoothing = choose_smoothing(predictor.recipe.smoothing, method, window, space)
    settings = predictor.describe(subject, None if no_smooth else smoothing)
    rows = []

    def label(path: Path) -> None:
        work = describe_work("predict", [path], settings | {"video": decode_name(names[path])})
        if find_finished(outputs[path], work, overwrite):
            say(f"abaw: {outputs[path]} is there already, made with these settings")
            return
        start = time.perf_counter()
        with progress_bar(path.name, "frames", quiet) as update:
            raw = predictor.predict_video(path, subject, False, update, video=names[path])
            table = raw if no_smooth else smooth_table(raw, smoothing)
        tables.write_table(table, outputs[path], work)
        rows.append(_summarise(path.name, raw, table, time.perf_counter() - start))

    try:
        run_each(paths, label)
    finally:
        if rows and not quiet:
            print_table("Labelled", COLUMNS, rows, stderr=True)


def _summarise(name: str, raw: "pd.DataFrame", table: "pd.DataFrame", seconds: float) -> list[str]:
    """Return a row of `COLUMNS`; what faces say is apart from what voices and neighbours say."""
    from abawcli.sources import FILLED, SOUND, has_face
    from abawcli.stages.smooth import count_runs

    frames, source = table["frame"].nunique(), table["source"].to_numpy().astype(str)
    removed, runs = count_runs(raw, table)
    return [
        name,
        str(frames),
        str(int(table["found"].sum())),
        _share_labels(table[has_face(source)]),
        ", ".join(
            f"{kind} {len(part)} ({_share_labels(part)})"
            for kind in (SOUND, FILLED)
            if len(part := table[source == kind])
        ),
        f"{(table['label'] >= 0).mean():.0%}",
        f"{removed} of {runs}",
        f"{seconds:.1f}",
        f"{frames / seconds:.0f}",
    ]


def _share_labels(rows: "pd.DataFrame") -> str:
    """Return the share of each class among labelled rows, the largest first."""
    shares = rows["label"].value_counts(normalize=True)
    named = zip(shares.index.tolist(), shares.tolist(), strict=True)
    return ", ".join(f"{CLASSES[k]} {share:.0%}" for k, share in named)
