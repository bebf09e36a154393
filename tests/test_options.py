"""Options: one flag has one meaning in all commands, and renamed flags are still read."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from abawcli.cli import main
from abawcli.cli.participants import choose_groups
from abawcli.errors import UsageError
from abawcli.formats.participants import Groups


def list_commands(group: click.Group, name: str = "") -> Iterator[tuple[str, click.Command]]:
    """Yield all commands that help shows, with full names."""
    context = click.Context(group)
    for below in group.list_commands(context):
        command = group.get_command(context, below)
        if isinstance(command, click.Group):
            yield from list_commands(command, f"{name}{below} ")
        elif command is not None and not command.hidden:
            yield f"{name}{below}", command


COMMANDS = dict(list_commands(main))


def test_a_flag_takes_the_same_kind_of_value_in_all_commands() -> None:
    kinds = defaultdict(set)
    for command in COMMANDS.values():
        for option in command.params:
            for flag in option.opts:
                kinds[flag].add((type(option.type).__name__, option.nargs))
    shared = {flag: found for flag, found in kinds.items() if flag.startswith("-")}
    assert {flag: found for flag, found in shared.items() if len(found) > 1} == {}


def test_flags_that_had_two_meanings_are_in_one_family_of_commands() -> None:
    users = {
        flag: {name for name, command in COMMANDS.items() if flag in list_flags(command)}
        for flag in ("--from", "--to", "--stride", "--rotate", "--format")
    }
    assert users == {
        "--from": {"plot", "render"},
        "--to": {"plot", "render"},
        "--stride": {"crop"},
        "--rotate": {"crop", "extract", "predict", "render"},
        "--format": {"export", "import"},
    }


def list_flags(command: click.Command) -> set[str]:
    return {flag for option in command.params for flag in option.opts}


def parse(name: str, arguments: list[str]) -> dict[str, object]:
    """Return the values that a command would receive; a missing required option is None."""
    settings = {**main.context_settings, "resilient_parsing": True}
    return COMMANDS[name].make_context(name, list(arguments), **settings).params


FLOATS = [
    (name, option)
    for name, command in COMMANDS.items()
    for option in command.params
    if isinstance(option.type, click.FloatRange) and isinstance(option, click.Option)
]


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_numbers_are_finite(value: str) -> None:
    """A training with the learning rate nan would write a head of nan."""
    assert len(FLOATS) > 30
    for name, option in FLOATS:
        with pytest.raises(click.BadParameter, match="not a finite number|not in the range"):
            option.type.convert(value, option, click.Context(COMMANDS[name]))


HEAD = ["train head", "features", "--labels", "labels", "-o", "run"]
FACE = ["train face", "--images", "images", "--manifest", "m.csv", "-o", "run"]


@pytest.mark.parametrize(
    ("call", "old", "new", "value"),
    [
        (["export", "t.csv", "-o", "t.eaf"], "--to", "--format", "elan"),
        (["import", "t.eaf", "-o", "t.txt"], "--from", "--format", "elan"),
        (["smooth", "t.csv", "-o", "s.csv"], "--method", "--smoothing", "mean"),
        (["predict", "v.mp4", "-o", "s.csv"], "--method", "--smoothing", "mean"),
        (HEAD, "--sound-swap", "--audio-swap", "0.25"),
        (HEAD, "--stride", "--attention-stride", "16"),
        (["crossval", *HEAD[1:]], "--stride", "--attention-stride", "16"),
        (FACE, "--rotate", "--max-rotation", "10"),
    ],
)
def test_renamed_flags_are_still_read(call: list[str], old: str, new: str, value: str) -> None:
    before, *after = (
        parse(call[0], [*call[1:], *more]) for more in ([], [old, value], [new, value])
    )
    assert after[0] == after[1]
    assert len([name for name in before if before[name] != after[0][name]]) == 1
    shown = CliRunner().invoke(main, [*call[0].split(), "--help"]).output
    assert f"{new} " in shown and f"{old} " not in shown


def test_columns_to_compare_by_may_name_their_file() -> None:
    file = Path("study/people.csv")
    expected = Groups(file, ("age", "sex"))
    assert choose_groups(file, "age,sex") == choose_groups(None, f"{file}:age,sex") == expected
    assert choose_groups(file, None) == Groups(file)
    assert choose_groups(None, None) is None
    for participants, by in ((None, "age"), (file, "age,"), (None, f"{file}:")):
        with pytest.raises(UsageError, match=r"--by .*(needs --participants|must be COLUMN)"):
            choose_groups(participants, by)
    with pytest.raises(UsageError, match="--by names age twice; name each column once"):
        choose_groups(file, "age,sex,age")


def test_summaries_need_columns_with_a_participants_file() -> None:
    call = ["summarize", "t.csv", "-o", "s.csv", "--participants", "people.csv"]
    result = CliRunner().invoke(main, call)
    assert result.exit_code == 2 and "--participants needs --by" in result.stderr
