"""Frames of a video, each with its number, its true time and its pixels.

The frame contract: `number` counts decoded frames from 1, `time_s` is the frame's presentation
time on the container's clock, the display matrix is applied, and header counts are not trusted.
"""

import logging
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, overload

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.video.stream import VideoStream

from abawcli.config import ROTATIONS, Media
from abawcli.errors import InputError, UsageError
from abawcli.media.frame import Frame, Orientation
from abawcli.media.interlacing import deinterlace
from abawcli.media.pixels import describe_hdr, explain_colours

LOG = logging.getLogger(__name__)

# Containers whose header states the duration. In others FFmpeg guesses it.
STATES_DURATION = ("mov", "matroska", "flac", "asf")


def open_media(path: Path) -> InputContainer:
    """Open a media file for reading.

    Raises:
        InputError: no such file, not readable, empty, a folder, or nothing that FFmpeg knows.
    """
    try:
        if path.is_dir():
            raise InputError(f"{path} is a folder, not a media file")
        if path.stat().st_size == 0:
            raise InputError(f"{path} is empty (0 bytes)")
        # With "file:" a colon in the name is no protocol, and without patterns a %d in the name
        # of a picture does not mean other files.
        options = {"pattern_type": "none"}
        return av.open(f"file:{path}", options=options, metadata_errors="replace")
    except FileNotFoundError:
        raise InputError(f"no such file: {path}") from None
    except PermissionError:
        raise InputError(f"{path} cannot be read: permission denied") from None
    except (av.error.FFmpegError, OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path} is not a readable media file: {reason}") from error


def _read_packets(
    container: InputContainer, stream: VideoStream | AudioStream, path: Path
) -> Iterator["av.Packet[Any]"]:
    """Yield a stream's packets, and at the end an empty one that empties the decoder."""
    try:
        for packet in container.demux(stream):
            if packet.size:
                yield packet
    except (av.error.FFmpegError, OSError) as error:
        LOG.warning("%s breaks off: %s; what was decoded is kept", path, error)
    last: av.Packet[Any] = av.Packet()
    if stream.time_base:
        last.time_base = stream.time_base  # the last frames get theirs from here
    yield last


@overload
def decode_stream(
    container: InputContainer, stream: VideoStream, path: Path
) -> Iterator[av.VideoFrame]: ...
@overload
def decode_stream(
    container: InputContainer, stream: AudioStream, path: Path
) -> Iterator[av.AudioFrame]: ...
def decode_stream(
    container: InputContainer, stream: VideoStream | AudioStream, path: Path
) -> Iterator[av.VideoFrame] | Iterator[av.AudioFrame]:
    """Decode to the end or to where the file breaks off; warn of damage, lose nothing else.

    One thread: with several, PyAV drops the good frames that are still in the decoder when a
    bad one is at the end of a file, as it is in a file that was cut.
    """
    stream.codec_context.thread_count = 1
    damaged, end_s = 0, 0.0
    for packet in _read_packets(container, stream, path):
        try:
            natives = stream.decode(packet)
        except (av.error.FFmpegError, OSError):
            damaged += 1
            continue
        for native in natives:
            damaged += native.is_corrupt
            end_s = (native.time or 0.0) + float(native.duration * (native.time_base or 0))
            yield native
    if damaged:
        LOG.warning("%s is damaged: %d %s packets or frames", path, damaged, stream.type)
    stated_s = _read_stated_end(container, stream)
    if stated_s is not None and stated_s - end_s > Media.cut_tolerance_s:
        LOG.warning(
            "%s seems to be cut: its %s ends at %.2f s, the header says %.2f s",
            path, stream.type, end_s, stated_s,
        )  # fmt: skip


def _read_stated_end(container: InputContainer, stream: VideoStream | AudioStream) -> float | None:
    """Return the time in seconds at which a stream ends by its header, None where it says none."""
    if container.format.name == "avi":  # its duration is what FFmpeg found, its count is stated
        rate = stream.average_rate if isinstance(stream, VideoStream) else None
        return float(stream.frames / rate) if rate else None
    if not container.format.name.startswith(STATES_DURATION):
        return None
    if stream.duration and stream.time_base:
        return float(((stream.start_time or 0) + stream.duration) * stream.time_base)
    # Matroska, as FFmpeg and mkvmerge write it
    tag = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", stream.metadata.get("DURATION", ""))
    return int(tag[1]) * 3600 + int(tag[2]) * 60 + float(tag[3]) if tag else None


