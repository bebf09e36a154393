"""A portrait whose expression can be set: a photograph bent by facial action units.

The photograph is scikit-image's `data.astronaut()`: NASA's portrait of Eileen Collins, in the
public domain. She smiles with her teeth showing. An expression is a weight for each of a few
action units (FACS, Ekman and Friesen 1978); a unit moves some of the landmarks below, and
thin-plate splines through the landmarks bend the picture. The parts above and below the mouth are
bent separately, so that the lips can close and part over teeth that stay with the skull.

Coordinates are pixels of the photograph, x to the right, y down; "left" is the viewer's.
"""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray
from skimage import data

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]
Points = NDArray[np.float64]  # (N, 2): x, y
Weights = Mapping[str, float]

SCALE = 2  # the portrait is bent and kept at this many times the photograph's size
FACE_CENTRE = (224.5, 118.0)
FACE_SIZE = (95.0, 120.0)  # width, height
PORTRAIT_ROWS = 345  # the helmet that she holds begins below
PATCH = (150, 20, 300, 215)  # x0, y0, x1, y1: nothing outside moves
GRID = 3  # the splines are evaluated at every third pixel
BROW_TINT = np.array((0.33, 0.40, 0.45), np.float32)  # share of red, green, blue that is taken away
FROWN_TINT = np.array((0.25, 0.35, 0.40), np.float32)
CAVITY_RGB = np.array((50, 18, 16), np.float32)

# A lip line has nine points from corner to corner, as photographed and with the mouth at rest.
SIDE = np.linspace(-1, 1, 9)
BELL = 1 - SIDE**2  # 0 in the corners, 1 in the middle
MOUTH_X = (203, 206.5, 211, 217, 224, 230.5, 236, 240.5, 244.5)
REST_X = (206.5, 209, 213, 218, 224, 229.5, 234.5, 238.5, 241.5)
CLOSED_Y = (144.6, 144.9, 145.3, 145.8, 146.2, 145.8, 145.3, 144.9, 144.6)
LIPS = {  # y as photographed, y at rest
    "upper_outer": (
        (139.5, 138.9, 138.6, 138.6, 139.4, 138.8, 138.8, 138.9, 139.5),
        (144.6, 143.3, 142.0, 141.0, 141.5, 141.0, 142.0, 143.3, 144.6),
    ),
    "upper_inner": ((139.5, 140.6, 142.0, 143.0, 143.5, 142.8, 142.0, 140.9, 139.5), CLOSED_Y),
    "lower_inner": ((139.5, 143.2, 146.8, 148.8, 149.7, 149.0, 146.6, 142.8, 139.5), CLOSED_Y),
    "lower_outer": (
        (139.5, 145.0, 150.5, 153.8, 155.0, 153.6, 150.0, 144.8, 139.5),
        (144.6, 147.2, 150.0, 152.2, 153.0, 152.2, 150.0, 147.2, 144.6),
    ),
}
_BY_EYE: dict[str, ArrayLike] = {
    "brow_left": ((189, 90.3), (197, 88.3), (205, 89.8), (212.5, 92.2)),  # outer to inner
    "brow_right": ((262, 95.5), (254.5, 92), (246, 92), (238, 93.2)),
    "eye_corners": ((191, 101.2), (213, 103), (259, 104.5), (236.5, 104.5)),
    "upper_lids": (
        *((195.5, 98.2), (199.5, 97.2), (204, 97), (208.5, 98.6)),
        *((254.5, 101.6), (250.5, 100), (246, 99.6), (241, 101)),
    ),
    "lower_lids": (
        *((197.5, 102.8), (202.5, 104.3), (208, 104.3)),
        *((253, 105.6), (247, 106.4), (241.5, 105.6)),
    ),
    "nose": ((224.5, 98), (224, 108), (223, 122), (212, 127), (235.5, 128), (223.5, 132.5)),
    "cheeks": ((193, 119), (203, 116), (190, 133), (259, 121), (246, 118), (262, 135)),
    "jaw": ((187, 152), (195, 164), (261, 153), (252, 165)),
    "chin": ((206, 172.5), (215, 177), (224, 178.5), (233, 177), (243, 172.5), (224, 164)),
    "still": (
        *((186, 64), (205, 66), (225, 68), (245, 72), (264, 76), (181, 90), (271, 96)),
        *((181, 110), (270, 114), (182, 130), (267, 134), (183, 195), (224, 200), (262, 195)),
        *((152, 22), (200, 22), (250, 22), (298, 22), (152, 70), (298, 70), (152, 120)),
        *((298, 120), (152, 170), (298, 170), (152, 213), (200, 213), (250, 213), (298, 213)),
    ),
}
LANDMARKS: dict[str, Points] = {
    **{name: np.asarray(points, dtype=np.float64) for name, points in _BY_EYE.items()},
    **{name: np.column_stack((MOUTH_X, y)) for name, (y, _) in LIPS.items()},
}


