"""The frames of a video, each with its number, its presentation time and its pixels.

The frame contract: `frame` counts decoded frames from 1, `time_s` is the frame's presentation
time on the container's clock, the display matrix is applied, and header counts are not trusted.
"""

import logging
import math
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.stream import VideoStream
from numpy.typing import NDArray

from abawcli.config import ROTATIONS, Media
from abawcli.errors import InputError, UsageError
from abawcli.media.clock import ascend, count_back
from abawcli.media.frame import Frame, Orientation, read_angle
from abawcli.media.interlacing import deinterlace
from abawcli.media.pictures import identify_picture, read_pictures
from abawcli.media.pixels import describe_hdr, explain_colours
from abawcli.media.streams import OpenMedia, decode_stream, open_streams, read_rate, report_choice

LOG = logging.getLogger(__name__)
TimedImage = tuple[float, NDArray[np.uint8]]  # time in seconds; RGB (H, W, 3)


def _stamp_frames(
    media: OpenMedia, stream: VideoStream
) -> Iterator[tuple[float | None, float, av.VideoFrame]]:
    """Yield frames with their presentation time in seconds, or None, and their duration.

    AVI stores times of decoding. With B-frames, a frame has the time of the packet with which
    the decoder returned it, minus the decoder's constant delay.
    """
    interval_s = float(1 / read_rate(stream))
    tick_s, delay = stream.time_base or interval_s, None
    for native in decode_stream(media, stream):
        stamp = native.pts
        if media.container.format.name == "avi":
            if delay is None:
                delay = (native.dts or stamp or 0) - (stamp or 0)
            else:
                stamp = None if native.dts is None else native.dts - delay
        yield None if stamp is None else float(stamp * tick_s), interval_s, native


def read_pixel_aspect(stream: VideoStream, path: str | Path) -> Fraction:
    """Return the width of a pixel over its height; 1 if that is nearly so, unknown or absurd."""
    path = Path(path)
    aspect = stream.sample_aspect_ratio or Fraction(1)
    if abs(aspect - 1) < Media.square_pixels:
        return Fraction(1)
    if not 1 / Media.widest_pixels <= aspect <= Media.widest_pixels:
        LOG.warning("%s: the pixel aspect ratio %s is invalid; read as 1", path, aspect)
        return Fraction(1)
    return aspect


def report_colours(native: av.VideoFrame, path: str | Path) -> None:
    """Warn if colours are converted inexactly; log that HDR is tone-mapped."""
    path = Path(path)
    if fault := explain_colours(native):
        LOG.warning("%s: %s", path, fault)
    if hdr := describe_hdr(native):
        LOG.info("%s is HDR (%s); its pictures are tone-mapped", path, hdr)


def report_angle(native: av.VideoFrame, path: str | Path) -> None:
    """Warn if a frame's display matrix rotates it by another angle than quarter turns."""
    wanted, shown = read_angle(native), Orientation.of(native).degrees
    tilt = abs((wanted - shown + 180) % 360 - 180)
    if tilt > Media.level_degrees:
        LOG.warning(
            "%s: its display matrix rotates frames by %d degrees counterclockwise; they are "
            "rotated by %d, in quarter turns, and stay tilted by %d",
            path, wanted, shown, tilt,
        )  # fmt: skip


def check_rotation(degrees: int) -> None:
    """Check, before any work is done, that frames can be rotated by so many degrees.

    Raises:
        UsageError: it is not one of `config.ROTATIONS`.
    """
    if degrees not in ROTATIONS:
        raise UsageError(f"cannot rotate by {degrees!r}; choose 0, 90, 180 or 270")


def decode_frames(media: OpenMedia, stream: VideoStream, rotate: int = 0) -> Iterator[Frame]:
    """Yield every frame of a stream in presentation order; times ascend.

    `rotate` degrees (0, 90, 180, 270) clockwise are added to the rotation that the file states.

    Raises:
        InputError: no frame can be decoded.
    """
    number, angle, orientation = 0, None, Orientation()
    turn = Orientation.turned(-rotate // 90 % 4)
    timed = count_back(_stamp_frames(media, stream), Media.held_frames)
    frames = deinterlace(ascend(timed, Media.held_frames))
    pixel_aspect = read_pixel_aspect(stream, media.path)
    for number, (time_s, native) in enumerate(frames, 1):
        if number == 1:
            report_colours(native, media.path)
            report_angle(native, media.path)
        # Reading a frame's side data makes it refer to itself, so that its pixels stay in memory
        # until the next garbage collection. The angle is cheap and changes with the matrix.
        if native.rotation != angle:
            angle, orientation = native.rotation, Orientation.of(native).then(turn)
        yield Frame(
            frame=number,
            time_s=time_s,
            native=native,
            orientation=orientation,
            pixel_aspect=pixel_aspect,
        )
    if number == 0:
        reason = "" if stream.width else ": its header has no size that FFmpeg decodes"
        raise InputError(f"{media.path} has no frame that can be decoded{reason}")


def read_frames(path: str | Path, rotate: int = 0) -> Iterator[Frame]:
    """Yield every frame of a video or a picture in presentation order.

    `rotate` degrees (0, 90, 180, 270) clockwise are added to the rotation that the file states.
    Damage ends the video or removes frames, with a warning; all others are returned.

    Raises:
        InputError: the file cannot be opened, has no video, or no frame of it can be decoded.
    """
    path = Path(path)
    if kind := identify_picture(path):
        yield from read_pictures(path, kind, rotate)
        return
    with open_streams(path) as media:
        yield from read_video(media, rotate)


def read_video(media: OpenMedia, rotate: int = 0) -> Iterator[Frame]:
    """Yield the frames of an open file as `read_frames`.

    Raises:
        InputError: the file has no video, or no frame of it can be decoded.
    """
    if media.video is None:
        audio_only = " (audio only)" if media.audio else ""
        raise InputError(media.explain_lack("video") + audio_only)
    report_choice(media, "video")
    yield from decode_frames(media, media.video, rotate)


def wrap_images(images: Iterable[TimedImage], rotate: int = 0) -> Iterator[Frame]:
    """Yield images (H, W, 3) of a camera, with their times, as frames.

    `rotate` is as in `read_frames`.

    Raises:
        InputError: there is none, one is not RGB of 8 bits, or a time is not after the one before.
    """
    frame, last_s = 0, -math.inf
    orientation = Orientation.turned(-rotate // 90 % 4)
    for frame, (time_s, image) in enumerate(images, 1):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise InputError(f"image {frame} is {image.dtype} {image.shape}, not uint8 (H, W, 3)")
        if not last_s < time_s < math.inf:
            raise InputError(f"image {frame} is at {time_s} s, the one before it at {last_s} s")
        last_s = time_s
        native = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), "rgb24")
        yield Frame(frame, time_s, native, orientation)
    if frame == 0:
        raise InputError("there is no image")
