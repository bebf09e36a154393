"""`abaw train face`: face encoders."""

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import click

from abawcli.cli.bundles import Command
from abawcli.cli.console import progress_bar
from abawcli.cli.options import FiniteRange, device_option, overwrite_option, verbosity_options
from abawcli.cli.train_options import (
    PRECISION_HELP,
    RATE,
    SHARE,
    NumberList,
    is_silent,
    manifest_option,
    patience_option,
    print_best,
    run_option,
    tunable,
)
from abawcli.config import (
    COMPACT_FACE,
    LORA_LR,
    MOBILENET_TRAINING,
    NO_IMAGE_AUGMENTATION,
    PRECISIONS,
    SELECTIONS,
    TEACHER_IMAGES,
    CompactFaceShape,
    Distillation,
    EncoderTraining,
    ImageAugmentation,
    default_training,
)
from abawcli.errors import UsageError

TRAINING = EncoderTraining()
# Default settings by backbone; the first ones are those of pretrained backbones.
DEFAULTS = {"": TRAINING, COMPACT_FACE: default_training(COMPACT_FACE)}
DEFAULTS |= {"mobilenet": MOBILENET_TRAINING}
AUGMENTATIONS = {field.name for field in fields(ImageAugmentation)}
SHAPES = {field.name for field in fields(CompactFaceShape)}
SHAPE = CompactFaceShape()
# Option of `train face` -> field of `Distillation`.
TAUGHT = {"temperature": "temperature", "teacher_weight": "weight"}
TAUGHT |= {"feature_weight": "feature_weight", "teacher_images": "images"}
TAUGHT_FLAGS = ["--" + name.replace("_", "-") for name in TAUGHT]
TEACHING = Distillation()


def _tunable(
    flag: str, field: str, kind: Any, text: str, *, old: str | None = None
) -> Callable[[Command], Command]:
    """Make an option that sets a field of `EncoderTraining` or of its `augmentation`."""
    defaults = {
        name: getattr(config.augmentation if field in AUGMENTATIONS else config, field)
        for name, config in DEFAULTS.items()
    }
    return tunable(flag, field, kind, text, defaults=defaults, old=old)


def _read_config(
    backbone: str, tuned: dict[str, Any], augment: bool, taught: bool
) -> EncoderTraining:
    """Return the settings with the values of the command line."""
    given = {k: v for k, v in tuned.items() if v is not None}
    config = default_training(backbone, given.pop("lora_rank", None))
    changes = {k: given.pop(k) for k in AUGMENTATIONS & given.keys()}
    if changes and not augment:
        raise UsageError("--no-augment excludes the options of single augmentations")
    augmentation = replace(config.augmentation, **changes) if augment else NO_IMAGE_AUGMENTATION
    teaching = {TAUGHT[k]: given.pop(k) for k in TAUGHT.keys() & given.keys()}
    if teaching and not taught:
        raise UsageError(f"{', '.join(TAUGHT_FLAGS)} need a --teacher")
    given["distillation"] = replace(config.distillation, **teaching)
    if shape := {k: given.pop(k) for k in SHAPES & given.keys()}:
        given["shape"] = replace(SHAPE, **shape)
    return replace(config, augmentation=augmentation, **given)


@click.command(name="face")
@click.option(
    "--images", type=click.Path(path_type=Path), required=True, help="Folder of face images."
)
@manifest_option
@run_option
@click.option(
    "--backbone", show_default=COMPACT_FACE,
    help="Backbone to start from: compact-face; mobilenet-96, -112, -176 or -224, which enlarges "
    "crops to so many pixels; or a DINOv2, BEiT or ViT by hub name or folder.",
)  # fmt: skip
@click.option(
    "--init", type=click.Path(path_type=Path),
    help="Weights to start from. To fine-tune an encoder, its backbone and its classifier: "
    "compact-face (the embedded one) or encoder.safetensors of `abaw train face`; this needs "
    "lower learning rates than the defaults. For a mobilenet backbone: faceres.json, weights "
    "trained on faces (docs/experiments.md).",
)  # fmt: skip
@click.option(
    "--targets", type=click.Choice(["soft", "hard"]), default="soft", show_default=True,
    help="soft: train on the distribution of the annotators' votes. hard: train on the label.",
)  # fmt: skip
@click.option(
    "--moe/--no-moe",
    default=True,
    show_default=True,
    help="Train with a mixture-of-experts head beside the linear classifier; not with mobilenet.",
)
@click.option(
    "--select", type=click.Choice(SELECTIONS), default=TRAINING.select, show_default=True,
    help="Epoch that is saved. linear: the best one by macro-F1 of the linear classifier on the "
    "valid images. moe: by that of the mixture of experts. last: the last one. All are in "
    "metrics.jsonl.",
)  # fmt: skip
@patience_option
@click.option(
    "--teacher", "teachers", multiple=True, type=click.Path(path_type=Path),
    help="Encoder whose outputs are learned beside the labels (knowledge distillation): "
    "compact-face or encoder.safetensors of `abaw train face`. May be repeated: the probabilities "
    "are averaged.",
)  # fmt: skip
@tunable("--temperature", "temperature", FiniteRange(0, min_open=True),
         "Temperature of the teachers' and the network's probabilities.",
         defaults={"": TEACHING.temperature})  # fmt: skip
