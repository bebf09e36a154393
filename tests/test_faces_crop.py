"""Square crops against a slow, literal reference."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image as PillowImage

from abawcli.config import RESAMPLINGS
from abawcli.faces.crop import (
    crop_frame,
    crop_scales,
    crop_square,
    read_image,
    read_square,
    resize_square,
    square_around,
)

NOISE = np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8)


def average_areas(image: np.ndarray, box: tuple[float, ...], scale: float, side: int) -> np.ndarray:
    """Average over each new pixel's area, literally: 16 x 16 samples a pixel, nearest."""
    left, top, extent = square_around(box, scale)
    fine = (np.arange(side * 64) + 0.5) * extent / (side * 64)
    x, y = np.floor(left + fine).astype(int), np.floor(top + fine).astype(int)
    inside_x, inside_y = (x >= 0) & (x < image.shape[1]), (y >= 0) & (y < image.shape[0])
    samples = image[np.where(inside_y, y, 0)][:, np.where(inside_x, x, 0)].astype(np.float64)
    samples *= inside_y[:, None, None] & inside_x[None, :, None]
    return samples.reshape(side, 64, side, 64, 3).mean(axis=(1, 3))


@settings(max_examples=30, deadline=None)
@given(
    x=st.floats(-60, 100), y=st.floats(-60, 70), w=st.floats(5, 80), h=st.floats(5, 80),
    scale=st.sampled_from([0.9, 1.0, 1.37, 2.5]), side=st.integers(1, 12),
)  # fmt: skip
def test_shrinking_averages_over_exact_areas(
    x: float, y: float, w: float, h: float, scale: float, side: int
) -> None:
    box = (x, y, w, h)
    if scale * max(w, h) <= side:
        return
    crop = crop_square(NOISE, box, scale, side)
    assert crop.shape == (side, side, 3) and crop.dtype == np.uint8
    assert np.abs(crop - average_areas(NOISE, box, scale, side)).max() <= 255 / 64 * 2


def test_enlarging_is_centred_to_a_fraction_of_a_pixel() -> None:
    ramp = np.repeat(np.arange(90, dtype=np.uint8)[None, :, None] * 2, 60, axis=0).repeat(3, axis=2)
    crop = crop_square(ramp, (20.25, 20, 16, 12), 1.0, 64)
    at = 20.25 + (np.arange(64) + 0.5) / 4 - 0.5  # centres of the new pixels among the old ones
    assert np.abs(crop[30, :, 0].astype(float) - 2 * at).max() <= 1


def test_enlarging_by_one_at_whole_pixels_copies() -> None:
    crop = crop_square(NOISE, (10, 12, 20, 20), 1.0, 20)
    assert np.array_equal(crop, NOISE[12:32, 10:30])


def test_native_resolution_copies_pixels_without_resampling() -> None:
    crop = crop_square(NOISE, (30.2, 20.1, 9.8, 14.4), 1.5)
    assert crop.shape == (22, 22, 3)  # 1.5 * 14.4 = 21.6
    assert np.array_equal(crop, NOISE[16:38, 24:46])  # centre 35.1, 27.3


@pytest.mark.parametrize("side", [None, 7, 60])
def test_outside_the_frame_is_black(side: int | None) -> None:
    white = np.full((40, 40, 3), 255, np.uint8)
    crop = crop_square(white, (-10, 10, 20, 20), 1.0, side)
    half = len(crop) // 2
    assert crop[:, : half - 2].max(initial=0) <= 1 and crop[:, half + 2 :].min() >= 254
    assert not crop_square(white, (100, 100, 20, 20), 1.0, side).any()
    assert not crop_square(white, (-90, 10, 20, 20), 1.0, side).any()


def test_a_tiny_box_still_gives_a_picture() -> None:
    assert crop_square(NOISE, (10, 10, 0.2, 0.1), 1.0).shape == (1, 1, 3)
    assert crop_square(NOISE, (10, 10, 0.2, 0.1), 1.0, 8).shape == (8, 8, 3)


def test_several_scales_are_the_single_ones() -> None:
    crops = crop_scales(NOISE, (30, 20, 20, 24), (1.0, 1.5), 16)
    for crop, scale in zip(crops, (1.0, 1.5), strict=True):
        assert np.array_equal(crop, crop_square(NOISE, (30, 20, 20, 24), scale, 16))


