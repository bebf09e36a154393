"""Media files with known pictures, recordings and times, for tests."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Samples = NDArray[np.float32]
BITS = 8  # of the number in a counting picture
ONE = 1 << 16
TURNS = {  # counterclockwise degrees, mirrored: FFmpeg's display matrix
    (0, False): (ONE, 0, 0, 0, ONE, 0, 0, 0, 1 << 30),
    (90, False): (0, -ONE, 0, ONE, 0, 0, 0, 0, 1 << 30),
    (180, False): (-ONE, 0, 0, 0, -ONE, 0, 0, 0, 1 << 30),
    (270, False): (0, ONE, 0, -ONE, 0, 0, 0, 0, 1 << 30),
    (0, True): (-ONE, 0, 0, 0, ONE, 0, 0, 0, 1 << 30),
    (90, True): (0, -ONE, 0, -ONE, 0, 0, 0, 0, 1 << 30),
    (180, True): (ONE, 0, 0, 0, -ONE, 0, 0, 0, 1 << 30),
    (270, True): (0, ONE, 0, ONE, 0, 0, 0, 0, 1 << 30),
}


@dataclass(frozen=True)
class AudioTrack:
    """Pieces of audio, each with the time at which it begins; gaps between them stay gaps."""

    pieces: Sequence[tuple[float, Samples]]  # start in seconds, (channels, N)
    rate_hz: int = 48_000
    codec: str = "aac"
    layout: str = "mono"
    bit_rate: int | None = None  # of the codec; none: its own choice


def counting_picture(number: int, width: int = 128, height: int = 96) -> Image:
    """Return a picture (H, W, 3) whose eight vertical bars are the bits of `number`."""
    bits = np.array([number >> k & 1 for k in range(BITS)], np.uint8)
    row = np.repeat(40 + 160 * bits, -(-width // BITS))[:width]
    return np.broadcast_to(row[None, :, None], (height, width, 3)).copy()


def read_count(picture: Image) -> int:
    """Return the number of a counting picture that may have been compressed and scaled."""
    height, width = picture.shape[:2]
    centres = ((np.arange(BITS) + 0.5) * width / BITS).astype(int)
    return int(sum(int(picture[height // 2, x].mean() > 120) << k for k, x in enumerate(centres)))


def corner_picture(width: int = 96, height: int = 64) -> Image:
    """Return a grey picture: top left red, top right green, bottom left blue."""
    picture = np.full((height, width, 3), 128, np.uint8)
    picture[: height // 2, : width // 2] = 200, 40, 40
    picture[: height // 2, width // 2 :] = 40, 200, 40
    picture[height // 2 :, : width // 2] = 40, 40, 200
    return picture


def make_clicks(times_s: Sequence[float], seconds: float, rate_hz: int) -> Samples:
    """Return (1, N) silence with a click of 2 ms, centred, at each time."""
    samples = np.zeros((1, round(seconds * rate_hz)), np.float32)
    half = round(0.001 * rate_hz)
    for time_s in times_s:
        centre = round(time_s * rate_hz)
        samples[:, max(0, centre - half) : centre + half] = 0.8
    return samples


def find_clicks(samples: Samples, start_s: float, rate_hz: int) -> list[float]:
    """Return the centres in seconds of what is louder than half of the loudest."""
    loud = np.flatnonzero(np.abs(samples) > np.abs(samples).max() / 2)
    clicks = np.split(loud, np.flatnonzero(np.diff(loud) > 0.05 * rate_hz) + 1)
    return [start_s + float(click[0] + click[-1]) / 2 / rate_hz for click in clicks]


def write_media(
    path: Path,
    pictures: Sequence[Image] = (),
    *,
    times: Sequence[int] | None = None,
    time_base: Fraction = Fraction(1, 25),
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    options: Mapping[str, str] | None = None,
    matrix: Sequence[int] | None = None,
    colorspace: int | None = None,
    pixel_aspect: Fraction | None = None,
    transfer: int | None = None,
    audio: AudioTrack | None = None,
    container: str | None = None,
    container_options: Mapping[str, str] | None = None,
) -> Path:
    """Write pictures at `times` (in units of `time_base`; default 0, 1, 2...) and audio.

    `matrix` is FFmpeg's display matrix of nine integers, `colorspace` an AVCOL_SPC_* tag,
    `pixel_aspect` the width of a pixel over its height, `transfer` an AVCOL_TRC_* tag.
    """
    with av.open(str(path), "w", format=container, options=dict(container_options or {})) as out:
        packets: list[av.Packet] = []
        if len(pictures):
            video: Any = out.add_stream(
                codec, rate=round(1 / time_base), options=dict(options or {})
            )
            video.height, video.width = pictures[0].shape[:2]
            video.pix_fmt, video.codec_context.time_base = pixel_format, time_base
            if colorspace is not None:
                video.codec_context.colorspace = colorspace
            if transfer is not None:
                video.codec_context.color_trc = transfer
            if pixel_aspect is not None:
                video.codec_context.sample_aspect_ratio = pixel_aspect
            if matrix is not None:
                video.set_display_matrix(matrix)
        if audio:
            stream: Any = out.add_stream(audio.codec, rate=audio.rate_hz, layout=audio.layout)
            if audio.bit_rate:
                stream.bit_rate = audio.bit_rate
        out.start_encoding()
        for k, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            frame.pts, frame.time_base = times[k] if times else k, time_base
            packets += video.encode(frame)
        if len(pictures):
            packets += video.encode()
        if audio:
            packets += _encode_audio(stream, audio)
        # Without a time the muxer must not be asked to compare.
        for packet in sorted(packets, key=lambda p: float((p.dts or 0) * p.time_base)):
            out.mux(packet)
    return path


def _encode_audio(stream: av.AudioStream, audio: AudioTrack) -> list[av.Packet]:
    packets: list[av.Packet] = []
    form = stream.codec_context.format.name
    size = stream.codec_context.frame_size or 1024
    resampler = av.AudioResampler(form, audio.layout, audio.rate_hz)
    for start_s, samples in audio.pieces:
        for first in range(0, samples.shape[1], size):
            block = np.ascontiguousarray(samples[:, first : first + size], np.float32)
            frame = av.AudioFrame.from_ndarray(block, "fltp", audio.layout)
            frame.sample_rate, frame.time_base = audio.rate_hz, Fraction(1, audio.rate_hz)
            frame.pts = round(start_s * audio.rate_hz) + first
            for converted in resampler.resample(frame):
                packets += stream.encode(converted)
    return packets + stream.encode()
