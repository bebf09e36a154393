"""Deinterlacing: one progressive frame for each interlaced frame, at the same time.

The two fields of a frame have different times, so that a moving face has combed edges. FFmpeg's
bwdif interpolates the first field, and uses the frames before and after where nothing moves.
Progressive frames in between are not changed.
"""

import logging
from collections import deque
from collections.abc import Iterator
from fractions import Fraction

import av

LOG = logging.getLogger(__name__)
Timed = tuple[float, av.VideoFrame]
_FILTER = "mode=send_frame:parity=auto:deint=interlaced"


class _Graph:
    """FFmpeg's filter for frames of one size and format. It delays its output by one frame."""

    def __init__(self, native: av.VideoFrame) -> None:
        self.form = _describe(native)
        self.waiting: deque[Timed] = deque()
        self._graph = av.filter.Graph()
        self._graph.threads = 1
        # Times are kept here: the filter returns one frame for each frame, in order.
        source = self._graph.add_buffer(
            width=native.width,
            height=native.height,
            format=native.format,
            time_base=native.time_base or Fraction(1, 1000),
        )
        nodes = source, self._graph.add("bwdif", _FILTER), self._graph.add("buffersink")
        self._graph.link_nodes(*nodes).configure()

    def push(self, time_s: float, native: av.VideoFrame) -> Iterator[Timed]:
        """Pass a frame to the filter and yield its output."""
        self.waiting.append((time_s, native))
        self._graph.vpush(native)
        yield from self._pull()

    def finish(self) -> Iterator[Timed]:
        """Yield the remaining frames."""
        self._graph.vpush(None)
        yield from self._pull()
        yield from self.waiting  # frames that the filter did not return
        self.waiting.clear()

    def _pull(self) -> Iterator[Timed]:
        while self.waiting:
            try:
                made = self._graph.vpull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            time_s, native = self.waiting.popleft()
            made.colorspace, made.color_range = native.colorspace, native.color_range
            made.color_trc, made.color_primaries = native.color_trc, native.color_primaries
            yield time_s, made


def _describe(native: av.VideoFrame) -> tuple[int, int, str]:
    return native.width, native.height, native.format.name


def _make_graph(native: av.VideoFrame) -> _Graph | None:
    """Return a filter for frames like this one; None, with a warning, if that is impossible."""
    try:
        return _Graph(native)
    except (av.error.FFmpegError, ValueError) as error:
        form = "{}x{} {}".format(*_describe(native))
        LOG.warning("interlaced frames of %s are not deinterlaced: %s", form, error)
        return None


def deinterlace(frames: Iterator[Timed]) -> Iterator[Timed]:
    """Yield all frames with their times; from the first interlaced one on, they are filtered."""
    graph, failed = None, None
    for time_s, native in frames:
        if graph and graph.form != _describe(native):
            yield from graph.finish()
            graph = None
        if native.interlaced_frame and not graph and failed != _describe(native):
            graph = _make_graph(native)
            failed = None if graph else _describe(native)
        if graph:
            yield from graph.push(time_s, native)
        else:
            yield time_s, native
    if graph:
        yield from graph.finish()
