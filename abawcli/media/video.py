"""Frames of a video, each with its number, its true time and its pixels.

The frame contract: `number` counts decoded frames from 1, `time_s` is the frame's presentation
time on the container's clock, the display matrix is applied, and header counts are not trusted.
"""

import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, cast, overload

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from abawcli.config import ROTATIONS, Media
from abawcli.errors import InputError, UsageError

LOG = logging.getLogger(__name__)
Image = NDArray[np.uint8]
Box = tuple[int, int, int, int]  # x0, y0, x1, y1; x1 and y1 are the first pixels outside

PLANAR_420 = frozenset({"yuv420p", "yuvj420p"})
# AVCOL_SPC_*: RGB, BT.709, unspecified (FFmpeg: BT.601), FCC, BT.601 twice, SMPTE 240M, BT.2020.
# With any other matrix tag the conversion fails.
KNOWN_MATRICES = frozenset({0, 1, 2, 4, 5, 6, 7, 9})
UNSPECIFIED_MATRIX = 2
# Containers whose header states the duration. In others FFmpeg guesses it.
STATES_DURATION = ("mov", "matroska", "flac", "asf")


@dataclass(frozen=True)
class Orientation:
    """How stored pixels become displayed ones: transpose first, then flip."""

    transpose: bool = False
    flip_x: bool = False
    flip_y: bool = False

    @classmethod
    def of(cls, native: av.VideoFrame) -> "Orientation":
        """Read the display matrix; one that is no quarter turn counts as the nearest."""
        try:
            side_data = cast(Mapping[str, bytes], native.side_data)
        except ValueError:
            # PyAV 18 fails on kinds of side data that it does not know, as Exif in a JPEG, and
            # then tells the angle only; a mirrored picture passes for a turned one.
            return cls.turned(round(native.rotation / 90) % 4)
        if "DISPLAYMATRIX" not in side_data:
            return cls()
        # A stored point (x, y) is shown at (a x + c y, b x + d y).
        a, b, _, c, d = np.frombuffer(side_data["DISPLAYMATRIX"], np.int32)[:5].astype(float)
        if abs(b) + abs(c) > abs(a) + abs(d):
            return cls(True, flip_x=bool(c < 0), flip_y=bool(b < 0))
        return cls(False, flip_x=bool(a < 0), flip_y=bool(d < 0))

    @classmethod
    def turned(cls, quarters: int) -> "Orientation":
        """Return the rotation by 0 to 3 quarter turns counterclockwise."""
        return cls(quarters % 2 == 1, flip_x=quarters >= 2, flip_y=quarters in (1, 2))

    def then(self, after: "Orientation") -> "Orientation":
        """Return what `after` makes of a picture that is shown in this orientation."""
        flip_x, flip_y = self.flip_x, self.flip_y
        if after.transpose:
            flip_x, flip_y = flip_y, flip_x
        return Orientation(
            self.transpose ^ after.transpose, flip_x ^ after.flip_x, flip_y ^ after.flip_y
        )

    @property
    def mirrored(self) -> bool:
        """Tell whether left and right are exchanged, after `degrees` of rotation."""
        return self.transpose ^ self.flip_x ^ self.flip_y

    @property
    def degrees(self) -> int:
        """Return the rotation counterclockwise: 0, 90, 180 or 270."""
        return (90 if self.flip_y else 270) if self.transpose else (180 if self.flip_y else 0)

    def show(self, pixels: Image) -> Image:
        """Bring stored pixels (H, W, 3) into the displayed position, contiguous in memory."""
        if self.transpose:
            pixels = pixels.swapaxes(0, 1)
        return np.ascontiguousarray(
            pixels[:: -1 if self.flip_y else 1, :: -1 if self.flip_x else 1]
        )

    def find_stored(self, box: Box, size: tuple[int, int]) -> Box:
        """Return where a box of the displayed frame, `size` wide and high, is stored."""
        x0, y0, x1, y1 = box
        if self.flip_x:
            x0, x1 = size[0] - x1, size[0] - x0
        if self.flip_y:
            y0, y1 = size[1] - y1, size[1] - y0
        return (y0, x0, y1, x1) if self.transpose else (x0, y0, x1, y1)