@tunable("--teacher-weight", "teacher_weight", SHARE, "Share of the teachers in the loss; the "
         "labels have the rest.", defaults={"": TEACHING.weight})  # fmt: skip
@tunable("--feature-weight", "feature_weight", RATE, "Weight of the difference of features from "
         "those of the first teacher; 0: none.",
         defaults={"": TEACHING.feature_weight})  # fmt: skip
@tunable("--teacher-images", "teacher_images", click.Choice(TEACHER_IMAGES), "augmented: teachers "
         "get the network's images. clean: before training, they label each image without "
         "augmentation, as the mean of eight views of it, so that a degraded face is learned as "
         "they label it clean.",
         defaults={"": TEACHING.images})  # fmt: skip
@tunable("--stem", "stem", click.IntRange(min=1), "Channels of the first convolution of "
         "compact-face.", defaults={"": SHAPE.stem})  # fmt: skip
@tunable("--widths", "widths", NumberList(8), "Channels of each stage of compact-face.",
         defaults={"": SHAPE.widths})  # fmt: skip
@tunable("--blocks", "blocks", NumberList(1), "Residual blocks of each stage of compact-face.",
         defaults={"": SHAPE.blocks})  # fmt: skip
@click.option(
    "--augment/--no-augment", default=True, show_default=True,
    help="Augment images as the options below say, or not at all.",
)  # fmt: skip
@_tunable("--epochs", "epochs", click.IntRange(min=1), "Passes over the training images.")
@_tunable("--batch-size", "batch_size", click.IntRange(min=2), "Images per batch and process.")
@_tunable("--backbone-lr", "backbone_lr", RATE, "Learning rate of the last block.")
@_tunable("--head-lr", "head_lr", RATE, "Learning rate of the heads.")
@_tunable(
    "--layer-decay",
    "layer_decay",
    SHARE,
    "Learning rate of a block, as a factor of that of the next block.",
)
@_tunable(
    "--frozen-blocks",
    "frozen_blocks",
    click.IntRange(min=0),
    "Number of first blocks that are not trained; the later ones are fine-tuned.",
)
@click.option(
    "--lora", "lora_rank", type=click.IntRange(min=1), metavar="RANK",
    help="Train adapters of this rank in the linear layers of the blocks that are not frozen, in "
    f"place of their weights (LoRA); with {LORA_LR:g} as the default of --backbone-lr. Needs "
    "abawcli[lora].",
)  # fmt: skip
@_tunable(
    "--weight-decay", "weight_decay", RATE, "Weight decay of AdamW; none on biases and norms."
)
@_tunable("--clip-norm", "clip_norm", RATE, "Maximum norm of the gradient.")
@_tunable("--mixup", "mixup_alpha", RATE, "Parameter of mixup's Beta distribution; 0: no mixup.")
@_tunable(
    "--label-smoothing",
    "label_smoothing",
    SHARE,
    "Share of the target that is spread over all classes.",
)
@_tunable(
    "--class-weights",
    "class_weight_power",
    SHARE,
    "Power of the inverse class frequency; 0: no weights.",
)
@_tunable("--sampling", "sampling_power", SHARE, "Power of the inverse class frequency by which "
          "images are drawn; 0: each once per epoch.")  # fmt: skip
@_tunable("--logit-adjustment", "logit_adjustment", RATE, "Factor of the log class frequencies "
          "that are added to the logits in training; 0: none.")  # fmt: skip
