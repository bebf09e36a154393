"""Heads that look at windows of frames, for everybody in a video at once and in one pass.

Each person is a stream of frames: the face where it is there, and the sound. What is kept of a
video of any length is two windows of every stream, and of those there are no more than people
who were seen lately, and one of nobody: the sound alone.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from abawcli.formats.features import round_features
from abawcli.models.ensemble import Ensemble, JointVoting
from abawcli.models.heads import TrainedHead
from abawcli.models.windows import SoftVoting
from abawcli.pipeline.feature_stream import FrameFeatures

Probabilities = NDArray[np.float32]


@dataclass(frozen=True)
class FrameReading:
    """One frame and what a head makes of it."""

    features: FrameFeatures
    subjects: dict[int, Probabilities]  # (8,) of who is seen less than a window before or after
    sound: Probabilities  # (8,) of nobody in particular; NaN where nothing is known


class SubjectStream:
    """Soft voting per person, each as if that person's frames were a video of their own.

    Someone who was not seen yet, or not for a window, is nobody: the stream of nobody is copied
    for who appears, and a stream in which no face is left is dropped. Nothing but the last digits
    of a result depends on that, or on how the frames are cut into chunks.
    """

    def __init__(self, head: TrainedHead | Ensemble, visual_dim: int) -> None:
        self.visual_dim = visual_dim
        self.nobody = head.open_stream()
        self.subjects: dict[int, SoftVoting | JointVoting] = {}
        self.seen_at: dict[int, NDArray[np.int64]] = {}  # frames (from 0) with the face, lately
        self.waiting: deque[FrameFeatures] = deque()  # frames that are not final

    def push(self, chunk: Sequence[FrameFeatures]) -> list[FrameReading]:
        """Take in the next frames; return those that are final, in order."""
        audio = round_features(np.stack([frame.audio for frame in chunk]))  # (n, Da)
        has_audio = np.array([frame.has_audio for frame in chunk])  # (n,)
        faces = self._gather(chunk)
        for subject in faces.keys() - self.subjects.keys():
            self.subjects[subject] = self.nobody.fork()
        unseen = self._lay_nothing(len(chunk))
        first, given = self.nobody.given, {}
        for subject, stream in self.subjects.items():
            visual, has_visual = faces.get(subject, unseen)
            given[subject] = stream.push(visual, audio, has_visual, has_audio)
            seen = self.nobody.seen + np.flatnonzero(has_visual)
            self.seen_at[subject] = np.append(self.seen_at.get(subject, seen[:0]), seen)
        sound = self.nobody.push(unseen[0], audio, unseen[1], has_audio)
        self.waiting.extend(chunk)
        readings = self._give(first, given, sound)
        self._drop_unseen()
        return readings

    def finish(self) -> list[FrameReading]:
        """Return what is left after the last frame."""
        first = self.nobody.given
        given = {subject: stream.finish() for subject, stream in self.subjects.items()}
        return self._give(first, given, self.nobody.finish())

    def _gather(
        self, chunk: Sequence[FrameFeatures]
    ) -> dict[int, tuple[NDArray[np.float16], NDArray[np.bool_]]]:
        """Return the features (n, Dv) and mask (n,) of everybody who is seen in a chunk."""
        found: dict[int, tuple[NDArray[np.float16], NDArray[np.bool_]]] = {}
        for k, frame in enumerate(chunk):
            for face, row in zip(frame.faces, frame.visual, strict=True):
                visual, has = found.setdefault(face.subject, self._lay_nothing(len(chunk)))
                visual[k], has[k] = round_features(row), True
        return found

    def _lay_nothing(self, count: int) -> tuple[NDArray[np.float16], NDArray[np.bool_]]:
        return np.zeros((count, self.visual_dim), np.float16), np.zeros(count, bool)

    def _drop_unseen(self) -> None:
        """Drop the streams of which all frames to come are nobody's."""
        # Frames to be given out are held by windows that begin less than a window before them.
        oldest = self.nobody.given - self.nobody.window
        for subject, seen in list(self.seen_at.items()):
            self.seen_at[subject] = seen[seen > oldest]
            if not len(self.seen_at[subject]):
                del self.subjects[subject], self.seen_at[subject]

    def _give(
        self, first: int, given: dict[int, Probabilities], sound: Probabilities
    ) -> list[FrameReading]:
        """Return final frames, which begin with number `first` from 0, for those who are near."""
        frames = np.arange(first, first + len(sound))
        near = {subject: self._is_near(subject, frames) for subject in given}
        return [
            FrameReading(
                self.waiting.popleft(), {s: p[k] for s, p in given.items() if near[s][k]}, row
            )
            for k, row in enumerate(sound)
        ]

    def _is_near(self, subject: int, frames: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Tell which frames are less than a window from one with the face."""
        seen, window = self.seen_at[subject], self.nobody.window
        before = np.searchsorted(seen, frames - window, "right")
        return np.asarray(np.searchsorted(seen, frames + window) > before)
