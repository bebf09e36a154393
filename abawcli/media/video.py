"""Frames of a video, each with its number, its true time and its pixels.

The frame contract: `number` counts decoded frames from 1, `time_s` is the frame's presentation
time on the container's clock, the display matrix is applied, and header counts are not trusted.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from abawcli.errors import InputError

LOG = logging.getLogger(__name__)
Image = NDArray[np.uint8]


@dataclass
class Frame:
    """One decoded frame. Pixels are converted when they are asked for, and no sooner."""

    number: int  # from 1
    time_s: float
    native: av.VideoFrame = field(repr=False)

    @property
    def turns(self) -> int:
        """Return the display rotation in quarter turns counterclockwise, 0..3."""
        return round(self.native.rotation / 90) % 4

    @property
    def size(self) -> tuple[int, int]:
        """Return width and height in pixels as displayed, rotation applied."""
        width, height = self.native.width, self.native.height
        return (height, width) if self.turns % 2 else (width, height)

    def rgb(self, long_side: int | None = None) -> Image:
        """Return the pixels (H, W, 3) as RGB.

        With `long_side`, the picture is scaled down so that its longer side has that many
        pixels; the scaling is part of the colour conversion and costs less than converting
        the whole frame. A frame that is smaller already keeps its size.
        """
        width, height = self.native.width, self.native.height
        scale = min(1.0, long_side / max(width, height)) if long_side else 1.0
        target = max(1, round(width * scale)), max(1, round(height * scale))
        converted = self.native.reformat(*target, format="rgb24", interpolation="AREA")
        pixels = converted.to_ndarray()  # (H, W, 3)
        return np.ascontiguousarray(np.rot90(pixels, self.turns)) if self.turns else pixels


def open_media(path: Path) -> InputContainer:
    """Open a media file for reading.

    Raises:
        InputError: no such file, not readable, empty, or nothing that FFmpeg knows.
    """
    try:
        if path.is_dir():
            raise InputError(f"{path} is a folder, not a media file")
        if path.stat().st_size == 0:
            raise InputError(f"{path} is empty (0 bytes)")
        return av.open(str(path), metadata_errors="replace")
    except FileNotFoundError:
        raise InputError(f"no such file: {path}") from None
    except PermissionError:
        raise InputError(f"{path} cannot be read: permission denied") from None
    except (av.error.FFmpegError, OSError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path} is not a readable media file: {reason}") from error


def video_stream(container: InputContainer, path: Path) -> VideoStream:
    """Return the first video stream that is no cover picture.

    Raises:
        InputError: the file holds no video.
    """
    for stream in container.streams.video:
        if not stream.disposition & av.stream.Disposition.attached_pic:
            return stream
    raise InputError(
        f"{path} holds no video" + (" (sound only)" if container.streams.audio else "")
    )


def _decode(container: InputContainer, stream: VideoStream, path: Path) -> Iterator[av.VideoFrame]:
    """Decode to the end or to where the file breaks; warn of damage, lose no decoded frame."""
    damaged = 0
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except (av.error.FFmpegError, OSError) as error:
            LOG.warning("%s breaks off: %s; the frames up to there are kept", path, error)
            packet = None
        try:
            yield from stream.codec_context.decode(packet)  # None: drain the decoder
        except av.error.EOFError:
            return
        except (av.error.FFmpegError, OSError):
            damaged += 1
        if packet is None:
            break
    if damaged:
        LOG.warning("%s is damaged: %d packets could not be decoded", path, damaged)


def read_frames(path: Path) -> Iterator[Frame]:
    """Yield every frame of a video in presentation order.

    A frame without a time of its own (some AVI and raw streams) follows the one before by the
    stream's nominal interval. Damage ends or thins the video with a warning; what was decoded
    is kept.

    Raises:
        InputError: the file cannot be opened or holds no frame.
    """
    with open_media(path) as container:
        stream = video_stream(container, path)
        stream.thread_type = "AUTO"
        rate = stream.average_rate or stream.guessed_rate
        interval = float(1 / rate) if rate else 0.04
        number, time_s = 0, -interval
        for native in _decode(container, stream, path):
            number += 1
            time_s = native.time if native.time is not None else time_s + interval
            yield Frame(number, time_s, native)
    if number == 0:
        raise InputError(f"{path} holds no frame that can be decoded")
