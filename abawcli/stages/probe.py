"""Stage probe: the streams, frames and times of a media file, decoded, beside header values."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.audio.stream import AudioStream
from av.video.stream import VideoStream

from abawcli.config import Media
from abawcli.errors import InputError
from abawcli.media.audio import decode_blocks
from abawcli.media.clock import Join
from abawcli.media.frame import Frame
from abawcli.media.pictures import identify_picture, read_pictures
from abawcli.media.pixels import describe_hdr
from abawcli.media.streams import OpenMedia, describe_stream, open_streams, report_choice
from abawcli.media.video import decode_frames

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class VideoReport:
    """The video stream that abaw reads. Times are seconds on the container's clock."""

    codec: str
    width: int  # pixels, as displayed
    height: int
    pixel_format: str
    pixel_aspect: float  # width of a stored pixel over its height
    hdr: str | None  # PQ or HLG, which is tone-mapped
    rotation: int  # degrees counterclockwise, of the display matrix
    mirrored: bool  # left and right are exchanged after the rotation
    header_frames: int  # 0: the header does not say
    decoded_frames: int
    nominal_fps: float | None
    constant_rate: bool
    interval_ms: tuple[float, float, float]  # min, median, max; zeros for a single frame
    first_time_s: float
    last_time_s: float


@dataclass(frozen=True)
class AudioReport:
    """The audio stream that abaw reads."""

    codec: str
    rate_hz: int
    channels: int
    start_s: float
    duration_s: float  # from the first sample to the end of the last, gaps included


@dataclass(frozen=True)
class ProbeReport:
    """A media file; `dataclasses.asdict` converts it to JSON values."""

    path: str
    container: str
    header_duration_s: float | None
    video: VideoReport | None
    audio: AudioReport | None
    audio_offset_s: float | None  # start of the audio minus that of the video; None: one is missing
    other_streams: tuple[str, ...]  # that are not read, such as "subtitle subrip"
    joins: tuple[Join, ...]  # jumps of the file's clock, where its parts are joined
    stray_times: int  # packets whose times are invalid and ignored


def _probe_video(media: OpenMedia, stream: VideoStream) -> VideoReport:
    return _report_frames(
        decode_frames(media, stream),
        codec=stream.codec_context.codec.canonical_name,
        header_frames=stream.frames,
        nominal_fps=float(stream.average_rate) if stream.average_rate else None,
        tick_s=float(stream.time_base or 0),
    )


def _report_frames(
    frames: Iterator[Frame],
    codec: str,
    header_frames: int = 0,
    nominal_fps: float | None = None,
    *,
    tick_s: float = 0.0,
) -> VideoReport:
    """Return the report of the frames, at least one, with the values of their header."""
    times_s = []
    for frame in frames:
        times_s.append(frame.time_s)
    intervals_s = np.diff(times_s)
    # Times are whole ticks, so that intervals of a constant rate may differ by one tick.
    tolerance_s = max(Media.constant_rate_s, tick_s) * 1.001
    spread_s = np.quantile(intervals_s, (0, 0.5, 1)) if len(intervals_s) else np.zeros(3)
    low, middle, high = (float(value) for value in spread_s)
    return VideoReport(
        codec=codec,
        width=frame.size[0],
        height=frame.size[1],
        pixel_format=frame.native.format.name,
        pixel_aspect=float(frame.pixel_aspect),
        hdr=describe_hdr(frame.native),
        rotation=frame.orientation.degrees,
        mirrored=frame.orientation.mirrored,
        header_frames=header_frames,
        decoded_frames=len(times_s),
        nominal_fps=nominal_fps,
        constant_rate=max(middle - low, high - middle) <= tolerance_s,
        interval_ms=(round(low * 1e3, 3), round(middle * 1e3, 3), round(high * 1e3, 3)),
        first_time_s=times_s[0],
        last_time_s=times_s[-1],
    )


def _probe_picture(path: Path, kind: str) -> ProbeReport:
    return ProbeReport(
        path=str(path),
        container="picture",
        header_duration_s=None,
        video=_report_frames(read_pictures(path, kind), kind),
        audio=None,
        audio_offset_s=None,
        other_streams=(),
        joins=(),
        stray_times=0,
    )


def _probe_audio(media: OpenMedia, stream: AudioStream) -> AudioReport | None:
    first, end_s = None, 0.0
    for block in decode_blocks(media, stream):
        first, end_s = first or block, block.end_s
    if first is None:
        return None
    return AudioReport(
        codec=stream.codec_context.codec.canonical_name,
        rate_hz=stream.rate,  # as decoded, which corrects the header
        channels=stream.channels,
        start_s=first.start_s,
        duration_s=end_s - first.start_s,
    )


def probe_media(path: str | Path) -> ProbeReport:
    """Decode the video and the audio stream that abaw reads, and report their content.

    Audio that cannot be decoded is not reported; the video still is.

    Raises:
        InputError: the file cannot be opened, has neither video nor audio, or cannot be decoded.
    """
    path = Path(path)
    if kind := identify_picture(path):
        return _probe_picture(path, kind)
    video = audio = None
    with open_streams(path) as media:
        clock, container = media.clock, media.container
        name, duration = container.format.name, container.duration
        others = tuple(describe_stream(other) for other in media.others)
        for kind in ("video", "audio"):
            report_choice(media, kind)
            if media.is_unknown(kind):
                LOG.warning("%s", media.explain_lack(kind))
        if media.video:
            video = _probe_video(media, media.video)
    with open_streams(path) as media:
        if media.audio:
            audio = _probe_audio(media, media.audio)
            clock = clock if video else media.clock
    if not (video or audio):
        raise InputError(f"{path} has neither video nor audio that can be decoded")
    return ProbeReport(
        path=str(path),
        container=name,
        header_duration_s=duration / av.time_base if duration else None,
        video=video,
        audio=audio,
        audio_offset_s=audio.start_s - video.first_time_s if audio and video else None,
        other_streams=others,
        joins=tuple(clock.joins),
        stray_times=clock.strays.total(),
    )
