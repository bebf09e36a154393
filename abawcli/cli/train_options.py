"""Options that the commands of `abaw train` share, and the table of their result."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from abawcli.cli.bundles import Command
from abawcli.cli.console import print_table
from abawcli.cli.options import FiniteRange, RenamedOption, output_folder_option
from abawcli.models.training_metadata import EpochResult

PRECISION_HELP = "Number format; auto: bfloat16 if the device supports it."
RATE = FiniteRange(min=0)
POSITIVE = FiniteRange(min=0, min_open=True)
SHARE = FiniteRange(0, 1)


class NumberList(click.ParamType[tuple[int, ...]]):
    """Whole numbers separated by commas, at least `minimum` each."""

    name = "N,N,..."

    def __init__(self, minimum: int) -> None:
        self.minimum = minimum

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        """Return the numbers."""
        if isinstance(value, tuple):
            return value
        numbers = tuple(int(part) for part in str(value).split(",") if part.strip().isdecimal())
        if len(numbers) < len(str(value).split(",")) or min(numbers) < self.minimum:
            self.fail(
                f"{value!r} is no list of whole numbers from {self.minimum}, such as 64,128,256",
                param,
                ctx,
            )
        return numbers


manifest_option = click.option(
    "--manifest", type=click.Path(path_type=Path), required=True,
    help="csv with the columns file, label and split (train, valid); for images also votes "
    "v_<expression>, for recordings also speaker and corpus.",
)  # fmt: skip
run_option = output_folder_option("Run folder.")


def show_value(value: Any) -> str:
    """Return a default in the form of the command line."""
    if isinstance(value, str):
        return value
    if not isinstance(value, tuple):
        return f"{value:g}"
    return ("," if isinstance(value[0], int) else " ").join(f"{v:g}" for v in value)


def tunable(
    flag: str,
    field: str,
    kind: Any,
    text: str,
    *,
    defaults: dict[str, Any],
    old: str | None = None,
) -> Callable[[Command], Command]:
    """Make an option that sets a field of a configuration; it is None if it is not given.

    `defaults` are the field's default values by the backbone or head that they apply to; the first
    has no name. `old` is the flag's name before version 0.2, which is still read.
    """
    (_, first), *others = defaults.items()
    shown = show_value(first)
    shown += "".join(f"; {name} {show_value(other)}" for name, other in others if other != first)
    renamed: dict[str, Any] = {"cls": RenamedOption, "old": old} if old else {}
    return click.option(flag, field, type=kind, help=f"{text}  [default: {shown}]", **renamed)


patience_option = click.option(
    "--patience", type=click.IntRange(min=1),
    help="Early stopping: end training after this many epochs without a better one.  [default: "
    "all epochs]",
)  # fmt: skip


def is_silent() -> bool:
    """Tell whether this is a process of distributed training other than the first."""
    return os.environ.get("RANK", "0") != "0"


def print_best(history: Sequence[EpochResult], checkpoint: Path, *, last: bool = False) -> None:
    """Print the scores of the epoch that was saved, the best one or the last one, to stderr."""
    rated = history[-1:] if last else history
    chosen = max(rated, key=lambda result: -1.0 if result.criterion is None else result.criterion)
    assert chosen.validation is not None
    print_table(
        f"{checkpoint}: epoch {chosen.epoch} of {len(history)}",
        ["score of", ""],
        [[name, f"{value:.3f}"] for name, value in chosen.validation.list_figures()],
        stderr=True,
    )
