import logging
import os
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media_files import (
    Sound,
    corner_picture,
    counting_picture,
    make_clicks,
    read_count,
    write_media,
)
from PIL import Image as PillowImage

from abawcli.config import ROTATIONS
from abawcli.errors import InputError
from abawcli.media.frame import Frame, Orientation
from abawcli.media.streams import OpenMedia
from abawcli.media.video import decode_frames, read_frames

ONE = 1 << 16
TURNS = {  # counterclockwise degrees, mirrored: FFmpeg's display matrix
    (0, False): (ONE, 0, 0, 0, ONE, 0, 0, 0, 1 << 30),
    (90, False): (0, -ONE, 0, ONE, 0, 0, 0, 0, 1 << 30),
    (180, False): (-ONE, 0, 0, 0, -ONE, 0, 0, 0, 1 << 30),
    (270, False): (0, ONE, 0, -ONE, 0, 0, 0, 0, 1 << 30),
    (0, True): (-ONE, 0, 0, 0, ONE, 0, 0, 0, 1 << 30),
    (90, True): (0, -ONE, 0, -ONE, 0, 0, 0, 0, 1 << 30),
    (180, True): (ONE, 0, 0, 0, -ONE, 0, 0, 0, 1 << 30),
    (270, True): (0, ONE, 0, ONE, 0, 0, 0, 0, 1 << 30),
}
DECODED = {
    "av1_video.mkv": 125,
    "bt709_full_range.mp4": 30,
    "crowd_1080p.mp4": 105,
    "cry_then_laugh_sound.mp4": 472,
    "drawn_face.mp4": 268,
    "face_then_none_vfr.mov": 169,
    "h264_10bits.mp4": 30,
    "h265_video.mp4": 10,
    "neutral_to_smile.mp4": 72,
    "noface_backview_139s.mp4": 1394,
    "noface_car_with_sound.mp4": 377,
    "noface_cartoon.mp4": 95,
    "none_then_face_vfr.mov": 169,
    "speech_bbaf2n.mpg": 75,
    "speech_lrwp9a.mpg": 75,
    "speech_sbwe5n.mpg": 75,
    "talk_again.mkv": 77,
    "talk_book.mkv": 109,
    "talk_eat.mkv": 47,
    "talk_help.mkv": 58,
    "talk_school.mkv": 72,
    "twofaces_headpose.gif": 56,
}


def pictures(count: int) -> list[np.ndarray]:
    return [counting_picture(k) for k in range(count)]


def times_and_counts(path: Path) -> tuple[list[float], list[int]]:
    frames = list(read_frames(path))
    assert [frame.frame for frame in frames] == list(range(1, len(frames) + 1))
    return [frame.time_s for frame in frames], [read_count(frame.rgb()) for frame in frames]


# --- times ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("b_frames.mp4", {"options": {"bf": "3"}}),
        ("hevc.mp4", {"codec": "libx265", "options": {"x265-params": "log-level=none"}}),
        ("av1.mkv", {"codec": "libsvtav1", "options": {"svtav1-params": "lp=1"}}),
        ("ten_bit.mp4", {"pixel_format": "yuv420p10le"}),
        ("gif.gif", {"codec": "gif", "pixel_format": "rgb8"}),
        ("xvid.avi", {"codec": "mpeg4"}),
        ("motion_jpeg.avi", {"codec": "mjpeg", "pixel_format": "yuvj420p"}),
        ("raw.h264", {"container": "h264"}),  # no times at all, no rate
    ],
)
def test_each_frame_has_its_number_and_time(tmp_path, monkeypatch, name, settings):
    monkeypatch.setenv("SVT_LOG", "0")
    path = write_media(tmp_path / name, pictures(12), **settings)
    times_s, counts = times_and_counts(path)
    assert counts == list(range(12))
    assert times_s == pytest.approx([k / 25 for k in range(12)], abs=1e-6)


