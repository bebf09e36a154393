"""The command `abaw`: one module per command, imported when the command runs."""

import importlib
from typing import Any

import click
from click.shell_completion import CompletionItem

from abawcli import __version__
from abawcli.cli.boundary import error_boundary
from abawcli.cli.groups import HintingGroup, refuse_empty
from abawcli.cli.signals import stop_on_signals

# Command -> one line of help. The lines are here so that `abaw --help` imports no command.
COMMANDS = {
    "crop": "Find faces and write square crops and faces.parquet.",
    "sheet": "Draw contact sheets of the tracks in videos, to choose a subject.",
    "extract": "Extract visual and audio features, one row per frame.",
    "predict": "Predict one of eight expressions for every frame of videos.",
    "smooth": "Smooth a prediction table over time.",
    "segment": "Turn prediction tables into segments with one label each.",
    "summarize": "Summarize prediction tables for a paper: shares, segments, groups.",
    "report": "Make an HTML report: player, timeline, shares, quality, groups.",
    "plot": "Draw timelines of prediction tables.",
    "render": "Render a video with the labels and a timeline drawn in.",
    "export": "Export labels to ELAN, Praat, BORIS, BIDS, subtitles and other formats.",
    "import": "Convert annotations of ELAN, Praat, BORIS and others to labels of frames.",
    "fuse": "Fuse prediction tables of the same frames into one.",
    "score": "Score predictions against annotations.",
    "agree": "Measure the agreement between coders: kappa, alpha, segments.",
    "submit": "Write the submission file of the ABAW EXPR challenge, or check one.",
    "manifest": "List labelled face images of public data sets, to train a face encoder.",
    "train": "Train a face encoder, a voice encoder or a fusion head.",
    "crossval": "Cross-validate heads on folds of annotated videos.",
    "calibrate": "Calibrate the probabilities of a head or of a face encoder.",
    "probe": "Show the streams, frames and timestamps of media files.",
    "models": "List recipes and backbones with their weights and licences.",
    "doctor": "Check the installation: versions, device, weights.",
}

MODULES = {"import": "import_labels"}  # `import` is a keyword and cannot name a module


class LazyGroup(HintingGroup):
    """A command group that imports a command when it is used."""

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
        """Complete the names of commands, without importing them, and options."""
        names = [
            CompletionItem(name, help=text)
            for name, text in COMMANDS.items()
            if name.startswith(incomplete)
        ]
        return names + click.Command.shell_complete(self, ctx, incomplete)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments before the command; --help and --version print here."""
        with error_boundary(ctx):
            if not ctx.resilient_parsing:  # completion gives the empty beginning of a word
                refuse_empty(args)
            return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; report an error in one line, with -v after the traceback."""
        with error_boundary(ctx):
            return super().invoke(ctx)

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run the program; on a signal, clean up and exit."""
        with stop_on_signals():
            return super().main(*args, **extra)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="abaw")
def main() -> None:
    """Annotate facial expressions in videos, frame by frame.

    Example: abaw predict interview.mp4 -o labels.csv

    Inputs are files, folders, globs, lists (@list.txt: one input per line; lines that begin with #
    are comments) or @- (a list from stdin). Data goes to stdout or -o, log messages go to stderr.
    Exit status: 0 success, 1 some inputs failed (the others are done), 2 wrong usage, 130
    interrupted.
    """
