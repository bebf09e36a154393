"""`abaw train face`: encoders of face images."""

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import click

from abawcli.cli.console import progress_bar
from abawcli.cli.options import Command, device_option, overwrite_option, verbosity_options
from abawcli.cli.train_options import (
    RATE,
    SHARE,
    is_silent,
    manifest_option,
    print_best,
    run_option,
    tunable,
)
from abawcli.config import (
    COMPACT_FACE,
    NO_IMAGE_AUGMENTATION,
    PRECISIONS,
    EncoderTraining,
    ImageAugmentation,
    default_training,
)
from abawcli.errors import UsageError

PUBLISHED, COMPACT = EncoderTraining(), default_training(COMPACT_FACE)
AUGMENTATIONS = {field.name for field in fields(ImageAugmentation)}


def _tunable(flag: str, field: str, kind: Any, text: str) -> Callable[[Command], Command]:
    """Make an option of a field of `EncoderTraining` or of its `augmentation`."""
    published, compact = (
        getattr(config.augmentation if field in AUGMENTATIONS else config, field)
        for config in (PUBLISHED, COMPACT)
    )
    return tunable(flag, field, kind, text, {"": published, COMPACT_FACE: compact})


def _read_config(backbone: str, tuned: dict[str, Any], augment: bool) -> EncoderTraining:
    """Return the settings with what was given on the command line."""
    config = default_training(backbone)
    given = {k: v for k, v in tuned.items() if v is not None}
    changes = {k: given.pop(k) for k in AUGMENTATIONS & given.keys()}
    if changes and not augment:
        raise UsageError("--no-augment goes with no option of a single augmentation")
    augmentation = replace(config.augmentation, **changes) if augment else NO_IMAGE_AUGMENTATION
    return replace(config, augmentation=augmentation, **given)


@click.command(name="face")
@click.option(
    "--images", type=click.Path(path_type=Path), required=True, help="Folder of face images."
)
@manifest_option
@run_option
@click.option(
    "--backbone", default=COMPACT_FACE, show_default=True,
    help="compact-face, or a DINOv2, BEiT or ViT by hub name or folder.",
)  # fmt: skip
@click.option(
    "--targets", type=click.Choice(["soft", "hard"]), default="soft", show_default=True,
    help="Learn the distribution of the votes where there are votes, or the label alone.",
)  # fmt: skip
@click.option("--moe/--no-moe", default=True, show_default=True, help="Mixture-of-experts head.")
@click.option(
    "--augment/--no-augment", default=True, show_default=True,
    help="All of the random changes below, or none.",
)  # fmt: skip
@_tunable("--epochs", "epochs", click.IntRange(min=1), "Passes over the images.")
@_tunable("--batch-size", "batch_size", click.IntRange(min=2), "Images per step and process.")
@_tunable("--backbone-lr", "backbone_lr", RATE, "Learning rate of the deepest block.")
@_tunable("--head-lr", "head_lr", RATE, "Learning rate of the heads.")
@_tunable("--layer-decay", "layer_decay", SHARE, "Rate of a block / rate of the next deeper.")
@_tunable("--frozen-blocks", "frozen_blocks", click.IntRange(min=0), "First blocks not trained.")
@_tunable("--weight-decay", "weight_decay", RATE, "AdamW's, not on biases and norms.")
@_tunable("--clip-norm", "clip_norm", RATE, "Largest gradient norm.")
@_tunable("--mixup", "mixup_alpha", RATE, "Beta parameter of mixup; 0: none.")
@_tunable("--label-smoothing", "label_smoothing", SHARE, "Share given to all classes.")
@_tunable("--class-weights", "class_weight_power", SHARE, "Power of inverse frequency; 0: none.")
@_tunable("--warmup-steps", "warmup_steps", click.IntRange(min=0), "Steps of rising rates.")
@_tunable("--ema", "ema_decay", click.FloatRange(0, 1, max_open=True), "Decay of the EMA of the "
          "weights that is kept; 0: the last weights.")  # fmt: skip
@_tunable("--crop-area", "crop_scale", (SHARE, SHARE), "Share of the area a random crop has.")
@_tunable("--rotate", "rotate_degrees", click.FloatRange(0, 180), "Largest random rotation.")
@_tunable("--flip", "flip_p", SHARE, "Share of images mirrored.")
@_tunable("--jitter", "jitter_p", SHARE, "Share of images with changed colours.")
@_tunable("--grey", "grey_p", SHARE, "Share of images made grey.")
@_tunable("--blur", "blur_p", SHARE, "Share of images blurred.")
@_tunable("--padaug", "padaug_p", SHARE, "Share of images given a black border.")
@_tunable("--erase", "erase_p", SHARE, "Share of images with a patch erased.")
@_tunable("--seed", "seed", click.IntRange(min=0), "Seed of all randomness.")
@click.option(
    "--precision", type=click.Choice(PRECISIONS), default=PUBLISHED.precision, show_default=True,
    help="Number format; auto: bfloat16 where the device has it.",
)  # fmt: skip
@device_option
@overwrite_option
@verbosity_options
def command(
    images: Path,
    manifest: Path,
    output: Path,
    backbone: str,
    targets: str,
    moe: bool,
    augment: bool,
    precision: str,
    device: str,
    overwrite: bool,
    quiet: bool,
    **tuned: Any,
) -> None:
    """Train a face encoder on labelled images: Stage I of arXiv 2603.12221.

    Several GPUs: `accelerate launch -m abawcli train face`. Started again after an interruption,
    it goes on with the next epoch and ends with the same weights.

    Example: abaw train face --images faces/ --manifest faces.csv -o run/
    """
    from abawcli.formats.outputs import check_writable
    from abawcli.stages.train_face import train_face_encoder

    config = _read_config(backbone, tuned, augment)
    config = replace(
        config,
        soft_labels=targets == "soft",
        moe=config.moe if moe else None,
        precision=precision,
    )
    check_writable([output / "config.json"])
    with progress_bar("train", "batch", quiet or is_silent()) as update:
        history = train_face_encoder(
            images, manifest, output, backbone, config, device, overwrite, update
        )
    if not is_silent():
        print_best(history, output / "encoder.safetensors")
