"""An open media file: the choice of its streams, and their packets on one clock."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any, overload

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from abawcli.config import Media
from abawcli.errors import InputError
from abawcli.media.clock import Clock, Stamp
from abawcli.media.limits import check_frame_size, count_allowed

LOG = logging.getLogger(__name__)
AnyPacket = Any  # av.Packet is generic for type checkers only
Decoded = list[Any] | None  # the frames of a packet; None: it is damaged

# Containers whose header states the duration. For others FFmpeg estimates it.
STATES_DURATION = ("mov", "matroska", "flac", "asf")
# FFmpeg draws the text of files with such suffixes: .txt, .nfo, .ans, .bin, ...
TEXT_FORMATS = frozenset({"tty", "bin", "xbin", "adf", "idf"})
COVERS = Disposition.attached_pic | Disposition.timed_thumbnails
PICTURE_CODECS = frozenset({"mjpeg", "png", "bmp", "tiff", "webp", "jpeg2000"})


@dataclass
class OpenMedia:
    """An open file, its streams that are read, and their clock. It can be read only once."""

    path: Path
    container: InputContainer
    video: VideoStream | None  # None: there is none that can be decoded
    audio: AudioStream | None
    clock: Clock = field(default_factory=Clock)

    @property
    def others(self) -> list[Stream]:
        """Return the streams that are not read."""
        return [s for s in self.container.streams if s not in (self.video, self.audio)]

    def is_unknown(self, kind: str) -> bool:
        """Tell whether there are streams of a kind, "video" or "audio", but none is decodable."""
        streams = (s for s in self.container.streams if s.type == kind and not is_cover(s))
        return getattr(self, kind) is None and any(True for _ in streams)

    def explain_lack(self, kind: str) -> str:
        """Return the message that says why no stream of a kind is read."""
        if self.is_unknown(kind):
            return f"{self.path}: its {kind} is in a format that FFmpeg cannot decode"
        return f"{self.path} has no {kind}"


@contextmanager
def open_streams(path: str | Path) -> Iterator[OpenMedia]:
    """Open a media file and choose its streams.

    Raises:
        InputError: as `open_media`.
    """
    path = Path(path)
    with open_media(path) as container:
        video, audio = choose_video(container), choose_audio(container)
        intervals_s = {video.index: float(1 / read_rate(video))} if video else {}
        yield OpenMedia(
            path=path, container=container, video=video, audio=audio, clock=Clock(intervals_s)
        )


def open_media(path: str | Path) -> InputContainer:
    """Open a media file for reading.

    Raises:
        InputError: the file is missing, unreadable, empty, a folder, text, or unknown to FFmpeg.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise InputError(f"{path} is a folder, not a media file")
        if path.stat().st_size == 0:
            raise InputError(f"{path} is empty (0 bytes)")
        # With "file:", a colon in the name does not mean a protocol; without patterns, %d in the
        # name of a picture does not mean a series of files.
        options = {"pattern_type": "none"}
        container = av.open(f"file:{path}", options=options, metadata_errors="replace")
    except FileNotFoundError:
        raise InputError(f"no such file: {path}") from None
    except PermissionError:
        raise InputError(f"{path} cannot be read: permission denied") from None
    except (av.error.FFmpegError, OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path} is not a readable media file: {reason}") from error
    if container.format.name in TEXT_FORMATS:
        container.close()
        raise InputError(f"{path} is a text file, not a media file")
    return container


# --- which streams are read ----------------------------------------------------------------


def choose_video(container: InputContainer) -> VideoStream | None:
    """Return the video stream that is read; None if there is none that can be decoded.

    Moving pictures are preferred, then the default stream, then the largest, then the first. Covers
    are ignored: pictures marked as such, and single pictures beside other streams.
    """
    streams = [s for s in container.streams.video if s.codec_context and not is_cover(s)]
    return max(streams, key=_rank_video, default=None)  # of equals the first


def choose_audio(container: InputContainer) -> AudioStream | None:
    """Return the audio stream that is read; None if there is none that can be decoded.

    The default stream is preferred, then the one with most channels, then the first.
    """
    streams = [s for s in container.streams.audio if s.codec_context]
    return max(streams, key=_rank_audio, default=None)


def _rank_video(stream: VideoStream) -> tuple[bool, bool, int]:
    still = stream.frames == 1 or stream.codec_context.name in PICTURE_CODECS
    return not still, _is_default(stream), stream.width * stream.height


