"""Encoding of pictures and audio into a video file, by FFmpeg through moviepy."""

import os
import re
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, Any

import av
import numpy as np

from abawcli.errors import OutputError, UsageError
from abawcli.media.audio import Audio, Samples, read_audio_blocks
from abawcli.media.pictures import identify_picture
from abawcli.media.pixels import Image


@dataclass(frozen=True)
class Codecs:
    """The codecs of a kind of video file."""

    video: str
    audio: str
    options: tuple[str, ...]  # of the video encoder


_H264 = Codecs("libx264", "aac", ("-crf", "20"))
_VP9 = Codecs(
    "libvpx-vp9",
    "libopus",
    (
        "-pix_fmt", "yuv420p",  # else RGB, which few players show; moviepy sets it for H.264 only
        "-crf", "30", "-b:v", "0", "-deadline", "realtime", "-cpu-used", "6", "-row-mt", "1",
    ),
)  # fmt: skip
CODECS = {".mp4": _H264, ".mov": _H264, ".mkv": _H264, ".webm": _VP9}
# Without these tags, some players assume BT.601 and others BT.709.
_COLOURS = (
    "-vf", "scale=out_color_matrix=bt709:out_range=tv", "-colorspace", "bt709",
    "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv",
)  # fmt: skip
# Without random numbers: the same work gives the same bytes.
_SAME_BYTES = ("-fflags", "+bitexact", "-flags:v", "+bitexact", "-flags:a", "+bitexact")
_AUDIO_HZ = 48_000  # supported by all players and codecs
_PRESET = "veryfast"  # of x264: half the time of its default for a tenth more bytes
_FAULT = re.compile(r"error|no space left|unknown encoder|not found|permission denied", re.I)


def check_video_name(path: str | Path) -> None:
    """Check, before any work is done, that `path` is a valid name of a video to write.

    Raises:
        UsageError: the suffix belongs to no format that can be written.
    """
    path = Path(path)
    if path.suffix.lower() not in CODECS:
        raise UsageError(f"{path} is no video name; it must end in {', '.join(CODECS)}")


def write_video(
    path: str | Path, images: Iterable[Image], fps: float, audio: str | Path | None = None
) -> None:
    """Write a video file.

    Args:
        path: the file; its suffix selects the format.
        images: at least one RGB picture (H, W, 3), all of one size, H and W even.
        fps: frames a second, with at most two decimals, which is what moviepy passes on.
        audio: a media file whose audio begins with the first picture; None: no audio.

    Raises:
        UsageError: the suffix belongs to no format that can be written.
        OutputError: FFmpeg is missing, has no such encoder, or fails, as on a full disk.
    """
    path = Path(path)
    check_video_name(path)
    rest = iter(images)
    first = next(rest)
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        writer = _start_writer(path, (first.shape[1], first.shape[0]), fps, audio, log=log)
        process = writer.proc
        try:
            fed = all(_feed(writer, image) for image in chain([first], rest))
            with suppress(OSError):  # the exit status reports errors
                process.stdin.close()
            process.wait()
        finally:
            _end(process)
        if process.returncode or not fed:
            raise OutputError(f"FFmpeg cannot write the video: {_explain(log, process)}")


def _start_writer(
    path: Path, size: tuple[int, int], fps: float, audio: str | Path | None, *, log: IO[str]
) -> Any:
    """Start FFmpeg; its messages go to the file `log`, because a pipe could fill up."""
    codecs = CODECS[path.suffix.lower()]
    try:
        from moviepy.video.io.ffmpeg_writer import FFMPEG_VideoWriter

        return FFMPEG_VideoWriter(
            os.path.abspath(path), size, fps, codecs.video,
            audiofile=audio and os.path.abspath(audio), audio_codec=codecs.audio,
            preset=_PRESET, logfile=log,
            ffmpeg_params=["-nostats", *_SAME_BYTES, *_COLOURS, *codecs.options],
        )  # fmt: skip
    except (OSError, RuntimeError) as error:  # of moviepy and of imageio-ffmpeg
        raise OutputError(
            "no FFmpeg to write the video with; reinstall imageio-ffmpeg, or name one in the "
            f"variable FFMPEG_BINARY ({str(error).strip().splitlines()[0]})"
        ) from error


def _feed(writer: Any, image: Image) -> bool:
    """Send a picture to FFmpeg; return whether it was accepted."""
    try:
        writer.write_frame(image)
    except OSError:
        return False
    return True


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End FFmpeg if it still runs."""
    if process.poll() is None:
        process.kill()
        process.wait()
    with suppress(OSError, AttributeError):
        process.stdin.close()  # type: ignore[union-attr]


def _explain(log: IO[str], process: "subprocess.Popen[bytes]") -> str:
    """Return the first line of the log that reports an error."""
    log.seek(0)
    for line in log:
        if _FAULT.search(line):
            return re.sub(r"^(\[[^]]*\] *)+", "", line.strip())
    return f"it ended with status {process.returncode}"


def write_audio(source: str | Path, path: str | Path, start_s: float, end_s: float) -> bool:
    """Write the audio of a media file between two times to `path`, a Matroska file of FLAC.

    It begins at `start_s` on the container's clock; gaps are filled with silence. Returns False,
    and writes no file, if the source has no audio.

    Raises:
        InputError: the source cannot be opened, or there is no decoder for its audio.
        OutputError: the output cannot be written.
    """
    source, path = Path(source), Path(path)
    picture = identify_picture(source)
    blocks = iter(()) if picture else read_audio_blocks(source, _AUDIO_HZ, "stereo")
    parts = _cut_audio(blocks, start_s, end_s)
    first = next(parts, None)
    if first is None:
        return False
    try:
        _encode_flac(path, chain([first], parts))
    except (av.error.FFmpegError, OSError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"cannot write the audio to {path}: {reason}") from error
    return True


def _encode_flac(path: Path, parts: Iterable[Samples]) -> None:
    with av.open(str(path), "w", format="matroska") as out:
        stream, passed = out.add_stream("flac", rate=_AUDIO_HZ, layout="stereo"), 0
        for samples in parts:
            whole = np.clip(np.rint(samples * 32768), -32768, 32767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(whole.reshape(1, -1), "s16", "stereo")
            frame.sample_rate, frame.pts = _AUDIO_HZ, passed
            out.mux(stream.encode(frame))
            passed += len(samples)
        out.mux(stream.encode())


def _cut_audio(blocks: Iterable[Audio], start_s: float, end_s: float) -> Iterator[Samples]:
    """Yield samples (N, 2) without a gap from `start_s`, up to `end_s` at most."""
    passed, total = 0, round((end_s - start_s) * _AUDIO_HZ)
    for block in blocks:
        first = round((block.start_s - start_s) * _AUDIO_HZ)
        while passed < min(first, total):
            silence = np.zeros((min(_AUDIO_HZ, first - passed, total - passed), 2), np.float32)
            yield silence
            passed += len(silence)
        samples = block.samples[max(0, passed - first) :][: total - passed]
        if len(samples):
            yield samples
            passed += len(samples)
        if passed >= total:
            return
