"""One pass over everybody gives what each person's own video gives."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from abawcli.config import DualBranchHead, GatedHead
from abawcli.formats.features import round_features
from abawcli.logits import N_OUTPUTS
from abawcli.models.dualbranch import DualBranch
from abawcli.models.ensemble import Ensemble
from abawcli.models.gated import GatedFusion
from abawcli.models.heads import TrainedHead
from abawcli.pipeline.feature_stream import FaceFeatures, FrameFeatures
from abawcli.pipeline.subject_stream import FramePrediction, SubjectStream

VISUAL, AUDIO = 5, 3


def make_head(window: int, stride: int) -> TrainedHead:
    torch.manual_seed(0)
    shape = DualBranchHead(8, 1, 2, 2, 0.0, window, stride)
    head = DualBranch(VISUAL, AUDIO, shape)
    return TrainedHead(head, torch.device("cpu"))


HEAD = make_head(6, 3)
SINGLE = TrainedHead(GatedFusion(VISUAL, AUDIO, GatedHead(hidden=8)), torch.device("cpu"))
MIXED = Ensemble([SINGLE, make_head(4, 4), HEAD])
Reader = TrainedHead | Ensemble


BOX, POINTS = (0.0, 0.0, 9.0, 9.0), np.zeros((5, 2), np.float32)


def make_row(width: int, rng: np.random.Generator) -> NDArray[np.float16]:
    return round_features(rng.normal(size=width).astype(np.float32))


def make_frames(present: Sequence[set[int]], voice: Sequence[bool]) -> list[FrameFeatures]:
    rng = np.random.default_rng(len(present))
    frames = []
    for number, (who, detected) in enumerate(zip(present, voice, strict=True), 1):
        faces = [
            FaceFeatures(subject, BOX, 1.0, POINTS, True, visual=make_row(VISUAL, rng))
            for subject in sorted(who)
        ]
        audio = make_row(AUDIO, rng) * np.float16(detected)
        frames.append(FrameFeatures(number, number / 25, faces, audio, detected))
    return frames


def run(
    head: Reader, frames: Sequence[FrameFeatures], chunk: int
) -> tuple[SubjectStream, list[FramePrediction]]:
    stream, out = SubjectStream(head, VISUAL), []
    for start in range(0, len(frames), chunk):
        out += stream.push(frames[start : start + chunk])
    return stream, out + stream.finish()


def read_alone(
    head: Reader, frames: Sequence[FrameFeatures], subject: int | None
) -> NDArray[np.float32]:
    """Return what a head says of one person's frames, the whole video at once, (T, 9)."""
    visual = np.zeros((len(frames), VISUAL), np.float16)
    has = np.zeros(len(frames), bool)
    for k, frame in enumerate(frames):
        for face in frame.faces:
            if face.subject == subject:
                visual[k], has[k] = face.visual, True
    audio = np.stack([frame.audio for frame in frames])
    detected = np.array([frame.has_audio for frame in frames])
    return head.find_outputs(visual, audio, has, detected)[0]


runs = st.lists(st.tuples(st.integers(1, 9), st.sets(st.integers(0, 2)), st.booleans()), max_size=5)


@pytest.mark.parametrize("head", [HEAD, MIXED], ids=["head", "ensemble"])
@settings(max_examples=10, deadline=None)
@given(plan=runs, chunk=st.integers(1, 15))
def test_everybody_at_once_is_everybody_alone(
    head: Reader, plan: list[tuple[int, set[int], bool]], chunk: int
) -> None:
    present = [who for length, who, _ in plan for _ in range(length)]
    frames = make_frames(present, [detected for length, _, detected in plan for _ in range(length)])
    _, predictions = run(head, frames, chunk)
    assert [found.frame for found in predictions] == list(range(1, len(frames) + 1))
    if not frames:
        return
    audio_only = read_alone(head, frames, None)
    nothing = np.full(N_OUTPUTS, np.nan, np.float32)
    own = [nothing if found.audio_only is None else found.audio_only for found in predictions]
    np.testing.assert_allclose(own, audio_only, atol=1e-6)
    for subject in set().union(*present):
        alone = read_alone(head, frames, subject)
        for k, found in enumerate(predictions):
            people = {face.subject: face.outputs for face in found.faces} | found.absent
            # Who is nobody at that time has the prediction of the audio alone.
            np.testing.assert_allclose(people.get(subject, own[k]), alone[k], atol=1e-6)
            near = any(subject in who for who in present[max(k - 5, 0) : k + 6])
            known = near and not np.isnan(alone[k][0])
            assert (subject in people) == known  # however the frames are cut into chunks


@pytest.mark.parametrize("head", [HEAD, MIXED], ids=["head", "ensemble"])
def test_what_is_kept_does_not_grow(head: Reader) -> None:
    present = [{k // 10} for k in range(200)]  # somebody else every ten frames
    frames = make_frames(present, [True] * 200)
    stream = SubjectStream(head, VISUAL)
    for start in range(0, 200, 10):
        stream.push(frames[start : start + 10])
        assert len(stream.subjects) <= 4 and len(stream.waiting) <= 6
        for voting in getattr(stream.nobody, "streams", [stream.nobody]):
            assert all(len(rows) <= 6 for rows in voting.rows)
        assert all(len(rows) <= 6 for rows in getattr(stream.nobody, "waiting", []))
