"""Long videos of any size with one face or many, made by repeating a few seconds of packets."""

import itertools
import math
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from abawcli.media.video import read_frames

SAMPLE = Path(__file__).parents[1] / "sample_videos" / "expressions.mp4"
FPS = 25
LOOP_S = 4  # of which a long video consists; it begins with a key frame
PERSON = slice(80, 372)  # columns of the sample clip that show its person
FILL = 0.95  # of a cell, by the picture
Image = NDArray[np.uint8]


def write_video(path: Path, size: tuple[int, int], faces: int, seconds: float) -> None:
    """Write a video (H.264, AAC) of `size` (width, height) with `faces` in a grid."""
    loop = path.with_name(f"loop-{path.stem}.mp4")
    _write_loop(loop, size, faces)
    repeat_packets(loop, path, seconds)
    loop.unlink()


def _write_loop(path: Path, size: tuple[int, int], faces: int) -> None:
    pictures = [np.ascontiguousarray(frame.rgb()[:, PERSON]) for frame in read_frames(SAMPLE)]
    order = itertools.islice(itertools.cycle([*pictures, *reversed(pictures)]), LOOP_S * FPS)
    with av.open(str(path), "w") as out, av.open(str(SAMPLE)) as source:
        video = out.add_stream("libx264", rate=FPS)
        video.width, video.height, video.pix_fmt = *size, "yuv420p"
        video.codec_context.max_b_frames = 0  # so that it can be cut after any frame
        audio = out.add_stream_from_template(source.streams.audio[0])
        for picture in order:
            image = av.VideoFrame.from_ndarray(_tile(picture, size, faces), format="rgb24")
            out.mux(video.encode(image))
        out.mux(video.encode(None))
        for packet in source.demux(audio=0):
            if packet.dts is not None and packet.dts * packet.time_base < LOOP_S:
                packet.stream = audio
                out.mux(packet)


def _tile(picture: Image, size: tuple[int, int], faces: int) -> Image:
    """Return a frame (H, W, 3) with the picture in each of `faces` cells."""
    width, height = size
    columns = math.ceil(math.sqrt(faces * width / height))
    rows = math.ceil(faces / columns)
    h, w = height // rows, width // columns
    scale = FILL * min(h / picture.shape[0], w / picture.shape[1])
    small_h, small_w = (round(n * scale) for n in picture.shape[:2])
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
    small = frame.reformat(small_w, small_h, "rgb24").to_ndarray()
    canvas = np.full((height, width, 3), 60, np.uint8)
    for k in range(faces):
        top = k // columns * h + (h - small_h) // 2
        left = k % columns * w + (w - small_w) // 2
        canvas[top : top + small_h, left : left + small_w] = small
    return canvas


def repeat_packets(loop: Path, path: Path, seconds: float) -> None:
    """Write the packets of a file again and again, without encoding them anew."""
    with av.open(str(path), "w") as out, av.open(str(loop)) as source:
        copies = {
            s.index: out.add_stream_from_template(s)
            for s in (*source.streams.video, *source.streams.audio)
        }
        last = dict.fromkeys(copies, -math.inf)  # time of each stream's last packet
        for start_s in range(0, math.ceil(seconds), LOOP_S):
            source.seek(0)
            for packet in source.demux():
                if packet.dts is None or start_s + packet.pts * packet.time_base >= seconds:
                    continue
                shift = int(start_s / packet.time_base)
                packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                key = packet.stream_index
                if packet.dts <= last[key]:  # audio that was cut inside a packet
                    continue
                last[key], packet.stream = packet.dts, copies[key]
                out.mux(packet)