def _shift_lips(dx: ArrayLike, dy: ArrayLike) -> Points:
    """Return the offsets of the nine points of a lip line."""
    return np.column_stack((np.broadcast_to(dx, 9), np.broadcast_to(dy, 9)))


def _shift_brows(dx: float, dy: tuple[float, ...]) -> dict[str, ArrayLike]:
    """Return the offsets of both brows, outer to inner; positive dx is towards the nose."""
    return {"brow_left": [(dx, y) for y in dy], "brow_right": [(-dx, y) for y in dy]}


_DROP = _shift_lips(-4.5 * SIDE, 7 + 8 * BELL)
_CORNERS = _shift_lips(0, 5 * np.abs(SIDE) ** 1.5 - 1)
# Offsets of landmark groups: one for the group, or one a point.
ACTION_UNITS: dict[str, Mapping[str, ArrayLike]] = {
    "rest": {  # undoes AU 6 + 12 + 25, the smile of the photograph
        "cheeks": (0, 1.5),
        "lower_lids": (0, 0.4),
        **{
            name: _shift_lips(np.subtract(REST_X, MOUTH_X), np.subtract(rest, smile))
            for name, (smile, rest) in LIPS.items()
        },
    },
    "inner_brows_up": _shift_brows(0.5, (0.5, -0.5, -2.5, -5)),  # AU 1
    "outer_brows_up": _shift_brows(0, (-4, -5, -4, -1.5)),  # AU 2
    "brows_down": _shift_brows(2.5, (-0.5, 1.5, 3.5, 5)),  # AU 4
    "lids_up": {"upper_lids": (0, -2.2), "lower_lids": (0, 0.8)},  # AU 5
    "lids_tight": {"upper_lids": (0, 1.2), "lower_lids": (0, -1)},  # AU 7
    "corners_down": dict.fromkeys(LIPS, _CORNERS),  # AU 15
    "lips_pressed": {
        "upper_outer": _shift_lips(0, 1.6 * BELL),
        "lower_outer": _shift_lips(0, -2 * BELL),
    },
    "jaw_drop": {  # AU 26
        "upper_outer": _shift_lips(-4.5 * SIDE, 7 - 8.5 * BELL),
        "upper_inner": _shift_lips(-4.5 * SIDE, 7 - 8.5 * BELL),
        "lower_inner": _DROP,
        "lower_outer": _DROP,
        "chin": (0, 9),
        "jaw": (0, 4),
    },
}
EXPRESSIONS: dict[str, Weights] = {
    "Neutral": {"rest": 1},
    "Happiness": {},
    "Surprise": {
        "rest": 1,
        "inner_brows_up": 1,
        "outer_brows_up": 1,
        "lids_up": 1,
        "jaw_drop": 1,
    },
    "Sadness": {"rest": 1, "inner_brows_up": 1, "brows_down": 0.2, "corners_down": 1},
    "Anger": {
        "rest": 1,
        "brows_down": 1,
        "lids_tight": 1,
        "lids_up": 0.3,
        "corners_down": 0.5,
        "lips_pressed": 1,
    },
}
OUTLINE = (  # of the person, roughly
    *((228, 14), (195, 24), (165, 50), (153, 85), (158, 110), (175, 123), (182, 135), (186, 150)),
    *((160, 150), (125, 165), (112, 195), (118, 210), (95, 222), (60, 260), (45, 300), (22, 345)),
    *((362, 345), (355, 290), (335, 262), (305, 240), (300, 225), (302, 205), (285, 190)),
    *((260, 172), (262, 150), (270, 135), (282, 125), (298, 105), (300, 75), (285, 45), (255, 20)),
)
# Painted, as are strokes over the brows, which are thin and pale in the photograph.
FROWN_LINES = (((220.5, 88), (221.5, 98)), ((230, 89), (228.5, 98.5)))
SMILE_FOLDS = (((209, 124), (202, 131), (196.5, 138)), ((240.5, 124), (246, 132), (251, 143)))


def mix_weights(first: Weights, second: Weights, share: float) -> dict[str, float]:
    """Return the action units between two expressions, `share` (0..1) of the way."""
    units = [u for u in ACTION_UNITS if u in first or u in second]
    return {u: (1 - share) * first.get(u, 0) + share * second.get(u, 0) for u in units}


