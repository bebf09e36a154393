"""`abaw train voice`: encoders of speech."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from abawcli.cli.console import progress_bar
from abawcli.cli.options import Command, device_option, overwrite_option, verbosity_options
from abawcli.cli.train_options import (
    RATE,
    SHARE,
    manifest_option,
    print_best,
    run_option,
    tunable,
)
from abawcli.config import NO_AUDIO_AUGMENTATION, PRECISIONS, VoiceTraining

DEFAULT = VoiceTraining()


def _tunable(flag: str, field: str, kind: Any, text: str) -> Callable[[Command], Command]:
    """Make an option of a field of `VoiceTraining`."""
    return tunable(flag, field, kind, text, {"": getattr(DEFAULT, field)})


@click.command(name="voice")
@click.option(
    "--recordings", type=click.Path(path_type=Path), required=True, help="Folder of recordings."
)
@manifest_option
@run_option
@click.option(
    "--augment/--no-augment", default=True, show_default=True, help="Random changes of the audio."
)
@_tunable("--epochs", "epochs", click.IntRange(min=1), "Epochs.")
@_tunable("--epoch-batches", "epoch_batches", click.IntRange(min=1), "Steps of an epoch.")
@_tunable("--batch-size", "batch_size", click.IntRange(min=2), "Recordings per step.")
@_tunable("--backbone-lr", "backbone_lr", RATE, "Learning rate.")
@_tunable("--weight-decay", "weight_decay", RATE, "AdamW's, not on biases and norms.")
@_tunable("--clip-norm", "clip_norm", RATE, "Largest gradient norm.")
@_tunable("--mixup", "mixup_alpha", RATE, "Beta parameter of mixup; 0: none.")
@_tunable("--label-smoothing", "label_smoothing", SHARE, "Share given to all classes.")
@_tunable("--warmup-steps", "warmup_steps", click.IntRange(min=0), "Steps of rising rates.")
@_tunable("--ema", "ema_decay", click.FloatRange(0, 1, max_open=True), "Decay of the EMA of the "
          "weights that is kept; 0: the last weights.")  # fmt: skip
@_tunable("--seed", "seed", click.IntRange(min=0), "Seed of all randomness.")
@click.option(
    "--precision", type=click.Choice(PRECISIONS), default=DEFAULT.precision, show_default=True,
    help="Number format; auto: bfloat16 where the device has it.",
)  # fmt: skip
@device_option
@overwrite_option
@verbosity_options
def command(
    recordings: Path,
    manifest: Path,
    output: Path,
    augment: bool,
    precision: str,
    device: str,
    overwrite: bool,
    quiet: bool,
    **tuned: Any,
) -> None:
    """Train a voice encoder on speech with one label a recording.

    Started again after an interruption, it goes on with the next epoch and ends with the same
    weights.

    Example: abaw train voice --recordings voices/ --manifest voices.csv -o run/
    """
    from abawcli.formats.outputs import check_writable
    from abawcli.stages.train_voice import train_voice_encoder

    given = {k: v for k, v in tuned.items() if v is not None}
    config = replace(DEFAULT, precision=precision, **given)
    if not augment:
        config = replace(config, augmentation=NO_AUDIO_AUGMENTATION)
    check_writable([output / "config.json"])
    with progress_bar("train", "batch", quiet) as update:
        history = train_voice_encoder(
            recordings, manifest, output, config, device, overwrite, update
        )
    print_best(history, output / "encoder.safetensors")
