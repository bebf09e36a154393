"""Following of the face that is the largest at first, by the rule of arXiv 2603.12221.

The first face is the largest one. In each later frame it is the face that is most similar to a
running mean of the identities of the followed faces; if even that similarity is weak, it is the
face that overlaps the last followed one most. In a frame where neither is enough, no face is
followed.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np

from abawcli.config import Following
from abawcli.faces.detect import Box, Face, Floats
from abawcli.faces.identity import Identity
from abawcli.faces.track import FrameFaces, Picture, TrackedFace, measure_overlap

PictureT = TypeVar("PictureT", bound=Picture)


@dataclass
class Followed:
    """The person who is followed, up to the last frame that was given."""

    min_similarity: float  # of a face to the running mean; a lower one is weak
    config: Following = field(default_factory=Following)
    mean: Floats | None = None  # (D,) of identities; None: all were unknown
    box: Box | None = None  # of the last followed face; None: there was none

    def find(self, faces: Sequence[TrackedFace], identities: Floats) -> int | None:
        """Return the index of the followed face in the next frame; None if it is not there.

        Args:
            faces: of the frame, by subject.
            identities: (N, D) of the faces, of length 1; NaN: unknown.
        """
        k = self._choose(faces, identities) if faces else None
        if k is not None:
            self.box = faces[k].box
            self._update_mean(identities[k])
        return k

    def _choose(self, faces: Sequence[TrackedFace], identities: Floats) -> int | None:
        if self.box is None:
            return int(np.argmax([face.box[2] * face.box[3] for face in faces]))
        if self.mean is not None:
            similarity = np.nan_to_num(identities @ self.mean, nan=-1) / np.linalg.norm(self.mean)
            if similarity.max() >= self.min_similarity:
                return int(similarity.argmax())
        overlap = [measure_overlap(self.box, face.box) for face in faces]
        return int(np.argmax(overlap)) if max(overlap) >= self.config.iou else None

    def _update_mean(self, identity: Floats) -> None:
        if np.isnan(identity).any():
            return
        old = identity if self.mean is None else self.mean
        self.mean = np.asarray(self.config.keep * old + (1 - self.config.keep) * identity)


def follow_largest(
    tracked: Iterable[tuple[PictureT, FrameFaces]], identity: Identity, starts: Sequence[int]
) -> Iterator[tuple[PictureT, FrameFaces]]:
    """Yield frames whose faces have `followed` set: for each frame of `starts`, a boolean.

    From each of these frames on, one person is followed: the largest face of the first frame with
    a face. Identities are computed in every frame, also where faces were interpolated and not
    detected. Nothing is computed without `starts`.
    """
    people = [(start, Followed(identity.min_similarity)) for start in starts]
    for frame, found in tracked:
        if people and found.faces:
            shown = [Face(face.box, face.score, face.landmarks) for face in found.faces]
            identities = identity.describe_faces(frame.rgb(), shown)
            chosen = [
                person.find(found.faces, identities) if found.frame >= start else None
                for start, person in people
            ]
            faces = [
                replace(face, followed=tuple(k == one for one in chosen))
                for k, face in enumerate(found.faces)
            ]
            found = replace(found, faces=faces)
        yield frame, found
