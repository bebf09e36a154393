"""Options that several commands share, once."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from abawcli.cli.console import set_verbosity
from abawcli.cli.outputs import read_json_flag, refuse_stdout, text_output_option
from abawcli.config import (
    RECIPE_NAMES,
    ROTATIONS,
    SMOOTHING_METHODS,
    SMOOTHING_SPACES,
    SUBJECTS,
    Prediction,
    Smoothing,
    parse_track,
)

Command = Callable[..., Any]


def complete_files(
    ctx: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Let the shell complete names of files, for what may also be a glob or a list."""
    return [CompletionItem(incomplete, type="file")]


def complete_recipes(
    ctx: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete names of recipes, and where none begins so, of files."""
    names = [CompletionItem(name) for name in RECIPE_NAMES if name.startswith(incomplete)]
    return names or complete_files(ctx, parameter, incomplete)


def _verbosity(ctx: click.Context, parameter: click.Parameter, value: bool) -> bool:
    chosen: dict[str, bool] = ctx.meta.setdefault("abaw.verbosity", {})
    chosen[str(parameter.name)] = value
    set_verbosity(chosen.get("verbose", False), chosen.get("quiet", False))
    return value


def is_verbose() -> bool:
    """Tell whether the command that runs was given -v."""
    context = click.get_current_context(silent=True)
    return bool(context and context.meta.get("abaw.verbosity", {}).get("verbose"))


def verbosity_options(command: Command) -> Command:
    """Add -v and -q; the command receives `quiet`."""
    command = click.option(
        "-v", "--verbose", is_flag=True, expose_value=False, callback=_verbosity,
        help="Say more, and show tracebacks.",
    )(command)  # fmt: skip
    return click.option(
        "-q", "--quiet", is_flag=True, callback=_verbosity, help="Errors only, no progress bar."
    )(command)


Window = tuple[int | None, float | None]  # frames or seconds, the other is None


def _read_window(ctx: click.Context, parameter: click.Parameter, text: str | None) -> Window | None:
    if text is None:
        return None
    if re.fullmatch(r"\d{1,15}", text):  # more digits than any video has frames
        if int(text) % 2 == 0:
            raise click.BadParameter(f"{text} is even; a window has a middle frame")
        return int(text), None
    if re.fullmatch(r"(\d{1,15}(\.\d*)?|\.\d+)s", text) and float(text[:-1]) > 0:
        return None, float(text[:-1])
    raise click.BadParameter(f"{text!r} is neither seconds (1.0s) nor frames (25)")


def window_option(default: str) -> Callable[[Command], Command]:
    """Add --window; the command receives frames and seconds, or None where it is not given."""
    return click.option(
        "--window", callback=_read_window, show_default=default,
        help="Width of smoothing: seconds, such as 1.0s, or an odd number of frames.",
    )  # fmt: skip


def smoothing_options(default: str) -> Callable[[Command], Command]:
    """Add --smoothing, --window and --space; each is None where it is not given.

    `default` names whose smoothing it is then.
    """

    def add(command: Command) -> Command:
        standard = Smoothing()
        options: list[Callable[[Command], Command]] = [
            click.option(
                "--smoothing", "method", type=click.Choice(SMOOTHING_METHODS),
                show_default=f"{standard.method}; {default}",
                help="What a frame becomes of its window.",
            ),
            window_option(f"{standard.window_s}s; {default}"),
            click.option(
                "--space", type=click.Choice(SMOOTHING_SPACES),
                show_default=f"{standard.space}; {default}",
                help="What the statistic is of; logits are what softmax made probabilities of.",
            ),
        ]  # fmt: skip
        for option in reversed(options):
            command = option(command)
        return command

    return add


def choose_smoothing(
    base: Smoothing, method: str | None, window: Window | None, space: str | None
) -> Smoothing:
    """Return a smoothing with what was given on the command line."""
    changed = replace(base, method=method or base.method, space=space or base.space)
    if window is None:
        return changed
    return replace(changed, window_frames=window[0], window_s=window[1])


class SubjectChoice(click.Choice[str]):
    """Whose face: one of SUBJECTS, or `track N`, a number that `abaw sheet` shows."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the subject as strategies spell it."""
        text = " ".join(str(value).lower().split())
        if (number := parse_track(text)) is not None:
            return f"track {number}"
        return super().convert(value, param, ctx)


def choose_subject(default: str) -> Callable[[Command], Command]:
    """Add --subject; the command receives None where it is not given, which means `default`."""
    return click.option(
        "--subject", type=SubjectChoice(SUBJECTS), metavar=f"{'|'.join(SUBJECTS)}|track N",
        help="Whose face: the person on screen longest and largest; in each frame the largest or "
        "the outermost; everybody's; or the track with a number that `abaw sheet` shows.  "
        f"[default: {default}]",
    )  # fmt: skip


strategy_option = click.option(
    "--strategy", type=click.Path(path_type=Path), metavar="FILE",
    help="csv that says whose face for each video, as `abaw crop` writes strategy.csv.",
)  # fmt: skip
audio_from_option = click.option(
    "--audio-from", type=click.Path(path_type=Path), metavar="DIR",
    help="Where the videos of crops are: their sound, and the times of official crops.",
)  # fmt: skip
inputs_argument = click.argument(
    "inputs", nargs=-1, required=True, metavar="INPUT...", shell_complete=complete_files
)
output_option = click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, callback=refuse_stdout,
    help="Where to write.",
)  # fmt: skip
table_output_option = text_output_option(None, True, "Where to write")
keep_suffix_option = click.option(
    "--keep-suffix", is_flag=True,
    help="Keep inputs' suffixes in names, as in a.mov.csv: for a.mov and a.mp4 in one folder.",
)  # fmt: skip
overwrite_option = click.option(
    "--overwrite", is_flag=True, help="Replace outputs that are there; without it they are kept."
)
subject_option = click.option(
    "--subject", type=click.Choice(SUBJECTS), default="main", show_default=True,
    help="Whose face: the person on screen longest and largest; in each frame the largest or "
    "the outermost; or everybody's.",
)  # fmt: skip
batch_size_option = click.option(
    "--batch-size", type=click.IntRange(min=1), default=Prediction().batch_size,
    show_default=True, help="Faces that the network takes at once.",
)  # fmt: skip
device_option = click.option(
    "--device", default="auto", show_default=True, metavar="auto|cuda|mps|cpu",
    help="Where networks run.",
)  # fmt: skip
rotate_option = click.option(
    "--rotate", type=click.Choice(ROTATIONS), default=0, metavar="90|180|270",
    help="Turn frames clockwise by so many degrees, beyond what the file itself says: for cameras "
    "that do not record how they were held.",
)  # fmt: skip
json_option = click.option(
    "--json", "as_json", is_flag=True, callback=read_json_flag, help="Print JSON to stdout."
)


class Seconds(click.ParamType[float]):
    """A time in a video: seconds (`83.5`), or minutes and seconds (`1:23.5`, `1:02:03`)."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the time in seconds."""
        if isinstance(value, float):
            return value
        if not re.fullmatch(r"(\d{1,6}:){0,2}\d{1,9}(\.\d*)?", value):
            self.fail(f"{value!r} is no time; give seconds (83.5) or m:ss (1:23.5)", param, ctx)
        seconds = 0.0
        for part in value.split(":"):
            seconds = 60 * seconds + float(part)
        return seconds


from_option = click.option(
    "--from", "from_s", type=Seconds(), metavar="TIME", help="Begin here: seconds, or m:ss."
)
to_option = click.option(
    "--to", "to_s", type=Seconds(), metavar="TIME", help="End before this time."
)
