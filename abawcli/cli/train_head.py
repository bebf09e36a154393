"""`abaw train head`: fusion heads."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from abawcli.cli.console import print_table, progress_bar
from abawcli.cli.options import (
    Command,
    device_option,
    overwrite_option,
    verbosity_options,
    window_option,
)
from abawcli.config import HEAD_NAMES, DualBranchHead, HeadTraining, default_head_training

DUAL_NAME = "dual-branch"
BRANCH_SHAPE = ("hidden", "layers", "dropout")
PUBLISHED, DUAL_BRANCH = HeadTraining(), default_head_training(DUAL_NAME)
FEATURES = frozenset([".safetensors"])
ANNOTATIONS = frozenset([".txt"])
RATE = click.FloatRange(min=0)
SHARE = click.FloatRange(0, 1)

features_argument = click.argument("features", nargs=-1, required=True, metavar="FEATURES...")
labels_option = click.option(
    "--labels", required=True, metavar="DIR", help="ABAW annotations, named like the videos."
)


def _tunable(flag: str, field: str, kind: Any, text: str) -> Callable[[Command], Command]:
    """Make an option of a field of `HeadTraining`; the default depends on the head."""
    published, other = (f"{getattr(config, field):g}" for config in (PUBLISHED, DUAL_BRANCH))
    shown = published + (f"; {DUAL_NAME} {other}" if other != published else "")
    return click.option(flag, field, type=kind, help=f"{text}  [default: {shown}]")


def _branch_options() -> list[Callable[[Command], Command]]:
    """Return the options of the dual branch's own size."""
    shape = DUAL_BRANCH.network
    assert isinstance(shape, DualBranchHead)
    kinds = {
        "hidden": (click.IntRange(min=1), "Width"),
        "layers": (click.IntRange(min=1), "Layers"),
        "dropout": (click.FloatRange(0, 1, max_open=True), "Dropout"),
    }
    return [
        click.option(
            f"--{name}", type=kind,
            help=f"{what} of {DUAL_NAME}.  [default: {getattr(shape, name):g}]",
        )
        for name, (kind, what) in kinds.items()
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
        _tunable("--sound-swap", "sound_swap", SHARE, "Share of samples that get another's sound."),
        _tunable("--ema", "ema_decay", click.FloatRange(0, 1, max_open=True), "Decay of the "
                 "running mean of the weights that is kept; 0: the last weights."),
        window_option(
            PUBLISHED.smoothing.window_frames,
            f"{DUAL_NAME} {DUAL_BRANCH.smoothing.window_frames}",
        ),
        *_branch_options(),
        _tunable("--seed", "seed", click.IntRange(min=0), "Seed of all randomness."),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def read_training(
    head: str, window: tuple[int, float | None] | None, tuned: dict[str, Any]
) -> HeadTraining:
    """Return a head's settings with what was given on the command line."""
    config = default_head_training(head)
    given = {k: v for k, v in tuned.items() if v is not None}
    shape = {name: given.pop(name) for name in BRANCH_SHAPE if name in given}
    if head == DUAL_NAME:
        given["network"] = replace(config.network, **shape)
    if "class_weight_power" in given:
        given["effective_beta"] = None
    if window is not None:
        smoothing = replace(config.smoothing, window_frames=window[0], window_s=window[1])
        given["smoothing"] = smoothing
    return replace(config, **given)


def check_shape(heads: Iterable[str], tuned: dict[str, Any]) -> None:
    """Refuse the dual branch's own options for other heads only."""
    for name in BRANCH_SHAPE:
        if tuned[name] is not None and DUAL_NAME not in heads:
            raise click.UsageError(f"--{name} is of --head {DUAL_NAME} only")


@click.command(name="head")
@features_argument
@labels_option
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Run folder.")
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
@click.option("--valid-labels", metavar="DIR", help="Their annotations.")
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
    window: tuple[int, float | None] | None,
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
    """
    from abawcli.formats.inputs import expand_inputs
    from abawcli.stages.train_head import train_fusion_head

    if bool(valid_features) != bool(valid_labels):
        raise click.UsageError("--valid-features and --valid-labels need each other")
    check_shape([head], tuned)
    files = expand_inputs(features, FEATURES), expand_inputs([labels], ANNOTATIONS)
    valid = None
    if valid_labels:
        valid = expand_inputs(valid_features, FEATURES), expand_inputs([valid_labels], ANNOTATIONS)
    config = read_training(head, window, tuned)
    with progress_bar("train", "batch", quiet) as update:
        history = train_fusion_head(files, output, head, config, valid, device, overwrite, update)
    best = max(history, key=lambda row: row["macro_f1"])
    print_table(
        f"{output / 'head.safetensors'}: epoch {best['epoch']} of {len(history)}",
        ["class", "F1"],
        [[name, f"{value:.3f}"] for name, value in best["f1"].items()]
        + [["macro-F1", f"{best['macro_f1']:.3f}"], ["accuracy", f"{best['accuracy']:.3f}"]],
        stderr=True,
    )
