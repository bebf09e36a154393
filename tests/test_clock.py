from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from abawcli.config import Media
from abawcli.media.clock import Clock, Stamp, ascend, count_back

PICTURE, SOUND = 0, 1
STEPS_S = {PICTURE: 0.04, SOUND: 0.064}
TIMES = st.floats(-1e6, 1e6).map(lambda value: round(value, 3))


def make_part(start_s: float, seconds: float, lag_s: float = 0.0) -> list[Stamp]:
    """Return the stamps of a part with picture and audio, which begins `lag_s` later, in order."""
    stamps = []
    for stream, step_s in STEPS_S.items():
        begin_s = start_s + lag_s * (stream == SOUND)
        for k in range(int(seconds / step_s)):
            time_s = begin_s + k * step_s
            stamps.append(Stamp(stream, time_s, time_s, step_s))
    return sorted(stamps, key=lambda stamp: stamp.order_s or 0.0)


def follow(stamps: list[Stamp]) -> tuple[Clock, list[float | None]]:
    clock = Clock({PICTURE: STEPS_S[PICTURE]})
    got = list(clock.follow((stamp, k) for k, stamp in enumerate(stamps)))
    assert [stamp for _, stamp, _ in got] == stamps
    assert [k for _, _, k in got] == list(range(len(stamps)))
    return clock, [offset_s for offset_s, _, _ in got]


def move(stamp: Stamp, by_s: float) -> Stamp:
    return Stamp(stamp.stream, stamp.order_s + by_s, stamp.shown_s + by_s, stamp.length_s)


@settings(deadline=None, max_examples=20)
@given(
    gaps_s=st.lists(
        st.one_of(st.floats(0.001, 0.1), st.floats(0.1, 3000.0)), min_size=1, max_size=150
    ),
    streams=st.lists(st.booleans(), min_size=150, max_size=150),
    start_s=TIMES,
)
def test_times_that_ascend_are_not_changed(gaps_s, streams, start_s):
    stamps, time_s = [], start_s
    for gap_s, is_audio in zip(gaps_s, streams, strict=False):
        time_s += gap_s
        stamps.append(Stamp(int(is_audio), time_s, time_s, 0.02))
    clock, offsets_s = follow(stamps)
    assert offsets_s == [0.0] * len(stamps)
    assert (clock.joins, clock.strays) == ([], {})


@settings(deadline=None, max_examples=20)
@given(
    starts_s=st.lists(
        st.one_of(st.floats(0, 2e9), st.floats(0, 60.0), st.just(1.4)), min_size=2, max_size=4
    ),
    seconds=st.lists(st.floats(8.0, 10.0), min_size=4, max_size=4),
    lags_s=st.lists(st.floats(-0.3, 0.3), min_size=4, max_size=4),
)
def test_parts_are_joined_with_one_offset_for_both_streams(starts_s, seconds, lags_s):
    stamps, numbers, joins = [], [], 0
    for number, start_s in enumerate(starts_s):
        part = make_part(start_s, seconds[number], lags_s[number])
        if stamps:  # a jump that is one, for both streams
            due_s = stamps[-1].order_s
            jump_s = start_s - due_s
            if not (jump_s < -Media.restart_s - 1 or jump_s > Media.jump_s + 1):
                part = [move(stamp, -jump_s - 3.0) for stamp in part]
            joins += 1
        stamps += part
        numbers += [number] * len(part)
    clock, offsets_s = follow(stamps)
    assert not clock.strays
    assert len(clock.joins) == joins
    for number in range(len(starts_s)):
        assert len({o for o, k in zip(offsets_s, numbers, strict=True) if k == number}) == 1
    for stream, step_s in STEPS_S.items():
        times_s = [
            stamp.order_s + offset_s
            for stamp, offset_s in zip(stamps, offsets_s, strict=True)
            if stamp.stream == stream
        ]
        steps_s = [after - before for before, after in pairwise(times_s)]
        assert min(steps_s) > step_s - 1e-5  # nothing overlaps
        assert max(steps_s) < 0.8  # what the other stream is longer and begins sooner


