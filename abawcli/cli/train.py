"""`abaw train`: encoders, and the group that heads belong to."""

import os
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from abawcli.cli.console import print_table, progress_bar
from abawcli.cli.options import Command, device_option, overwrite_option, verbosity_options
from abawcli.cli.train_head import command as head
from abawcli.config import (
    COMPACT_FACE,
    NO_AUGMENTATION,
    NO_SOUND_AUGMENTATION,
    PRECISIONS,
    Augmentation,
    EncoderTraining,
    VoiceTraining,
    default_training,
)
from abawcli.errors import UsageError

PUBLISHED, COMPACT, VOICE = EncoderTraining(), default_training(COMPACT_FACE), VoiceTraining()
AUGMENTATIONS = {field.name for field in fields(Augmentation)}


def _tunable(flag: str, field: str, kind: Any, text: str) -> Callable[[Command], Command]:
    """Make an option of a field of `EncoderTraining` or of its `augmentation`.

    The default depends on the backbone, and on what `VoiceTraining` has of the same name.
    """
    published, compact = (
        _show(getattr(config.augmentation if field in AUGMENTATIONS else config, field))
        for config in (PUBLISHED, COMPACT)
    )
    shown = published + (f"; {COMPACT_FACE} {compact}" if compact != published else "")
    shown += f"; --audio {_show(getattr(VOICE, field))}" if hasattr(VOICE, field) else ""
    return click.option(flag, field, type=kind, help=f"{text}  [default: {shown}]")


def _show(value: Any) -> str:
    return " ".join(f"{v:g}" for v in value) if isinstance(value, tuple) else f"{value:g}"


@click.group(name="train")
def command() -> None:
    """Train on your own data."""


def _tune(config: EncoderTraining, tuned: dict[str, Any], augment: bool) -> EncoderTraining:
    """Return the settings with what was given on the command line."""
    given = {k: v for k, v in tuned.items() if v is not None}
    if "epoch_batches" in given:
        raise UsageError("--epoch-batches is for --audio; an epoch of images is all of them")
    changes = {k: given.pop(k) for k in AUGMENTATIONS & given.keys()}
    if changes and not augment:
        raise UsageError("--no-augment goes with no option of a single augmentation")
    augmentation = replace(config.augmentation, **changes) if augment else NO_AUGMENTATION
    return replace(config, augmentation=augmentation, **given)


def _tune_voice(tuned: dict[str, Any], augment: bool) -> VoiceTraining:
    """Return the settings of a voice encoder with what was given on the command line."""
    context = click.get_current_context()
    fit = {f.name for f in fields(VoiceTraining)}
    fit |= {"audio", "manifest", "output", "augment", "device", "overwrite", "quiet"}
    for option in context.command.params:
        name = str(option.name)
        source = context.get_parameter_source(name)
        if source is ParameterSource.COMMANDLINE and name not in fit:
            raise UsageError(f"{option.opts[0]} is for --images and goes with no --audio")
    given = {k: v for k, v in tuned.items() if v is not None}
    augmentation = VOICE.augmentation if augment else NO_SOUND_AUGMENTATION
    return replace(VOICE, augmentation=augmentation, **given)


RATE = click.FloatRange(min=0)
SHARE = click.FloatRange(0, 1)


@command.command(name="encoder")
@click.option("--images", type=click.Path(path_type=Path), help="Image folder: a face encoder.")
@click.option("--audio", type=click.Path(path_type=Path), help="Sound folder: a voice encoder.")
@click.option(
    "--manifest", type=click.Path(path_type=Path), required=True,
    help="csv: file, label, split (train, valid); of images, votes v_<expression> if there are "
    "any; of sounds, speaker and corpus where known.",
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
    help="All of the random changes below, or none.",
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
@_tunable("--warmup-steps", "warmup_steps", click.IntRange(min=0), "Batches of rising rates.")
@_tunable("--ema", "ema_decay", click.FloatRange(0, 1, max_open=True), "Decay of the running "
          "mean of the weights that is kept; 0: the last weights.")  # fmt: skip
@_tunable("--crop-area", "crop_scale", (SHARE, SHARE), "Share of the area a random crop has.")
@_tunable("--rotate", "rotate_degrees", click.FloatRange(0, 180), "Largest random rotation.")
@_tunable("--flip", "flip_p", SHARE, "Share of images mirrored.")
@_tunable("--jitter", "jitter_p", SHARE, "Share of images with changed colours.")
@_tunable("--grey", "grey_p", SHARE, "Share of images made grey.")
@_tunable("--blur", "blur_p", SHARE, "Share of images blurred.")
@_tunable("--padaug", "padaug_p", SHARE, "Share of images given a black border.")
@_tunable("--erase", "erase_p", SHARE, "Share of images with a patch erased.")
@click.option(
    "--epoch-batches", type=click.IntRange(min=1),
    help=f"Batches of an epoch of sounds.  [default: {VOICE.epoch_batches}]",
)  # fmt: skip
@_tunable("--seed", "seed", click.IntRange(min=0), "Seed of all randomness.")
@click.option(
    "--precision", type=click.Choice(PRECISIONS), default=PUBLISHED.precision, show_default=True,
    help="Number format; auto: bfloat16 where the device has it.",
)  # fmt: skip
@device_option
@overwrite_option
@verbosity_options
def encoder(
    images: Path | None,
    audio: Path | None,
    manifest: Path,
    output: Path,
    backbone: str,
    labels: str,
    moe: bool,
    augment: bool,
    precision: str,
    device: str,
    overwrite: bool,
    quiet: bool,
    **tuned: Any,
) -> None:
    """Train an encoder on labelled images or sounds.

    Images: Stage I of arXiv 2603.12221; several GPUs: `accelerate launch -m abawcli train encoder`.
    Sounds: our own voice encoder; options that are only for images are refused.

    Started again after an interruption, it goes on with the next epoch and ends with the same
    weights.
    """
    silent = os.environ.get("RANK", "0") != "0"  # of several processes one talks
    with progress_bar("train", "batch", quiet or silent) as update:
        if images is not None and audio is None:
            from abawcli.stages.train import train_encoder

            config = _tune(default_training(backbone), tuned, augment)
            config = replace(
                config,
                soft_labels=labels == "soft",
                moe=config.moe if moe else None,
                precision=precision,
            )
            history = train_encoder(
                images, manifest, output, backbone, config, device, overwrite, update
            )
        elif audio is not None and images is None:
            from abawcli.stages.train_voice import train_voice_encoder

            voice = _tune_voice(tuned | {"precision": precision}, augment)
            history = train_voice_encoder(audio, manifest, output, voice, device, overwrite, update)
        else:
            raise UsageError("train on a folder of images or of sounds: --images or --audio")
    if not silent:
        _print_best(history, output)


def _print_best(history: list[dict[str, Any]], output: Path) -> None:
    best = max(history, key=lambda row: row["macro_f1"])
    corpora = best.get("corpora", {})
    named = corpora if len(corpora) > 1 else {}
    print_table(
        f"{output / 'encoder.safetensors'}: epoch {best['epoch']} of {len(history)}",
        ["class", "F1"],
        [[name, f"{value:.3f}"] for name, value in best["f1"].items()]
        + [[f"macro-F1 {name}", f"{value:.3f}"] for name, value in named.items()]
        + [["macro-F1", f"{best['macro_f1']:.3f}"], ["accuracy", f"{best['accuracy']:.3f}"]],
        stderr=True,
    )


command.add_command(head)
