"""`abaw train head`: fusion heads."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from abawcli.cli.bundles import Command
from abawcli.cli.console import print_table, progress_bar, say
from abawcli.cli.feature_sets import features_option, find_feature_files, list_sets
from abawcli.cli.options import (
    FiniteRange,
    SmoothingChoice,
    Window,
    complete_files,
    device_option,
    labels_option,
    overwrite_option,
    task_option,
    verbosity_options,
    window_option,
)
from abawcli.cli.train_labels import (
    ExtraLabels,
    ValidationFiles,
    extra_label_options,
    validation_options,
)
from abawcli.cli.train_options import (
    POSITIVE,
    PRECISION_HELP,
    RATE,
    SHARE,
    patience_option,
    print_best,
    run_option,
    tunable,
)
from abawcli.config import (
    EXPR,
    HEAD_NAMES,
    PRECISIONS,
    SINGLE_CHOICES,
    TASK_TRAINING,
    TEMPORAL_TRAINING,
    GatedHead,
    HeadTraining,
    default_head_training,
)

TEMPORAL_NAMES = ", ".join(TEMPORAL_TRAINING)  # heads that are given windows of frames
# Options of these networks -> the fields of `DualBranchHead` and `SequenceHead` that they set.
TEMPORAL_SHAPE = {
    "--hidden": "hidden",
    "--layers": "layers",
    "--dropout": "dropout",
    "--attention-window": "window_frames",
    "--attention-stride": "stride_frames",
}
GATED_WIDTH = "gated_width"  # of heads that are given single frames: `GatedHead.hidden`
TRAINING, DUAL_BRANCH = HeadTraining(), default_head_training("dual-branch")

features_argument = click.argument(
    "features", nargs=-1, metavar="FEATURES...", shell_complete=complete_files
)


def _tunable(
    flag: str, field: str, kind: Any, text: str, *, old: str | None = None
) -> Callable[[Command], Command]:
    """Make an option that sets a field of `HeadTraining`; the default depends on the head."""
    defaults = {"": getattr(TRAINING, field), TEMPORAL_NAMES: getattr(DUAL_BRANCH, field)}
    return tunable(flag, field, kind, text, defaults=defaults, old=old)


def _list_defaults(field: str) -> dict[str, Any]:
    """Return the default of a field by head; the first one has no name."""
    (_, first), *others = TEMPORAL_TRAINING.items()
    named = {name: getattr(config.network, field) for name, config in others}
    return {"": getattr(first.network, field)} | named


def _temporal_options() -> list[Callable[[Command], Command]]:
    """Return the options of the networks that are given windows of frames."""
    count = click.IntRange(min=1)
    kinds = {
        "--hidden": (count, "Width of the network"),
        "--layers": (count, "Layers of each Transformer, blocks of the TCN, or layers of the GRU"),
        "--dropout": (FiniteRange(0, 1, max_open=True), "Dropout rate"),
        "--attention-window": (count, "Frames that the network is given at once"),
        "--attention-stride": (count, "Frames from one such window to the next"),
    }
    return [
        tunable(
            flag, TEMPORAL_SHAPE[flag], kind, f"{what}; only for {TEMPORAL_NAMES}.",
            defaults=_list_defaults(TEMPORAL_SHAPE[flag]),
            old="--stride" if flag == "--attention-stride" else None,
        )
        for flag, (kind, what) in kinds.items()
    ]  # fmt: skip


def training_options(command: Command) -> Command:
    """Add the options of head training; the command receives them by the names of the fields."""
    options: list[Callable[[Command], Command]] = [
        _tunable("--epochs", "epochs", click.IntRange(min=1), "Passes over the annotated frames."),
        _tunable("--batch-size", "batch_frames", click.IntRange(min=1), "Frames per batch."),
        _tunable("--lr", "lr", POSITIVE, "Highest learning rate of AdamW."),
        _tunable("--last-lr", "last_lr", RATE, "Learning rate at the end of the cosine schedule."),
        _tunable("--warmup", "warmup", SHARE, "Share of the steps that are linear warm-up."),
        _tunable("--weight-decay", "weight_decay", RATE, "Weight decay of AdamW."),
        click.option(
            "--class-weights", "class_weight_power", type=SHARE,
            help="Power of the inverse class frequency; 0: no weights.  [default: "
            f"{TRAINING.class_weight_power:g}; {TEMPORAL_NAMES} by effective number of samples]",
        ),
        click.option(
            "--effective-beta", type=FiniteRange(0, 1, max_open=True),
            help="Class weights by the effective number of samples with this beta, instead of "
            f"--class-weights.  [default: {TEMPORAL_NAMES} {DUAL_BRANCH.effective_beta:g}; "
            "others none]",
        ),
        _tunable("--focal", "focal_gamma", RATE, "Gamma of the focal loss; 0: cross-entropy."),
        _tunable(
            "--modality-dropout", "modality_dropout", SHARE,
            "Share of samples from which one of two modalities is removed.",
        ),
        _tunable(
            "--audio-swap", "audio_swap", SHARE,
            "Share of samples that get the audio of another sample, so that the head relies less "
            "on it.", old="--sound-swap",
        ),
        _tunable("--ema", "ema_decay", FiniteRange(0, 1, max_open=True), "Decay of the EMA "
                 "of the weights; 0: no EMA."),
        window_option(
            f"{TRAINING.smoothing.window_frames}; {TEMPORAL_NAMES} "
            f"{DUAL_BRANCH.smoothing.window_s}s"
        ),
        click.option(
            "--gated-width", type=click.IntRange(min=1), show_default=str(GatedHead().hidden),
            help=f"Width of gated fusion and its baselines; not for {TEMPORAL_NAMES}.",
        ),
        _tunable(
            "--face-only", "face_only", click.Choice(SINGLE_CHOICES),
            "Which classifier labels frames with a face and without speech; encoder: that of the "
            "image encoder.",
        ),
        _tunable(
            "--speech-only", "speech_only", click.Choice(SINGLE_CHOICES),
            "Which classifier labels frames with speech and without a face; encoder: that of the "
            "audio encoder, for heads that read single frames.",
        ),
        *_temporal_options(),
        _tunable("--precision", "precision", click.Choice(PRECISIONS), PRECISION_HELP),
        _tunable("--seed", "seed", click.IntRange(min=0), "Seed of the random numbers."),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def read_training(
    head: str, window: Window | None, tuned: dict[str, Any], task: str = EXPR
) -> HeadTraining:
    """Return the settings of a head with the values of the command line."""
    config = default_head_training(head, task)
    given = {k: v for k, v in tuned.items() if v is not None}
    shape = {field: given.pop(field) for field in TEMPORAL_SHAPE.values() if field in given}
    width = given.pop(GATED_WIDTH, None)
    if head in TEMPORAL_TRAINING:
        given["network"] = replace(config.network, **shape)
    elif width:
        given["network"] = replace(config.network, hidden=width)
    if "class_weight_power" in given:
        given["effective_beta"] = None
    given["smoothing"] = SmoothingChoice(window=window).change(config.smoothing)
    return replace(config, **given)


def check_shape(heads: Iterable[str], tuned: dict[str, Any]) -> None:
    """Refuse options of networks none of which is trained, and two kinds of class weights.

    Raises:
        click.UsageError: such an option is given.
    """
    for flag, field in TEMPORAL_SHAPE.items():
        if tuned[field] is not None and not TEMPORAL_TRAINING.keys() & set(heads):
            raise click.UsageError(f"{flag} is only for --head {TEMPORAL_NAMES}")
    if tuned[GATED_WIDTH] is not None and TEMPORAL_TRAINING.keys() >= set(heads):
        raise click.UsageError(
            f"--gated-width is not for --head {', '.join(heads)}; use --hidden instead"
        )
    if tuned["class_weight_power"] is not None and tuned["effective_beta"] is not None:
        raise click.UsageError("--class-weights and --effective-beta exclude each other")


# Options of losses that a task may not have, by the fields of `HeadTraining`.
LOSS_FLAGS = {
    "class_weight_power": "--class-weights",
    "effective_beta": "--effective-beta",
    "focal_gamma": "--focal",
}


def check_losses(task: str, tuned: dict[str, Any]) -> None:
    """Refuse options of losses that the task does not have.

    Raises:
        click.UsageError: such an option is given.
    """
    for field in TASK_TRAINING[task]:
        if tuned[field] is not None:
            raise click.UsageError(f"{LOSS_FLAGS[field]} is not for --task {task}")


@click.command(name="head")
@features_argument
@features_option
@labels_option(required=True)
@run_option
@task_option
@click.option(
    "--head", type=click.Choice(HEAD_NAMES), default=HEAD_NAMES[0], show_default=True,
    help="gated: gated fusion. visual, audio: one modality. concat: both without a gate. "
    "dual-branch: Transformer over windows of frames. tcn, gru: convolutions, or a bidirectional "
    "GRU, over such windows.",
)  # fmt: skip
@validation_options
@extra_label_options
@training_options
@patience_option
@device_option
@overwrite_option
@verbosity_options
def command(
    features: tuple[str, ...],
    more_features: tuple[str, ...],
    labels: str,
    output: Path,
    task: str,
    head: str,
    validation: ValidationFiles,
    extra: ExtraLabels,
    window: Window | None,
    patience: int | None,
    device: str,
    overwrite: bool,
    quiet: bool,
    **tuned: Any,
) -> None:
    """Train a fusion head on features and annotations.

    Gated fusion is Stage II of arXiv 2603.12221; dual-branch is the system of arXiv 2603.08034.

    FEATURES are files of `abaw extract`, or folders of them. Features and annotations are matched
    by name; those without a match are left out. For a head on features of several backbones,
    extract with each into its own folder, and give the further folders by --features. --window is
    the smoothing that the head's file records for `abaw predict`.

    With --task va or au, annotations are text files of the challenge. The loss is 1 - CCC of
    valence and arousal, or the cross-entropy of twelve action units; values that are not annotated
    (-5, or -1 for action units) are left out. The best epoch has the highest mean CCC or mean F1.

    The same command resumes an interrupted run at the next epoch and gives the same weights.

    Example: abaw train head features/ --labels annotations/ -o run/
    """
    from abawcli.datasets.pairing import ANNOTATION_SUFFIXES
    from abawcli.formats.inputs import expand_inputs
    from abawcli.formats.outputs import check_apart, check_outside, check_writable
    from abawcli.stages.train_head import train_fusion_head

    sets = list_sets(features, more_features, "FEATURES...")
    check_shape([head], tuned)
    check_losses(task, tuned)
    files = find_feature_files(sets), expand_inputs([labels], ANNOTATION_SUFFIXES)
    valid, auxiliary = validation.find_files(len(sets)), extra.find_auxiliary(task)
    check_outside(output, features + more_features)
    check_apart([output], [labels])
    check_writable([output / "config.json"])
    pseudo = extra.read_pseudo()
    config = replace(read_training(head, window, tuned, task), patience=patience)
    with progress_bar("train", "batch", quiet) as update:
        history = train_fusion_head(
            files, output, head, config, valid_files=valid, auxiliary=auxiliary, pseudo=pseudo,
            device=device, overwrite=overwrite, progress=update,
        )  # fmt: skip
    if quiet:
        return
    print_best(history, output / "head.safetensors")
    if pseudo:
        _print_pseudo(output / "head.safetensors")


def _print_pseudo(head: Path) -> None:
    """Print to stderr how many pseudo-labels of each class a head was trained on."""
    from abawcli.models.checkpoint import read_metadata
    from abawcli.models.metadata import HeadMetadata

    training = read_metadata(head, HeadMetadata).training
    data = training.data if training else None
    found = data and data["train"].get("pseudo_labels")
    if not found:
        say("abaw: no frame without an annotation has a pseudo-label")
        return
    rows = [[name, str(count)] for name, count in found["classes"].items()]
    print_table(f"{found['frames']:,} pseudo-labels", ["class", "frames"], rows, stderr=True)
