"""Tone mapping against a literal reference in float64."""

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from abawcli.media.frame import Frame
from abawcli.media.tone import HLG, PEAK_NITS, PQ, TO_BT709, WHITE_NITS, compress_light, tone_map

BT2020 = 9
PRIMARIES = {  # x, y of red, green and blue
    1: ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06)),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
}


def pq_to_nits(signal: np.ndarray) -> np.ndarray:
    n, m = 0.1593017578125, 78.84375
    c1, c2, c3 = 0.8359375, 18.8515625, 18.6875
    e = signal ** (1 / m)
    return 10000 * (np.maximum(e - c1, 0) / (c2 - c3 * e)) ** (1 / n)


def nits_to_pq(nits: np.ndarray) -> np.ndarray:
    n, m = 0.1593017578125, 78.84375
    c1, c2, c3 = 0.8359375, 18.8515625, 18.6875
    y = (nits / 10000) ** n
    return ((c1 + c2 * y) / (1 + c3 * y)) ** m


def hlg_to_nits(signal: np.ndarray) -> np.ndarray:
    a, b, c = 0.17883277, 1 - 4 * 0.17883277, 0.5 - 0.17883277 * np.log(4 * 0.17883277)
    scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    luminance = scene @ np.array([0.2627, 0.6780, 0.0593])
    return 1000 * luminance[..., None] ** 0.2 * scene


def bend(nits: np.ndarray) -> np.ndarray:
    """BT.2390-8, section 5.4.1, from 0..1000 to 0..203 cd/m2."""
    e1 = nits_to_pq(nits) / nits_to_pq(np.array(1000.0))
    top = float(nits_to_pq(np.array(203.0)) / nits_to_pq(np.array(1000.0)))
    start = 1.5 * top - 0.5
    t = (e1 - start) / (1 - start)
    hermite = (2 * t**3 - 3 * t**2 + 1) * start + (t**3 - 2 * t**2 + t) * (1 - start)
    hermite += (-2 * t**3 + 3 * t**2) * top
    return pq_to_nits(np.where(e1 < start, e1, hermite) * nits_to_pq(np.array(1000.0)))


def to_xyz(primaries: int) -> np.ndarray:
    columns = np.array([[x / y, 1, (1 - x - y) / y] for x, y in PRIMARIES[primaries]]).T
    white = np.array([0.3127 / 0.3290, 1, (1 - 0.3127 - 0.3290) / 0.3290])
    return columns * np.linalg.solve(columns, white)


def map_literally(signal: np.ndarray, transfer: int, primaries: int) -> np.ndarray:
    """Return sRGB, 0..255 without rounding, of R'G'B' (..., 3), 0..1."""
    nits = np.minimum(pq_to_nits(signal) if transfer == PQ else hlg_to_nits(signal), 1000)
    brightest = np.maximum(nits.max(axis=-1, keepdims=True), 1e-9)
    light = nits * bend(brightest) / brightest / 203
    light = np.clip(light @ (np.linalg.inv(to_xyz(1)) @ to_xyz(primaries)).T, 0, 1)
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("primaries", [1, 9, 12])
@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_tone_mapping_is_the_reference_rounded(transfer, primaries):
    random = np.random.default_rng(0)
    colours = random.integers(0, 65536, (200, 200, 3)).astype(np.uint16)
    greys = np.repeat(np.arange(0, 65536, 16, np.uint16), 3).reshape(64, 64, 3)
    for pixels in (colours, greys):
        expected = map_literally(np.minimum(pixels / (255 << 8), 1), transfer, primaries)
        assert np.abs(tone_map(pixels, transfer, primaries) - expected).max() < 0.6


def test_other_primaries_count_as_bt2020():
    pixels = np.random.default_rng(0).integers(0, 65536, (8, 8, 3)).astype(np.uint16)
    assert (tone_map(pixels, PQ, 2) == tone_map(pixels, PQ, BT2020)).all()


