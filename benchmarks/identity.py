"""Errors of re-identification over a hard cut.

    python benchmarks/identity.py FOLDER ANNA=a.mp4,b.mp4 BEN=c.mp4 ...

Joins each pair of clips: the first half of one and the second half of the other, at the size of the
first one. Then tracks faces in the joined video. Clips of one person must give one subject, clips
of two people two. Prints the number of errors of both kinds, and the pairs.
"""

import argparse
import itertools
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from abawcli.faces.detect import Detector, load_detector
from abawcli.faces.identity import Identity, load_identity
from abawcli.faces.track import track_faces
from abawcli.media.video import read_frames

Image = NDArray[np.uint8]
HALF = 40  # frames of each clip at most
FPS = 25


@dataclass
class Shown:
    """A frame that is not read from a file."""

    frame: int
    time_s: float
    picture: Image

    @property
    def size(self) -> tuple[int, int]:
        """Return width and height in pixels."""
        return self.picture.shape[1], self.picture.shape[0]

    def rgb(self, long_side: int | None = None) -> Image:
        """Return the pixels, scaled down to a longer side of `long_side`."""
        share = (long_side or max(self.size)) / max(self.size)
        if share >= 1:
            return self.picture
        size = [round(share * length) for length in self.size]
        return np.asarray(cv2.resize(self.picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def read_halves(path: Path, long_side: int) -> tuple[list[Image], list[Image]]:
    """Return the pictures of the first and the second half of a clip."""
    pictures = [frame.rgb(long_side) for frame in read_frames(path)]
    middle = len(pictures) // 2
    return pictures[max(0, middle - HALF) : middle], pictures[-min(HALF, middle) :]


def find_most(film: list[Image], cut: int, detector: Detector, identity: Identity) -> list[int]:
    """Return the most frequent subject before and after the cut; -1: none."""
    frames = (Shown(k + 1, k / FPS, picture) for k, picture in enumerate(film))
    before: Counter[int] = Counter({-1: 0})
    after: Counter[int] = Counter({-1: 0})
    for _, found in track_faces(frames, detector, identity=identity):
        counts = before if found.frame <= cut else after
        counts.update(face.subject for face in found.faces)
    return [counts.most_common(1)[0][0] for counts in (before, after)]


def main() -> None:
    """Join each pair of clips and print the errors."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("people", nargs="+", metavar="NAME=CLIP,CLIP")
    arguments = parser.parse_args()
    detector, identity = load_detector("retinaface"), load_identity()
    people = [entry.split("=", 1) for entry in arguments.people]
    clips = [(name, clip) for name, names in people for clip in names.split(",")]
    halves = {
        clip: read_halves(arguments.folder / clip, detector.config.long_side) for _, clip in clips
    }
    wrong: dict[bool, list[str]] = {True: [], False: []}
    pairs: Counter[bool] = Counter()
    for (name, first), (other, second) in itertools.product(clips, repeat=2):
        start, end = halves[first][0], halves[second][1]
        size = start[0].shape[1::-1]
        film = start + [np.asarray(cv2.resize(picture, size), np.uint8) for picture in end]
        before, after = find_most(film, len(start), detector, identity)
        if min(before, after) < 0:
            print(f"no face in {first} or {second}")
            continue
        pairs[name == other] += 1
        if (before == after) != (name == other):
            wrong[name == other].append(f"{first} {second}")
    print(f"{identity.name}: pairs joined at a hard cut")
    for same, text in ((False, "two people taken for one"), (True, "one person taken for two")):
        print(f"  {text:26} {len(wrong[same]):4} of {pairs[same]}")
        for pair in wrong[same]:
            print(f"    {pair}")


if __name__ == "__main__":
    main()
