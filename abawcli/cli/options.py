"""Options that several commands share."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from abawcli.cli.bundles import Command, bundle_options
from abawcli.cli.console import set_verbosity
from abawcli.cli.outputs import (
    OutputPath,
    read_json_flag,
    refuse_files,
    refuse_stdout,
    text_output_option,
)
from abawcli.config import (
    EXPR,
    MAX_BATCH,
    RECIPE_NAMES,
    ROTATIONS,
    SMOOTHING_METHODS,
    SMOOTHING_SPACES,
    SUBJECTS,
    TASK_NAMES,
    Prediction,
    Smoothing,
    parse_track,
)
from abawcli.labels import N_CLASSES


class RenamedOption(click.Option):
    """An option that also accepts the name it had before version 0.2; help shows the new name."""

    def __init__(self, *args: Any, old: str, **settings: Any) -> None:
        """Prepare the option; `old` is the old flag, such as `--sound-swap`."""
        super().__init__(*args, **settings)
        self.old = old

    def add_to_parser(self, parser: Any, ctx: click.Context) -> None:
        """Let the parser read both names."""
        super().add_to_parser(parser, ctx)
        parser.add_option(self, [self.old], dest=self.name, nargs=self.nargs)


def complete_files(
    ctx: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete file names, for arguments that may also be globs or lists."""
    return [CompletionItem(incomplete, type="file")]


