"""Options for pretrained classifiers: `hf:` models and ONNX files."""

from __future__ import annotations

import click

from abawcli.cli.bundles import bundle_options
from abawcli.config import ONNX_INPUTS, Classifiers

onnx_input_option = click.option(
    "--onnx-input", metavar="NAME|SIZE:MEAN:STD",
    help=f"Input of an ONNX file: {', '.join(ONNX_INPUTS)} (models of EmotiEffLib), or its side in "
    "pixels and the mean and deviation of values in 0..1, such as 224:0.5,0.5,0.5:0.5,0.5,0.5.  "
    "[default: by the file's name]",
)  # fmt: skip


def read_label_map(
    ctx: click.Context, parameter: click.Parameter, text: str | None
) -> dict[str, str]:
    """Return the classes of labels; the callback of --label-map."""
    from abawcli.label_maps import parse_label_map

    return {} if text is None else parse_label_map(text)


def _read_temperatures(
    ctx: click.Context, parameter: click.Parameter, text: str | None
) -> tuple[float, ...]:
    try:
        return () if text is None else tuple(float(part) for part in text.split(","))
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a list of numbers, such as 1.5,2") from None


classifier_options = bundle_options("classifiers", Classifiers, [
    click.option(
        "--label-map", callback=read_label_map, metavar="LABEL=CLASS,...",
        help="Classes of labels of hf: and .onnx recipes that are not recognised; none ignores a "
        "label. Labels of an ONNX file that is not of EmotiEffLib are numbers from 0.",
    ),
    click.option(
        "--temperatures", callback=_read_temperatures, metavar="T,...",
        help="Divide the logits of hf: and .onnx recipes by T, one for each --recipe: above 1, "
        "probabilities are closer to each other.  [default: 1]",
    ),
    onnx_input_option,
])  # fmt: skip