def test_matrices_keep_white():
    for matrix in TO_BT709.values():
        assert matrix.sum(axis=1) == pytest.approx([1, 1, 1], abs=2e-6)


@given(st.lists(st.floats(0, PEAK_NITS), min_size=2, max_size=20))
def test_brighter_stays_brighter_and_faces_stay_as_they_are(nits):
    light = np.sort(np.array(nits))
    bent = compress_light(light)
    assert (np.diff(bent) >= -1e-6).all() and bent.max() <= WHITE_NITS + 1e-6
    assert bent[light < 85] == pytest.approx(light[light < 85], abs=1e-6)


# --- frames --------------------------------------------------------------------------------


def paint_hdr(transfer: int) -> tuple[Frame, np.ndarray]:
    """Return a 10-bit frame of 16x16 blocks, and R'G'B' (4, 4, 3), 0..1, of them."""
    codes = np.random.default_rng(1).integers((300, 440, 440), (800, 584, 584), (4, 4, 3))
    native = av.VideoFrame(64, 64, "yuv420p10le")
    for k, plane in enumerate(native.planes):
        blocks = np.kron(codes[..., k], np.ones((plane.height // 4, plane.width // 4)))
        np.frombuffer(memoryview(plane), "<u2").reshape(plane.height, -1)[:, : plane.width] = blocks
    native.colorspace, native.color_range = 9, 1
    native.color_trc, native.color_primaries = transfer, BT2020
    y, blue, red = np.moveaxis(codes.astype(float), -1, 0)
    y, blue, red = (y - 64) / 876, (blue - 512) / 896, (red - 512) / 896
    r, b = y + 2 * (1 - 0.2627) * red, y + 2 * (1 - 0.0593) * blue
    signal = np.stack([r, (y - 0.2627 * r - 0.0593 * b) / 0.678, b], -1)
    return Frame(1, 0.0, native), np.clip(signal, 0, 1)


@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_whole_scaled_and_part_of_an_hdr_frame_are_mapped_alike(transfer):
    frame, signal = paint_hdr(transfer)
    expected = map_literally(signal, transfer, BT2020)
    whole = frame.rgb().astype(int)
    assert np.abs(whole[8::16, 8::16] - expected).max() < 2
    for side in (32, 31):  # FFmpeg's packed format is wrong at odd widths
        scaled = frame.rgb(side)[side // 8 :: side // 4, side // 8 :: side // 4][:4, :4]
        assert np.abs(scaled - expected).max() < 3
    for box in ((0, 0, 64, 64), (3, 5, 61, 58), (20, 21, 23, 22)):
        x0, y0, x1, y1 = box
        assert np.abs(frame.region_rgb(*box) - whole[y0:y1, x0:x1]).max() <= 2


def test_a_part_is_mapped_without_the_rest(monkeypatch):
    frame, _ = paint_hdr(PQ)
    seen = []

    def record(pixels, transfer, primaries):
        seen.append(pixels.shape)
        return tone_map(pixels, transfer, primaries)

    monkeypatch.setattr("abawcli.media.pixels.tone_map", record)
    frame.region_rgb(10, 10, 20, 30)
    assert seen == [(28, 18, 3)]  # with what colours are interpolated from


@pytest.mark.parametrize("size", [(63, 64), (64, 63), (63, 63)])
def test_hdr_of_odd_size(size):
    native = av.VideoFrame(size[0], size[1], "yuv420p10le")
    for plane, code in zip(native.planes, (500, 512, 512), strict=True):
        np.frombuffer(memoryview(plane), "<u2")[:] = code
    native.colorspace, native.color_range, native.color_trc = 9, 1, PQ
    frame = Frame(1, 0.0, native)
    (expected,) = map_literally(np.full((1, 3), (500 - 64) / 876), PQ, BT2020)
    assert np.abs(frame.rgb() - expected).max() < 1
    assert np.abs(frame.region_rgb(3, 4, 60, 61) - expected).max() < 1
