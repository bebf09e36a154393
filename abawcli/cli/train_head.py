"""`abaw train head`: fusion heads."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from abawcli.cli.console import progress_bar
from abawcli.cli.options import (
    Command,
    Window,
    choose_smoothing,
    complete_files,
    device_option,
    overwrite_option,
    verbosity_options,
    window_option,
)
from abawcli.cli.train_options import RATE, SHARE, print_best, run_option, tunable
from abawcli.config import HEAD_NAMES, DualBranchHead, HeadTraining, default_head_training

DUAL_NAME = "dual-branch"
# Options of the dual branch's own shape, and the fields of `DualBranchHead` that they set.
BRANCH_SHAPE = {
    "--hidden": "hidden",
    "--layers": "layers",
    "--dropout": "dropout",
    "--attention-window": "window_frames",
    "--stride": "stride_frames",
}
PUBLISHED, DUAL_BRANCH = HeadTraining(), default_head_training(DUAL_NAME)
FEATURES = frozenset([".safetensors"])
ANNOTATIONS = frozenset([".txt", ".csv", ".parquet"])

features_argument = click.argument(
    "features", nargs=-1, required=True, metavar="FEATURES...", shell_complete=complete_files
)
labels_option = click.option(
    "--labels",
    required=True,
    metavar="DIR",
    shell_complete=complete_files,
    help="Annotations, named like the videos: ABAW text files, or tables of frames or of "
    "intervals.",
)


def _tunable(flag: str, field: str, kind: Any, text: str) -> Callable[[Command], Command]:
    """Make an option of a field of `HeadTraining`; the default depends on the head."""
    defaults = {"": getattr(PUBLISHED, field), DUAL_NAME: getattr(DUAL_BRANCH, field)}
    return tunable(flag, field, kind, text, defaults)


def _branch_options() -> list[Callable[[Command], Command]]:
    """Return the options of the dual branch's own shape."""
    count = click.IntRange(min=1)
    kinds = {
        "--hidden": (count, "Width"),
        "--layers": (count, "Layers"),
        "--dropout": (click.FloatRange(0, 1, max_open=True), "Dropout"),
        "--attention-window": (count, "Frames that attend to each other in a window"),
        "--stride": (count, "Frames from one window to the next"),
    }
    return [
        tunable(
            flag, BRANCH_SHAPE[flag], kind, f"{what}; of {DUAL_NAME} only.",
            {"": getattr(DualBranchHead(), BRANCH_SHAPE[flag])},
        )
        for flag, (kind, what) in kinds.items()
    ]  # fmt: skip


