"""Several heads on the same features, such as those of the folds: their mean, frame by frame.

A head without a prediction for a frame does not count in that frame. If heads read windows of
different lengths, a frame is final when it is final for all heads. In an ensemble with heads that
read windows, a head that reads single frames predicts from the audio for a subject who has left
the frame, as long as the others predict for that subject.
"""

from collections.abc import Sequence
from copy import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from abawcli.formats.metadata import MODALITIES
from abawcli.labels import N_CLASSES
from abawcli.models.heads import TrainedHead, find_finite, name_output_sources
from abawcli.models.output_forms import OutputForm
from abawcli.models.windows import FrameArray, SoftVoting

Outputs = NDArray[np.float32]


class JointVoting:
    """The mean of several soft votings over the same stream of frames."""

    def __init__(self, streams: Sequence[SoftVoting], form: OutputForm) -> None:
        """Join streams whose outputs (m, M) have the same form."""
        self.streams, self.form = list(streams), form
        self.window = max(stream.window for stream in streams)
        # (n, M) of each stream: outputs of frames that another stream has not returned yet
        self.waiting = [np.zeros((0, form.outputs), np.float32) for _ in streams]

    @property
    def seen(self) -> int:
        """Return how many frames were pushed."""
        return self.streams[0].seen

    @property
    def given(self) -> int:
        """Return how many frames were returned."""
        return min(stream.given for stream in self.streams)

    def fork(self) -> "JointVoting":
        """Return an independent copy of the stream in its current state."""
        forked = copy(self)
        forked.streams = [stream.fork() for stream in self.streams]
        return forked

    def push(self, *rows: FrameArray) -> Outputs:
        """Add frames, (n, ...) of each array; return the outputs of final frames, (m, M)."""
        return self._give([stream.push(*rows) for stream in self.streams])

    def finish(self) -> Outputs:
        """Return the outputs of the remaining frames after the last one, (m, M)."""
        return self._give([stream.finish() for stream in self.streams])

    def _give(self, new: Sequence[Outputs]) -> Outputs:
        ready = [np.concatenate(parts) for parts in zip(self.waiting, new, strict=True)]
        count = min(map(len, ready))
        self.waiting = [rows[count:] for rows in ready]
        return self.form.average([rows[:count] for rows in ready]).astype(np.float32)


class Ensemble:
    """Heads of one task on features of the same backbones, whose outputs are averaged."""

    def __init__(self, heads: Sequence[TrainedHead]) -> None:
        self.heads = list(heads)
        self.form = self.heads[0].form
        used = {modality for head in heads for modality in head.head.uses}
        self.uses = tuple(modality for modality in MODALITIES if modality in used)
        self.window = max(head.head.window for head in heads)

    def open_stream(self) -> JointVoting:
        """Return a classifier of a stream of frames; see `TrainedHead.open_stream`."""
        return JointVoting([head.open_stream() for head in self.heads], self.form)

    def find_outputs(self, *arrays: NDArray[Any]) -> tuple[Outputs, NDArray[np.str_]]:
        """Turn one video's features into outputs (T, M) and sources (T,).

        The arguments are those of `TrainedHead.find_outputs`.
        """
        members = [head.find_outputs(*arrays)[0] for head in self.heads]
        outputs = self.form.average(members).astype(np.float32)
        there = find_finite(arrays[0], arrays[2]), find_finite(arrays[1], arrays[3])
        return outputs, name_output_sources(self.uses, *there, outputs)

    def classify(self, *arrays: NDArray[Any]) -> tuple[Outputs, NDArray[np.str_]]:
        """Turn one video's features into probabilities (T, 8) and sources (T,).

        The arguments are those of `TrainedHead.classify`.
        """
        outputs, source = self.find_outputs(*arrays)
        return outputs[:, :N_CLASSES], source
