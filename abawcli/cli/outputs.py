"""The option -o; `-` is stdout for text outputs."""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import click

from abawcli.cli.console import writing
from abawcli.cli.signals import note_stdout
from abawcli.formats.atomic import make_work_folder, sweep_leftovers

STDOUT = Path("-")
_META = "abaw.stdout"


class OutputPath(click.Path):
    """The path of an output: of a file, where `name/` and `.` are refused, or of either kind."""

    def __init__(self, is_file: bool = False) -> None:
        super().__init__(path_type=Path)
        self.is_file = is_file

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path.

        Raises:
            click.BadParameter: a file is wanted, and it ends like the path of a folder.
        """
        if self.is_file and os.path.basename(value) in ("", os.curdir, os.pardir):
            self.fail(f"{value} is a folder; give the name of a file", param, ctx)
        return super().convert(value, param, ctx)


def refuse_stdout(
    ctx: click.Context, parameter: click.Parameter, output: Path | None
) -> Path | None:
    """Refuse `-` for outputs that are folders or binary files.

    Raises:
        click.BadParameter: the output is `-`.
    """
    if output == STDOUT:
        raise click.BadParameter("this command does not write to stdout; give a name")
    return output


def refuse_files(ctx: click.Context, parameter: click.Parameter, output: Path) -> Path:
    """Refuse `-`, and names of files, for outputs that are always folders.

    Raises:
        click.BadParameter: the output is `-`.
        UsageError: as `check_folder_name`.
    """
    from abawcli.formats.outputs import check_folder_name

    refuse_stdout(ctx, parameter, output)
    check_folder_name(output)
    return output


def is_to_stdout() -> bool:
    """Tell whether the running command was given `-o -`."""
    return bool(click.get_current_context().meta.get(_META))


def show_name(output: Path) -> str:
    """Return what messages call an output: its path, or `stdout`."""
    return "stdout" if is_to_stdout() else str(output)


def read_json_flag(ctx: click.Context, parameter: click.Parameter, as_json: bool) -> bool:
    """Return whether --json is given; refuse it together with `-o -`, in either order.

    Raises:
        click.UsageError: both are given.
    """
    if as_json and ctx.meta.get(_META):
        raise click.UsageError("-o - and --json both write to stdout; give -o a name")
    return as_json


def text_output_option(name: str | None, required: bool, text: str) -> Callable[[Any], Any]:
    """Add -o; for `-` the command writes to a temporary path, which is printed when it ends.

    The path is a file called `name`, or without a name a folder for prediction tables.
    """

    def read(ctx: click.Context, parameter: click.Parameter, output: Path | None) -> Path | None:
        if output != STDOUT:
            return output
        ctx.meta[_META] = True
        read_json_flag(ctx, parameter, bool(ctx.params.get("as_json")))
        note_stdout()
        sweep_leftovers(gettempdir())
        # The root context owns it, so it is removed even if an option after -o is wrong.
        folder = ctx.find_root().with_resource(make_work_folder(Path(gettempdir(), "stdout")))
        ctx.call_on_close(lambda: _print_file(folder / name) if name else _print_tables(folder))
        return folder / name if name else folder

    return click.option(
        "-o", "--output", type=OutputPath(is_file=bool(name)), required=required, callback=read,
        help=f"{text}; - is stdout.",
    )  # fmt: skip


def _print_file(path: Path) -> None:
    if path.is_file():  # missing if the command failed
        _print_from(path, 0)


def _print_tables(folder: Path) -> None:
    """Print all tables in a folder as one csv."""
    from abawcli.formats.tables import read_table, write_table

    for path in folder.rglob("*.parquet"):
        write_table(read_table(path, task=None), path.with_suffix(".csv"), {})
    for k, path in enumerate(sorted(folder.rglob("*.csv"))):
        _print_from(path, 1 if k else 0)


def _print_from(path: Path, first_line: int) -> None:
    with writing(), path.open("rb") as file:
        for _ in range(first_line):
            file.readline()
        stdout = sys.stdout.buffer
        shutil.copyfileobj(file, stdout)
        stdout.flush()
