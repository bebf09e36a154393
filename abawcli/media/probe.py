"""What is in a media file, by decoding it: headers are reported, not trusted."""

from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.video.stream import VideoStream

from abawcli.config import Media
from abawcli.errors import InputError
from abawcli.media.audio import find_audio
from abawcli.media.video import decode_frames, decode_stream, find_video, open_media


@dataclass(frozen=True)
class VideoReport:
    """The video stream that abaw reads. Times are seconds on the container's clock."""

    codec: str
    width: int  # pixels, as displayed
    height: int
    pixel_format: str
    rotation: int  # degrees counterclockwise that the display matrix asks for
    mirrored: bool  # and then left to right
    header_frames: int  # 0: the header does not say
    decoded_frames: int
    nominal_fps: float | None
    constant_rate: bool
    interval_ms: tuple[float, float, float]  # min, median, max; zeros for a single frame
    first_time_s: float
    last_time_s: float


@dataclass(frozen=True)
class AudioReport:
    """The sound stream that abaw reads."""

    codec: str
    rate_hz: int
    channels: int
    start_s: float
    duration_s: float  # from the first sample to the end of the last, gaps included


@dataclass(frozen=True)
class ProbeReport:
    """A media file. `dataclasses.asdict` of it is JSON."""

    path: str
    container: str
    header_duration_s: float | None
    video: VideoReport | None
    audio: AudioReport | None
    audio_offset_s: float | None  # how much later sound begins than video; None: one is missing
    other_streams: tuple[str, ...]  # such as "subtitle subrip"


def _probe_video(container: InputContainer, stream: VideoStream, path: Path) -> VideoReport:
    times_s = []
    for frame in decode_frames(container, stream, path):  # at least one
        times_s.append(frame.time_s)
    intervals_s = np.diff(times_s)
    # Times are whole ticks, so that intervals of a constant rate differ by one.
    tolerance_s = max(Media.constant_rate_s, float(stream.time_base or 0)) * 1.001
    spread_s = np.quantile(intervals_s, (0, 0.5, 1)) if len(intervals_s) else np.zeros(3)
    low, middle, high = (float(value) for value in spread_s)
    return VideoReport(
        codec=stream.codec_context.codec.canonical_name,
        width=frame.size[0],
        height=frame.size[1],
        pixel_format=frame.native.format.name,
        rotation=frame.orientation.degrees,
        mirrored=frame.orientation.mirrored,
        header_frames=stream.frames,
        decoded_frames=len(times_s),
        nominal_fps=float(stream.average_rate) if stream.average_rate else None,
        constant_rate=max(middle - low, high - middle) <= tolerance_s,
        interval_ms=(round(low * 1e3, 3), round(middle * 1e3, 3), round(high * 1e3, 3)),
        first_time_s=times_s[0],
        last_time_s=times_s[-1],
    )


def _probe_audio(container: InputContainer, stream: AudioStream, path: Path) -> AudioReport | None:
    start_s, end_s = None, 0.0
    for native in decode_stream(container, stream, path):
        time_s = native.time if native.time is not None else end_s
        start_s = time_s if start_s is None else start_s
        end_s = time_s + native.samples / native.sample_rate
    if start_s is None:
        return None
    return AudioReport(
        codec=stream.codec_context.codec.canonical_name,
        rate_hz=native.sample_rate,
        channels=native.layout.nb_channels,
        start_s=start_s,
        duration_s=end_s - start_s,
    )


def probe_media(path: Path) -> ProbeReport:
    """Decode the first video and the first sound stream and report what came out.

    Raises:
        InputError: the file cannot be opened, holds neither video nor sound, or cannot be decoded.
    """
    video = audio = None
    with open_media(path) as container:
        name, duration, streams = container.format.name, container.duration, container.streams
        stream = find_video(container, path)
        sound = find_audio(container, path)
        others = [s for s in streams if s.index not in {x.index for x in (stream, sound) if x}]
        other_streams = tuple(f"{other.type} {other.name or ''}".strip() for other in others)
        if stream:
            video = _probe_video(container, stream, path)
    with open_media(path) as container:
        if sound := find_audio(container, path):
            audio = _probe_audio(container, sound, path)
    if not (video or audio):
        raise InputError(f"{path} holds neither video nor sound")
    return ProbeReport(
        path=str(path),
        container=name,
        header_duration_s=duration / av.time_base if duration else None,
        video=video,
        audio=audio,
        audio_offset_s=audio.start_s - video.first_time_s if audio and video else None,
        other_streams=other_streams,
    )
