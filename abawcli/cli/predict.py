"""`abaw predict`: one label a frame."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from abawcli.cli.batch import run_each
from abawcli.cli.console import print_table, progress_bar, say
from abawcli.cli.options import (
    Window,
    audio_from_option,
    batch_size_option,
    choose_smoothing,
    choose_subject,
    complete_recipes,
    device_option,
    inputs_argument,
    keep_suffix_option,
    output_option,
    overwrite_option,
    rotate_option,
    smoothing_options,
    strategy_option,
    verbosity_options,
)
from abawcli.config import MODALITIES, SUBJECTS, Prediction
from abawcli.errors import UsageError
from abawcli.labels import CLASSES

if TYPE_CHECKING:
    import pandas as pd

    from abawcli.formats.provenance import Provenance
    from abawcli.formats.strategy import Stretches

COLUMNS = (
    "video", "frames", "faces", "frames with a face say", "without one", "labelled",
    "runs smoothed away", "seconds", "frames/s",
)  # fmt: skip


@click.command(name="predict")
@inputs_argument
@output_option
@click.option(
    "--recipe", "recipes", multiple=True, default=["compact"], show_default=True,
    metavar="NAME|PATH", shell_complete=complete_recipes,
    help="What labels the faces: a name of `abaw models`, or a trained checkpoint. May be given "
    "several times, as for the heads of all folds: their probabilities are averaged.",
)  # fmt: skip
@click.option(
    "--modality", type=click.Choice(MODALITIES), default=MODALITIES[0], show_default=True,
    help="Faces and sound together, or one of them.",
)  # fmt: skip
@choose_subject("main; of crops, whom they show")
@strategy_option
@audio_from_option
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
    subject: str | None,
    strategy: Path | None,
    audio_from: Path | None,
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

    They are Neutral, Anger, Disgust, Fear, Happiness, Sadness, Surprise and Other: 0 to 7 in
    tables.

    An input is a video, a picture, a sound (25 rows a second), features of `abaw extract`, or a
    folder of crops: of `abaw crop`, or official ones (00001.jpg and so on, and nothing else). One
    is written to the table -o (.csv or .parquet); several, or a folder, into the folder -o, a
    csv each: study/control/P01.mp4 of the folder study becomes control/P01.csv. Every decoded
    frame has a row, whether it shows a face or not. Labels are smoothed over time: of an
    expression that lasts less than half a window nothing is left.

    With --strategy, rows <video>_left and <video>_right make two tables of one video.

    Example: abaw predict interviews/ -o labels/ --modality visual
    """
    from abawcli.device import spare_a_core
    from abawcli.formats import tables
    from abawcli.formats.crops import find_sound, is_only_crops, list_companions
    from abawcli.formats.features import FEATURES_SUFFIX
    from abawcli.formats.inputs import IMAGE_SUFFIXES, SOUND_SUFFIXES, VIDEO_SUFFIXES, expand_inputs
    from abawcli.formats.names import decode_name
    from abawcli.formats.outputs import check_places, name_outputs, name_videos
    from abawcli.formats.provenance import describe_work, find_finished
    from abawcli.formats.strategy import describe_choice
    from abawcli.stages.predict import Predictor
    from abawcli.stages.smooth import smooth_table

    suffixes = SOUND_SUFFIXES if modality == "audio" else IMAGE_SUFFIXES
    suffixes |= VIDEO_SUFFIXES | {FEATURES_SUFFIX}
    paths = expand_inputs(inputs, suffixes, is_only_crops)
    if no_smooth and (method or window or space):
        raise click.UsageError("--no-smooth leaves nothing to --smoothing, --window and --space")
    names = name_videos(paths, keep_suffix)
    outputs = name_outputs(paths, output, ".csv", tables.TABLE_SUFFIXES, keep_suffix)
    plan = _plan_tables(names, strategy, subject)
    targets = _name_tables(names, plan, outputs, output)
    check_places(targets.values())
    spare_a_core()
    predictor = Predictor(recipes, device, Prediction(batch_size=batch_size), modality, rotate)
    smoothing = choose_smoothing(predictor.recipe.smoothing, method, window, space)
    rows = []

    def describe(path: Path, name: str, people: Stretches) -> Provenance:
        crops = os.path.isdir(path)
        settings: dict[str, Any] = {"video": decode_name(name)}
        settings |= predictor.describe("", None if no_smooth else smoothing, crops)
        companions: list[Path] = []
        if crops:
            settings["subject"] = subject
            companions = list_companions(path, find_sound(path, audio_from, name))
        else:
            settings |= describe_choice(people)
        return describe_work("predict", [path], settings, companions)

    def label(path: Path) -> None:
        todo = {}
        for name, people in plan[names[path]].items():
            target = targets[path, name]
            work = describe(path, name, people)
            if find_finished(target, work, overwrite):
                say(f"abaw: {target} is there already, made with these settings")
            else:
                todo[name] = work
        if not todo:
            return
        start = time.perf_counter()
        with progress_bar(path.name, "frames", quiet) as update:
            if os.path.isdir(path) or path.suffix == FEATURES_SUFFIX:
                (name,) = todo
                made = {
                    name: predictor.predict_video(path, subject, False, update, name, audio_from)
                }
            else:
                chosen = {name: plan[names[path]][name] for name in todo}
                made = predictor.predict_people(path, chosen, update)
        for name, raw in made.items():
            table = raw if no_smooth else smooth_table(raw, smoothing)
            tables.write_table(table, targets[path, name], todo[name])
            shown = path.name if name == names[path] else decode_name(name)
            rows.append(_summarise(shown, raw, table, time.perf_counter() - start))

    try:
        run_each(paths, label)
    finally:
        if rows and not quiet:
            print_table("Labelled", COLUMNS, rows, stderr=True)