@settings(deadline=None, max_examples=20)
@given(
    first=st.integers(0, 150),
    run=st.integers(1, 8),
    by_s=st.one_of(st.floats(1.5, 1e6), st.floats(-1e6, -1.5)),
    stream=st.sampled_from([PICTURE, SOUND]),
)
def test_strays_lose_their_time_and_nothing_else(first, run, by_s, stream):
    stamps = make_part(100.0, 20.0)
    own = [k for k, stamp in enumerate(stamps) if stamp.stream == stream]
    if by_s < 0:
        first = max(first, Media.stray_first + 1)  # at the start the lower times are believed
    strays = own[first : first + run]
    moved = [move(s, by_s) if k in strays else s for k, s in enumerate(stamps)]
    clock, offsets_s = follow(moved)
    assert offsets_s == [None if k in strays else 0.0 for k in range(len(stamps))]
    assert (clock.joins, clock.strays) == ([], {stream: len(strays)})


def test_a_gap_in_one_stream_only_is_no_jump():
    audio = [Stamp(SOUND, k * 10.0, k * 10.0, 10.0) for k in range(1000)]
    picture = [Stamp(PICTURE, t, t, 0.04) for t in (0.0, 0.04, 9000.0, 9000.04)]
    clock, offsets_s = follow(sorted(audio + picture, key=lambda stamp: stamp.order_s or 0.0))
    assert set(offsets_s) == {0.0}
    assert clock.joins == []


def test_packets_of_the_old_part_after_the_first_of_the_new():
    # Transport streams deliver the last audio of a part when the next begins.
    first, second = make_part(1.4, 8.0), make_part(1.4, 8.0)
    late = [stamp for stamp in first if stamp.stream == SOUND][-3:]
    early = [stamp for stamp in second if stamp.stream == PICTURE][:5]
    start = [stamp for stamp in first if stamp not in late]
    stamps = [*start, *early, *late, *(stamp for stamp in second if stamp not in early)]
    clock, offsets_s = follow(stamps)
    assert len(clock.joins) == 1
    new = len(start) + len(early)
    assert set(offsets_s[: len(start)] + offsets_s[new : new + 3]) == {0.0}
    (offset_s,) = set(offsets_s[len(start) : new] + offsets_s[new + 3 :])
    assert offset_s == pytest.approx(8.0, abs=0.07)


def test_a_packet_without_times_keeps_the_offset():
    part = make_part(1.4, 8.0)
    blank = Stamp(PICTURE, None, None)
    _, offsets_s = follow([blank, *part, *part, blank])
    assert offsets_s[0] == 0.0
    assert offsets_s[-1] == offsets_s[-2] > 7


ITEMS = st.lists(st.one_of(st.none(), TIMES), max_size=60)


@settings(deadline=None, max_examples=20)
@given(times=ITEMS, length_s=st.floats(0.001, 10))
def test_times_ascend_and_nothing_is_lost(times, length_s):
    timed = [(time_s, length_s, k) for k, time_s in enumerate(times)]
    got = list(ascend(count_back(timed, Media.held_frames), Media.held_frames))
    assert [k for _, k in got] == list(range(len(times)))
    assert all(before[0] < after[0] for before, after in pairwise(got))


@settings(deadline=None, max_examples=20)
@given(times=st.lists(TIMES, unique=True, max_size=60).map(sorted))
def test_fine_times_stay(times):
    timed = [(time_s, 0.04, None) for time_s in times]
    assert [time_s for time_s, _ in ascend(count_back(timed, 16), 16)] == times


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([None, None, 0.02, 0.06], [-0.06, -0.02, 0.02, 0.06]),
        ([None, None, None], [0, 0.04, 0.08]),
        ([0, 0.04, None, None, 0.16], [0, 0.04, 0.08, 0.12, 0.16]),
        ([0, 0.04, 0.04, 0.08], [0, 0.04, 0.06, 0.08]),  # two frames of one time
        ([0, 0.04, None, 5.0, 5.04], [0, 0.04, 0.08, 5.0, 5.04]),  # a gap stays a gap
        ([0, 0.04, 0.03, 0.02, None], [0, 0.04, 0.08, 0.12, 0.16]),
    ],
)
def test_missing_times(times, expected):
    timed = [(time_s, 0.04, None) for time_s in times]
    got = [time_s for time_s, _ in ascend(count_back(timed, 16), 16)]
    assert got == pytest.approx(expected)


def test_few_items_are_held_back():
    taken = []

    def source():
        for k in range(1000):
            taken.append(k)
            yield None, 0.04, k

    for number, (_, k) in enumerate(ascend(count_back(source(), 16), 16)):
        assert k == number
        assert len(taken) <= number + 40
