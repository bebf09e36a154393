"""`abaw train`: encoders, and the group that heads belong to."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from abawcli.cli.console import print_table, progress_bar
from abawcli.cli.options import Command, device_option, overwrite_option, verbosity_options
from abawcli.cli.train_head import command as head
from abawcli.config import COMPACT_FACE, NO_AUGMENTATION, EncoderTraining, default_training

PUBLISHED, COMPACT = EncoderTraining(), default_training(COMPACT_FACE)


def _tunable(flag: str, field: str, kind: Any, text: str) -> Callable[[Command], Command]:
    """Make an option of a field of `EncoderTraining`; the default depends on the backbone."""
    published, compact = getattr(PUBLISHED, field), getattr(COMPACT, field)
    shown = f"{published:g}" + (f"; {COMPACT_FACE} {compact:g}" if compact != published else "")
    return click.option(flag, field, type=kind, help=f"{text}  [default: {shown}]")


@click.group(name="train")
def command() -> None:
    """Train on your own data."""


command.add_command(head)


RATE = click.FloatRange(min=0)
SHARE = click.FloatRange(0, 1)


@command.command(name="encoder")
@click.option("--images", type=click.Path(path_type=Path), required=True, help="Image folder.")
@click.option(
    "--manifest", type=click.Path(path_type=Path), required=True,
    help="csv: file, label, split (train, valid), and votes v_<expression> if there are any.",
)  # fmt: skip
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Run folder.")
@click.option(
    "--backbone", default=COMPACT_FACE, show_default=True,
    help="compact-face, or a DINOv2, BEiT or ViT by hub name or folder.",
)  # fmt: skip
@click.option(
    "--labels", type=click.Choice(["soft", "hard"]), default="soft", show_default=True,
    help="Learn the votes' distribution where there are votes, or the label alone.",
)  # fmt: skip
@click.option("--moe/--no-moe", default=True, show_default=True, help="Mixture-of-experts head.")
@click.option(
    "--augment/--no-augment", default=True, show_default=True,
    help="Random crops, flips, colours, blur, borders and erased patches.",
)  # fmt: skip
@_tunable("--epochs", "epochs", click.IntRange(min=1), "Passes over the images.")
@_tunable("--batch-size", "batch_size", click.IntRange(min=2), "Images a step and process.")
@_tunable("--backbone-lr", "backbone_lr", RATE, "Learning rate of the deepest block.")
@_tunable("--head-lr", "head_lr", RATE, "Learning rate of the heads.")
@_tunable("--layer-decay", "layer_decay", SHARE, "Rate of a block / rate of the next deeper.")
@_tunable("--frozen-blocks", "frozen_blocks", click.IntRange(min=0), "First blocks not trained.")
@_tunable("--weight-decay", "weight_decay", RATE, "AdamW's, not on biases and norms.")
@_tunable("--clip-norm", "clip_norm", RATE, "Largest gradient norm.")
@_tunable("--mixup", "mixup_alpha", RATE, "Beta parameter of mixup; 0: none.")
@_tunable("--label-smoothing", "label_smoothing", SHARE, "Share given to all classes.")
@_tunable("--class-weights", "class_weight_power", SHARE, "Power of inverse frequency; 0: none.")
@_tunable("--seed", "seed", click.IntRange(min=0), "Seed of all randomness.")
@click.option(
    "--padaug", type=SHARE,
    help="Share of images given a black border.  "
    f"[default: {PUBLISHED.augmentation.padaug_p:g}; "
    f"{COMPACT_FACE} {COMPACT.augmentation.padaug_p:g}]",
)  # fmt: skip
@device_option
@overwrite_option
@verbosity_options
def encoder(
    images: Path,
    manifest: Path,
    output: Path,
    backbone: str,
    labels: str,
    moe: bool,
    augment: bool,
    padaug: float | None,
    device: str,
    overwrite: bool,
    quiet: bool,
    **tuned: Any,
) -> None:
    """Train an image encoder on labelled images (Stage I of arXiv 2603.12221).

    Started again after an interruption, it goes on with the next epoch and ends with the same
    weights. Several GPUs: `accelerate launch -m abawcli train encoder ...`.
    """
    from abawcli.stages.train import train_encoder

    config = default_training(backbone)
    config = replace(config, **{k: v for k, v in tuned.items() if v is not None})
    config = replace(config, soft_labels=labels == "soft", moe=config.moe if moe else None)
    if not augment:
        config = replace(config, augmentation=NO_AUGMENTATION)
    if padaug is not None:
        config = replace(config, augmentation=replace(config.augmentation, padaug_p=padaug))
    silent = os.environ.get("RANK", "0") != "0"  # of several processes one talks
    with progress_bar("train", "batch", quiet or silent) as update:
        history = train_encoder(
            images, manifest, output, backbone, config, device, overwrite, update
        )
    if silent:
        return
    best = max(history, key=lambda row: row["macro_f1"])
    print_table(
        f"{output / 'encoder.safetensors'}: epoch {best['epoch']} of {len(history)}",
        ["class", "F1"],
        [[name, f"{value:.3f}"] for name, value in best["f1"].items()]
        + [["macro-F1", f"{best['macro_f1']:.3f}"], ["accuracy", f"{best['accuracy']:.3f}"]],
        stderr=True,
    )
