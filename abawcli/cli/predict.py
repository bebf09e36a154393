"""`abaw predict`: one label per frame."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from abawcli.cli.baseline import read_baseline
from abawcli.cli.classifiers import classifier_options
from abawcli.cli.feature_sets import FEATURES, features_option, find_feature_files, list_sets
from abawcli.cli.options import (
    SmoothingChoice,
    audio_from_option,
    batch_size_option,
    choose_subject,
    complete_recipes,
    device_option,
    json_option,
    keep_suffix_option,
    optional_inputs_argument,
    overwrite_option,
    rotate_option,
    smoothing_options,
    strategy_option,
    table_output_option,
    verbosity_options,
)
from abawcli.cli.people import describe_jobs, name_targets, plan_people, warn_without_faces
from abawcli.cli.runs import Run, run_jobs
from abawcli.cli.scale import Scale, scale_options
from abawcli.cli.summaries import Columns, Summaries
from abawcli.config import MODALITY_CHOICES, Classifiers
from abawcli.jobs import StageWork

if TYPE_CHECKING:
    from abawcli.formats.feature_sets import FeaturePaths
    from abawcli.pipeline.baseline import Baseline
    from abawcli.stages.predict_summary import PredictSummary


def _list_shares(summary: PredictSummary, kind: str) -> str:
    return ", ".join(f"{name} {share:.0%}" for name, share in summary.labels[kind].items())


def _describe_others(summary: PredictSummary) -> str:
    """Describe the rows whose labels or values come from audio and from neighbouring frames."""
    kinds = [kind for kind, count in summary.rows.items() if count and kind != "face"]
    shares = {kind: _list_shares(summary, kind) for kind in kinds}  # empty if rows have values
    return ", ".join(
        f"{kind} {summary.rows[kind]}" + (f" ({shares[kind]})" if shares[kind] else "")
        for kind in kinds
    )


COLUMNS: Columns = {
    "frames": attrgetter("frames"),
    "faces": attrgetter("faces"),
    "labels of faces": lambda summary: _list_shares(summary, "face"),
    "labels without a face": _describe_others,
    "labelled": lambda summary: f"{summary.labelled:.0%}",
    "means": lambda summary: ", ".join(f"{k} {mean:.2f}" for k, mean in summary.means.items()),
    "segments smoothed away": lambda summary: (
        f"{summary.removed_runs} of {summary.runs}" if summary.runs else ""
    ),
}


@click.command(name="predict")
@optional_inputs_argument
@features_option
@table_output_option
@click.option(
    "--recipe", "recipes", multiple=True, default=["compact"], show_default=True,
    metavar="NAME|PATH", shell_complete=complete_recipes,
    help="Model: a name that `abaw models` lists, a checkpoint that you trained, or a classifier "
    "of faces or of speech: hf:NAME or hf:FOLDER of the Hugging Face hub, or FILE.onnx. If given "
    "several times, the probabilities are averaged, as of the heads of all folds, or of one "
    "classifier of faces and one of speech.",
)  # fmt: skip
@classifier_options
@click.option(
    "--modality", type=click.Choice(MODALITY_CHOICES), default=MODALITY_CHOICES[0],
    show_default=True,
    help="Use faces and audio, or one of them.",
)  # fmt: skip
@choose_subject("main; for crops and features, the subject they were made of")
@strategy_option
@audio_from_option
@smoothing_options("unless the recipe sets it")
@click.option(
    "--no-smooth", is_flag=True, help="Keep the probabilities of each frame, without smoothing."
)
@click.option(
    "--logits", is_flag=True, help="With --no-smooth, also write the logits, in columns z_*. "
    "Recipes that smooth logits always write them.",
)  # fmt: skip
@click.option(
    "--label-all", is_flag=True,
    help="Also label frames without a face whose audio is not reliable: the best guess for every "
    "frame with speech, for a challenge. Without this option their source is none.",
)  # fmt: skip
@click.option(
    "--baseline", callback=read_baseline, metavar="FILE|FROM-TO|auto",
    help="Subtract what a person's resting face adds to the logits, compared with the model's "
    "mean for neutral faces. FROM-TO: neutral seconds of each video, such as 0:02-0:05. FILE: csv "
    "or parquet with the columns video and frame (and subject) of neutral frames, or a prediction "
    "table of the person's neutral seconds. auto: the tenth of a person's frames with the highest "
    "probability of Neutral, unless they are as neutral as that mean. Works with the embedded "
    "recipes, and with encoders and heads that `abaw calibrate` wrote.",
)  # fmt: skip
@rotate_option
@batch_size_option
@device_option
@keep_suffix_option
@overwrite_option
@json_option
@scale_options
@verbosity_options
def command(
    inputs: tuple[str, ...],
    more_features: tuple[str, ...],
    output: Path,
    recipes: tuple[str, ...],
    modality: str,
    subject: str | None,
    strategy: Path | None,
    audio_from: Path | None,
    smoothing: SmoothingChoice,
    no_smooth: bool,
    logits: bool,
    label_all: bool,
    baseline: Baseline | None,
    rotate: int,
    batch_size: int,
    device: str,
    keep_suffix: bool,
    overwrite: bool,
    as_json: bool,
    scale: Scale,
    classifiers: Classifiers,
    quiet: bool,
) -> None:
    """Predict one of eight expressions for every frame of videos.

    The classes are Neutral, Anger, Disgust, Fear, Happiness, Sadness, Surprise and Other, which
    tables number from 0 to 7.

    An input is a video, an image, an audio file (25 rows per second), a feature file of `abaw
    extract`, or a folder of crops (of `abaw crop`, or official crops: 00001.jpg and so on). Audio
    files in folders are inputs only with --modality audio.

    One input is written to the table -o (.csv or .parquet). Several inputs, or a folder, are
    written to the folder -o, one csv per input: study/control/P01.mp4 of the folder study becomes
    control/P01.csv. Every decoded frame has a row, with or without a face.

    A recipe that was trained with `abaw train head --task va` or au gives valence and arousal, or
    twelve action units, in place of expressions.

    Probabilities are smoothed over time. An expression that lasts less than half the smoothing
    window disappears; --no-smooth keeps it.

    A head that was trained on features of several backbones reads feature files only: give those
    of the further backbones by --features, in the order of training.

    With --strategy, the rows <video>_left and <video>_right make two tables of one video.

    Example: abaw predict interviews/ -o labels/ --modality visual
    """
    from abawcli.formats.crops import check_any_crops, check_audio_from
    from abawcli.formats.outputs import name_outputs, name_videos
    from abawcli.formats.tables import TABLE_SUFFIXES
    from abawcli.stages.settings import PredictSettings

    check_audio_from(audio_from)
    sets = list_sets(inputs, more_features, "INPUT...")
    paths = _find_inputs(sets[0], modality)
    check_any_crops(audio_from, paths)
    more = _find_more_features(sets, paths)
    _check_flags(no_smooth, logits, changes := smoothing.list_changes())
    _check_modality(modality, label_all=label_all, baseline=baseline)
    names = name_videos(paths, keep_suffix)
    outputs = name_outputs(paths, output, ".csv", TABLE_SUFFIXES, keep_suffix=keep_suffix)
    plan = plan_people(names, strategy, subject)
    warn_without_faces(modality, subject)
    targets = name_targets(names, plan, outputs, output)
    settings = PredictSettings(
        recipes=recipes, device=device, batch_size=batch_size, modality=modality, rotate=rotate,
        smoothing=None if no_smooth else changes, audio_from=audio_from, overwrite=overwrite,
        max_megapixels=scale.max_megapixels, logits=logits, backbones=_need_encoders(paths),
        classifiers=classifiers, baseline=baseline, label_all=label_all, more_features=more,
    )  # fmt: skip
    work = StageWork("abawcli.stages.predict:PredictWorker", settings)
    jobs = describe_jobs(scale.select(names), plan, targets, subject)
    current = Run(jobs, paths, output, Summaries("video", COLUMNS))
    run_jobs(current, work, scale, title="Predictions", as_json=as_json, quiet=quiet)


def _check_flags(no_smooth: bool, logits: bool, changes: Mapping[str, Any]) -> None:
    if no_smooth and changes:
        raise click.UsageError("--no-smooth excludes --smoothing, --window, --space and --bias")
    if logits and not no_smooth:
        raise click.UsageError("--logits needs --no-smooth: smoothed rows have no logits")


def _check_modality(modality: str, *, label_all: bool, baseline: Baseline | None) -> None:
    """Refuse options of the modality that is not used."""
    if label_all and modality == "visual":
        raise click.UsageError("--label-all labels by audio, which --modality visual leaves out")
    if baseline and modality == "audio":
        raise click.UsageError("--baseline is of faces, which --modality audio leaves out")


def _find_inputs(inputs: tuple[str, ...], modality: str) -> dict[Path, Path]:
    """Return the files and the folders of crops that the arguments name, as `expand_inputs`."""
    from abawcli.formats.crops import is_only_crops
    from abawcli.formats.features import FEATURES_SUFFIX
    from abawcli.formats.inputs import IMAGE_SUFFIXES, VIDEO_SUFFIXES, expand_media

    audio = modality == "audio"
    suffixes = VIDEO_SUFFIXES | {FEATURES_SUFFIX} | (frozenset() if audio else IMAGE_SUFFIXES)
    return expand_media(inputs, suffixes, is_only_crops, audio=audio)


def _find_more_features(
    sets: list[tuple[str, ...]], paths: Iterable[Path]
) -> dict[Path, FeaturePaths]:
    """Return the further feature files of each input, those of a head's other backbones."""
    if len(sets) == 1:
        return {}
    if other := [path for path in paths if path.suffix.lower() not in FEATURES]:
        raise click.UsageError(f"--features joins feature files, and {other[0]} is none")
    return {files[0]: files[1:] for files in find_feature_files(sets)}


def _need_encoders(paths: Iterable[Path]) -> bool:
    """Tell whether any input is not features, which only the head reads."""
    from abawcli.formats.features import is_features

    return not all(map(is_features, paths))
