"""`abaw train voice`: voice encoders."""

from collections.abc import Callable
from dataclasses import replace
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
    manifest_option,
    print_best,
    run_option,
    tunable,
)
from abawcli.config import (
    NO_AUDIO_AUGMENTATION,
    PRECISIONS,
    VOICE_LAYERS,
    default_voice_training,
)
from abawcli.errors import UsageError

RANDOM, PRETRAINED = default_voice_training(False), default_voice_training(True)


def _tunable(flag: str, field: str, kind: Any, text: str) -> Callable[[Command], Command]:
    """Make an option that sets a field of `VoiceTraining`."""
    defaults = {"": getattr(RANDOM, field), "--init": getattr(PRETRAINED, field)}
    return tunable(flag, field, kind, text, defaults=defaults)


@click.command(name="voice")
@click.option(
    "--recordings", type=click.Path(path_type=Path), required=True, help="Folder of recordings."
)
@manifest_option
@run_option
@click.option(
    "--init",
    type=click.Path(path_type=Path),
    help="Folder of a Whisper whose first layers the encoder starts from. Or a voice encoder that "
    "is trained further: compact-voice (the embedded one) or encoder.safetensors of `abaw train "
    "voice`. Without it, a small encoder starts from random weights.",
)
@click.option(
    "--layers", type=click.IntRange(min=1), help="Number of layers taken from a Whisper.  "
    f"[default: {VOICE_LAYERS}]",
)  # fmt: skip
@click.option(
    "--augment/--no-augment", default=True, show_default=True, help="Augment recordings, or not."
)
@_tunable("--epochs", "epochs", click.IntRange(min=1), "Number of epochs.")
@_tunable("--epoch-batches", "epoch_batches", click.IntRange(min=1), "Batches per epoch.")
@_tunable("--batch-size", "batch_size", click.IntRange(min=2), "Recordings per batch.")
@_tunable("--backbone-lr", "backbone_lr", RATE, "Learning rate of the encoder; with --init, that "
          "of the layers, and 0 keeps them as they are.")  # fmt: skip
@_tunable("--head-lr", "head_lr", RATE, "Learning rate of the classifiers, and of the projection "
          "of layers from --init.")  # fmt: skip
@_tunable(
    "--weight-decay", "weight_decay", RATE, "Weight decay of AdamW; none on biases and norms."
)
@_tunable("--clip-norm", "clip_norm", RATE, "Maximum norm of the gradient.")
@_tunable("--mixup", "mixup_alpha", RATE, "Parameter of mixup's Beta distribution; 0: no mixup.")
@_tunable("--contrast", "contrast", RATE, "Weight of a contrastive loss that makes the features of "
          "a class alike in all corpora; 0: none.")  # fmt: skip
@_tunable("--refit", "refit", RATE, "Inverse strength of the penalty of a logistic regression on "
          "the trained encoder's features that replaces its classifier; 0: none.")  # fmt: skip
@_tunable(
    "--label-smoothing",
    "label_smoothing",
    SHARE,
    "Share of the target that is spread over all classes.",
)
@_tunable(
    "--warmup-steps", "warmup_steps", click.IntRange(min=0), "Optimizer steps of linear warm-up."
)
@_tunable("--ema", "ema_decay", FiniteRange(0, 1, max_open=True), "Decay of the EMA of "
          "the weights; 0: no EMA.")  # fmt: skip
@_tunable("--seed", "seed", click.IntRange(min=0), "Seed of the random numbers.")
@click.option(
    "--precision", type=click.Choice(PRECISIONS), default=RANDOM.precision, show_default=True,
    help=PRECISION_HELP,
)  # fmt: skip
@device_option
@overwrite_option
@verbosity_options
def command(
    recordings: Path,
    manifest: Path,
    output: Path,
    init: Path | None,
    layers: int | None,
    augment: bool,
    precision: str,
    device: str,
    overwrite: bool,
    quiet: bool,
    **tuned: Any,
) -> None:
    """Train a voice encoder on recordings of speech with one label per recording.

    The same command resumes an interrupted run at the next epoch and gives the same weights.

    Example: abaw train voice --recordings voices/ --manifest voices.csv -o run/
    """
    from abawcli.formats.outputs import check_writable
    from abawcli.stages.train_voice import train_voice_encoder

    given = {k: v for k, v in tuned.items() if v is not None}
    if layers is not None and init is None:
        raise UsageError("--layers needs --init")
    config = replace(default_voice_training(init is not None), precision=precision, **given)
    if not augment:
        config = replace(config, augmentation=NO_AUDIO_AUGMENTATION)
    check_writable([output / "config.json"])
    with progress_bar("train", "batch", quiet) as update:
        history = train_voice_encoder(
            recordings, manifest, output, config, device=device, overwrite=overwrite,
            progress=update, init=init, layers=layers,
        )  # fmt: skip
    if not quiet:
        print_best(history, output / "encoder.safetensors")
