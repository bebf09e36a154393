"""The pictures of a composed video: moving faces before a room, with noise."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from motion import SIDE, animate, plan_motion
from numpy.typing import NDArray
from sequences import Track, Video

from abawcli.faces.crop import read_image

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]

FEATHER = 0.06  # of a face's side: a soft border, not a picture on a wall


def read_grey(path: Path) -> Image:
    """Return an image (H, W)."""
    image = read_image(path)
    if image is None:
        raise SystemExit(f"{path} is no readable image")
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)


def draw_texture(
    size: tuple[int, int], cells: Sequence[int], random: np.random.Generator
) -> Floats:
    """Return smooth random values (H, W), about -1..1, with patches of different widths."""
    width, height = size
    texture = np.zeros((height, width), np.float32)
    for cell in cells:
        coarse = random.normal(0, 1, (height // cell + 2, width // cell + 2)).astype(np.float32)
        texture += cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)
    return np.clip(texture / (2 * len(cells) ** 0.5), -1, 1)


class Painter:
    """Draws the pictures of one video as they are stored: brightness, and two of colour."""

    def __init__(self, video: Video, files: Sequence[Path], audio: Floats) -> None:
        """Prepare the scene; the mouth of who speaks follows the audio (N,)."""
        self.video, self.files = video, files
        level = np.sqrt((audio.reshape(video.frames, -1).astype(np.float64) ** 2).mean(axis=1))
        motion = np.random.default_rng((*video.seed, 2))
        self.motion = {
            name: plan_motion(track.voice, level, motion) for name, track in video.tracks.items()
        }
        width, height = size = video.size
        self.random = random = np.random.default_rng(video.seed)
        scene = draw_texture(size, (90, 40, 20), random) + 0.1 * draw_texture(size, (4,), random)
        self.room = np.float32(random.uniform(80, 150)) + np.float32(random.uniform(20, 60)) * scene
        sigma = random.uniform(1.5, 5)
        self.noise = random.normal(0, sigma, (height + 64, width + 64)).astype(np.float32)
        half = width // 2, height // 2
        colours = [128 + 6 * draw_texture(half, (60, 20), random) for _ in range(2)]
        self.colours = np.concatenate([c.ravel() for c in colours]).astype(np.uint8)
        self.colours = self.colours.reshape(height // 2, width)
        self.soft = _soften_border(SIDE)

    @lru_cache(maxsize=32)  # noqa: B019 - lives as long as one video
    def _read(self, image: int) -> Image:
        face = read_grey(self.files[image])
        return np.asarray(cv2.resize(face, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC), np.uint8)

    def _show(self, name: str, track: Track, index: int) -> Image:
        """Return a person's face (SIDE, SIDE) in a frame, faded and animated."""
        model = int(track.image[track.image >= 0][0])
        face, mix = self._match(int(track.image[index]), model), float(track.mix[index])
        if mix:
            face = cv2.addWeighted(
                face, 1 - mix, self._match(int(track.other[index]), model), mix, 0
            )
        return animate(face, self.motion[name][index])

    @lru_cache(maxsize=32)  # noqa: B019 - likewise
    def _match(self, image: int, model: int) -> Image:
        """Return a face image with mean and contrast of another one, as in the same light."""
        face, other = self._read(image), self._read(model)
        gain = float(other.std()) / max(float(face.std()), 1e-6)
        return cv2.addWeighted(face, gain, face, 0, float(other.mean()) - gain * float(face.mean()))

    def draw_light(self, index: int) -> Floats:
        """Return the brightness of one picture, (H, W), 0 to 255."""
        picture = self.room.copy()
        for name, track in self.video.tracks.items():
            if track.image[index] >= 0:
                self._place(picture, self._show(name, track, index), track, index)
        x, y = self.random.integers(0, 64, 2)
        height, width = picture.shape
        picture += self.noise[y : y + height, x : x + width]
        return picture

    def draw(self, index: int) -> Image:
        """Return one picture, (3/2 H, W): the planes of yuv420p below each other."""
        # Black is 16 and white 235 in a video.
        light = np.maximum(self.draw_light(index), 0)
        stored = cv2.convertScaleAbs(light, alpha=219 / 255, beta=16)
        return np.concatenate([np.minimum(stored, 235), self.colours])

    def _place(self, picture: Floats, face: Image, track: Track, index: int) -> None:
        """Draw a face over the picture (H, W)."""
        side, (x, y) = track.side[index], track.centre[index]
        reach = side * 0.6  # the turned square fits in
        height, width = picture.shape
        x0, y0 = max(0, int(x - reach)), max(0, int(y - reach))
        x1, y1 = min(width, int(x + reach) + 1), min(height, int(y + reach) + 1)
        middle = (SIDE - 1) / 2
        turn = cv2.getRotationMatrix2D(
            (middle, middle), float(track.degrees[index]), float(side / SIDE)
        )
        turn[:, 2] += (x - x0 - middle, y - y0 - middle)
        size = x1 - x0, y1 - y0
        seen = cv2.warpAffine(face, turn, size, borderMode=cv2.BORDER_REPLICATE)
        opacity = cv2.warpAffine(self.soft, turn, size)
        region = picture[y0:y1, x0:x1]
        region += opacity * (np.float32(track.light[index]) * seen - region)


def _soften_border(side: int) -> Floats:
    """Return the opacity (side, side) of a face image: 1 inside, falling to 0 at its border."""
    inside = (np.minimum(np.arange(side), np.arange(side)[::-1]) + 1) / (FEATHER * side)
    ramp = np.minimum(inside, 1).astype(np.float32)
    return np.outer(ramp, ramp)
