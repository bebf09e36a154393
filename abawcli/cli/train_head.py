"""`abaw train head`: fusion heads."""

from collections.abc import Callable
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
from abawcli.config import HEAD_NAMES, HeadTraining, Smoothing

DEFAULT = HeadTraining()
FEATURES = frozenset([".safetensors"])
ANNOTATIONS = frozenset([".txt"])
RATE = click.FloatRange(min=0)

features_argument = click.argument("features", nargs=-1, required=True, metavar="FEATURES...")
labels_option = click.option(
    "--labels", required=True, metavar="DIR", help="ABAW annotations, named like the videos."
)


def training_options(command: Command) -> Command:
    """Add what every head's training can be told; the command receives the fields' names."""

    def tunable(flag: str, field: str, kind: Any, text: str) -> Callable[[Command], Command]:
        default = getattr(DEFAULT, field)
        return click.option(flag, field, type=kind, default=default, show_default=True, help=text)

    options = [
        tunable("--epochs", "epochs", click.IntRange(min=1), "Passes over the annotated frames."),
        tunable("--batch-size", "batch_frames", click.IntRange(min=1), "Frames a step."),
        tunable("--lr", "lr", RATE, "AdamW's learning rate of the first step."),
        tunable("--last-lr", "last_lr", RATE, "And of the last; a cosine leads there."),
        tunable("--weight-decay", "weight_decay", RATE, "AdamW's."),
        tunable(
            "--class-weights", "class_weight_power", click.FloatRange(0, 1),
            "Power of inverse frequency; 0: none.",
        ),
        window_option(DEFAULT.smoothing.window_frames),
        tunable("--seed", "seed", click.IntRange(min=0), "Seed of all randomness."),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def read_training(window: tuple[int, float | None], fields: dict[str, Any]) -> HeadTraining:
    """Return the settings that the options mean."""
    smoothing: Smoothing = replace(DEFAULT.smoothing, window_frames=window[0], window_s=window[1])
    return replace(DEFAULT, smoothing=smoothing, **fields)


@click.command(name="head")
@features_argument
@labels_option
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Run folder.")
@click.option(
    "--head", type=click.Choice(HEAD_NAMES), default=HEAD_NAMES[0], show_default=True,
    help="Gated fusion, or what it is compared with: one modality, or both without a gate.",
)  # fmt: skip
@click.option(
    "--valid-features", multiple=True, metavar="FEATURES",
    help="Features to choose the best epoch by.  "
    f"[default: one of {DEFAULT.folds} folds of the videos, held out]",
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
    window: tuple[int, float | None],
    device: str,
    overwrite: bool,
    quiet: bool,
    **tuned: Any,
) -> None:
    """Train a fusion head on features and annotations (Stage II of arXiv 2603.12221).

    FEATURES are files of `abaw extract`, or folders of them. Annotations and features are
    matched by name; what has no partner is left out. Started again after an interruption, it
    goes on with the next epoch and ends with the same weights.
    """
    from abawcli.formats.files import expand_inputs
    from abawcli.stages.train_head import train_head

    if bool(valid_features) != bool(valid_labels):
        raise click.UsageError("--valid-features and --valid-labels need each other")
    files = expand_inputs(features, FEATURES), expand_inputs([labels], ANNOTATIONS)
    valid = None
    if valid_labels:
        valid = expand_inputs(valid_features, FEATURES), expand_inputs([valid_labels], ANNOTATIONS)
    config = read_training(window, tuned)
    with progress_bar("train", "batch", quiet) as update:
        history = train_head(files, output, head, config, valid, device, overwrite, update)
    best = max(history, key=lambda row: row["macro_f1"])
    print_table(
        f"{output / 'head.safetensors'}: epoch {best['epoch']} of {len(history)}",
        ["class", "F1"],
        [[name, f"{value:.3f}"] for name, value in best["f1"].items()]
        + [["macro-F1", f"{best['macro_f1']:.3f}"], ["accuracy", f"{best['accuracy']:.3f}"]],
        stderr=True,
    )
