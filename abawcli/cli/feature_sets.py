"""The option --features: features of several backbones, which a head reads together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from abawcli.cli.options import complete_files

if TYPE_CHECKING:
    from abawcli.formats.feature_sets import FeaturePaths

FEATURES = frozenset([".safetensors"])
Arguments = tuple[str, ...]

features_option = click.option(
    "--features", "more_features", multiple=True, metavar="FEATURES", shell_complete=complete_files,
    help="Features of the same videos by another backbone, file or folder; once for each further "
    "backbone. Features are concatenated in this order, frame by frame.",
)  # fmt: skip


def list_sets(arguments: Arguments, more: Arguments, name: str) -> list[Arguments]:
    """Return the arguments of each set of features; `name` is that of the positional argument.

    Raises:
        click.UsageError: there is none.
    """
    sets = [each for each in (arguments, *((each,) for each in more)) if each]
    if not sets:
        raise click.UsageError(f"Missing argument '{name}'.")
    return sets


def find_feature_files(sets: Sequence[Arguments]) -> list[FeaturePaths]:
    """Return the files of each track.

    Raises:
        InputError: as `expand_inputs` and `match_feature_sets`; or a set is given twice.
    """
    from abawcli.errors import InputError
    from abawcli.formats.feature_sets import match_feature_sets
    from abawcli.formats.inputs import expand_inputs

    named = {" ".join(arguments): expand_inputs(arguments, FEATURES) for arguments in sets}
    if len(named) < len(sets):
        raise InputError("--features names the same features twice; give each backbone once")
    return match_feature_sets(named)