@pytest.mark.parametrize("name", ["a.mpg", "a.ts", "h264.avi"])
def test_times_start_where_the_container_says(tmp_path, name):
    # AVI has no presentation times: with B-frames they come from the decoder's delay.
    codec = "mpeg1video" if name.endswith("mpg") else "libx264"
    times_s, counts = times_and_counts(write_media(tmp_path / name, pictures(12), codec=codec))
    assert counts == list(range(12))
    assert times_s[0] > 0
    assert np.diff(times_s) == pytest.approx([0.04] * 11, abs=1e-6)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov"])
def test_variable_frame_rate_with_b_frames(tmp_path, suffix):
    times = [200, 240, 245, 300, 500, 510, 511, 550, 1200, 1201, 1203, 2200]
    path = tmp_path / f"v.{suffix}"
    write_media(path, pictures(12), times=times, time_base=Fraction(1, 1000), options={"bf": "2"})
    times_s, counts = times_and_counts(path)
    assert counts == list(range(12))
    assert times_s == pytest.approx([t / 1000 for t in times], abs=0.0011)


def test_video_that_starts_after_sound(tmp_path):
    sound = Sound([(0.0, make_clicks([0.5], 1.0, 48_000))], codec="flac")
    path = write_media(tmp_path / "v.mkv", pictures(5), times=range(10, 15), sound=sound)
    assert times_and_counts(path)[0] == pytest.approx([0.4, 0.44, 0.48, 0.52, 0.56])


def test_edit_list_hides_frames_that_the_header_counts(tmp_path):
    # A start before zero: the muxer writes an edit list that leaves those frames out.
    path = write_media(tmp_path / "v.mp4", pictures(12), times=range(-4, 8), options={"bf": "0"})
    with av.open(str(path)) as container:
        assert container.streams.video[0].frames == 12
    times_s, counts = times_and_counts(path)
    assert counts == list(range(4, 12))
    assert times_s == pytest.approx([k / 25 for k in range(8)])


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "webp", "tiff"])
def test_picture_is_a_video_of_one_frame(tmp_path, suffix):
    path = tmp_path / f"00001 a:b %03d.{suffix}"
    PillowImage.fromarray(corner_picture()).save(path)
    (frame,) = read_frames(path)
    assert (frame.frame, frame.time_s, frame.size) == (1, 0.0, (96, 64))
    assert np.abs(frame.rgb().astype(int) - corner_picture()).mean() < 6


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "webp", "tiff"])
def test_a_name_is_no_pattern(tmp_path, suffix):
    folder = tmp_path / "%d"
    folder.mkdir()
    for name, grey in (("a%d", 200), ("a1", 50), ("a2", 60)):
        picture = PillowImage.fromarray(np.full((64, 96, 3), grey, np.uint8))
        picture.save(folder / f"{name}.{suffix}")
    (frame,) = read_frames(folder / f"a%d.{suffix}")
    assert abs(frame.rgb().mean() - 200) < 2


@pytest.mark.parametrize("suffix", ["mp4", "gif"])
def test_a_video_may_be_named_like_a_pattern(tmp_path, suffix):
    gif: dict[str, Any] = {"codec": "gif", "pixel_format": "rgb8"}
    settings = gif if suffix == "gif" else {}
    for name, count in (("v%d", 5), ("v1", 3)):
        write_media(tmp_path / f"{name}.{suffix}", pictures(count), **settings)
    assert times_and_counts(tmp_path / f"v%d.{suffix}")[1] == list(range(5))


def test_palette_picture_can_be_scaled(tmp_path):
    path = tmp_path / "p.png"
    PillowImage.fromarray(corner_picture()).convert("P").save(path)
    (frame,) = read_frames(path)
    assert frame.rgb(48).shape == (32, 48, 3)


# --- orientation ---------------------------------------------------------------------------