def move_landmarks(weights: Weights) -> dict[str, Points]:
    """Return the landmarks (N, 2) of every group with the action units applied."""
    moved = {name: points.copy() for name, points in LANDMARKS.items()}
    for unit, weight in weights.items():
        for group, offsets in ACTION_UNITS[unit].items():
            moved[group] += weight * np.asarray(offsets)
    return moved


def _measure_kernel(a: Points, b: Points) -> Points:
    """Return the thin-plate kernel r^2 log r^2 between points, (len(a), len(b))."""
    squares: Points = ((a[:, None] - b[None]) ** 2).sum(-1)
    return squares * np.log(squares + 1e-9)


def fit_spline(at: Points, values: Points, where: Points) -> Points:
    """Return the thin-plate spline through `values` (N, 2) at `at`, evaluated at `where`."""
    n = len(at)
    affine = np.column_stack((np.ones(n), at))
    system = np.zeros((n + 3, n + 3))
    # A little smoothing: the landmarks were set by eye.
    system[:n, :n] = _measure_kernel(at, at) + 0.5 * np.eye(n)
    system[:n, n:], system[n:, :n] = affine, affine.T
    solution = np.linalg.solve(system, np.vstack((values, np.zeros((3, 2)))))
    plane = np.column_stack((np.ones(len(where)), where)) @ solution[n:]
    return np.asarray(_measure_kernel(where, at) @ solution[:n] + plane)


def cut_out(photo: Image) -> Image:
    """Return the opacity (H, W) of the person in the photograph, by GrabCut near `OUTLINE`."""
    inside = cv2.fillPoly(np.zeros(photo.shape[:2], np.uint8), [np.array(OUTLINE)], 1)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (17, 17))
    mask = np.where(inside, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    mask[cv2.erode(inside, disc, borderValue=1) == 1] = cv2.GC_FGD
    mask[cv2.dilate(inside, disc) == 0] = cv2.GC_BGD
    cv2.setRNGSeed(0)
    back, front = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(photo, mask, (0, 0, 0, 0), back, front, 5, cv2.GC_INIT_WITH_MASK)
    person = np.isin(mask, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.float32)
    # Nothing below one half: the light rim of the old background stays out.
    soft = cv2.GaussianBlur(person, (0, 0), 1.2)
    return np.asarray(np.clip((soft - 0.5) * 2, 0, 1) * 255, dtype=np.uint8)


def _draw_strokes(lines: Sequence[ArrayLike], width: float, blur: float) -> Floats:
    """Return soft polylines over the patch, 0..1, (H, W, 1); width and blur in photo pixels."""
    x0, y0, x1, y1 = PATCH
    mask = np.zeros(((y1 - y0) * SCALE, (x1 - x0) * SCALE), np.uint8)
    for line in lines:
        points = ((np.asarray(line) - (x0, y0) + 0.5) * SCALE * 16).round().astype(np.int32)
        cv2.polylines(mask, [points], False, 255, round(width * SCALE), cv2.LINE_AA, shift=4)
    return (cv2.GaussianBlur(mask, (0, 0), blur * SCALE) / np.float32(255))[..., None]


def _smooth_folds(patch: Floats) -> Floats:
    """Return the patch (H, W, 4) without the folds that a smile draws beside the mouth."""
    folds = _draw_strokes(SMILE_FOLDS, 5, 1.5)
    hole = (folds[..., 0] > 0.4).astype(np.uint8)
    filled = cv2.inpaint(patch[..., :3].astype(np.uint8), hole, 9, cv2.INPAINT_TELEA)
    smooth = patch.copy()
    smooth[..., :3] += folds * (cv2.GaussianBlur(filled, (0, 0), 5) - patch[..., :3])
    return smooth


def _move_pixels(picture: Floats, field: Floats) -> Floats:
    """Return the picture with every pixel taken from where `field` (H, W, 2) says."""
    x, y = field[..., 0], field[..., 1]
    moved = cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, dtype=np.float32)


