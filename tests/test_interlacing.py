"""Interlaced video: a frame for each frame, in its place, without combs."""

import logging
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from media_files import counting_picture, read_count, write_media

from abawcli.media import interlacing
from abawcli.media.frame import Frame
from abawcli.media.interlacing import deinterlace
from abawcli.media.video import read_frames

INTERLACED: dict[str, Any] = {"options": {"flags": "+ildct+ilme", "crf": "5"}}


def bar(x: int) -> np.ndarray:
    """Return a picture with a bright bar that begins at a column."""
    picture = np.full((96, 128, 3), 40, np.uint8)
    picture[:, x : x + 24] = 200
    return picture


def weave(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """Return the frame whose even lines are of one picture and odd lines of another."""
    woven = top.copy()
    woven[1::2] = bottom[1::2]
    return woven


def decode(path: Path) -> list[av.VideoFrame]:
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


def write_moving(path: Path) -> Path:
    """Write a bar that moves by 4 pixels from field to field, the lower field first."""
    fields = [(bar(8 * k + 4), bar(8 * k)) for k in range(8)]
    return write_media(path, [weave(*pair) for pair in fields], **INTERLACED)


@pytest.mark.parametrize(
    ("suffix", "count"), [("mkv", 1), ("mkv", 2), ("mkv", 3), ("mkv", 8), ("ts", 8), ("avi", 8)]
)
def test_each_frame_comes_out_once_with_its_time(tmp_path, suffix, count):
    path = write_media(
        tmp_path / f"v.{suffix}", [counting_picture(k) for k in range(count)], **INTERLACED
    )
    frames = list(read_frames(path))
    assert all(native.interlaced_frame for native in decode(path))
    assert not any(frame.native.interlaced_frame for frame in frames)
    assert [read_count(frame.rgb()) for frame in frames] == list(range(count))
    assert [frame.frame for frame in frames] == list(range(1, count + 1))
    times_s = [frame.time_s - frames[0].time_s for frame in frames]
    assert times_s == pytest.approx([k / 25 for k in range(count)], abs=0.001)


def tag_upper_first(frames: Sequence[av.VideoFrame]) -> list[av.VideoFrame]:
    graph = av.filter.Graph()
    width, height, form = frames[0].width, frames[0].height, frames[0].format
    source = graph.add_buffer(width=width, height=height, format=form, time_base=Fraction(1, 25))
    graph.link_nodes(source, graph.add("setfield", "tff"), graph.add("buffersink")).configure()
    tagged = []
    for frame in frames:
        graph.vpush(frame)
        tagged.append(graph.vpull())
    return tagged


def combs(native: av.VideoFrame) -> int:
    """Return the largest step from line to line."""
    pixels = Frame(1, 0.0, native).rgb()[8:-8].astype(int)
    return int(np.abs(np.diff(pixels, axis=0)).max())


@pytest.mark.parametrize("upper", [False, True])
def test_the_first_field_becomes_the_picture(tmp_path, upper):
    frames = decode(write_moving(tmp_path / "v.mkv"))
    frames = tag_upper_first(frames) if upper else frames
    for k, (_, native) in list(enumerate(run(frames)))[1:-1]:  # with a frame on both sides
        shown = bar(8 * k + 4 if upper else 8 * k)
        assert np.abs(Frame(1, 0.0, native).rgb().astype(int) - shown).mean() < 4
        assert combs(native) < 60 < 100 < combs(frames[k])


def test_a_part_of_an_interlaced_frame_is_that_of_the_whole(tmp_path):
    native = decode(write_moving(tmp_path / "v.mkv"))[3]
    assert native.interlaced_frame
    frame = Frame(1, 0.0, native)
    assert (frame.region_rgb(7, 9, 100, 90) == frame.rgb()[9:90, 7:100]).all()
    for frame in read_frames(tmp_path / "v.mkv"):
        assert (
            np.abs(frame.region_rgb(7, 9, 100, 90) - frame.rgb()[9:90, 7:100].astype(int)).max()
            <= 2
        )


def test_turned_and_tagged_frames_stay_so(tmp_path):
    matrix = (0, -65536, 0, 65536, 0, 0, 0, 0, 1 << 30)
    path = tmp_path / "v.mp4"
    write_media(path, [bar(30)] * 3, matrix=matrix, colorspace=1, **INTERLACED)
    assert [frame.orientation.degrees for frame in read_frames(path)] == [90] * 3
    assert {frame.native.colorspace for frame in read_frames(path)} == {1}


def natives(kinds: str, tmp_path: Path) -> list[av.VideoFrame]:
    """Return frames: i and I are interlaced, small and large; p and P progressive."""
    made = {}
    for kind in set(kinds):
        size = (128, 96) if kind.islower() else (160, 128)
        settings = INTERLACED if kind in "iI" else {}
        path = tmp_path / f"{ord(kind)}.mkv"
        pictures = [counting_picture(k, *size) for k in range(len(kinds))]
        made[kind] = decode(write_media(path, pictures, **settings))
    return [made[kind][k] for k, kind in enumerate(kinds)]


def run(frames: Sequence[av.VideoFrame]) -> list[tuple[float, av.VideoFrame]]:
    return list(deinterlace((float(k), native) for k, native in enumerate(frames)))


def test_progressive_video_is_not_touched(tmp_path):
    frames = natives("pppp", tmp_path)
    assert all(out is native for (_, out), native in zip(run(frames), frames, strict=True))


@pytest.mark.parametrize("kinds", ["ppiipp", "iIiI", "iiPPII", "pIp", "Pi"])
def test_changes_of_kind_and_size_lose_and_move_nothing(tmp_path, kinds):
    frames = natives(kinds, tmp_path)
    out = run(frames)
    assert [time_s for time_s, _ in out] == list(range(len(kinds)))
    assert [(n.width, n.height) for _, n in out] == [(n.width, n.height) for n in frames]
    assert [read_count(Frame(1, 0.0, n).rgb()) for _, n in out] == list(range(len(kinds)))
    assert not any(native.interlaced_frame for _, native in out)


def test_one_frame_is_held(tmp_path):
    taken = []

    def give():
        for k, native in enumerate(natives("i" * 8, tmp_path)):
            taken.append(k)
            yield float(k), native

    out = deinterlace(give())
    for k in range(7):
        assert next(out)[0] == k
        assert len(taken) == k + 2


def test_without_the_filter_frames_stay_as_they_are_with_a_warning(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(interlacing, "_FILTER", "no=such")
    frames = natives("iiii", tmp_path)
    with caplog.at_level(logging.WARNING):
        assert all(out is native for (_, out), native in zip(run(frames), frames, strict=True))
    assert caplog.text.count("interlaced frames of 128x96 yuv420p are not deinterlaced") == 1
