"""One ascending clock for the video and audio of a file, also if its time stamps are broken.

Packets of all streams come in file order. Valid times are not changed. Where a file's clock
restarts or jumps too far, its parts are joined: the same offset is added to all streams, so that
video and audio stay synchronous. A part with one offset is called a line. A few packets whose times
leave the line and come back are strays: their times are dropped, and a packet without a time
follows the one before it.
"""

import math
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from abawcli.config import Media

Item = TypeVar("Item")
Timed = tuple[float | None, float, Item]  # time and duration in seconds, item


@dataclass(frozen=True)
class Stamp:
    """The times of a packet in seconds, as stored in the file."""

    stream: int
    order_s: float | None  # of decoding: ascending within a stream
    shown_s: float | None  # of presentation
    length_s: float = 0.0
    size: int = 0  # bytes


@dataclass(frozen=True)
class Join:
    """Where two parts of a file are joined."""

    time_s: float  # on the joined clock
    jump_s: float  # of the file's own clock; negative: it goes back


@dataclass
class _Line:
    """A part of the file with one offset from its clock to the joined clock."""

    offset_s: float
    latest_s: float  # of its stamps


@dataclass
class _Position:
    """The position of a stream: its line, and the time of its next packet on the file's clock."""

    line: int
    due_s: float
    end_s: float  # of presentation


class Clock:
    """Follows the time stamps of a file's streams and returns their offsets."""

    def __init__(self, intervals_s: dict[int, float] | None = None) -> None:
        """Start a clock; `intervals_s` is the nominal interval of packets of each stream."""
        self.joins: list[Join] = []
        self.strays: Counter[int] = Counter()  # packets of each stream
        self._intervals_s = intervals_s or {}
        self._lines = [_Line(0.0, 0.0)]
        self._positions: dict[int, _Position] = {}

    def offset_s(self, stream: int) -> float:
        """Return the current offset of a stream's times."""
        position = self._positions.get(stream)
        return self._lines[position.line].offset_s if position else 0.0

    def follow(
        self, packets: Iterable[tuple[Stamp, Item]]
    ) -> Iterator[tuple[float | None, Stamp, Item]]:
        """Yield the offset of each packet's times, its stamp and item; None: ignore its times."""
        source = iter(packets)
        ahead: deque[tuple[Stamp, Item]] = deque()
        while ahead or (ahead := deque(islice(source, 1))):
            stamp, item = ahead.popleft()
            if self._is_doubtful(stamp):
                size = sum(other.size for other, _ in ahead)
                while len(ahead) < Media.lookahead_packets and size < Media.lookahead_bytes:
                    if (more := next(source, None)) is None:
                        break
                    ahead.append(more)
                    size += more[0].size
            yield self._settle(stamp, [other for other, _ in ahead]), stamp, item

    def _back_s(self, stream: int) -> float:
        """Return the largest valid step back: packets are not stored in order of presentation."""
        return max(Media.restart_s, 8 * self._intervals_s.get(stream, 0.0))

    def _far_s(self, stream: int) -> float:
        """Return the largest valid step ahead: time-lapse files have long intervals."""
        return max(Media.jump_s, 16 * self._intervals_s.get(stream, 0.0))

    def _is_doubtful(self, stamp: Stamp) -> bool:
        """Tell whether the packets after a stamp are needed to judge it."""
        if stamp.order_s is None:
            return False
        position = self._positions.get(stamp.stream)
        if position is None:
            return True
        step_s = stamp.order_s - position.due_s
        return step_s > Media.stray_s or step_s < -self._back_s(stamp.stream)

    def _settle(self, stamp: Stamp, ahead: list[Stamp]) -> float | None:
        """Return the offset of a packet, given those after it; None for a stray."""
        order_s = stamp.order_s
        if order_s is None:
            return self.offset_s(stamp.stream)
        position = self._positions.get(stamp.stream)
        own = [s.order_s for s in ahead if s.stream == stamp.stream and s.order_s is not None]
        if position is None:
            if self._is_stray_first(stamp, own):
                self.strays[stamp.stream] += 1
                return None
            far_s = [abs(order_s - line.latest_s) for line in self._lines]
            position = _Position(far_s.index(min(far_s)), order_s, order_s)
            self._positions[stamp.stream] = position
        elif self._is_doubtful(stamp) and self._is_stray(stamp, position, own):
            # The next packet is due after it.
            position.due_s += stamp.length_s or self._intervals_s.get(stamp.stream, 0.0)
            self.strays[stamp.stream] += 1
            return None
        self._choose_line(stamp, order_s, position, ahead)
        return self._accept(stamp, order_s, position)

    def _is_stray_first(self, stamp: Stamp, own: list[float]) -> bool:
        """Tell whether a stream begins with a few stamps that are later than the next ones."""
        times_s = [stamp.order_s or 0.0, *own]
        back_s = self._back_s(stamp.stream)
        first = next((k for k in range(1, len(times_s)) if times_s[k] < times_s[k - 1] - back_s), 0)
        is_later = times_s[first] < times_s[0] - back_s
        return is_later and first <= Media.stray_first and len(times_s) > 2 * first

    def _is_stray(self, stamp: Stamp, position: _Position, own: list[float]) -> bool:
        """Tell whether a stream leaves its line with a stamp and comes back to it."""
        assert stamp.order_s is not None
        back_s, due_s = self._back_s(stamp.stream), position.due_s
        if stamp.order_s > due_s:  # then its stamps decrease where it comes back
            return any(due_s - back_s <= time_s < stamp.order_s - Media.stray_s for time_s in own)
        length_s = stamp.length_s or self._intervals_s.get(stamp.stream, 0.0)
        expected_s = ((due_s + k * length_s, time_s) for k, time_s in enumerate(own, 1))
        return any(abs(time_s - expected) <= back_s / 2 for expected, time_s in expected_s)

    def _choose_line(
        self, stamp: Stamp, order_s: float, position: _Position, ahead: list[Stamp]
    ) -> None:
        """Move a stream to the newest line if that is nearer, or to a new one."""
        newest, step_s = len(self._lines) - 1, order_s - position.due_s
        if position.line < newest and abs(order_s - self._lines[-1].latest_s) < abs(step_s):
            position.line, position.end_s = newest, order_s
            return
        # If another stream got there without a jump, the gap is in this stream only.
        ahead_s = order_s - max(position.due_s, self._lines[position.line].latest_s)
        if step_s >= -self._back_s(stamp.stream) and ahead_s <= self._far_s(stamp.stream):
            return
        start_s, end_s = self._find_seam(order_s, [stamp, *ahead])
        self.joins.append(Join(end_s, step_s))
        self._lines.append(_Line(end_s - start_s, order_s))
        position.line, position.end_s = newest + 1, order_s

    def _find_seam(self, order_s: float, stamps: list[Stamp]) -> tuple[float, float]:
        """Return the new line's start on the file's clock and the old one's end on the joined one.

        Streams do not end together. The first stream of the new line starts where the last stream
        of the old line ends, so that nothing overlaps.
        """
        starts_s: dict[int, float] = {}  # of the streams that are on the new line
        ends_s = [position.end_s + self.offset_s(k) for k, position in self._positions.items()]
        for stamp in stamps:
            time_s = stamp.order_s if stamp.shown_s is None else stamp.shown_s
            if time_s is None or (position := self._positions.get(stamp.stream)) is None:
                continue
            new_s, old_s = abs(time_s - order_s), abs(time_s - position.due_s)
            if new_s < Media.skew_s and (stamp.stream in starts_s or new_s < old_s):
                starts_s[stamp.stream] = min(time_s, starts_s.get(stamp.stream, time_s))
            elif old_s < Media.skew_s and stamp.stream not in starts_s:
                ends_s.append(time_s + stamp.length_s + self.offset_s(stamp.stream))
        return min(starts_s.values(), default=order_s), max(ends_s)

    def _accept(self, stamp: Stamp, order_s: float, position: _Position) -> float:
        length_s = stamp.length_s or self._intervals_s.get(stamp.stream, 0.0)
        line = self._lines[position.line]
        position.due_s = order_s + length_s
        shown_s = order_s if stamp.shown_s is None else stamp.shown_s
        if abs(shown_s - order_s) <= self._far_s(stamp.stream):
            position.end_s = max(position.end_s, shown_s + length_s)
        line.latest_s = order_s
        return line.offset_s


