"""Options that several commands share, once."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from abawcli.cli.console import set_verbosity
from abawcli.config import ROTATIONS, SUBJECTS, Prediction

Command = Callable[..., Any]


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


def window_option(default_frames: int, other: str = "") -> Callable[[Command], Command]:
    """Add --window; the command receives it as frames and seconds, either of which counts.

    With an `other` default, that depends on something else, it receives None for none.
    """

    def read(
        ctx: click.Context, parameter: click.Parameter, text: str | None
    ) -> tuple[int, float | None] | None:
        if text is None:
            return None
        if re.fullmatch(r"\d{1,15}", text):  # more digits than any video has frames
            if int(text) % 2 == 0:
                raise click.BadParameter(f"{text} is even; a window has a middle frame")
            return int(text), None
        if re.fullmatch(r"(\d{1,15}(\.\d*)?|\.\d+)s", text) and float(text[:-1]) > 0:
            return default_frames, float(text[:-1])
        raise click.BadParameter(f"{text!r} is neither frames (25) nor seconds (1.0s)")

    return click.option(
        "--window", default=None if other else str(default_frames), callback=read,
        show_default=f"{default_frames}; {other}" if other else True,
        help="Width of smoothing: an odd number of frames, or seconds, such as 1.0s.",
    )  # fmt: skip


inputs_argument = click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
output_option = click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, help="Where to write."
)
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
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON to stdout.")


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
