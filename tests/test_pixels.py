"""Colours of frames: matrices, ranges, transfer, and regions of a frame."""

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media_files import (
    corner_picture,
    counting_picture,
    read_count,
    write_media,
)

from abawcli.media.frame import Frame, Orientation
from abawcli.media.video import read_frames


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