def _rank_audio(stream: AudioStream) -> tuple[bool, int]:
    return _is_default(stream), stream.channels


def _is_default(stream: Stream) -> bool:
    return bool(stream.disposition & Disposition.default)


def is_cover(stream: Stream) -> bool:
    """Tell whether a stream is a cover picture, a thumbnail or the like."""
    if stream.type != "video" or stream.disposition & COVERS:
        return stream.type == "video"
    context, streams = stream.codec_context, stream.container.streams
    single = stream.frames == 1 and context is not None and context.name in PICTURE_CODECS
    return single and len(streams.video) + len(streams.audio) > 1


def describe_stream(stream: Stream) -> str:
    """Return the kind, the codec and the size of a stream, such as "video h264 640x480"."""
    context: Any = stream.codec_context
    if context is None:
        return f"{stream.type} {getattr(stream, 'name', None) or 'of unknown format'}"
    size = {"video": "{0.width}x{0.height}", "audio": "x{0.channels}"}.get(stream.type, "")
    return f"{stream.type} {context.name} {size.format(context)}".strip()


def report_choice(media: OpenMedia, kind: str) -> None:
    """Log which streams of a kind are not read; warn if another choice may have been meant.

    Covers and other audio streams, such as languages, give no warning.
    """
    chosen = getattr(media, kind)
    for stream in media.others:
        if stream.type != kind or chosen is None:
            continue
        harmless = is_cover(stream) or (kind == "audio" and stream.codec_context is not None)
        LOG.log(
            logging.INFO if harmless else logging.WARNING,
            "%s: stream %d (%s) is not read; stream %d (%s) is read",
            media.path, stream.index, describe_stream(stream),
            chosen.index, describe_stream(chosen),
        )  # fmt: skip


# --- packets and frames --------------------------------------------------------------------


def read_rate(stream: VideoStream) -> Fraction:
    """Return the nominal frame rate of a stream, or FFmpeg's default if it has none."""
    return stream.average_rate or stream.guessed_rate or Fraction(Media.fallback_fps)


def _read_packets(media: OpenMedia) -> Iterator[tuple[Stamp, AnyPacket]]:
    """Yield the packets of both streams in file order, with their stamps."""
    streams = [stream for stream in (media.video, media.audio) if stream is not None]
    try:
        for packet in media.container.demux(*streams):
            if packet.size:
                yield _stamp_packet(packet), packet
    except (av.error.FFmpegError, OSError) as error:
        LOG.warning("%s ends early: %s; its decoded part is used", media.path, error)


def _stamp_packet(packet: AnyPacket) -> Stamp:
    tick_s = packet.time_base or Fraction(0)
    shown_s = None if packet.pts is None else float(packet.pts * tick_s)
    order_s = None if packet.dts is None else float(packet.dts * tick_s)
    if packet.stream.type == "audio" and order_s is None:
        order_s = shown_s
    length_s = float((packet.duration or 0) * tick_s)
    return Stamp(
        stream=packet.stream.index,
        order_s=order_s,
        shown_s=shown_s,
        length_s=length_s,
        size=packet.size,
    )


def _read_stream(media: OpenMedia, stream: VideoStream | AudioStream) -> Iterator[AnyPacket]:
    """Yield a stream's packets on the joined clock, then an empty one that flushes the decoder."""
    for offset_s, stamp, packet in media.clock.follow(_read_packets(media)):
        if stamp.stream != stream.index:
            continue
        if offset_s is None or _is_far(stamp):
            packet.pts = None
        if offset_s is None:
            packet.dts = None
        elif offset_s and packet.time_base:
            ticks = round(offset_s / packet.time_base)
            packet.pts = None if packet.pts is None else packet.pts + ticks
            packet.dts = None if packet.dts is None else packet.dts + ticks
        yield packet
    last: av.Packet[Any] = av.Packet()
    if stream.time_base:
        last.time_base = stream.time_base  # which the decoder gives to the last frames
    yield last


def _is_far(stamp: Stamp) -> bool:
    """Tell whether a packet's times of presentation and decoding are on different lines."""
    if stamp.order_s is None or stamp.shown_s is None:
        return False
    return abs(stamp.shown_s - stamp.order_s) > Media.jump_s


