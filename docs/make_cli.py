"""Write docs/cli.md from the commands' own help: `python docs/make_cli.py`."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from abawcli.cli import COMMANDS, main

PAGE = Path(__file__).with_name("cli.md")
INTRODUCTION = """\
Made from `abaw COMMAND --help` by `python docs/make_cli.py`; the tests compare the two.
"""
WIDTH = 90  # columns of help text, whatever the terminal


def find_commands(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    """Yield a command, and those below it if it is a group, with full names; none is hidden."""
    if command.hidden:
        return
    yield name, command
    if isinstance(command, click.Group):
        for below, subcommand in command.commands.items():
            yield from find_commands(subcommand, f"{name} {below}")


def format_help(name: str, command: click.Command) -> str:
    """Return the section of one command, its help as a text block."""
    settings = {**main.context_settings, "terminal_width": WIDTH}
    context = click.Context(command, info_name=name, **settings)
    depth = "#" * len(name.split())
    return f"{depth} {name}\n\n```text\n{command.get_help(context)}\n```\n"


def describe_commands(names: Iterable[str] = COMMANDS) -> str:
    """Return the whole page."""
    sections = [format_help("abaw", main), INTRODUCTION]
    for name in names:
        command = main.get_command(click.Context(main), name)
        assert command is not None
        sections += [format_help(*found) for found in find_commands(command, f"abaw {name}")]
    return "\n".join(sections)


if __name__ == "__main__":
    PAGE.write_text(describe_commands(), encoding="utf-8")