def turn(picture: np.ndarray, degrees: int, mirrored: bool) -> np.ndarray:
    turned = np.rot90(picture, degrees // 90)  # counterclockwise
    return turned[:, ::-1] if mirrored else turned


@pytest.mark.parametrize(("degrees", "mirrored"), TURNS)
def test_display_matrix_is_applied(tmp_path, degrees, mirrored):
    matrix = TURNS[degrees, mirrored]
    path = write_media(tmp_path / "v.mp4", [corner_picture()], matrix=matrix)
    (frame,) = read_frames(path)
    expected = turn(corner_picture(), degrees, mirrored)
    assert frame.size == (expected.shape[1], expected.shape[0])
    assert (frame.orientation.degrees, frame.orientation.mirrored) == (degrees, mirrored)
    assert np.abs(frame.rgb().astype(int) - expected).mean() < 4
    small = frame.rgb(48)
    assert max(small.shape) == 48
    assert np.abs(small.astype(int) - expected[::2, ::2]).mean() < 8
    assert (frame.region_rgb(5, 9, 42, 60) == frame.rgb()[9:60, 5:42]).all()


@pytest.mark.parametrize("rotate", ROTATIONS)
@pytest.mark.parametrize(("degrees", "mirrored"), TURNS)
def test_rotation_comes_on_top_of_the_display_matrix(tmp_path, degrees, mirrored, rotate):
    matrix = TURNS[degrees, mirrored]
    path = write_media(tmp_path / "v.mp4", [corner_picture()], matrix=matrix)
    (shown,), (frame,) = read_frames(path), read_frames(path, rotate)
    expected = np.rot90(shown.rgb(), -rotate // 90)  # clockwise
    assert frame.size == (expected.shape[1], expected.shape[0])
    assert (frame.rgb() == expected).all()
    assert (frame.region_rgb(5, 9, 42, 60) == expected[9:60, 5:42]).all()


# --- pixels that are not square -------------------------------------------------------------


def check_shape(frame: Frame, expected: np.ndarray) -> None:
    """Compare a frame with a corner picture in every way in which it gives pixels."""
    height, width = expected.shape[:2]
    assert frame.size == (width, height)
    whole = frame.rgb().astype(int)
    assert whole.shape == expected.shape
    assert np.abs(whole - expected).mean() < 5
    assert (frame.region_rgb(5, 9, 42, 60) == whole[9:60, 5:42]).all()
    small = frame.rgb(48)
    assert max(small.shape) == 48
    step = max(expected.shape) // 48
    assert np.abs(small.astype(int) - expected[::step, ::step][: len(small)]).mean() < 12


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi", "ts"])
def test_pixels_are_shown_square(tmp_path, suffix):
    path = tmp_path / f"v.{suffix}"
    stored = corner_picture(96, 128)
    write_media(path, [stored] * 4, codec="mpeg4", pixel_aspect=Fraction(2))
    for frame in read_frames(path):
        check_shape(frame, corner_picture(192, 128))


def test_narrow_pixels_make_a_narrow_picture(tmp_path):
    path = write_media(tmp_path / "v.mp4", [corner_picture(192, 96)], pixel_aspect=Fraction(1, 2))
    (frame,) = read_frames(path)
    check_shape(frame, corner_picture(96, 96))


@pytest.mark.parametrize(("degrees", "mirrored"), TURNS)
def test_pixels_are_shown_square_in_turned_pictures(tmp_path, degrees, mirrored):
    path, matrix = tmp_path / "v.mp4", TURNS[degrees, mirrored]
    write_media(path, [corner_picture(96, 96)], pixel_aspect=Fraction(2), matrix=matrix)
    (frame,) = read_frames(path)
    check_shape(frame, turn(corner_picture(192, 96), degrees, mirrored))


@pytest.mark.parametrize("aspect", [Fraction(1), Fraction(404, 405), Fraction(1281, 1280)])
def test_pixels_that_are_nearly_square_are_square(tmp_path, aspect):
    path = write_media(tmp_path / "v.mp4", [corner_picture(960, 64)], pixel_aspect=aspect)
    (frame,) = read_frames(path)
    assert (frame.pixel_aspect, frame.size) == (1, (960, 64))


def test_pixels_of_no_possible_shape_are_square_with_a_warning(tmp_path, caplog):
    path = write_media(tmp_path / "v.mp4", [corner_picture()], pixel_aspect=Fraction(50))
    (frame,) = read_frames(path)
    assert frame.size == (96, 64)
    assert "v.mp4: the pixel aspect ratio 50 is invalid; read as 1" in caplog.text


def test_picture_is_turned_as_its_exif_says(tmp_path):
    path = tmp_path / "v.jpg"
    exif = PillowImage.Exif()
    exif[0x0112] = 6  # to be turned clockwise by 90 degrees
    PillowImage.fromarray(corner_picture()).save(path, exif=exif, quality=95)
    (frame,) = read_frames(path)
    assert frame.orientation.degrees == 270
    assert np.abs(frame.rgb().astype(int) - np.rot90(corner_picture(), 3)).mean() < 6


# --- colours -------------------------------------------------------------------------------


def convert_by_hand(yuv: np.ndarray, red: float, blue: float, full: bool) -> np.ndarray:
    """Convert (..., 3) YUV of 8 bits with the matrix of the given luma weights."""
    y, u, v = np.moveaxis(yuv.astype(float), -1, 0)
    y, chroma = (y, 1.0) if full else ((y - 16) * 255 / 219, 255 / 224)
    r = y + 2 * (1 - red) * chroma * (v - 128)
    b = y + 2 * (1 - blue) * chroma * (u - 128)
    g = (y - red * r - blue * b) / (1 - red - blue)
    return np.clip(np.stack([r, g, b], -1), 0, 255)


def paint(yuv: np.ndarray, pixel_format: str, matrix: int, full: bool) -> Frame:
    """Return a frame of 16x16 blocks of the colours (4, 4, 3)."""
    native = av.VideoFrame(64, 64, pixel_format)
    deep = pixel_format.endswith("10le")
    for k, plane in enumerate(native.planes):
        blocks = np.kron(yuv[..., k], np.ones((plane.height // 4, plane.width // 4)))
        values = (blocks * 4).astype("<u2") if deep else blocks.astype(np.uint8)
        target = np.frombuffer(memoryview(plane), values.dtype).reshape(plane.height, -1)
        target[:, : plane.width] = values
    native.colorspace, native.color_range = matrix, 2 if full else 1
    return Frame(1, 0.0, native)


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv444p", "yuv420p10le"])
@pytest.mark.parametrize(
    ("matrix", "red", "blue"),
    [
        (1, 0.2126, 0.0722),  # BT.709
        (2, 0.299, 0.114),  # not said: BT.601
        (5, 0.299, 0.114),
        (6, 0.299, 0.114),
        (9, 0.2627, 0.0593),  # BT.2020
        (3, 0.299, 0.114),  # reserved; as if not said
    ],
)
def test_matrix_and_range_of_the_frame_are_used(pixel_format, matrix, red, blue, full):
    yuv = np.random.default_rng(0).integers(60, 190, (4, 4, 3))
    frame = paint(yuv, pixel_format, matrix, full)
    expected = convert_by_hand(yuv, red, blue, full)
    for got in (frame.rgb()[8::16, 8::16], frame.region_rgb(2, 2, 64, 64)[6::16, 6::16]):
        assert np.abs(got - expected).max() < 4
    assert np.abs(frame.rgb(32)[4::8, 4::8] - expected).max() < 6


def read_constant_luminance(yuv: np.ndarray) -> np.ndarray:
    """Convert (..., 3) of 8 bits, limited, as BT.2020 says for constant luminance."""
    y, blue, red = np.moveaxis(yuv.astype(float), -1, 0)
    y, blue, red = (y - 16) / 219, (blue - 128) / 224, (red - 128) / 224
    b = y + blue * np.where(blue <= 0, 1.9404, 1.5816)
    r = y + red * np.where(red <= 0, 1.7184, 0.9936)

    def light(x):
        high = ((np.maximum(x, 0) + 0.0993) / 1.0993) ** (1 / 0.45)
        return np.where(x < 0.0812, x / 4.5, high)

    g = (light(y) - 0.2627 * light(r) - 0.0593 * light(b)) / 0.678
    g = np.where(g < 0.018, 4.5 * g, 1.0993 * np.maximum(g, 0) ** 0.45 - 0.0993)
    return 255 * np.clip(np.stack([r, g, b], -1), 0, 1)


def test_constant_luminance_is_read_by_the_nearest_matrix():
    yuv = np.random.default_rng(0).integers((60, 110, 110), (190, 147, 147), (4, 4, 3))
    exact = read_constant_luminance(yuv)
    got = paint(yuv, "yuv444p", 10, False).rgb()[8::16, 8::16]
    error = np.abs(got - exact).mean()
    assert error < 0.75 * np.abs(convert_by_hand(yuv, 0.299, 0.114, False) - exact).mean()
    assert error < 5


def test_a_derived_matrix_is_that_of_the_primaries():
    yuv = np.random.default_rng(0).integers(60, 190, (4, 4, 3))
    for matrix, primaries, red, blue in ((12, 1, 0.2126, 0.0722), (12, 9, 0.2627, 0.0593)):
        frame = paint(yuv, "yuv444p", matrix, False)
        frame.native.color_primaries = primaries
        expected = convert_by_hand(yuv, red, blue, False)
        assert np.abs(frame.rgb()[8::16, 8::16] - expected).max() < 4


@pytest.mark.parametrize(
    ("matrix", "warning"),
    [(10, "constant luminance is not supported"), (8, "matrix YCgCo is not supported"), (9, None)],
)
def test_colours_that_will_be_off_are_named(tmp_path, caplog, matrix, warning):
    path = write_media(tmp_path / "v.mkv", [corner_picture()] * 3, colorspace=matrix)
    assert len(list(read_frames(path))) == 3
    assert caplog.text.count("WARNING") == (warning is not None)
    assert (warning or "") in caplog.text


@pytest.mark.parametrize("transfer", [1, 16])  # BT.709, PQ
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv420p10le"])
@settings(max_examples=40)
@given(
    width=st.sampled_from([101, 102]),
    box=st.tuples(*[st.integers(0, 101), st.integers(0, 78)] * 2),
    quarters=st.integers(0, 3),
    odd=st.booleans(),
)
def test_region_is_the_part_of_the_whole(pixel_format, transfer, width, box, quarters, odd):
    height = 77 if odd else 78
    noise = np.random.default_rng(1).integers(0, 256, (height, width, 3)).astype(np.uint8)
    frame = Frame(1, 0.0, av.VideoFrame.from_ndarray(noise, "rgb24").reformat(format=pixel_format))
    frame.native.color_trc, frame.orientation = transfer, Orientation.turned(quarters)
    width, height = frame.size
    x0, x1 = sorted(box[::2])
    y0, y1 = sorted(box[1::2])
    if x0 < x1 <= width and y0 < y1 <= height:
        region = frame.region_rgb(x0, y0, x1, y1).astype(int)
        assert (region == frame.rgb()[y0:y1, x0:x1]).all()
    else:
        with pytest.raises(ValueError, match=f"no region of {width}x{height}"):
            frame.region_rgb(x0, y0, x1, y1)


def test_region_outside_is_refused(tmp_path):
    (frame,) = read_frames(write_media(tmp_path / "v.mp4", [corner_picture()]))
    with pytest.raises(ValueError, match=r"\(0, 0, 97, 10\) is no region of 96x64"):
        frame.region_rgb(0, 0, 97, 10)


def test_small_frame_keeps_its_size(tmp_path):
    (frame,) = read_frames(write_media(tmp_path / "v.mp4", [corner_picture()]))
    assert frame.rgb(500).shape == (64, 96, 3)


@pytest.mark.parametrize("settings", [{"codec": "ffv1"}, {"pixel_format": "yuv444p"}])
def test_odd_size(tmp_path, settings):
    path = write_media(
        tmp_path / "v.mkv", [counting_picture(k, 101, 77) for k in (5, 9)], **settings
    )
    frames = list(read_frames(path))
    assert [read_count(frame.rgb()) for frame in frames] == [5, 9]
    assert frames[0].rgb().shape == (77, 101, 3)
    assert frames[0].rgb(50).shape == (38, 50, 3)


# --- damage --------------------------------------------------------------------------------


def noisy_pictures(count: int) -> list[np.ndarray]:
    """Pictures with detail, so that packets are not tiny."""
    noise = np.random.default_rng(0).integers(0, 40, (count, 96, 128, 3)).astype(np.uint8)
    return [counting_picture(k) + noise[k] for k in range(count)]


def packet_ends(path: Path) -> list[int]:
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(video=0) if p.size]
    return [packet.pos + packet.size for packet in packets]


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov", "avi"])
@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_cut_tail_keeps_every_whole_frame(tmp_path, caplog, suffix, codec):
    path = tmp_path / f"v.{suffix}"
    options = {"movflags": "faststart"} if suffix in ("mp4", "mov") else {}
    write_media(path, noisy_pictures(50), codec=codec, container_options=options)
    ends = packet_ends(path)
    cut = ends[30] - 20  # the thirty-first packet is not whole
    os.truncate(path, cut)
    with caplog.at_level(logging.WARNING):
        times_s, counts = times_and_counts(path)
    # Frames that refer to a packet behind the cut are lost, not those before it.
    assert len(counts) >= 30
    assert counts[:28] == list(range(28))
    assert np.all(np.diff(times_s) > 0)
    assert "v." + suffix in caplog.text
    assert "seems to be cut" in caplog.text
    assert caplog.text.count("WARNING") <= 2


def test_cut_transport_stream(tmp_path):
    path = write_media(tmp_path / "v.ts", noisy_pictures(50), options={"bf": "0"})
    os.truncate(path, path.stat().st_size * 6 // 10)
    _, counts = times_and_counts(path)
    # Nothing in such a stream says where it should end.
    assert 25 <= len(counts) < 35
    assert counts[:-1] == list(range(len(counts) - 1))


def test_garbage_in_the_middle_thins_the_video(tmp_path, caplog):
    path = write_media(tmp_path / "v.mp4", noisy_pictures(50), options={"bf": "0", "g": "10"})
    data, ends = bytearray(path.read_bytes()), packet_ends(path)
    data[ends[19] : ends[21]] = np.random.default_rng(0).bytes(ends[21] - ends[19])
    path.write_bytes(data)
    times_s, counts = times_and_counts(path)
    assert counts[:20] == list(range(20))
    assert counts[-20:] == list(range(30, 50))
    assert times_s[-1] == pytest.approx(49 / 25)
    assert "is damaged" in caplog.text


class BreakingContainer:
    """A container that can no longer be read after eight packets, as on a drive that is gone."""

    def __init__(self, container):
        self.container, self.format = container, container.format

    def demux(self, *streams):
        yield from islice(self.container.demux(*streams), 8)
        raise OSError(5, "Input/output error")


def test_read_error_keeps_what_is_in_the_decoder(tmp_path, caplog):
    path = write_media(tmp_path / "v.mp4", pictures(12), options={"bf": "2"})
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        media = OpenMedia(path, BreakingContainer(container), stream, None)  # type: ignore[arg-type]
        frames = list(decode_frames(media, stream))
    assert len(frames) == 8
    assert [frame.time_s for frame in frames] == pytest.approx(
        [read_count(frame.rgb()) / 25 for frame in frames]
    )
    assert "v.mp4 ends early" in caplog.text
    assert "Input/output error" in caplog.text


def test_whole_files_warn_of_nothing(tmp_path, caplog):
    for suffix in ("mp4", "mkv", "avi", "ts", "mov"):
        assert len(list(read_frames(write_media(tmp_path / f"v.{suffix}", pictures(30))))) == 30
    assert caplog.text == ""


# --- bad input -----------------------------------------------------------------------------


def expect_error(path: Path, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        list(read_frames(path))
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_no_such_file(tmp_path):
    expect_error(tmp_path / "none.mp4", "no such file")


def test_folder(tmp_path):
    expect_error(tmp_path, "is a folder")


def test_empty_file(tmp_path):
    (tmp_path / "v.mp4").touch()
    expect_error(tmp_path / "v.mp4", r"is empty \(0 bytes\)")


def test_text_named_mp4(tmp_path):
    (tmp_path / "v.mp4").write_text("This is not a video.\n" * 20)
    expect_error(tmp_path / "v.mp4", "is not a readable media file: Invalid data")


def test_file_that_may_not_be_read(tmp_path, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    path = write_media(tmp_path / "v.mp4", pictures(2))
    monkeypatch.setattr(av, "open", refuse)
    expect_error(path, "permission denied")


@pytest.mark.parametrize("method", ["is_dir", "stat"])
def test_folder_that_may_not_be_entered(tmp_path, monkeypatch, method):
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, method, refuse)
        expect_error(tmp_path / "v.mp4", "cannot be read: permission denied")


@pytest.mark.parametrize(
    ("name", "reason"), [("v" * 300 + ".mp4", "File name too long"), ("v\0.mp4", "null")]
)
def test_name_that_no_file_can_have(tmp_path, name, reason):
    expect_error(tmp_path / name, f"is not a readable media file: .*{reason}")


def test_sound_only(tmp_path):
    sound = Sound([(0.0, make_clicks([0.5], 1.0, 48_000))], codec="pcm_s16le")
    expect_error(write_media(tmp_path / "v.wav", sound=sound), r"no video \(audio only\)")


def test_cover_picture_is_no_video(tmp_path):
    path = tmp_path / "song.mp3"
    cover = tmp_path / "cover.jpg"
    PillowImage.fromarray(corner_picture()).save(cover)
    with av.open(str(path), "w") as out, av.open(str(cover)) as picture:
        audio = out.add_stream("libmp3lame", rate=44_100, layout="mono")
        art = out.add_stream_from_template(picture.streams.video[0])
        art.disposition = av.stream.Disposition.attached_pic
        (packet,) = [p for p in picture.demux() if p.size]
        packet.stream = art
        out.mux(packet)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4608), np.float32), "fltp", "mono")
        frame.sample_rate = 44_100
        out.mux(audio.encode(frame) + audio.encode())
    with av.open(str(path)) as container:
        assert len(container.streams.video) == 1
    expect_error(path, r"no video \(audio only\)")


def test_video_without_a_decoder(tmp_path):
    path = write_media(tmp_path / "v.mkv", pictures(2))
    path.write_bytes(path.read_bytes().replace(b"V_MPEG4/ISO/AVC", b"V_MPEG4/ISO/XYZ"))
    expect_error(path, "cannot decode")


def test_header_without_frames(tmp_path):
    path = write_media(tmp_path / "v.mp4", pictures(5), container_options={"movflags": "faststart"})
    os.truncate(path, packet_ends(path)[0] - 10)
    expect_error(path, "has no frame that can be decoded")


# --- recordings ----------------------------------------------------------------------------


@pytest.mark.shared_data
def test_decoded_counts_of_recordings(shared_data, caplog):
    counts = {
        path.name: sum(1 for _ in read_frames(path)) for path in (shared_data / "videos").iterdir()
    }
    assert counts == DECODED
    assert caplog.text == ""


@pytest.mark.shared_data
def test_full_range_recording(shared_data):
    frame = next(read_frames(shared_data / "videos" / "bt709_full_range.mp4"))
    planes = [
        np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, -1)[:, : plane.width]
        for plane in frame.native.planes
    ]
    yuv = np.stack([planes[0][::2, ::2], planes[1], planes[2]], -1)
    expected = convert_by_hand(yuv, 0.2126, 0.0722, full=True)
    assert np.abs(frame.rgb()[::2, ::2] - expected).max() < 4
