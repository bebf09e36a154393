"""Tone mapping of HDR pictures to SDR: the BT.2390 curve in linear light, BT.709 primaries, sRGB.

The networks were trained on SDR pictures. BT.2390's curve does not change light up to about 90
cd/m2, where faces are, and compresses brighter light into the range of SDR. It is applied to the
largest of R, G and B; all three are scaled by the same factor, which preserves hues.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

PQ, HLG = 16, 18  # AVCOL_TRC_SMPTE2084, AVCOL_TRC_ARIB_STD_B67
HDR_NAMES = {PQ: "PQ", HLG: "HLG"}
SIGNAL_ONE = 255 << 8  # the largest signal in FFmpeg's R'G'B' of 16 bits; 65535 is above
PEAK_NITS = 1000.0  # brighter light is clipped: most HDR is graded for it, HLG is defined for it
WHITE_NITS = 203.0  # diffuse white of HDR (BT.2408), which is mapped to white
BT709, BT2020, P3 = 1, 9, 12  # AVCOL_PRI_*
# Linear RGB to linear BT.709, from the primaries' chromaticities at the white point D65.
TO_BT709 = {
    BT709: np.eye(3),
    BT2020: np.array(
        [
            [1.660491, -0.587641, -0.072850],
            [-0.124550, 1.132900, -0.008349],
            [-0.018151, -0.100579, 1.118730],
        ]
    ),
    P3: np.array(
        [
            [1.224940, -0.224940, 0.0],
            [-0.042057, 1.042057, 0.0],
            [-0.019638, -0.078636, 1.098274],
        ]
    ),
}
LUMINANCE = np.array([0.2627, 0.6780, 0.0593], np.float32)  # of BT.2020, in HLG's definition
HLG_GAMMA = 1.2  # of a display of PEAK_NITS
_GAINS = 4096  # entries of a table over the square root of light
_M1, _M2 = 2610 / 16384, 2523 / 32
_C1, _C2, _C3 = 3424 / 4096, 2413 / 128, 2392 / 128


def decode_pq(signal: Floats) -> Floats:
    """Return the light (...) in cd/m2 of PQ signals (...) in 0..1 (SMPTE ST 2084)."""
    power = signal ** (1 / _M2)
    return np.asarray(1e4 * (np.maximum(power - _C1, 0) / (_C2 - _C3 * power)) ** (1 / _M1))


def encode_pq(nits: Floats) -> Floats:
    """Return the PQ signal (...), 0..1, of light (...) in cd/m2."""
    power = (nits / 1e4) ** _M1
    return np.asarray(((_C1 + _C2 * power) / (1 + _C3 * power)) ** _M2)


def decode_hlg(signal: Floats) -> Floats:
    """Return the scene light (...), 0..1, of HLG signals (...) in 0..1 (ARIB STD-B67)."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)


def encode_srgb(light: Floats) -> Floats:
    """Return the sRGB signal (...), 0..1, of linear light (...) in 0..1."""
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def compress_light(nits: Floats) -> Floats:
    """Map light (...) from 0..PEAK_NITS to 0..WHITE_NITS cd/m2 (BT.2390, black at 0)."""
    peak = encode_pq(np.array(PEAK_NITS))
    signal = encode_pq(nits) / peak
    top = encode_pq(np.array(WHITE_NITS)) / peak
    knee = 1.5 * top - 0.5
    t = np.maximum(signal - knee, 0) / (1 - knee)
    bent = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee)
    bent += (3 * t**2 - 2 * t**3) * top
    return decode_pq(np.where(signal < knee, signal, bent) * peak)


@cache
def _light_table(transfer: int) -> NDArray[np.float32]:
    """Return the light of each 16-bit signal, (65536,), 1 at PEAK_NITS; for HLG scene light."""
    signal = np.minimum(np.arange(65536) / SIGNAL_ONE, 1)
    light = decode_hlg(signal) if transfer == HLG else decode_pq(signal) / PEAK_NITS
    return np.minimum(light, 1).astype(np.float32)


@cache
def _gain_table() -> NDArray[np.float32]:
    """Return the factor of tone mapping over the square root of light, (_GAINS,).

    Light is 1 at PEAK_NITS before, and 1 at WHITE_NITS after it.
    """
    nits = np.maximum(np.arange(_GAINS) / (_GAINS - 1), 1e-6) ** 2 * PEAK_NITS
    return (compress_light(nits) / nits * PEAK_NITS / WHITE_NITS).astype(np.float32)


@cache
def _srgb_table() -> NDArray[np.uint8]:
    return np.rint(255 * encode_srgb(np.arange(65536) / 65535)).astype(np.uint8)


def tone_map(pixels: NDArray[np.uint16], transfer: int, primaries: int) -> NDArray[np.uint8]:
    """Return the sRGB picture (H, W, 3) of an HDR picture.

    Args:
        pixels: (H, W, 3) R'G'B' of 16 bits, full range; SIGNAL_ONE is 1.
        transfer: PQ or HLG.
        primaries: one of AVCOL_PRI_*; unknown ones are read as BT.2020, which is usual for HDR.
    """
    light = _light_table(transfer).take(pixels)
    if transfer == HLG:
        light *= (light @ LUMINANCE)[..., None] ** np.float32(HLG_GAMMA - 1)
    # `max` along the last axis would take twenty times as long.
    largest = np.maximum(np.maximum(light[..., 0], light[..., 1]), light[..., 2])
    roots = np.sqrt(largest) * np.float32(_GAINS - 1)
    light *= _gain_table().take(np.rint(roots).astype(np.int32))[..., None]
    matrix = TO_BT709.get(primaries, TO_BT709[BT2020]).astype(np.float32)
    levels = np.clip(light @ matrix.T, 0, 1) * np.float32(65535)
    return _srgb_table().take(np.rint(levels).astype(np.int32))
