"""From features to predictions: heads on windows of frames, for all subjects in one pass.

A head that reads single frames has windows of one frame. Each subject has a stream of frames with
the features of the face, if found, and of the audio. One more stream has the audio alone. Two
windows per stream are in memory, for the subjects who were seen recently, for videos of any length.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields

import numpy as np
from numpy.typing import NDArray

from abawcli.faces.track import TrackedFace
from abawcli.labels import N_CLASSES
from abawcli.models.ensemble import Ensemble, JointVoting
from abawcli.models.heads import TrainedHead
from abawcli.models.windows import SoftVoting
from abawcli.pipeline.feature_stream import FrameFeatures
from abawcli.sources import name_source

Outputs = NDArray[np.float32]


@dataclass(frozen=True)
class FacePrediction(TrackedFace):
    """A subject in one frame and the prediction, before smoothing."""

    outputs: Outputs = field(kw_only=True)  # (M,) of the face, and the audio if any: `output_forms`
    source: str = field(kw_only=True)  # one of `sources.SOURCES`

    @property
    def probabilities(self) -> Outputs:
        """Return the probabilities (8,), for a head of expressions."""
        return self.outputs[:N_CLASSES]


@dataclass(frozen=True)
class FramePrediction:
    """One frame with the predictions for all subjects in it."""

    frame: int  # number, from 1
    time_s: float
    faces: list[FacePrediction]
    # (M,) of subjects who are not in it, but in the window of frames that the head reads
    absent: dict[int, Outputs]
    audio_only: Outputs | None  # (M,) of the audio by itself; None: unknown
    has_audio: bool  # False: `absent` and `audio_only` come from the frames around it
    reliable: bool = True  # the audio alone may label the frame


def predict_frame(
    found: FrameFeatures, subjects: Mapping[int, Outputs], audio_only: Outputs
) -> FramePrediction:
    """Return the prediction of a frame.

    Args:
        found: the frame.
        subjects: (M,) outputs by subject, of all in the frame or near it; NaN if unknown.
        audio_only: (M,) outputs of the audio alone; NaN if unknown.
    """
    absent = {subject: p for subject, p in subjects.items() if not np.isnan(p[0])}
    faces = []
    for face in found.faces:
        own = subjects[face.subject]
        source = name_source(True, found.has_audio, absent.pop(face.subject, None) is not None)
        own_fields = {f.name: getattr(face, f.name) for f in fields(TrackedFace)}
        faces.append(FacePrediction(**own_fields, outputs=own, source=source))
    known = None if np.isnan(audio_only[0]) else audio_only
    return FramePrediction(
        frame=found.frame,
        time_s=found.time_s,
        faces=faces,
        absent=absent,
        audio_only=known,
        has_audio=found.has_audio,
        reliable=found.reliable,
    )


def find_near(seen: NDArray[np.int64], frames: NDArray[np.int64], window: int) -> NDArray[np.bool_]:
    """Return the mask of frames (F,) less than a window from one of `seen` (N,), ascending."""
    before = np.searchsorted(seen, frames - window, "right")
    return np.asarray(np.searchsorted(seen, frames + window) > before)


class SubjectStream:
    """Soft voting per subject, as if the subject's frames were a video of their own.

    A subject who was not seen within a window has no stream: the stream of a subject who appears
    is a copy of that of the audio alone (`nobody`), and a stream without a face in its window is
    dropped. Only the last digits of a result depend on this, or on the size of chunks.
    """

    def __init__(self, head: TrainedHead | Ensemble, visual_dim: int) -> None:
        self.visual_dim = visual_dim
        self.nobody = head.open_stream()
        self.subjects: dict[int, SoftVoting | JointVoting] = {}
        self.seen_at: dict[int, NDArray[np.int64]] = {}  # frames (from 0) with the face, lately
        self.waiting: deque[FrameFeatures] = deque()  # frames that are not final

    def push(self, chunk: Sequence[FrameFeatures]) -> list[FramePrediction]:
        """Add the next frames; return those that are final, in order."""
        audio = np.stack([frame.audio for frame in chunk])  # (n, Da)
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
        audio_only = self.nobody.push(unseen[0], audio, unseen[1], has_audio)
        self.waiting.extend(chunk)
        predictions = self._give(first, given, audio_only)
        self._drop_unseen()
        return predictions

    def finish(self) -> list[FramePrediction]:
        """Return the remaining frames after the last one."""
        first = self.nobody.given
        given = {subject: stream.finish() for subject, stream in self.subjects.items()}
        return self._give(first, given, self.nobody.finish())

    def _gather(
        self, chunk: Sequence[FrameFeatures]
    ) -> dict[int, tuple[NDArray[np.float16], NDArray[np.bool_]]]:
        """Return the features (n, Dv) and mask (n,) of each subject in a chunk."""
        found: dict[int, tuple[NDArray[np.float16], NDArray[np.bool_]]] = {}
        for k, frame in enumerate(chunk):
            for face in frame.faces:
                visual, has = found.setdefault(face.subject, self._lay_nothing(len(chunk)))
                visual[k], has[k] = face.visual, True
        return found

    def _lay_nothing(self, count: int) -> tuple[NDArray[np.float16], NDArray[np.bool_]]:
        return np.zeros((count, self.visual_dim), np.float16), np.zeros(count, bool)

    def _drop_unseen(self) -> None:
        """Drop the streams whose remaining frames are without a face."""
        # Frames to be given out are held by windows that begin less than a window before them.
        oldest = self.nobody.given - self.nobody.window
        for subject, seen in list(self.seen_at.items()):
            self.seen_at[subject] = seen[seen > oldest]
            if not len(self.seen_at[subject]):
                del self.subjects[subject], self.seen_at[subject]

    def _give(
        self, first: int, given: dict[int, Outputs], audio_only: Outputs
    ) -> list[FramePrediction]:
        """Return final frames, the first of which is `first` (from 0), for subjects near them."""
        frames = np.arange(first, first + len(audio_only))
        window = self.nobody.window
        near = {subject: find_near(self.seen_at[subject], frames, window) for subject in given}
        return [
            predict_frame(
                self.waiting.popleft(), {s: p[k] for s, p in given.items() if near[s][k]}, row
            )
            for k, row in enumerate(audio_only)
        ]