@dataclass
class Still:
    """A frame that notes how much of it was asked for."""

    image: np.ndarray
    pixels: int = 0

    @property
    def size(self) -> tuple[int, int]:
        return self.image.shape[1], self.image.shape[0]

    def region_rgb(self, x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
        assert 0 <= x0 < x1 <= self.size[0] and 0 <= y0 < y1 <= self.size[1]
        self.pixels += (x1 - x0) * (y1 - y0)
        return self.image[y0:y1, x0:x1]


@settings(max_examples=30, deadline=None)
@given(
    x=st.floats(-70, 110), y=st.floats(-70, 80), side=st.floats(1, 50),
    out=st.sampled_from([None, 1, 9, 48]), resample=st.sampled_from(["area", "bicubic"]),
)  # fmt: skip
@example(x=0.0, y=4.0, side=2.0, out=None, resample="area")
def test_a_frame_gives_the_same_from_the_part_that_is_shown(
    x: float, y: float, side: float, out: int | None, resample: str
) -> None:
    frame = Still(NOISE)
    crops = crop_frame(frame, (x, y, side, side), (0.8, 1.3), out, resample=resample)
    for crop, whole in zip(
        crops,
        crop_scales(NOISE, (x, y, side, side), (0.8, 1.3), out, resample=resample),
        strict=True,
    ):
        assert crop.shape == whole.shape and np.abs(crop.astype(int) - whole).max() <= 1
    assert frame.pixels <= (1.3 * side + 6) ** 2


@pytest.mark.parametrize("resample", RESAMPLINGS[1:])
def test_pillows_filters_on_a_square_of_whole_pixels(resample: str) -> None:
    method = PillowImage.Resampling[resample.upper()]
    expected = np.asarray(PillowImage.fromarray(NOISE[20:44, 30:54]).resize((9, 9), method))
    crop = crop_square(NOISE, (30, 20, 24, 24), 1.0, 9, resample=resample)
    np.testing.assert_array_equal(crop, expected)
    np.testing.assert_array_equal(resize_square(NOISE[20:44, 30:54], 9, resample), expected)


@settings(max_examples=40, deadline=None)
@given(x=st.floats(-40, 90), y=st.floats(-40, 70), side=st.floats(2, 40))
def test_pillows_filters_antialias_and_are_black_outside(x: float, y: float, side: float) -> None:
    bright = np.full((60, 80, 3), 200, np.uint8)
    crop = crop_square(bright, (x, y, side, side), 1.0, 16, resample="bilinear").astype(float)
    own = crop_square(bright, (x, y, side, side), 1.0, 16).astype(float)
    inside = x >= 0 and x + side <= 80 and y >= 0 and y + side <= 60
    assert not inside or (crop[1:-1, 1:-1] == 200).all()
    assert abs(crop.mean() - own.mean()) <= 200 * 2.5 / 16  # an edge of black, smoothed


def test_resize_square() -> None:
    assert resize_square(NOISE[:48, :48], 48) is not NOISE
    assert resize_square(NOISE, 30).shape == (30, 30, 3)
    flat = np.full((10, 10, 3), 77, np.uint8)
    assert (resize_square(flat, 4) == 77).all() and (resize_square(flat, 25) == 77).all()


@pytest.mark.parametrize("name", [b"bad\xff.png", "\u00fcn\u00ef \U0001f642.png".encode()])
def test_a_picture_is_read_whatever_its_name(tmp_path: Path, name: bytes) -> None:
    # OpenCV ends the process, without an error, when a path is not UTF-8.
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    path = tmp_path / os.fsdecode(name)
    with path.open("wb") as file:
        PillowImage.fromarray(pixels).save(file, "png")
    np.testing.assert_array_equal(read_image(path), pixels)
    np.testing.assert_array_equal(read_square(path, 8), pixels)


@pytest.mark.parametrize("content", [None, b"", b"no picture"])
def test_what_is_no_picture_is_none_with_a_warning(
    tmp_path: Path, content: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "00001.jpg"
    if content is not None:
        path.write_bytes(content)
    assert read_image(path) is None
    assert read_square(path, 8) is None
    assert caplog.text.count("00001.jpg cannot be read") == 1