def find_video(container: InputContainer, path: Path) -> VideoStream | None:
    """Return the first video stream that is no cover picture, None where there is none.

    Raises:
        InputError: there is no decoder for it.
    """
    pictures = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails
    for stream in container.streams.video:
        if not stream.disposition & pictures:
            if stream.codec_context is None:
                raise InputError(f"{path}: its video is in a format that FFmpeg cannot decode")
            return stream
    return None


def _add_times(
    container: InputContainer, stream: VideoStream, natives: Iterator[av.VideoFrame]
) -> Iterator[tuple[float, av.VideoFrame]]:
    """Pair each frame with its presentation time in seconds on the container's clock.

    AVI stores the times at which packets are decoded. With B-frames they do not fit the frames
    that come out; the time of the packet that brought a frame out, less the decoder's constant
    delay, does. A frame without any time follows the one before by the nominal interval.
    """
    rate = stream.average_rate or stream.guessed_rate or Media.fallback_fps
    tick_s, time_s, delay = stream.time_base or 1 / rate, None, 0
    for native in natives:
        stamp = native.pts
        if container.format.name == "avi":
            if time_s is None:
                delay = (native.dts or stamp or 0) - (stamp or 0)
            else:
                stamp = None if native.dts is None else native.dts - delay
        if stamp is not None:
            time_s = float(stamp * tick_s)
        else:
            time_s = 0.0 if time_s is None else time_s + float(1 / rate)
        yield time_s, native


def read_pixel_aspect(stream: VideoStream, path: Path) -> Fraction:
    """Return the width of a pixel over its height; 1 where that is so, or nearly, or not said."""
    aspect = stream.sample_aspect_ratio or Fraction(1)
    if abs(aspect - 1) < Media.square_pixels:
        return Fraction(1)
    if not 1 / Media.widest_pixels <= aspect <= Media.widest_pixels:
        LOG.warning("%s: its pixels cannot be %s as wide as high; taken as square", path, aspect)
        return Fraction(1)
    return aspect


def report_colours(native: av.VideoFrame, path: Path) -> None:
    """Warn of colours that are not those of the recording; note what is made of HDR."""
    if fault := explain_colours(native):
        LOG.warning("%s: %s", path, fault)
    if hdr := describe_hdr(native):
        LOG.info("%s is HDR (%s); its pictures are tone-mapped", path, hdr)


def check_rotation(degrees: int) -> None:
    """Make sure, before any work is done, that frames can be turned by so many degrees.

    Raises:
        UsageError: they cannot.
    """
    if degrees not in ROTATIONS:
        raise UsageError(f"cannot rotate by {degrees!r}; choose 90, 180 or 270")


def decode_frames(
    container: InputContainer, stream: VideoStream, path: Path, rotate: int = 0
) -> Iterator[Frame]:
    """Yield every frame of a stream in presentation order.

    `rotate` degrees (0, 90, 180, 270) clockwise come on top of the rotation that the file states.

    Raises:
        InputError: no frame can be decoded.
    """
    number, angle, orientation = 0, None, Orientation()
    turn = Orientation.turned(-rotate // 90 % 4)
    natives = decode_stream(container, stream, path)
    timed = deinterlace(_add_times(container, stream, natives))
    pixel_aspect = read_pixel_aspect(stream, path)
    for number, (time_s, native) in enumerate(timed, 1):
        if number == 1:
            report_colours(native, path)
        # A frame whose side data was read refers to itself and stays until the next garbage
        # collection, with its pixels. The angle costs nothing, and changes with the matrix.
        if native.rotation != angle:
            angle, orientation = native.rotation, Orientation.of(native).then(turn)
        yield Frame(number, time_s, native, orientation, pixel_aspect)
    if number == 0:
        raise InputError(f"{path} holds no frame that can be decoded")


def read_frames(path: Path, rotate: int = 0) -> Iterator[Frame]:
    """Yield every frame of a video, or the one of a picture, in presentation order.

    `rotate` degrees (0, 90, 180, 270) clockwise come on top of the rotation that the file states.
    Damage ends or thins the video with a warning; what can be decoded is kept.

    Raises:
        InputError: the file cannot be opened, holds no video, or no frame of it can be decoded.
    """
    with open_media(path) as container:
        stream = find_video(container, path)
        if stream is None:
            sound_only = " (sound only)" if container.streams.audio else ""
            raise InputError(f"{path} holds no video{sound_only}")
        yield from decode_frames(container, stream, path, rotate)