@_tunable(
    "--warmup-steps", "warmup_steps", click.IntRange(min=0), "Optimizer steps of linear warm-up."
)
@_tunable("--ema", "ema_decay", FiniteRange(0, 1, max_open=True), "Decay of the EMA of "
          "the weights; 0: no EMA.")  # fmt: skip
@_tunable("--init-share", "init_share", SHARE, "Share of the weights of --init in those that are "
          "validated and saved (arXiv 2109.01903); 0: none.")  # fmt: skip
@_tunable(
    "--crop-area",
    "crop_scale",
    (SHARE, FiniteRange(0, 4)),
    "Smallest and largest area of a random crop, as shares of the image.",
)
@_tunable("--crop-shift", "crop_shift", SHARE, "Largest shift of a random crop beyond the image's "
          "edge, as a share of its side.")  # fmt: skip
@_tunable("--max-rotation", "rotate_degrees", FiniteRange(0, 180), "Largest angle of random "
          "rotation, in degrees.", old="--rotate")  # fmt: skip
@_tunable("--flip", "flip_p", SHARE, "Share of images that are mirrored.")
@_tunable("--jitter", "jitter_p", SHARE, "Share of images whose colours are jittered.")
@_tunable("--gamma", "gamma", FiniteRange(1, 10), "Largest gamma, and inverse of the "
          "smallest, of jittered images; 1: none.")  # fmt: skip
@_tunable("--grey", "grey_p", SHARE, "Share of images that are made grey.")
@_tunable("--blur", "blur_p", SHARE, "Share of images that are blurred.")
@_tunable("--defocus", "defocus_p", SHARE, "Share of images that are blurred as by a lens that is "
          "out of focus.")  # fmt: skip
@_tunable("--sharpen", "sharpen_p", SHARE, "Share of images that are sharpened.")
@_tunable("--low-resolution", "low_resolution_p", SHARE, "Share of images that are shrunk and "
          "enlarged again.")  # fmt: skip
@_tunable("--noise", "noise_p", SHARE, "Share of images that get noise.")
@_tunable("--jpeg", "jpeg_p", SHARE, "Share of images that get JPEG artefacts.")
@_tunable("--padaug", "padaug_p", SHARE, "Share of images that get a black border (PadAug).")
@_tunable("--erase", "erase_p", SHARE, "Share of images from which a patch is erased.")
@_tunable("--seed", "seed", click.IntRange(min=0), "Seed of the random numbers.")
@click.option(
    "--precision", type=click.Choice(PRECISIONS), default=TRAINING.precision, show_default=True,
    help=PRECISION_HELP,
)  # fmt: skip
@device_option
@overwrite_option
@verbosity_options
def command(
    images: Path,
    manifest: Path,
    output: Path,
    backbone: str | None,
    init: Path | None,
    targets: str,
    moe: bool,
    select: str,
    patience: int | None,
    teachers: tuple[Path, ...],
    augment: bool,
    precision: str,
    device: str,
    overwrite: bool,
    quiet: bool,
    **tuned: Any,
) -> None:
    """Train a face encoder on labelled images: Stage I of arXiv 2603.12221.

    For several GPUs, run `accelerate launch -m abawcli train face`. The same command resumes an
    interrupted run at the next epoch and gives the same weights.

    Example: abaw train face --images faces/ --manifest faces.csv -o run/
    """
    from abawcli.formats.outputs import check_writable
    from abawcli.models.checkpoint import read_metadata
    from abawcli.models.encoder import find_encoder
    from abawcli.models.metadata import FaceEncoderMetadata
    from abawcli.models.mobilenet import is_published
    from abawcli.stages.train_face import train_face_encoder

    published = init and is_published(init)
    if backbone and init and not published:
        raise UsageError("--init excludes --backbone: the encoder has one")
    backbone = backbone or COMPACT_FACE
    if init and not published:
        backbone = read_metadata(find_encoder(init), FaceEncoderMetadata).backbone
    config = _read_config(backbone, tuned, augment, bool(teachers))
    config = replace(
        config,
        soft_labels=targets == "soft",
        moe=config.moe if moe else None,
        select=select,
        patience=patience,
        precision=precision,
    )
    check_writable([output / "config.json"])
    with progress_bar("train", "batch", quiet or is_silent()) as update:
        history = train_face_encoder(
            images, manifest, output, backbone, config=config,
            device=device, overwrite=overwrite, progress=update, teachers=teachers, init=init,
        )  # fmt: skip
    if not (quiet or is_silent()):
        print_best(history, output / "encoder.safetensors", last=select == "last")