def count_back(items: Iterable[Timed[Item]], most: int) -> Iterator[Timed[Item]]:
    """Yield the items; the first ones without a time get times that lead to the first known one.

    If more than `most` have no time, or all of them, their times start at 0.
    """
    source, held = iter(items), list[Timed[Item]]()
    for timed in source:
        held.append(timed)
        if timed[0] is not None or len(held) > most:
            break
    known_s = held[-1][0] if held else None
    ahead_s = sum(length_s for _, length_s, _ in held[:-1])
    start_s, passed_s = 0.0 if known_s is None else known_s - ahead_s, 0.0
    for time_s, length_s, item in held:
        yield start_s + passed_s if time_s is None else time_s, length_s, item
        passed_s += length_s
    yield from source


def ascend(items: Iterable[Timed[Item]], most: int) -> Iterator[tuple[float, Item]]:
    """Yield times that ascend strictly, with their items; valid times are not changed.

    An item without a time, or with a time that is not later than those before it, follows the one
    before after its duration, or sooner if the next known time requires it. At most `most` items
    are held back to wait for that time.
    """
    held: list[tuple[float, Item]] = []
    last_s = -math.inf
    for time_s, length_s, item in items:
        if time_s is not None and time_s > last_s:
            room_s = (time_s - last_s) / (len(held) + 1)
            for held_s, waiting in held:
                last_s += min(held_s, room_s)
                yield last_s, waiting
            held, last_s = [], time_s
            yield time_s, item
            continue
        held.append((length_s, item))
        if len(held) > most:
            length_s, item = held.pop(0)
            last_s += length_s
            yield last_s, item
    for length_s, item in held:
        last_s += length_s
        yield last_s, item