def _plan_tables(
    names: Mapping[Path, str], strategy: Path | None, subject: str | None
) -> dict[str, dict[str, Stretches]]:
    """Return the tables of each video, by its name: their names, and whom they are about."""
    from abawcli.formats.features import FEATURES_SUFFIX
    from abawcli.formats.inputs import warn_left_out
    from abawcli.formats.strategy import find_video_of, plan_folders, read_strategy

    videos = list(names.values())
    rows = read_strategy(strategy, videos) if strategy else {}
    plan = plan_folders(videos, rows, subject or SUBJECTS[0])
    made = [path for path in names if os.path.isdir(path) or path.suffix == FEATURES_SUFFIX]
    if strategy and made:
        raise UsageError(f"{made[0]} is of whom it was made for; leave out --strategy")
    unknown = [name for name in rows if not find_video_of(name, plan)]
    warn_left_out(f"rows of {strategy} are about no input", unknown)
    return plan


def _name_tables(
    names: Mapping[Path, str],
    plan: Mapping[str, Mapping[str, Stretches]],
    outputs: Mapping[Path, Path],
    given: Path,
) -> dict[tuple[Path, str], Path]:
    """Return where each table of each input goes: beside the input's own, if it has another name.

    `given` is -o itself.

    Raises:
        UsageError: several tables would go to one file.
    """
    targets = {}
    for path, output in outputs.items():
        tables = plan[names[path]]
        to_file = output == given
        if to_file and len(tables) > 1:
            several = " and ".join(tables)
            raise UsageError(f"{output} cannot hold the tables of {several}; give a folder as -o")
        for name in tables:
            own = f"{Path(name).name}{output.suffix}"
            targets[path, name] = output if to_file else output.with_name(own)
    return targets


def _summarise(name: str, raw: pd.DataFrame, table: pd.DataFrame, seconds: float) -> list[str]:
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


def _share_labels(rows: pd.DataFrame) -> str:
    """Return the share of each class among labelled rows, the largest first."""
    shares = rows["label"].value_counts(normalize=True)
    named = zip(shares.index.tolist(), shares.tolist(), strict=True)
    return ", ".join(f"{CLASSES[k]} {share:.0%}" for k, share in named)
