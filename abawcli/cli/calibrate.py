"""`abaw calibrate`: calibrated probabilities of a head or a face encoder."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from abawcli.cli.console import print_json, print_table, progress_bar, say
from abawcli.cli.feature_sets import features_option, find_feature_files, list_sets
from abawcli.cli.options import (
    FiniteRange,
    complete_files,
    complete_recipes,
    device_option,
    json_option,
    labels_option,
    output_option,
    overwrite_option,
    verbosity_options,
)
from abawcli.config import BIAS_CHOICES
from abawcli.errors import UsageError
from abawcli.labels import CLASSES

if TYPE_CHECKING:
    from abawcli.formats.json_values import JsonObject
    from abawcli.formats.provenance import Provenance

FILE = click.Path(path_type=Path)
FIGURES = {
    "calibration_error": "calibration error",
    "log_loss": "log loss",
    "accuracy": "accuracy",
    "macro_f1": "macro-F1",
}


@click.command(name="calibrate")
@click.argument("checkpoint", metavar="CHECKPOINT", shell_complete=complete_recipes)
@click.argument("features", nargs=-1, metavar="[FEATURES...]", shell_complete=complete_files)
@features_option
@output_option("Output file: the checkpoint with the calibration, .safetensors.")
@labels_option()
@click.option("--images", type=FILE, help="For a face encoder: folder of face images.")
@click.option(
    "--manifest", type=FILE,
    help="For a face encoder: csv with the columns file and label, and split if not all images "
    "are to be used.",
)  # fmt: skip
@click.option(
    "--split", default="valid", show_default=True, help="Split of the manifest to calibrate on."
)
@click.option(
    "--biases", type=click.Choice(BIAS_CHOICES), default=BIAS_CHOICES[0], show_default=True,
    help="Fit a bias per class beside the temperature. auto: unless biases make the log loss, "
    "accuracy or macro-F1 of held-out examples worse, or a class has no example.",
)  # fmt: skip
@click.option(
    "--temperature", type=FiniteRange(0, min_open=True),
    help="Use this temperature, without biases, and only measure what it does.",
)  # fmt: skip
@click.option(
    "--plot", type=FILE, metavar="FILE", help="Draw the reliability diagram: .png, .pdf or .svg."
)
@device_option
@json_option
@overwrite_option
@verbosity_options
def command(
    checkpoint: str,
    features: tuple[str, ...],
    more_features: tuple[str, ...],
    output: Path,
    labels: str | None,
    images: Path | None,
    manifest: Path | None,
    split: str,
    biases: str,
    temperature: float | None,
    plot: Path | None,
    device: str,
    as_json: bool,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Calibrate the probabilities of a head or of a face encoder.

    CHECKPOINT is head.safetensors or encoder.safetensors of `abaw train`, or a recipe's name. A
    head is calibrated on FEATURES of `abaw extract` and annotations; an encoder on images and a
    manifest. These must be other videos or images than those that it was trained on.

    A temperature divides the logits, and a bias per class is added unless it makes held-out scores
    worse. The printed figures are cross-validated, by source video or by image. `abaw predict
    --recipe` applies the calibration of the file -o. CHECKPOINT is not changed.

    Features and heads record the hash of their encoder: calibrate an encoder before `abaw extract`.

    Example: abaw calibrate run/head.safetensors features/ --labels annotations/ -o head.safetensors
    """
    from abawcli.models.metadata import HeadMetadata
    from abawcli.stages.calibrate import CalibrationChoice, find_checkpoint
    from abawcli.views.reliability import plot_calibration

    if temperature is not None and biases == "yes":
        raise UsageError("--temperature excludes --biases yes")
    path, kind = find_checkpoint(checkpoint)
    _check_outputs(path, output, plot)
    choice = CalibrationChoice(biases, temperature)
    if kind == HeadMetadata.kind:
        if images or manifest or not (labels and (features or more_features)):
            raise UsageError(f"{path} is a head: give FEATURES and --labels")
        sets = list_sets(features, more_features, "FEATURES...")
        done = _calibrate_head(
            path, sets, labels, output, choice=choice, device=device, overwrite=overwrite
        )
    else:
        if features or more_features or labels or not (images and manifest):
            raise UsageError(f"{path} is a face encoder: give --images and --manifest")
        done = _calibrate_encoder(
            path, images, manifest, output, choice=choice, split=split, device=device,
            overwrite=overwrite, quiet=quiet,
        )  # fmt: skip
    if plot:
        plot_calibration(done, plot, overwrite=overwrite)
    if as_json:
        print_json(done["summary"])
    else:
        _print_summary(done["summary"], output, quiet)


def _check_outputs(checkpoint: Path, output: Path, plot: Path | None) -> None:
    """Check, before any work, that the outputs can be written and do not replace the input."""
    from abawcli.formats.outputs import check_apart, check_writable
    from abawcli.views.plot import check_plot_name

    outputs = [output, *([plot] if plot else [])]
    check_apart(outputs, [checkpoint])
    check_writable(outputs)
    if plot:
        check_plot_name(plot)


def _calibrate_head(
    path: Path,
    sets: list[tuple[str, ...]],
    labels: str,
    output: Path,
    *,
    choice: Any,
    device: str,
    overwrite: bool,
) -> Provenance:
    from abawcli.datasets.pairing import ANNOTATION_SUFFIXES
    from abawcli.formats.inputs import expand_inputs
    from abawcli.formats.outputs import check_apart
    from abawcli.stages.calibrate import calibrate_head

    files = find_feature_files(sets), expand_inputs([labels], ANNOTATION_SUFFIXES)
    check_apart([output], [*itertools.chain(*files[0]), *files[1]])
    return calibrate_head(path, *files, output, choice=choice, device=device, overwrite=overwrite)


def _calibrate_encoder(
    path: Path,
    images: Path,
    manifest: Path,
    output: Path,
    *,
    choice: Any,
    split: str,
    device: str,
    overwrite: bool,
    quiet: bool,
) -> Provenance:
    from abawcli.stages.calibrate import calibrate_encoder

    with progress_bar("calibrate", "image", quiet) as update:
        return calibrate_encoder(
            path, images, manifest, output, choice=choice, split=split, device=device,
            overwrite=overwrite, progress=update,
        )  # fmt: skip


def _print_summary(summary: JsonObject, output: Path, quiet: bool) -> None:
    def show(figure: dict[str, float]) -> str:
        return f"{figure['value']:.4f} ({figure['low']:.3f}-{figure['high']:.3f})"

    rows = [
        [name, show(summary["before"][key]), show(summary["after"][key])]
        for key, name in FIGURES.items()
    ]
    means = [f"{summary[key]['confidence']:.4f}" for key in ("before", "after")]
    rows.append(["mean confidence", *means])
    title = f"calibration, {summary['examples']:,} examples in {summary['groups']:,} groups"
    print_table(title, ["out of fold (95 % CI)", "before", "after"], rows)
    if quiet:
        return
    biases = zip(CLASSES, summary["bias"], strict=True)
    shown = ", ".join(f"{name} {bias:+.2f}" for name, bias in biases if bias)
    say(f"abaw: {output}: temperature {summary['temperature']:.3f}, biases {shown or 'none'}")
    if summary["left_out"]:
        say(
            f"abaw: {summary['left_out']:,} frames with a face alone, or speech alone, are left "
            "out: an encoder's classifier labels them"
        )
