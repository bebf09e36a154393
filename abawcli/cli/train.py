"""`abaw train`: the group of the training commands: face, voice, head."""

import click

from abawcli.cli.console import say
from abawcli.cli.groups import HintingGroup
from abawcli.cli.train_face import command as face
from abawcli.cli.train_head import command as head
from abawcli.cli.train_voice import command as voice

# Old option of `train encoder` -> its name in `train face` or `train voice`.
RENAMED = {"--audio": "--recordings", "--labels": "--targets"}


@click.group(name="train", cls=HintingGroup)
def command() -> None:
    """Train a face encoder, a voice encoder or a fusion head on your own data."""


@command.command(
    name="encoder",
    hidden=True,
    add_help_option=False,
    context_settings={"ignore_unknown_options": True},
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def encoder(ctx: click.Context, arguments: tuple[str, ...]) -> None:
    """Run `train face` or `train voice` under their common old name, until version 0.3."""
    target = voice if "--audio" in arguments else face
    say(f"abaw: note: `train encoder` is now called `train {target.name}`")
    renamed = [RENAMED.get(argument, argument) for argument in arguments]
    with target.make_context(str(target.name), renamed, parent=ctx.parent) as inner:
        target.invoke(inner)


for trainer in (face, voice, head):
    command.add_command(trainer)
