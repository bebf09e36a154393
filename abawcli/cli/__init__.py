"""The command `abaw`: one thin file a command, loaded when it is called."""

import importlib
from typing import Any

import click
from click.shell_completion import CompletionItem

from abawcli import __version__
from abawcli.cli.boundary import error_boundary
from abawcli.cli.groups import HintingGroup
from abawcli.cli.signals import stop_on_signals

# Command -> (module below this package, one line of help). Help lines stand here so that
# `abaw --help` imports no command.
COMMANDS = {
    "crop": "Find faces and write square crops and faces.parquet.",
    "sheet": "Draw who is in a video when, to choose whose face is cropped.",
    "extract": "Extract features of faces and sound, a row a frame.",
    "predict": "Label every frame of videos with one of eight expressions.",
    "smooth": "Smooth a prediction table over time.",
    "segment": "Turn prediction tables into segments of one label.",
    "summarize": "Summarize prediction tables: shares, segments, groups, for a paper.",
    "report": "Make a report in HTML: player, timeline, shares, quality, groups.",
    "plot": "Draw the timeline of prediction tables.",
    "render": "Draw the labels of a prediction table into its video, with a timeline.",
    "export": "Export labels to ELAN, Praat, BORIS, BIDS, subtitles and other formats.",
    "import": "Import labels that people made in ELAN, Praat, BORIS and other programs.",
    "fuse": "Fuse prediction tables of the same frames into one.",
    "score": "Score predictions against annotations.",
    "agree": "Measure the agreement between coders: kappa, alpha, segments.",
    "submit": "Write the submission file of the ABAW EXPR challenge, or check one.",
    "train": "Train an encoder on labelled images, or a head on features.",
    "crossval": "Cross-validate heads on folds of annotated videos.",
    "probe": "Show what is in a media file: streams, frames, times.",
    "models": "List recipes and backbones, their weights and licences.",
    "doctor": "Check the installation: versions, device, weights.",
}

MODULES = {"import": "import_labels"}  # of commands that Python has another use for


class LazyGroup(HintingGroup):
    """A group whose commands are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the command names in pipeline order."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import `abawcli.cli.<name>` and return its `command`."""
        if cmd_name not in COMMANDS:
            return None
        module = MODULES.get(cmd_name, cmd_name)
        command: click.Command = importlib.import_module(f"abawcli.cli.{module}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete a command's name without importing it, or an option."""
        names = [
            CompletionItem(name, help=text)
            for name, text in COMMANDS.items()
            if name.startswith(incomplete)
        ]
        return names + click.Command.shell_complete(self, ctx, incomplete)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse what stands before the command; --help and --version print here."""
        with error_boundary(ctx):
            return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; say what went wrong in one line, with -v after the traceback."""
        with error_boundary(ctx):
            return super().invoke(ctx)

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run the program; signals end it tidily."""
        with stop_on_signals():
            return super().main(*args, **extra)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="abaw")
def main() -> None:
    """Frame-level facial expressions of videos: crop, extract, train, predict, smooth, score.

    Inputs are files, folders, globs or @list.txt. Data goes to stdout or -o, talk to stderr.
    Exit status: 0 all well, 1 some inputs failed (the others are done), 2 wrong usage, 130
    interrupted.
    """
