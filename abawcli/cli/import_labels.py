"""`abaw import`: annotations made or corrected in other programs."""

from pathlib import Path

import click

from abawcli.cli.console import say
from abawcli.cli.options import RenamedOption, output_option, overwrite_option, verbosity_options
from abawcli.config import IMPORT_FORMATS
from abawcli.errors import UsageError

PATH = click.Path(path_type=Path)


@click.command(name="import")
@click.argument("file", type=PATH)
@click.option(
    "--format", "kind", type=click.Choice(IMPORT_FORMATS), required=True, cls=RenamedOption,
    old="--from", help="Format of the file.",
)  # fmt: skip
@output_option("Output file: .txt or .csv; with --table, .csv or .parquet.")
@click.option(
    "--video", type=PATH, help="The video, or its prediction table, for the timestamps of frames."
)
@click.option(
    "--frames",
    type=click.IntRange(min=1),
    help="Number of frames of the video, for labels by frame number.",
)
@click.option(
    "--table", type=PATH, help="Write this prediction table with the labels of FILE in place of "
    "its own.",
)  # fmt: skip
@click.option("--tier", help="Tier or subject to read, if the file has several.")
@click.option(
    "--map", "names", multiple=True, metavar="NAME=CLASS",
    help="Class of another label name, such as joy=Happiness; none ignores a label. May be given "
    "several times.",
)  # fmt: skip
@overwrite_option
@verbosity_options
def command(
    file: Path,
    kind: str,
    output: Path,
    video: Path | None,
    frames: int | None,
    table: Path | None,
    tier: str | None,
    names: tuple[str, ...],
    overwrite: bool,
    quiet: bool,
) -> None:
    """Convert annotations of another program to labels of frames.

    Commands with annotations, such as score, agree, plot and train, read these files directly.
    import is needed to choose one of several tiers, or to map other label names. The output is an
    ABAW annotation (.txt), or a csv with the columns video, frame and label. Frames without a label
    get -1. Label names are those of the eight classes, in upper or lower case, or numbers; --map
    adds other names.

    With --table, the output is a prediction table with the corrected labels, for segment,
    summarize, report and other commands that read tables. Its probabilities stay those of the
    model. Frames that had no label get the source filled, and frames without one the source none.
    Export with --min-duration 0, because segments that are left out come back as frames without a
    label.

    Example: abaw import corrected.eaf --format elan --video clip.mp4 -o clip.txt
    """
    from abawcli.formats.outputs import check_apart
    from abawcli.stages.import_labels import import_file, import_into_table

    pairs = [name.partition("=") for name in names]
    wrong = [name for name, (key, equals, value) in zip(names, pairs, strict=True) if not value]
    if wrong:
        raise UsageError(f"--map {wrong[0]} must be NAME=CLASS")
    classes = {key: value for key, _, value in pairs}
    if table is not None:
        if video is not None or frames is not None:
            raise UsageError("--table has the frames; give it without --video and --frames")
        check_apart([output], [file, table])
        work = import_into_table(
            file, output, kind, table, tier=tier, names=classes, overwrite=overwrite
        )
    else:
        work = import_file(
            file, output, kind, video,
            frames=frames, tier=tier, names=classes, overwrite=overwrite,
        )  # fmt: skip
    if not quiet:
        counts = work["summary"]
        said = f"{counts['labelled']} of {counts['frames']} frames have a label"
        if table is not None:
            said += f"; {counts['changed']} labels differ from the table's"
        say(f"abaw: {output}: {said}")
