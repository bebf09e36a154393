"""Interlaced frames made progressive: one for each, at its own time.

Both fields of a frame are of different moments: a face that moves has combed edges. FFmpeg's
bwdif makes a picture of the first field, and takes from the frames before and after what
does not move. Progressive frames in between pass as they are.
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
    """FFmpeg's filter for frames of one size and format. It holds one frame back."""

    def __init__(self, native: av.VideoFrame) -> None:
        self.form = _describe(native)
        self.waiting: deque[Timed] = deque()
        self._graph = av.filter.Graph()
        self._graph.threads = 1
        # Times stay here: the filter gives as many frames as it is given, in order.
        source = self._graph.add_buffer(
            width=native.width,
            height=native.height,
            format=native.format,
            time_base=native.time_base or Fraction(1, 1000),
        )
        nodes = source, self._graph.add("bwdif", _FILTER), self._graph.add("buffersink")
        self._graph.link_nodes(*nodes).configure()

    def push(self, time_s: float, native: av.VideoFrame) -> Iterator[Timed]:
        """Give the filter a frame and yield what comes out."""
        self.waiting.append((time_s, native))
        self._graph.vpush(native)
        yield from self._pull()

    def finish(self) -> Iterator[Timed]:
        """Yield what the filter holds."""
        self._graph.vpush(None)
        yield from self._pull()
        yield from self.waiting  # none is lost, whatever the filter does
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
    """Return a filter for frames like this one, None, with a warning, where there can be none."""
    try:
        return _Graph(native)
    except (av.error.FFmpegError, ValueError) as error:
        form = "{}x{} {}".format(*_describe(native))
        LOG.warning("interlaced frames of %s stay as they are: %s", form, error)
        return None


def deinterlace(frames: Iterator[Timed]) -> Iterator[Timed]:
    """Yield all frames with their times; from the first interlaced one on they are filtered."""
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
