"""`abaw agree`: agreement between coders."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path

import click
import numpy as np

from abawcli.cli.batch import report_failures
from abawcli.cli.console import print_json, print_table
from abawcli.cli.options import complete_files, json_option, verbosity_options
from abawcli.config import SHOWN_FAILURES
from abawcli.errors import UsageError
from abawcli.labels import CLASSES

LOG = logging.getLogger(__name__)


@click.command(name="agree")
@click.argument(
    "coders", nargs=-1, required=True, metavar="CODER CODER...", shell_complete=complete_files
)
@json_option
@verbosity_options
def command(coders: tuple[str, ...], as_json: bool, quiet: bool) -> None:
    """Measure the agreement between two or more coders: people, or predictions.

    A CODER is a file or a folder of labels: annotations as for `abaw score`, or prediction tables
    with one subject per video. Videos are matched by name. Intervals in seconds are compared at the
    frames of a prediction table; if no coder has frames, 25 times a second. Frames that one coder
    of a pair did not label are left out of its figures, and videos that only one coder labelled
    are named on stderr: in many studies, only a part is coded twice. Alpha and kappa are empty
    where all labels are of one class.

    The output has Krippendorff's alpha (nominal) over all coders. For each pair of coders it has
    Cohen's kappa, the share of frames with the same label, and the share of segments that match
    (intersection over union of 0.5 or more). The intervals are 95 % bootstrap intervals over
    videos.

    Example: abaw agree anna/ ben/ predictions/
    """
    from abawcli.datasets.pairing import ANNOTATION_SUFFIXES
    from abawcli.formats.inputs import expand_inputs
    from abawcli.stages.agree import agree_files, describe_agreement

    if len(coders) < 2:
        raise UsageError("agreement needs at least two coders")
    twice = [name for name in coders if coders.count(name) > 1]
    if twice:
        raise UsageError(f"{twice[0]} is given twice; name each coder once")
    files = {name: expand_inputs([name], ANNOTATION_SUFFIXES) for name in coders}
    found = agree_files(files)
    if as_json:
        print_json(describe_agreement(found))
    else:
        names = _shorten(coders)
        rows = [
            [
                " / ".join(names[name] for name in pair.coders), str(pair.videos),
                f"{pair.frames:,}", _show(pair.agreement), _show(pair.kappa),
                _show_interval(pair.kappa_interval), _show(pair.segments),
            ]
            for pair in found.pairs
        ]  # fmt: skip
        columns = ["coders", "videos", "frames", "same label", "kappa", "95 %", "segments"]
        print_table("Agreement of each pair of coders", columns, rows)
        print_table(
            "Agreement by class (share of its frames to which another coder gives the same class)",
            list(CLASSES),
            [[_show(found.classes[name]) for name in CLASSES]],
        )
        videos = f"{found.videos} video{'s' if found.videos > 1 else ''}"
        title = f"{len(coders)} coders, {videos}, {found.frames:,} frames"
        interval = _show_interval(found.alpha_interval)
        print_table(title, ["Krippendorff's alpha", "95 %"], [[_show(found.alpha), interval]])
    _warn_of_single(found.single)
    report_failures(found.failed, found.videos)


def _warn_of_single(single: Mapping[str, str]) -> None:
    """Name the first videos that only one coder labelled: their names may be misspelt."""
    if single:
        named = [f"{video} ({coder})" for video, coder in list(single.items())[:SHOWN_FAILURES]]
        rest = len(single) - len(named)
        LOG.warning(
            "left out, because only one coder labelled it: %s%s",
            ", ".join(named),
            f" and {rest} others" if rest else "",
        )


def _show(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.3f}"


def _show_interval(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f"{interval[0]:.3f} to {interval[1]:.3f}"


def _shorten(coders: tuple[str, ...]) -> dict[str, str]:
    """Return the last part of each coder's path, or the whole path if two would be the same."""
    short = {name: Path(os.path.normpath(name)).name for name in coders}
    return short if len(set(short.values())) == len(coders) else {name: name for name in coders}