def complete_recipes(
    ctx: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete names of recipes; where none matches, names of files."""
    names = [CompletionItem(name) for name in RECIPE_NAMES if name.startswith(incomplete)]
    return names or complete_files(ctx, parameter, incomplete)


def _verbosity(ctx: click.Context, parameter: click.Parameter, value: bool) -> bool:
    chosen: dict[str, bool] = ctx.meta.setdefault("abaw.verbosity", {})
    chosen[str(parameter.name)] = value
    set_verbosity(chosen.get("verbose", False), chosen.get("quiet", False))
    return value


def is_verbose() -> bool:
    """Tell whether the running command was given -v."""
    context = click.get_current_context(silent=True)
    return bool(context and context.meta.get("abaw.verbosity", {}).get("verbose"))


def verbosity_options(command: Command) -> Command:
    """Add -v and -q; the command receives `quiet`."""
    command = click.option(
        "-v", "--verbose", is_flag=True, expose_value=False, callback=_verbosity,
        help="Show more log messages, and tracebacks.",
    )(command)  # fmt: skip
    return click.option(
        "-q",
        "--quiet",
        is_flag=True,
        callback=_verbosity,
        help="Show errors only, and no progress bar.",
    )(command)


Window = tuple[int | None, float | None]  # (frames, None) or (None, seconds)


def _read_window(ctx: click.Context, parameter: click.Parameter, text: str | None) -> Window | None:
    if text is None:
        return None
    if re.fullmatch(r"\d{1,15}", text):  # 15 digits are enough for any number of frames
        if int(text) % 2 == 0:
            raise click.BadParameter(
                f"{text} is even; a window needs a middle frame, such as {int(text) + 1}"
            )
        return int(text), None
    if re.fullmatch(r"(\d{1,15}(\.\d*)?|\.\d+)s", text) and float(text[:-1]) > 0:
        return None, float(text[:-1])
    raise click.BadParameter(f"{text!r} is neither seconds (1.0s) nor frames (25)")


def window_option(default: str) -> Callable[[Command], Command]:
    """Add --window; the command receives frames and seconds, or None if it is not given."""
    return click.option(
        "--window", callback=_read_window, show_default=default,
        help="Width of the smoothing window: seconds (1.0s), or an odd number of frames (25).",
    )  # fmt: skip


def _read_bias(
    ctx: click.Context, parameter: click.Parameter, text: str | None
) -> tuple[float, ...] | None:
    """Return the bias of each class; it is checked here, before hours of work."""
    if text is None:
        return None
    try:
        bias = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is not a list of numbers, such as 0,0.5,1,..."
        ) from None
    if len(bias) != N_CLASSES or not all(map(math.isfinite, bias)):
        raise click.BadParameter(f"a bias must be {N_CLASSES} numbers, one per class, not {text}")
    return bias


@dataclass(frozen=True)
class SmoothingChoice:
    """The settings of smoothing that the command line gives; None: not given."""

    method: str | None = None
    window: Window | None = None
    space: str | None = None
    bias: tuple[float, ...] | None = None

    def list_changes(self) -> dict[str, Any]:
        """Return the fields of a smoothing that were given."""
        changes: dict[str, Any] = {"method": self.method, "space": self.space, "bias": self.bias}
        changes = {name: value for name, value in changes.items() if value}
        if self.window:
            changes["window_frames"], changes["window_s"] = self.window
        return changes

    def change(self, base: Smoothing) -> Smoothing:
        """Return a smoothing with what was given."""
        return replace(base, **self.list_changes())


def smoothing_options(default: str) -> Callable[[Command], Command]:
    """Add --smoothing, --window, --space and --bias; the command receives `smoothing`.

    `default` says where a value comes from that is not given.
    """
    standard = Smoothing()
    return bundle_options("smoothing", SmoothingChoice, [
        click.option(
            "--smoothing", "method", type=click.Choice(SMOOTHING_METHODS), cls=RenamedOption,
            old="--method", show_default=f"{standard.method}, {default}",
            help="Method that combines the frames of the smoothing window.",
        ),
        window_option(f"{standard.window_s}s, {default}"),
        click.option(
            "--space", type=click.Choice(SMOOTHING_SPACES),
            show_default=f"{standard.space}, {default}",
            help="Smooth the probabilities, or the logits.",
        ),
        click.option(
            "--bias", callback=_read_bias, metavar="B,B,B,B,B,B,B,B",
            show_default=f"0 for all, {default}",
            help="A number for each class, added to the logarithm of its smoothed probability, "
            "for a better macro-F1; `abaw score --sweep` finds them.",
        ),
    ])  # fmt: skip


class SubjectChoice(click.Choice[str]):
    """Whose face: one of SUBJECTS, or `track N`, a number that `abaw sheet` shows."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the subject as strategies spell it."""
        text = " ".join(str(value).lower().split())
        if (number := parse_track(text)) is not None:
            return f"track {number}"
        return super().convert(value, param, ctx)

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        """Return the message for a subject that is none."""
        return f"{value!r} is not one of {', '.join(map(repr, self.choices))} or 'track N'."


def choose_subject(default: str) -> Callable[[Command], Command]:
    """Add --subject; the command receives None where it is not given, which means `default`."""
    return click.option(
        "--subject", type=SubjectChoice(SUBJECTS), metavar=f"{'|'.join(SUBJECTS)}|track N",
        help="Whose face. main: the person who is on screen longest and largest. follow-largest: "
        "the largest face of the first frame with a face, and in each later frame the face that is "
        "most similar to it or, if none is, overlaps it. largest, left, right, top: chosen in each "
        "frame. all: everybody. track N: the track with this number in `abaw sheet`.  "
        f"[default: {default}]",
    )  # fmt: skip


strategy_option = click.option(
    "--strategy", type=click.Path(path_type=Path), metavar="FILE",
    help="Strategy file (csv): whose face to use in each video. `abaw crop` writes one.",
)  # fmt: skip
audio_from_option = click.option(
    "--audio-from", type=click.Path(path_type=Path), metavar="DIR",
    help="For crops as input: folder, with or without subfolders, of the videos that they were "
    "made from. The audio is read there, and for official crops also the timestamps.",
)  # fmt: skip


def labels_option(required: bool = False) -> Callable[[Command], Command]:
    """Add --labels, the annotations; the command receives None if it is not given."""
    return click.option(
        "--labels", required=required, metavar="DIR|FILE", shell_complete=complete_files,
        help="Annotations, named like the videos: ABAW text files, tables of frames or of "
        "intervals, or files of ELAN, Praat, Audacity, BORIS or Label Studio.",
    )  # fmt: skip


inputs_argument = click.argument(
    "inputs", nargs=-1, required=True, metavar="INPUT...", shell_complete=complete_files
)
# Of commands that take other inputs by an option, and check that there are any.
optional_inputs_argument = click.argument(
    "inputs", nargs=-1, metavar="INPUT...", shell_complete=complete_files
)


def output_option(text: str) -> Callable[[Command], Command]:
    """Add -o for outputs that cannot go to stdout; `text` says which kind of path it takes."""
    return click.option(
        "-o", "--output", type=OutputPath(), required=True, callback=refuse_stdout,
        help=text,
    )  # fmt: skip


def output_folder_option(text: str) -> Callable[[Command], Command]:
    """Add -o for outputs that are always folders; `text` says what it has."""
    return click.option(
        "-o", "--output", type=OutputPath(), required=True, callback=refuse_files,
        help=text,
    )  # fmt: skip


table_output_option = text_output_option(None, True, "Output file or folder")
keep_suffix_option = click.option(
    "--keep-suffix", is_flag=True,
    help="Keep the input's suffix in output names (a.mov.csv), if a folder has a.mov and a.mp4.",
)  # fmt: skip
overwrite_option = click.option("--overwrite", is_flag=True, help="Replace existing outputs.")
batch_size_option = click.option(
    "--batch-size", type=click.IntRange(1, MAX_BATCH), default=Prediction().batch_size,
    show_default=True, help="Faces per batch.",
)  # fmt: skip
device_option = click.option(
    "--device", default="auto", show_default=True, metavar="auto|cuda|mps|cpu",
    help="Device that networks run on.",
)  # fmt: skip
rotate_option = click.option(
    "--rotate", type=click.Choice(ROTATIONS), default=0, metavar="0|90|180|270",
    show_default=True,
    help="Rotate frames clockwise by this angle, in addition to the rotation that the file states; "
    "for cameras that do not record their orientation.",
)  # fmt: skip
task_option = click.option(
    "--task", type=click.Choice(TASK_NAMES), default=EXPR, show_default=True,
    help="expr: expressions. va: valence and arousal. au: action units.",
)  # fmt: skip
json_option = click.option(
    "--json", "as_json", is_flag=True, callback=read_json_flag, help="Print JSON to stdout."
)


class FiniteRange(click.FloatRange):
    """Numbers of a range, without not-a-number and infinity, which click's FloatRange accepts."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number."""
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number", param, ctx)
        return number


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
            self.fail(f"{value!r} is not a time; give seconds (83.5) or m:ss (1:23.5)", param, ctx)
        seconds = 0.0
        for part in value.split(":"):
            seconds = 60 * seconds + float(part)
        return seconds


from_option = click.option(
    "--from",
    "from_s",
    type=Seconds(),
    metavar="TIME",
    help="Start: seconds, or m:ss.",
)
to_option = click.option(
    "--to", "to_s", type=Seconds(), metavar="TIME", help="End, not included: seconds, or m:ss."
)