def training_options(command: Command) -> Command:
    """Add what every head's training can be told; the command receives the fields' names."""
    options: list[Callable[[Command], Command]] = [
        _tunable("--epochs", "epochs", click.IntRange(min=1), "Passes over the annotated frames."),
        _tunable("--batch-size", "batch_frames", click.IntRange(min=1), "Frames a step."),
        _tunable("--lr", "lr", RATE, "AdamW's highest learning rate."),
        _tunable("--last-lr", "last_lr", RATE, "And of the last step; a cosine leads there."),
        _tunable("--warmup", "warmup", SHARE, "Share of the steps in which the rate rises from 0."),
        _tunable("--weight-decay", "weight_decay", RATE, "AdamW's."),
        click.option(
            "--class-weights", "class_weight_power", type=SHARE,
            help="Power of inverse frequency; 0: none.  [default: "
            f"{PUBLISHED.class_weight_power:g}; {DUAL_NAME} by effective number of samples]",
        ),
        _tunable("--focal", "focal_gamma", RATE, "Focal loss's gamma; 0: cross-entropy."),
        _tunable(
            "--modality-dropout", "modality_dropout", SHARE,
            "Share of samples that lose one of their two modalities.",
        ),
        _tunable("--audio-swap", "audio_swap", SHARE, "Share of samples that get another's audio."),
        click.option("--sound-swap", type=SHARE, hidden=True),  # its name until version 0.2
        _tunable("--ema", "ema_decay", click.FloatRange(0, 1, max_open=True), "Decay of the EMA "
                 "of the weights that is kept; 0: the last weights."),
        window_option(
            f"{PUBLISHED.smoothing.window_frames}; {DUAL_NAME} {DUAL_BRANCH.smoothing.window_s}s"
        ),
        *_branch_options(),
        _tunable("--seed", "seed", click.IntRange(min=0), "Seed of all randomness."),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def read_training(head: str, window: Window | None, tuned: dict[str, Any]) -> HeadTraining:
    """Return a head's settings with what was given on the command line."""
    config = default_head_training(head)
    given = {k: v for k, v in tuned.items() if v is not None}
    if "sound_swap" in given:
        given["audio_swap"] = given.pop("sound_swap")
    shape = {field: given.pop(field) for field in BRANCH_SHAPE.values() if field in given}
    if head == DUAL_NAME:
        given["network"] = replace(config.network, **shape)
    if "class_weight_power" in given:
        given["effective_beta"] = None
    given["smoothing"] = choose_smoothing(config.smoothing, None, window, None)
    return replace(config, **given)


def check_shape(heads: Iterable[str], tuned: dict[str, Any]) -> None:
    """Refuse the dual branch's own options for other heads only."""
    for flag, field in BRANCH_SHAPE.items():
        if tuned[field] is not None and DUAL_NAME not in heads:
            raise click.UsageError(f"{flag} is of --head {DUAL_NAME} only")


@click.command(name="head")
@features_argument
@labels_option
@run_option
@click.option(
    "--head", type=click.Choice(HEAD_NAMES), default=HEAD_NAMES[0], show_default=True,
    help="Gated fusion; what it is compared with: one modality, or both without a gate; or the "
    "dual-branch Transformer over windows of frames.",
)  # fmt: skip
@click.option(
    "--valid-features", multiple=True, metavar="FEATURES",
    help="Features to choose the best epoch by.  "
    f"[default: one of {PUBLISHED.folds} folds of the videos, held out]",
)  # fmt: skip
@click.option(
    "--valid-labels", metavar="DIR", shell_complete=complete_files, help="Their annotations."
)
@training_options
@device_option
@overwrite_option
@verbosity_options
def command(
    features: tuple[str, ...],
    labels: str,
    output: Path,
    head: str,
    valid_features: tuple[str, ...],
    valid_labels: str | None,
    window: Window | None,
    device: str,
    overwrite: bool,
    quiet: bool,
    **tuned: Any,
) -> None:
    """Train a fusion head on features and annotations.

    Gated fusion is Stage II of arXiv 2603.12221, dual-branch is of arXiv 2603.08034.

    FEATURES are files of `abaw extract`, or folders of them. Annotations and features are
    matched by name; what has no partner is left out. Started again after an interruption, it
    goes on with the next epoch and ends with the same weights.

    Example: abaw train head features/ --labels annotations/ -o run/
    """
    from abawcli.formats.inputs import expand_inputs
    from abawcli.formats.outputs import check_writable
    from abawcli.stages.train_head import train_fusion_head

    if bool(valid_features) != bool(valid_labels):
        raise click.UsageError("--valid-features and --valid-labels need each other")
    check_shape([head], tuned)
    check_writable([output / "config.json"])
    files = expand_inputs(features, FEATURES), expand_inputs([labels], ANNOTATIONS)
    valid = None
    if valid_labels:
        valid = expand_inputs(valid_features, FEATURES), expand_inputs([valid_labels], ANNOTATIONS)
    config = read_training(head, window, tuned)
    with progress_bar("train", "batch", quiet) as update:
        history = train_fusion_head(files, output, head, config, valid, device, overwrite, update)
    print_best(history, output / "head.safetensors")