@dataclass
class Frame:
    """One decoded frame. Pixels are converted when they are asked for, and no sooner."""

    number: int  # from 1
    time_s: float
    native: av.VideoFrame = field(repr=False)
    orientation: Orientation = Orientation()  # how the stored picture is to be shown

    @property
    def size(self) -> tuple[int, int]:
        """Return width and height in pixels as displayed."""
        width, height = self.native.width, self.native.height
        return (height, width) if self.orientation.transpose else (width, height)

    @cached_property
    def _whole(self) -> Image:
        return self.orientation.show(_to_rgb(self.native))

    def rgb(self, long_side: int | None = None) -> Image:
        """Return the pixels (H, W, 3) as RGB; the whole picture is converted once and shared.

        With `long_side`, the picture is scaled down so that its longer side has that many
        pixels; one that is smaller already keeps its size.
        """
        width, height = self.native.width, self.native.height
        if long_side is None or long_side >= max(width, height):
            return self._whole
        scale = long_side / max(width, height)
        return self.orientation.show(
            _to_rgb(self.native, (max(1, round(width * scale)), max(1, round(height * scale))))
        )

    def region_rgb(self, x0: int, y0: int, x1: int, y1: int) -> Image:
        """Return `rgb()[y0:y1, x0:x1]` at the cost of the region's size where that is possible.

        Raises:
            ValueError: the rectangle is empty or reaches out of the displayed frame.
        """
        width, height = self.size
        if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
            raise ValueError(f"({x0}, {y0}, {x1}, {y1}) is no region of {width}x{height} pixels")
        # FFmpeg interpolates the colours of pictures of odd height; a part would differ.
        if self.native.format.name not in PLANAR_420 or self.native.height % 2:
            return self._whole[y0:y1, x0:x1]
        stored = self.orientation.find_stored((x0, y0, x1, y1), self.size)
        return self.orientation.show(_region_to_rgb(self.native, stored))


def _to_rgb(native: av.VideoFrame, size: tuple[int, int] | None = None) -> Image:
    """Convert with the matrix and range the frame is tagged with; untagged is BT.601, limited.

    One thread: FFmpeg would start several for every frame, which costs more than it saves.
    """
    if native.colorspace not in KNOWN_MATRICES:
        native.colorspace = UNSPECIFIED_MATRIX
    if size:
        # Scaling the planes and then converting the few pixels left takes half the time of
        # doing both at once. Other formats cannot all be scaled as they are (palettes).
        between = None if native.format.name in PLANAR_420 else "rgb24"
        native = native.reformat(*size, format=between, interpolation="AREA", threads=1)
    return np.asarray(native.reformat(format="rgb24", threads=1).to_ndarray(), np.uint8)


def _plane(frame: av.VideoFrame, index: int) -> Image:
    """Return a view (H, W) of an 8-bit plane."""
    plane = frame.planes[index]
    return np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[:, : plane.width]


def _region_to_rgb(native: av.VideoFrame, box: Box) -> Image:
    """Convert a box of the stored 4:2:0 picture: cut the planes at even pixels, convert, trim."""
    x0, y0, x1, y1 = box
    left, top = x0 // 2, y0 // 2  # in chroma pixels
    part = av.VideoFrame(x1 - 2 * left, y1 + y1 % 2 - 2 * top, native.format.name)
    part.colorspace, part.color_range = native.colorspace, native.color_range
    for index in range(3):
        target = _plane(part, index)
        x, y = (left, top) if index else (2 * left, 2 * top)
        target[:] = _plane(native, index)[y : y + target.shape[0], x : x + target.shape[1]]
    return _to_rgb(part)[y0 - 2 * top : y1 - 2 * top, x0 - 2 * left :]


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
    for number, (time_s, native) in enumerate(_add_times(container, stream, natives), 1):
        # A frame whose side data was read refers to itself and stays until the next garbage
        # collection, with its pixels. The angle costs nothing, and changes with the matrix.
        if native.rotation != angle:
            angle, orientation = native.rotation, Orientation.of(native).then(turn)
        yield Frame(number, time_s, native, orientation)
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
