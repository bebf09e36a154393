"""`abaw probe`: streams, frames and timestamps of media files."""

from typing import TYPE_CHECKING

import click

from abawcli.cli.console import Cell
from abawcli.cli.options import inputs_argument, json_option, verbosity_options

if TYPE_CHECKING:
    from abawcli.stages.probe import ProbeReport, VideoReport

COLUMNS = ("file", "video", "frames", "frame rate", "audio", "clock")
SHOWN_JOINS = 3


def _format_video(video: "VideoReport | None") -> list[Cell]:
    """Return the cells video, frames and frame rate."""
    if video is None:
        return ["none", "-", "-"]
    notes = [f"rotated {video.rotation}"] if video.rotation else []
    notes += ["mirrored"] if video.mirrored else []
    notes += [f"pixels {video.pixel_aspect:.4g}:1"] if video.pixel_aspect != 1 else []
    notes += [f"HDR ({video.hdr})"] if video.hdr else []
    stated = video.header_frames != video.decoded_frames
    rate = f"{video.nominal_fps:.5g}" if video.nominal_fps else "?"
    low, middle, high = video.interval_ms
    return [
        (f"{video.codec} {video.pixel_format}", f"{video.width}x{video.height}", *notes),
        (
            f"{video.decoded_frames}",
            f"{video.first_time_s:.2f}-{video.last_time_s:.2f} s",
            *([f"header: {video.header_frames or 'none'}"] if stated else []),
        ),
        (
            f"{rate} {'constant' if video.constant_rate else 'variable'}",
            f"{low:.0f} {middle:.0f} {high:.0f} ms",
        ),
    ]


def _format_clock(report: "ProbeReport") -> Cell:
    """Return the cell clock: where parts are joined, and the number of stray timestamps."""
    lines = [f"{join.jump_s:+.2f} s at {join.time_s:.2f} s" for join in report.joins[:SHOWN_JOINS]]
    if len(report.joins) > SHOWN_JOINS:
        lines.append(f"{len(report.joins) - SHOWN_JOINS} more jumps")
    if report.stray_times:
        lines.append(f"{report.stray_times} stray")
    return tuple(lines) or "ascends"


def _format_audio(report: "ProbeReport") -> Cell:
    """Return the cell audio; an offset below one millisecond is not shown."""
    audio, offset_s = report.audio, report.audio_offset_s
    if audio is None:
        return "none"
    offset = [f"{offset_s:+.3f} s"] if offset_s and abs(offset_s) >= 0.001 else []
    times = f"{audio.start_s:.2f}-{audio.start_s + audio.duration_s:.2f} s"
    return (f"{audio.codec} {audio.rate_hz / 1000:g}k x{audio.channels}", times, *offset)


@click.command(name="probe")
@inputs_argument
@json_option
@verbosity_options
def command(inputs: tuple[str, ...], as_json: bool, quiet: bool) -> None:
    """Show the streams, decoded frames and timestamps of media files.

    The whole file is decoded; only the values marked `header` come from the file's header.

    frame rate: the nominal rate, and the shortest, median and longest interval between frames.
    audio: its first and last time on the video's clock, and by how much it begins later than the
    video. clock: `ascends` if all timestamps ascend; otherwise the jumps between parts that were
    joined, and the number of packets with stray timestamps.

    Example: abaw probe interview.mp4
    """
    from dataclasses import asdict

    from abawcli.cli.batch import run_each
    from abawcli.cli.console import print_json, print_table
    from abawcli.formats.inputs import VIDEO_SUFFIXES, expand_media
    from abawcli.stages.probe import probe_media

    reports: list[ProbeReport] = []
    try:
        run_each(
            expand_media(inputs, VIDEO_SUFFIXES, audio=True),
            lambda path: reports.append(probe_media(path)),
        )
    finally:  # reports of readable files are shown even if others failed
        if as_json:
            print_json([asdict(report) for report in reports])
        elif reports:
            rows: list[list[Cell]] = [
                [r.path, *_format_video(r.video), _format_audio(r), _format_clock(r)]
                for r in reports
            ]
            print_table("", COLUMNS, rows)