@overload
def decode_stream(media: OpenMedia, stream: VideoStream) -> Iterator[av.VideoFrame]:
    """Yield the decoded frames of a video stream."""


@overload
def decode_stream(media: OpenMedia, stream: AudioStream) -> Iterator[av.AudioFrame]:
    """Yield the decoded frames of an audio stream, each with any number of samples."""


def decode_stream(
    media: OpenMedia, stream: VideoStream | AudioStream
) -> Iterator[av.VideoFrame] | Iterator[av.AudioFrame]:
    """Yield the decoded frames of a stream, up to the end or to damage, with a warning.

    It uses one thread: with several, PyAV drops valid frames in the decoder if the last packet is
    damaged, as in a file that was cut.

    Raises:
        InputError: the header states frames above the limit of `media.limits`. Larger ones that it
            does not state are damage.
    """
    stream.codec_context.thread_count = 1
    if isinstance(stream, VideoStream):
        check_frame_size(stream.width, stream.height, media.path)
        stream.codec_context.options = {"max_pixels": str(count_allowed())}
    damaged, end_s = 0, 0.0
    decoded = _decode_packets(media, stream)
    for natives in _drop_garbage(decoded) if stream.type == "audio" else decoded:
        damaged += natives is None
        for native in natives or ():
            damaged += native.is_corrupt
            end_s = (end_s if native.time is None else native.time) + _measure(native)
            yield native
    if damaged:
        LOG.warning("%s is damaged: %d %s packets or frames", media.path, damaged, stream.type)
    _report_cut(media, stream, end_s - media.clock.offset_s(stream.index))
    if stream is media.video or media.video is None:
        _report_clock(media)


def _decode_packets(media: OpenMedia, stream: VideoStream | AudioStream) -> Iterator[Decoded]:
    for packet in _read_stream(media, stream):
        try:
            yield stream.decode(packet)
        except (av.error.FFmpegError, OSError):
            yield None


def _drop_garbage(decoded: Iterator[Decoded]) -> Iterator[Decoded]:
    """Drop the audio of packets of which most cannot be decoded: it is noise."""
    while batch := list(islice(decoded, Media.garbage_packets)):
        failed = sum(natives is None for natives in batch)
        yield from batch if 2 * failed <= len(batch) else [None] * len(batch)


def _measure(native: av.VideoFrame | av.AudioFrame) -> float:
    """Return the duration of a frame in seconds, 0 if it is unknown."""
    if isinstance(native, av.AudioFrame):
        return native.samples / native.sample_rate
    return float(native.duration * (native.time_base or 0))


def _report_cut(media: OpenMedia, stream: VideoStream | AudioStream, end_s: float) -> None:
    stated_s = _read_stated_end(media.container, stream)
    if stated_s is not None and stated_s - end_s > Media.cut_tolerance_s:
        LOG.warning(
            "%s seems to be cut: its %s ends at %.2f s, its header says %.2f s",
            media.path, stream.type, end_s, stated_s,
        )  # fmt: skip


def _report_clock(media: OpenMedia) -> None:
    joins = media.clock.joins
    if joins:
        first, more = joins[0], f", {len(joins) - 1} more" if len(joins) > 1 else ""
        LOG.warning(
            "%s: its clock jumps by %+.2f s at %.2f s%s; the parts are joined without a gap",
            media.path, first.jump_s, first.time_s, more,
        )  # fmt: skip
    for stream, count in sorted(media.clock.strays.items()):
        LOG.warning(
            "%s: some times of its %s are invalid (packets: %d); "
            "these packets follow those before them",
            media.path, media.container.streams[stream].type, count,
        )  # fmt: skip


def _read_stated_end(container: InputContainer, stream: VideoStream | AudioStream) -> float | None:
    """Return the end of a stream in seconds according to its header; None if it does not say."""
    if container.format.name == "avi":  # FFmpeg measures the duration; the header has the count
        rate = stream.average_rate if isinstance(stream, VideoStream) else None
        return float(stream.frames / rate) if rate else None
    if not container.format.name.startswith(STATES_DURATION):
        return None
    if stream.duration and stream.time_base:
        return float(((stream.start_time or 0) + stream.duration) * stream.time_base)
    # Matroska, as FFmpeg and mkvmerge write it
    tag = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", stream.metadata.get("DURATION", ""))
    return int(tag[1]) * 3600 + int(tag[2]) * 60 + float(tag[3]) if tag else None
