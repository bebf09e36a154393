"""Pictures and sound become a video file: moviepy starts FFmpeg and feeds it."""

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
    """What a kind of video file holds."""

    video: str
    audio: str
    options: tuple[str, ...]  # of the video encoder


_H264 = Codecs("libx264", "aac", ("-crf", "20"))
_VP9 = Codecs(
    "libvpx-vp9",
    "libopus",
    ("-crf", "30", "-b:v", "0", "-deadline", "realtime", "-cpu-used", "6", "-row-mt", "1"),
)
CODECS = {".mp4": _H264, ".mov": _H264, ".mkv": _H264, ".webm": _VP9}
# Untagged, one player takes the colours for BT.601, and another for BT.709.
_COLOURS = (
    "-vf", "scale=out_color_matrix=bt709:out_range=tv", "-colorspace", "bt709",
    "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv",
)  # fmt: skip
# Without random numbers: the same work gives the same bytes.
_SAME_BYTES = ("-fflags", "+bitexact", "-flags:v", "+bitexact", "-flags:a", "+bitexact")
_SOUND_HZ = 48_000  # which all players and all codecs take
_PRESET = "veryfast"  # of x264: half the time of its default for a tenth more bytes
_FAULT = re.compile(r"error|no space left|unknown encoder|not found|permission denied", re.I)


def check_video_name(path: str | Path) -> None:
    """Make sure, before any work is done, that `path` can name a video to be written.

    Raises:
        UsageError: the suffix belongs to no format that is written.
    """
    path = Path(path)
    if path.suffix.lower() not in CODECS:
        raise UsageError(f"{path} is no video name; end it in {', '.join(CODECS)}")


def write_video(
    path: str | Path, images: Iterable[Image], fps: float, sound: str | Path | None = None
) -> None:
    """Write a video of RGB pictures (H, W, 3), at least one, all of one size, H and W even.

    `fps` has two decimals at most, which is what moviepy passes on. `sound` is a file that begins
    with the first picture.

    Raises:
        UsageError: the suffix belongs to no format that is written.
        OutputError: FFmpeg is missing, has no such encoder, or fails, as on a full disk.
    """
    path = Path(path)
    check_video_name(path)
    rest = iter(images)
    first = next(rest)
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        writer = _start_writer(path, (first.shape[1], first.shape[0]), fps, sound, log)
        process = writer.proc
        try:
            fed = all(_feed(writer, image) for image in chain([first], rest))
            with suppress(OSError):  # its status tells
                process.stdin.close()
            process.wait()
        finally:
            _end(process)
        if process.returncode or not fed:
            raise OutputError(f"FFmpeg cannot write the video: {_explain(log, process)}")


def _start_writer(
    path: Path, size: tuple[int, int], fps: float, sound: str | Path | None, log: IO[str]
) -> Any:
    """Start FFmpeg; its messages go to `log`, which never fills up as a pipe does."""
    codecs = CODECS[path.suffix.lower()]
    try:
        from moviepy.video.io.ffmpeg_writer import FFMPEG_VideoWriter

        return FFMPEG_VideoWriter(
            os.path.abspath(path), size, fps, codecs.video,
            audiofile=sound and os.path.abspath(sound), audio_codec=codecs.audio,
            preset=_PRESET, logfile=log,
            ffmpeg_params=["-nostats", *_SAME_BYTES, *_COLOURS, *codecs.options],
        )  # fmt: skip
    except (OSError, RuntimeError) as error:  # of moviepy and of imageio-ffmpeg
        raise OutputError(
            "no FFmpeg to write the video with; reinstall imageio-ffmpeg, or name one in the "
            f"variable FFMPEG_BINARY ({str(error).strip().splitlines()[0]})"
        ) from error


def _feed(writer: Any, image: Image) -> bool:
    """Pass on a picture; tell whether FFmpeg took it."""
    try:
        writer.write_frame(image)
    except OSError:
        return False
    return True


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Leave no FFmpeg behind, whatever went wrong."""
    if process.poll() is None:
        process.kill()
        process.wait()
    with suppress(OSError, AttributeError):
        process.stdin.close()  # type: ignore[union-attr]


def _explain(log: IO[str], process: "subprocess.Popen[bytes]") -> str:
    """Return the first line in which FFmpeg says what is wrong."""
    log.seek(0)
    for line in log:
        if _FAULT.search(line):
            return re.sub(r"^(\[[^]]*\] *)+", "", line.strip())
    return f"it ended with status {process.returncode}"


def write_audio(source: str | Path, path: str | Path, start_s: float, end_s: float) -> bool:
    """Write the sound of a media file between two times to `path`, a Matroska file of FLAC.

    It begins at `start_s` on the container's clock, with silence where there is none. Returns
    False, without a file, where the source has no sound at all.

    Raises:
        InputError: the source cannot be opened, or there is no decoder for its sound.
        OutputError: the place cannot be written.
    """
    source, path = Path(source), Path(path)
    picture = identify_picture(source)
    blocks = iter(()) if picture else read_audio_blocks(source, _SOUND_HZ, "stereo")
    parts = _cut_sound(blocks, start_s, end_s)
    first = next(parts, None)
    if first is None:
        return False
    try:
        _encode_flac(path, chain([first], parts))
    except (av.error.FFmpegError, OSError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"cannot write the sound to {path}: {reason}") from error
    return True


def _encode_flac(path: Path, parts: Iterable[Samples]) -> None:
    with av.open(str(path), "w", format="matroska") as out:
        stream, passed = out.add_stream("flac", rate=_SOUND_HZ, layout="stereo"), 0
        for samples in parts:
            whole = np.clip(np.rint(samples * 32768), -32768, 32767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(whole.reshape(1, -1), "s16", "stereo")
            frame.sample_rate, frame.pts = _SOUND_HZ, passed
            out.mux(stream.encode(frame))
            passed += len(samples)
        out.mux(stream.encode())


def _cut_sound(blocks: Iterable[Audio], start_s: float, end_s: float) -> Iterator[Samples]:
    """Yield samples (N, 2) without a gap from `start_s`, up to `end_s` at most."""
    passed, total = 0, round((end_s - start_s) * _SOUND_HZ)
    for block in blocks:
        place = round((block.start_s - start_s) * _SOUND_HZ)
        while passed < min(place, total):
            silence = np.zeros((min(_SOUND_HZ, place - passed, total - passed), 2), np.float32)
            yield silence
            passed += len(silence)
        samples = block.samples[max(0, passed - place) :][: total - passed]
        if len(samples):
            yield samples
            passed += len(samples)
        if passed >= total:
            return
