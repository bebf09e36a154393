"""Command groups that suggest a command for a mistyped one."""

import difflib
import re
from collections.abc import Sequence

import click


def refuse_empty(arguments: Sequence[str]) -> None:
    """Refuse an empty argument: as a path it is the working folder, and options would be ignored.

    Raises:
        click.UsageError: there is one.
    """
    for before, argument in zip(["abaw", *arguments], arguments, strict=False):
        flag = argument[:-1] if re.fullmatch(r"--[\w-]+=", argument) else None
        if flag or not argument:
            name = flag or f"the argument after {before}"
            raise click.UsageError(f"{name} is empty; is it a shell variable that is not set?")


class HintingGroup(click.Group):
    """A command group that suggests similar names for a mistyped command."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; for an unknown one, suggest commands with similar names."""
        name, command = args[0], self.get_command(ctx, args[0])
        if command is None and not name.startswith("-") and not ctx.resilient_parsing:
            near = difflib.get_close_matches(name, self.list_commands(ctx))
            hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
            ctx.fail(f"No such command {name!r}.{hint}")
        return super().resolve_command(ctx, args)
