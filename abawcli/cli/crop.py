"""`abaw crop`: square face crops of videos."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from abawcli.cli.boundary import report_error
from abawcli.cli.options import (
    FiniteRange,
    choose_subject,
    inputs_argument,
    json_option,
    keep_suffix_option,
    output_folder_option,
    overwrite_option,
    rotate_option,
    strategy_option,
    verbosity_options,
)
from abawcli.cli.runs import Run, run_jobs
from abawcli.cli.scale import Scale, scale_options
from abawcli.cli.summaries import Summaries
from abawcli.config import DETECTOR_NAMES, MAX_CROP_SCALE, MAX_CROP_SIDE, Cropping, Tracking
from abawcli.errors import InputError, UsageError
from abawcli.jobs import StageWork

if TYPE_CHECKING:
    from abawcli.formats.strategy import SubjectSegments
    from abawcli.jobs import Job

LOG = logging.getLogger(__name__)
CROPPING, TRACKING = Cropping(), Tracking()


COLUMNS = {
    "frames": attrgetter("frames"),
    "with a face": attrgetter("found"),
    "detected": attrgetter("detected"),
    "subjects": attrgetter("subjects"),
}


@click.command(name="crop")
@inputs_argument
@output_folder_option("Output folder.")
@click.option(
    "--scale", "scales", type=FiniteRange(0, MAX_CROP_SCALE, min_open=True), multiple=True,
    default=CROPPING.scales, show_default=True,
    help="Side of a crop, as a multiple of the longer side of the face's box. If given several "
    "times, each scale is written.",
)  # fmt: skip
@click.option(
    "--size", "side", type=click.IntRange(1, MAX_CROP_SIDE),
    help="Side in pixels that crops are resized to.  [default: not resized]",
)  # fmt: skip
@choose_subject("left or right if the name ends in _left or _right, else main")
@strategy_option
@click.option(
    "--names", "names_file", type=click.Path(path_type=Path), metavar="FILE",
    help="List of names, one per line, such as those of a set of Aff-Wild2: only these are "
    "cropped. x_left and x_right are the left and the right person in the video x, which may be "
    "in a subfolder; rows of --strategy take precedence.",
)  # fmt: skip
@click.option(
    "--detector", type=click.Choice(DETECTOR_NAMES), default="retinaface", show_default=True,
    help="Face detector; insightface needs a model pack.",
)  # fmt: skip
@click.option(
    "--stride", type=click.IntRange(min=1), default=TRACKING.stride, show_default=True,
    help="Frames between detection steps while tracking is certain; 1: every frame.",
)  # fmt: skip
@rotate_option
@keep_suffix_option
@overwrite_option
@json_option
@scale_options
@verbosity_options
def command(
    inputs: tuple[str, ...],
    output: Path,
    scales: tuple[float, ...],
    side: int | None,
    subject: str | None,
    strategy: Path | None,
    names_file: Path | None,
    detector: str,
    stride: int,
    rotate: int,
    keep_suffix: bool,
    overwrite: bool,
    as_json: bool,
    scale: Scale,
    quiet: bool,
) -> None:
    """Find the faces in videos and write square crops of them.

    OUTPUT/<video>/<scale>/00001.jpg is the face in frame 1, black outside the frame. A frame
    without a face has no file. OUTPUT/<video>/faces.parquet has a row for every frame with
    timestamp, box and landmarks. With --subject all, the crops are in <video>/subject0/<scale>/
    and so on.

    OUTPUT/strategy.csv gets a row for each video. It names the subject that was cropped and the
    other tracks. To choose another subject, edit the column strategy (main, largest,
    follow-largest, left, right, top, all, track N, or skip) and give the file as --strategy. The
    columns from and to limit a row to some frames. A row <video>_left or <video>_right adds a
    folder for a second person.

    Example: abaw crop interviews/ -o crops/ --size 112
    """
    from abawcli.formats.inputs import VIDEO_SUFFIXES, expand_inputs
    from abawcli.formats.outputs import check_writable, name_outputs, name_videos
    from abawcli.stages.settings import CropSettings

    paths = expand_inputs(inputs, VIDEO_SUFFIXES)
    names = name_videos(paths, keep_suffix)
    name_outputs(paths, output, "", keep_suffix=keep_suffix)
    plan, missing = _plan_folders(
        list(names.values()), output, strategy, subject, names_file=names_file
    )
    check_writable(output / name for folders in plan.values() for name in folders)
    settings = CropSettings(
        detector=detector,
        tracking=replace(TRACKING, stride=stride),
        cropping=replace(CROPPING, scales=tuple(dict.fromkeys(scales)), side=side),
        rotate=rotate,
        overwrite=overwrite,
        max_megapixels=scale.max_megapixels,
    )
    work = StageWork("abawcli.stages.crop:CropWorker", settings)
    chosen = scale.select({path: name for path, name in names.items() if name in plan})
    jobs = [_describe_job(path, name, plan[name], output) for path, name in chosen.items()]
    current = Run(
        jobs=jobs,
        relative=paths,
        output=output,
        summaries=Summaries("video", COLUMNS),
        missing=missing,
    )
    used: dict[str, tuple[SubjectSegments, str]] = {}
    try:
        run_jobs(
            current, work, scale, title=f"crops in {output}", as_json=as_json, quiet=quiet,
            note=lambda outcome: used.update(_describe_crops(outcome.job)),
        )  # fmt: skip
    finally:
        _propose(output, jobs, used)


def _propose(
    output: Path, jobs: Sequence[Job], used: Mapping[str, tuple[SubjectSegments, str]]
) -> None:
    """Add the crops that were made to the strategy file, in the order of the jobs."""
    from abawcli.formats.names import decode_name
    from abawcli.formats.scan import STRATEGY_NAME
    from abawcli.formats.strategy import propose

    order = [decode_name(name) for job in jobs for name in job.task]
    propose(output / STRATEGY_NAME, {name: used[name] for name in order if name in used})


def _describe_job(path: Path, name: str, folders: Mapping[str, SubjectSegments], out: Path) -> Job:
    """Return the job of a video: its folders of crops, each with its segments."""
    from abawcli.formats.names import decode_name
    from abawcli.jobs import Job

    task = {each: (out / each, segments) for each, segments in folders.items()}
    return Job(path, decode_name(name), task, tuple(folder for folder, _ in task.values()))


def _describe_crops(job: Job) -> dict[str, tuple[SubjectSegments, str]]:
    """Return what was cropped into each folder, and which tracks there are."""
    from abawcli.formats.names import decode_name
    from abawcli.stages.crop import describe_tracks

    return {
        decode_name(name): (segments, describe_tracks(folder))
        for name, (folder, segments) in job.task.items()
    }


def _plan_folders(
    videos: list[str],
    output: Path,
    strategy: Path | None,
    subject: str | None,
    *,
    names_file: Path | None = None,
) -> tuple[dict[str, dict[str, SubjectSegments]], dict[str, str]]:
    """Return the folders of each video with their subjects, and the faults of other rows.

    Raises:
        UsageError: the output is the folder of one video's crops.
    """
    from abawcli.formats.faces import FACES_NAME
    from abawcli.formats.scan import STRATEGY_NAME
    from abawcli.formats.strategy import plan_folders, read_names, read_strategy

    if os.path.isfile(output / FACES_NAME):
        raise UsageError(f"{output} has the crops of one video; give the folder above it as -o")

    every, edited = videos, read_strategy(strategy, videos) if strategy else {}
    proposal = output / STRATEGY_NAME
    if names_file:
        named = read_names(names_file, videos)
        edited = named | {name: edited[name] for name in named if name in edited}
        videos = _keep_named(videos, edited)
    plan = plan_folders(videos, edited, subject)
    missing = _report_unknown(edited, every, output)
    if os.path.isfile(proposal):  # its errors are reported before hours of work
        proposed = plan_folders(plan, read_strategy(proposal, videos), subject)
        if not strategy or os.path.realpath(strategy) != os.path.realpath(proposal):
            _warn_if_ignored(plan, proposed, proposal)
    return plan, missing


def _keep_named(videos: list[str], rows: Mapping[str, SubjectSegments]) -> list[str]:
    """Return the videos that rows of names refer to; warn of the other videos."""
    from abawcli.formats.inputs import warn_left_out
    from abawcli.formats.strategy import find_video_of

    named = {find_video_of(name, videos) for name in rows}
    warn_left_out("videos are not named", [video for video in videos if video not in named])
    return [video for video in videos if video in named]


def _report_unknown(
    edited: Mapping[str, SubjectSegments], videos: Collection[str], output: Path
) -> dict[str, str]:
    """Report the rows whose video is neither an input nor cropped before; return why, by row."""
    from abawcli.formats.faces import FACES_NAME
    from abawcli.formats.strategy import find_video_of, suggest_names

    unknown = {}
    for name, segments in edited.items():
        if find_video_of(name, videos) or os.path.isfile(output / name / FACES_NAME):
            continue
        row, reason = segments[0].source, f"no input video is called {name}"
        unknown[row] = reason + suggest_names(name, videos)
        report_error(InputError(f"{row}: {unknown[row]}"))
    return unknown


def _warn_if_ignored(
    plan: Mapping[str, Mapping[str, SubjectSegments]],
    proposed: Mapping[str, Mapping[str, SubjectSegments]],
    proposal: Path,
) -> None:
    """Warn if this run differs from the strategy file of an earlier run, which may be edited."""
    others = [video for video, folders in plan.items() if folders != proposed[video]]
    if others:
        more = ", ..." if len(others) > 3 else ""
        LOG.warning(
            "%s has other rows for %s%s (%d of %d videos); give it as --strategy to use it",
            proposal, ", ".join(others[:3]), more, len(others), len(plan),
        )  # fmt: skip
