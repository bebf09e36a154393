"""The value of `--baseline`: a file, a part of each video, or `auto`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from abawcli.cli.options import Seconds

if TYPE_CHECKING:
    from abawcli.pipeline.baseline import Baseline


def read_baseline(
    ctx: click.Context, parameter: click.Parameter, text: str | None
) -> Baseline | None:
    """Return the baseline that a text names; a file of that name comes before times.

    Raises:
        InputError: the file is no table of neutral frames.
        click.BadParameter: the text is neither a file nor times in order.
    """
    if text is None or ctx.resilient_parsing:
        return None
    from abawcli.formats.baseline import read_neutral_frames
    from abawcli.formats.tables import TABLE_SUFFIXES
    from abawcli.pipeline.baseline import Baseline

    if text == "auto":
        return Baseline()
    if os.path.exists(text) or os.path.splitext(text)[1].lower() in TABLE_SUFFIXES:
        return Baseline(frames=read_neutral_frames(text))
    start, dash, end = text.partition("-")
    if not dash:
        raise click.BadParameter(
            f"{text!r} is neither auto, nor a file, nor times FROM-TO such as 0:02-0:05"
        )
    span = Seconds().convert(start, parameter, ctx), Seconds().convert(end, parameter, ctx)
    if not span[0] < span[1]:
        raise click.BadParameter(f"{text!r} ends before it begins; give FROM-TO, such as 2-5")
    return Baseline(span_s=span)