class AnimatedFace:
    """The portrait cut out of its background, with an expression that can be set."""

    def __init__(self) -> None:
        photo = np.ascontiguousarray(data.astronaut()[:PORTRAIT_ROWS])  # type: ignore[no-untyped-call]
        rgba = np.dstack((photo, cut_out(photo)))
        size = (photo.shape[1] * SCALE, photo.shape[0] * SCALE)
        large = cv2.resize(rgba, size, interpolation=cv2.INTER_CUBIC)
        self._portrait = np.asarray(large, dtype=np.uint8)  # (H, W, 4)
        x0, y0, x1, y1 = (SCALE * c for c in PATCH)
        self._window = slice(y0, y1), slice(x0, x1)
        self._smile = self._portrait[self._window].astype(np.float32)
        brows = _draw_strokes([LANDMARKS["brow_left"], LANDMARKS["brow_right"]], 2.2, 0.8)
        self._smile[..., :3] *= 1 - BROW_TINT * brows
        self._rest = _smooth_folds(self._smile)
        self._frown = FROWN_TINT * _draw_strokes(FROWN_LINES, 1.5, 0.9)
        y, x = np.mgrid[y0:y1, x0:x1]
        # Where the patch's pixels lie in the photograph, (H, W, 2).
        self._pixels = ((np.dstack((x, y)) + 0.5) / SCALE - 0.5).astype(np.float32)
        self._split_mouth()

    def _split_mouth(self) -> None:
        """Part the photograph at the lips: shares (H, W) above and below, and what is between."""
        x, y = self._pixels[..., 0], self._pixels[..., 1]
        from_corner = np.abs(x - (MOUTH_X[0] + MOUTH_X[-1]) / 2) - (MOUTH_X[-1] - MOUTH_X[0]) / 2
        beyond = np.maximum(0, from_corner)
        # The outermost pixels of the lips have the teeth's colour in them.
        rim = 0.4 * np.clip(-from_corner / 3, 0, 1)
        upper = np.interp(x, MOUTH_X, LIPS["upper_inner"][0]) - rim
        lower = np.interp(x, MOUTH_X, LIPS["lower_inner"][0]) + rim
        self._above = np.clip((upper - y) / (0.8 + beyond) + 0.5, 0, 1).astype(np.float32)
        self._below = np.clip((y - lower) / 0.8 + 0.5 + beyond, 0, 1).astype(np.float32)
        teeth = np.clip(np.minimum(y - upper, lower - y), 0, 1).astype(np.float32)
        teeth = cv2.GaussianBlur(teeth, (0, 0), 0.75 * SCALE)
        self._teeth = teeth[..., None] * (self._smile[..., :3] - CAVITY_RGB)

    def _bend(self, moved: Mapping[str, Points], without: str) -> Floats:
        """Return which pixel of the patch goes to each place, (H, W, 2), for `cv2.remap`.

        The landmark groups whose name begins with `without` have no say.
        """
        groups = [g for g in LANDMARKS if not g.startswith(without)]
        at = np.vstack([moved[g] for g in groups])
        source = np.vstack([LANDMARKS[g] for g in groups])
        step = GRID * SCALE
        grid = self._pixels[::step, ::step]
        shift = fit_spline(at, source - at, grid.reshape(-1, 2).astype(np.float64))
        # Not cv2.resize: the grid's points lie on pixels, not halfway between them.
        full = cv2.warpAffine(
            shift.reshape(grid.shape).astype(np.float32),
            np.array(((step, 0, 0), (0, step, 0)), np.float32),
            self._pixels.shape[1::-1],
            borderMode=cv2.BORDER_REPLICATE,
        )
        inset = np.minimum(self._pixels - PATCH[:2], PATCH[2:] - self._pixels).min(-1)
        full *= np.clip(inset / 12, 0, 1)[..., None]
        return ((self._pixels + full - PATCH[:2] + 0.5) * SCALE - 0.5).astype(np.float32)

    def draw(self, weights: Weights) -> Image:
        """Return the portrait (H, W, 4), RGB and opacity, with the action units applied."""
        rest = weights.get("rest", 0)
        skin = self._smile + np.float32(rest) * (self._rest - self._smile)
        skin[..., :3] *= 1 - np.float32(weights.get("brows_down", 0)) * self._frown
        lit = 1 - rest * (0.65 - 0.3 * weights.get("jaw_drop", 0))  # lips shade the teeth
        patch = np.full_like(skin, 255)
        patch[..., :3] = CAVITY_RGB + np.float32(lit) * self._teeth
        moved = move_landmarks(weights)
        for without, share in (("upper", self._below), ("lower", self._above)):
            field = self._bend(moved, without)
            bent, part = _move_pixels(skin, field), _move_pixels(share, field)
            patch += part[..., None] * (bent - patch)
        portrait = self._portrait.copy()
        portrait[self._window] = np.clip(patch + 0.5, 0, 255).astype(np.uint8)
        return portrait
