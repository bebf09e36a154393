"""Faces between two rendered ones: both are bent towards each other and mixed."""

from functools import cache
from pathlib import Path

import cv2
import numpy as np
from camera import HEIGHT, WIDTH, project
from clips import Face, Look
from figure import Figure
from makehuman import read_mask
from numpy.typing import NDArray
from people import PEOPLE
from rendering import TURNS, read_picture, weigh_units

Floats = NDArray[np.float32]


BLURS = ((2.5, 1.0), (8.0, 0.03), (30.0, 0.001))  # pixels, weights: near vertices count, then far


def _bend(picture: Floats, flow: Floats, share: float) -> Floats:
    """Return a picture moved along a share of a flow (H, W, 2)."""
    row, column = np.mgrid[: picture.shape[0], : picture.shape[1]].astype(np.float32)
    at = column - share * flow[..., 0], row - share * flow[..., 1]
    return np.asarray(cv2.remap(picture, *at, cv2.INTER_LINEAR), dtype=np.float32)


class Morph:
    """Draws faces from the rendered ones in a folder."""

    def __init__(self, folder: Path, data: Path) -> None:
        self._folder, self._data = folder, data
        self.load, self._flow = cache(self._read), cache(self._find_flow)
        self._place, self._figure = cache(self._find_places), cache(self._make_figure)

    def draw(self, face: Face) -> Floats:
        """Return a face (H, W, 4), 0..255, its colours multiplied by its opacity."""
        first = self.load(face.first)
        if face.first == face.second or face.share == 0:
            return first
        second = self.load(face.second)
        there = _bend(first, self._flow(face.first, face.second), face.share)
        back = _bend(second, self._flow(face.second, face.first), 1 - face.share)
        return there + face.share * (back - there)

    def _read(self, look: Look) -> Floats:
        """Multiply by opacity: no dark rim where it is interpolated."""
        picture = read_picture(self._folder, look).astype(np.float32)
        picture[..., :3] *= picture[..., 3:] / 255
        return picture

    def _make_figure(self, person: str) -> tuple[Figure, NDArray[np.bool_]]:
        """Return a person's figure and which of its vertices are skin that the camera sees."""
        figure = Figure(self._data, PEOPLE[person])
        skin = np.zeros(len(figure.rest), bool)
        skin[figure.body.choose("body")] = True
        mouth = read_mask(self._data, "inside-mouth", figure.body)
        return figure, skin & (figure.rest[:, 2] > 0.2) & (mouth < 0.5)

    def _find_places(self, look: Look) -> Floats:
        """Return where the vertices of the skin are in the picture of a look, (N, 2)."""
        figure, seen = self._figure(look.person)
        posed = figure.pose(figure.bend(weigh_units(look)), TURNS[look.expression])
        return project(posed[seen]).astype(np.float32)

    def _find_flow(self, first: Look, second: Look) -> Floats:
        """Return how far each pixel moves from one picture to the other, (H, W, 2)."""
        start, end = self._place(first), self._place(second)
        column, row = start.round().astype(int).T
        inside = (column >= 0) & (column < WIDTH) & (row >= 0) & (row < HEIGHT)
        known = np.zeros((HEIGHT, WIDTH, 3), np.float32)  # sums of x, y and their number
        moved = np.column_stack((end - start, np.ones(len(start))))[inside]
        np.add.at(known, (row[inside], column[inside]), moved)
        spread = sum(w * cv2.GaussianBlur(known, (0, 0), sigma) for sigma, w in BLURS)
        return np.asarray(spread[..., :2] / (spread[..., 2:] + 1e-9), dtype=np.float32)
