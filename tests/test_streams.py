"""Files whose clock, streams or samples are not what they should be."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from media_files import (
    AudioTrack,
    counting_picture,
    find_clicks,
    make_clicks,
    read_count,
    write_media,
)
from PIL import Image as PillowImage

from abawcli.config import AUDIO_RATE_HZ
from abawcli.errors import InputError
from abawcli.media.audio import read_audio, read_audio_blocks
from abawcli.media.streams import open_streams
from abawcli.media.video import read_frames
from abawcli.stages.probe import probe_media

PICTURES = [counting_picture(k) for k in range(50)]
CLICKS = AudioTrack([(0.0, make_clicks([0.5, 1.5], 2.0, 48_000))])


def write_part(path: Path, pictures: list[np.ndarray] = PICTURES) -> Path:
    return write_media(path, pictures, audio=CLICKS)


def edit_packets(
    source: Path, target: Path, edit: Callable[[av.Packet, int], None], **settings: str
) -> Path:
    """Copy the packets of a file; `edit` gets each with its number within its stream."""
    with av.open(str(source)) as container, av.open(str(target), "w", **settings) as out:
        streams = {s.index: out.add_stream_from_template(s) for s in container.streams}
        numbers = dict.fromkeys(streams, -1)
        for packet in container.demux():
            if packet.size:
                numbers[packet.stream.index] += 1
                edit(packet, numbers[packet.stream.index])
                packet.stream = streams[packet.stream.index]
                out.mux(packet)
    return target


def read_times(path: Path) -> tuple[list[float], list[int]]:
    frames = list(read_frames(path))
    return [frame.time_s for frame in frames], [read_count(frame.rgb()) for frame in frames]


# --- the clock -----------------------------------------------------------------------------


def test_joined_recordings_go_on_in_picture_and_audio(tmp_path, caplog):
    part = write_part(tmp_path / "part.ts")
    path = tmp_path / "v.ts"
    path.write_bytes(part.read_bytes() * 2)
    times_s, counts = read_times(path)
    assert caplog.text.count("the parts are joined") == 1
    assert counts == [*range(50)] * 2
    steps_s = np.diff(times_s)
    assert np.delete(steps_s, 49) == pytest.approx([0.04] * 98)
    assert 0.03 < steps_s[49] < 0.3  # the audio of part one lasts a little longer
    audio = read_audio(path)
    clicks_s = find_clicks(audio.samples, audio.start_s, AUDIO_RATE_HZ)
    pictures_s = [times_s[k] for k in (0, 0, 50, 50)]
    distances_s = np.subtract(clicks_s, pictures_s)
    assert distances_s[:2] == pytest.approx([0.5, 1.5], abs=0.05)
    assert distances_s[2:] == pytest.approx(distances_s[:2], abs=0.005)
    assert caplog.text.count("WARNING") == 1


def test_probe_shows_where_parts_are_joined(tmp_path):
    part = write_part(tmp_path / "part.ts")
    path = tmp_path / "v.ts"
    path.write_bytes(part.read_bytes() * 2)
    report = probe_media(path)
    (join,) = report.joins
    assert join.jump_s == pytest.approx(-2.0, abs=0.2)
    assert join.time_s == pytest.approx(report.video.first_time_s + 2.0, abs=0.2)
    assert report.video.decoded_frames == 100
    assert report.audio.duration_s == pytest.approx(4.0, abs=0.2)
    assert probe_media(part).joins == ()


def test_chained_audio_is_read_whole(tmp_path, caplog):
    part = write_media(
        tmp_path / "part.ogg",
        audio=AudioTrack([(0.0, make_clicks([0.5], 1.0, 48_000))], codec="libopus"),
    )
    path = tmp_path / "a.ogg"
    path.write_bytes(part.read_bytes() * 2)
    audio = read_audio(path)
    assert find_clicks(audio.samples, 0.0, AUDIO_RATE_HZ) == pytest.approx([0.5, 1.5], abs=0.15)
    assert "the parts are joined" in caplog.text


@pytest.mark.parametrize("jump_s", [10 * 3600, 54 * 365 * 86_400])
def test_a_jump_of_hours_or_years_is_joined(tmp_path, caplog, jump_s):
    source = write_media(tmp_path / "s.mkv", PICTURES, options={"bf": "0"}, audio=CLICKS)

    def jump(packet: av.Packet, number: int) -> None:
        if packet.pts * packet.time_base >= 1:
            ticks = int(jump_s / packet.time_base)
            packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks

    path = edit_packets(source, tmp_path / "v.mkv", jump)
    times_s, _ = read_times(path)
    assert times_s == pytest.approx([k / 25 for k in range(50)], abs=0.1)
    assert "the parts are joined" in caplog.text
    assert "cut" not in caplog.text
    blocks = list(read_audio_blocks(path))
    assert blocks[-1].end_s == pytest.approx(2.0, abs=0.15)


def delay_audio(path: Path, number: int, by_s: float) -> None:
    """Make the time of one piece of audio in a transport stream later; it has several packets."""
    data, at = bytearray(path.read_bytes()), -1
    for _ in range(number + 1):
        at = data.index(b"\0\0\1\xc0", at + 1)
    old = data[at + 9 : at + 14]  # the time: 3, 15 and 15 bits with marks between them
    ticks = (old[0] >> 1 & 7) << 30 | old[1] << 22 | old[2] >> 1 << 15 | old[3] << 7 | old[4] >> 1
    ticks += round(by_s * 90_000)
    parts = (ticks >> 29 & 14 | old[0] & 0xF1, ticks >> 22 & 255, ticks >> 14 & 254 | 1)
    data[at + 9 : at + 14] = bytes([*parts, ticks >> 7 & 255, ticks << 1 & 254 | 1])
    path.write_bytes(data)


def test_audio_after_a_stray_stamp_is_read(tmp_path, caplog):
    path = write_part(tmp_path / "v.ts")
    before = read_audio(path)
    delay_audio(path, 2, 100.0)
    strays = probe_media(path).stray_times
    assert 0 < strays < 40
    caplog.clear()
    audio = read_audio(path)
    assert (audio.samples == before.samples).all()
    assert len(list(read_frames(path))) == 50
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        f"{path}: some times of its audio are invalid (packets: {strays}); "
        "these packets follow those before them"
    ]


def test_two_frames_of_one_time(tmp_path):
    times = [0, 40, 40, 80, 120]
    source = write_media(tmp_path / "s.mkv", PICTURES[:5], options={"bf": "0"})

    def double(packet: av.Packet, number: int) -> None:
        packet.pts = packet.dts = int(times[number] / 1000 / packet.time_base)

    times_s, counts = read_times(edit_packets(source, tmp_path / "v.mkv", double))
    assert counts == [0, 1, 2, 3, 4]
    assert times_s == pytest.approx([0, 0.04, 0.06, 0.08, 0.12])


def test_audio_that_ends_without_a_time_is_whole(tmp_path, caplog):
    audio = AudioTrack([(0.0, make_clicks([0.5], 2.0, 44_100))], 44_100, "wmav2", bit_rate=64_000)
    path = write_media(tmp_path / "a.wma", audio=audio)
    assert read_audio(path).end_s == pytest.approx(2.0, abs=0.1)
    assert caplog.text == ""


# --- the choice of streams -----------------------------------------------------------------


def write_two_videos(path: Path, sizes: list[tuple[int, int]], default: int | None) -> Path:
    with av.open(str(path), "w") as out:
        streams = []
        for k, (width, height) in enumerate(sizes):
            stream: Any = out.add_stream("libx264", rate=25)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            stream.disposition = av.stream.Disposition.default if k == default else 0
            streams.append(stream)
        for k, (width, height) in enumerate(sizes):
            for picture in range(3):
                image = counting_picture(picture + 10 * k, width, height)
                out.mux(streams[k].encode(av.VideoFrame.from_ndarray(image, "rgb24")))
            out.mux(streams[k].encode())
    return path


@pytest.mark.parametrize(
    ("sizes", "default", "chosen"),
    [
        ([(64, 48), (128, 96)], None, 1),
        ([(128, 96), (64, 48)], None, 0),
        ([(128, 96), (64, 48)], 1, 1),  # as players do
        ([(64, 48), (64, 48)], None, 0),
    ],
)
def test_default_then_largest_video_is_read(tmp_path, caplog, sizes, default, chosen):
    path = write_two_videos(tmp_path / "v.mkv", sizes, default)
    _, counts = read_times(path)
    assert counts == [10 * chosen + k for k in range(3)]
    width, height = sizes[1 - chosen]
    assert f"stream {1 - chosen} (video libx264" not in caplog.text
    assert f"stream {1 - chosen} (video h264 {width}x{height}) is not read" in caplog.text
    assert probe_media(path).video.width == sizes[chosen][0]


def write_streams(path: Path, layouts: list[str], codec: str = "aac") -> Path:
    """Write a video with several audio streams; stream k has one click, at (k + 1) / 4 s."""
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 128, 96, "yuv420p"
        streams: list[Any] = [out.add_stream(codec, rate=48_000, layout=name) for name in layouts]
        for picture in PICTURES[:25]:
            out.mux(video.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        out.mux(video.encode())
        for k, (stream, layout) in enumerate(zip(streams, layouts, strict=True)):
            clicks = make_clicks([(k + 1) / 4], 1.0, 48_000)
            clicks = np.ascontiguousarray(np.repeat(clicks, 2 if layout == "stereo" else 1, 0))
            frame = av.AudioFrame.from_ndarray(clicks, "fltp", layout)
            frame.sample_rate, frame.pts = 48_000, 0
            form = stream.codec_context.format.name
            for converted in av.AudioResampler(form, layout, 48_000).resample(frame):
                out.mux(stream.encode(converted))
            out.mux(stream.encode())
    return path


def break_codec(path: Path, tag: bytes, number: int) -> Path:
    """Give the sample description `tag` with the given number a name that no decoder knows."""
    data, at = path.read_bytes(), -1
    for _ in range(number + 1):
        at = data.index(tag, at + 1)
    path.write_bytes(data[:at] + b"zzzz" + data[at + 4 :])
    return path


def clicks_of(path: Path) -> list[float]:
    audio = read_audio(path)
    return find_clicks(audio.samples, audio.start_s, AUDIO_RATE_HZ)


def test_the_audio_with_most_channels_is_read(tmp_path, caplog):
    path = write_streams(tmp_path / "v.ts", ["mono", "stereo"])
    with caplog.at_level(logging.INFO), open_streams(path) as media:
        start_s = media.video.start_time * float(media.video.time_base or 0)
    assert clicks_of(path)[0] - start_s == pytest.approx(0.5, abs=0.05)


def test_further_audio_is_noted_only(tmp_path, caplog):
    path = write_streams(tmp_path / "v.mov", ["mono", "mono"])
    with caplog.at_level(logging.INFO):
        assert clicks_of(path) == pytest.approx([0.25], abs=0.03)
    (record,) = caplog.records
    assert record.levelno == logging.INFO
    assert "stream 2 (audio aac x1) is not read; stream 1" in record.message


def test_audio_that_can_be_decoded_is_read(tmp_path, caplog):
    path = break_codec(write_streams(tmp_path / "v.mov", ["mono"] * 2, "pcm_s16le"), b"sowt", 0)
    assert clicks_of(path) == pytest.approx([0.5], abs=0.03)
    assert "stream 1 (audio of unknown format) is not read; stream 2" in caplog.text


def test_unknown_audio_costs_only_the_audio(tmp_path, caplog):
    path = break_codec(write_streams(tmp_path / "v.mov", ["mono"], "pcm_s16le"), b"sowt", 0)
    report = probe_media(path)
    assert (report.video.decoded_frames, report.audio) == (25, None)
    assert report.other_streams == ("audio of unknown format",)
    assert "its audio is in a format that FFmpeg cannot decode" in caplog.text
    with pytest.raises(InputError, match="its audio is in a format"):
        read_audio(path)


def test_a_video_that_can_be_decoded_is_read(tmp_path, caplog):
    path = write_two_videos(tmp_path / "v.mov", [(128, 96), (64, 48)], None)
    _, counts = read_times(break_codec(path, b"avc1\0\0\0\0\0\0", 0))
    assert counts == [10, 11, 12]
    assert "stream 0 (video of unknown format) is not read" in caplog.text


def write_with_picture(path: Path, codec: str, *, video: bool) -> Path:
    """Write a picture that nothing marks as a cover before audio, or before a video."""
    with av.open(str(path), "w") as out:
        cover: Any = out.add_stream(codec, rate=25)
        cover.width, cover.height = 640, 480
        cover.pix_fmt = "yuvj420p" if codec == "mjpeg" else "rgb24"
        if video:
            main = out.add_stream("libx264", rate=25)
            main.width, main.height, main.pix_fmt = 128, 96, "yuv420p"
        audio = out.add_stream("aac", rate=48_000, layout="mono")
        image = av.VideoFrame.from_ndarray(counting_picture(99, 640, 480), "rgb24")
        out.mux(cover.encode(image) + cover.encode())
        for picture in PICTURES[:5] if video else ():
            out.mux(main.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        if video:
            out.mux(main.encode())
        clicks = np.ascontiguousarray(make_clicks([0.5], 1.0, 48_000))
        frame = av.AudioFrame.from_ndarray(clicks, "fltp", "mono")
        frame.sample_rate, frame.pts = 48_000, 0
        out.mux(audio.encode(frame) + audio.encode())
    return path


@pytest.mark.parametrize(("suffix", "codec"), [("mov", "mjpeg"), ("mov", "png"), ("mkv", "mjpeg")])
def test_an_unmarked_picture_beside_a_video_is_no_video(tmp_path, suffix, codec):
    path = write_with_picture(tmp_path / f"v.{suffix}", codec, video=True)
    assert read_times(path)[1] == [0, 1, 2, 3, 4]


def test_an_unmarked_picture_beside_audio_is_no_video(tmp_path):
    path = write_with_picture(tmp_path / "v.mov", "mjpeg", video=False)
    with pytest.raises(InputError, match=r"has no video \(audio only\)"):
        list(read_frames(path))
    assert probe_media(path).other_streams == ("video mjpeg 640x480",)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_picture_alone_is_one(tmp_path, suffix):
    path = tmp_path / f"p.{suffix}"
    PillowImage.fromarray(PICTURES[7]).save(path)
    assert read_times(path)[1] == [7]
