"""Heads read as one: the mean of each one's own reading, whatever their windows."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sample_features import BACKBONES, make_features, small_network

from abawcli.config import HEAD_NAMES, DualBranchHead
from abawcli.formats.features import Features
from abawcli.models.ensemble import Ensemble
from abawcli.models.heads import TrainedHead, build_head

Reading = tuple[NDArray[np.float32], NDArray[np.str_]]
CPU = torch.device("cpu")


def make_head(name: str) -> TrainedHead:
    torch.manual_seed(HEAD_NAMES.index(name))
    return TrainedHead(build_head(name, BACKBONES, small_network(name)), CPU)


HEADS = {name: make_head(name) for name in HEAD_NAMES}
SHORT = DualBranchHead(16, 1, 2, 2, 0.1, window_frames=7, stride_frames=4)
HEADS["short"] = TrainedHead(build_head("dual-branch", BACKBONES, SHORT), CPU)


def list_arrays(features: Features) -> list[NDArray[np.generic]]:
    return [features.visual, features.audio, features.has_visual, features.has_audio]


def classify(reader: TrainedHead | Ensemble, features: Features) -> Reading:
    return reader.classify(*list_arrays(features))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", HEADS)
def test_an_ensemble_of_one_is_that_head(name: str) -> None:
    head, features = HEADS[name], make_features(np.arange(50) % 8, missing=0.5)
    ensemble = Ensemble([head])
    assert (ensemble.uses, ensemble.window) == (head.head.uses, head.head.window)
    (p, source), (found, same) = classify(head, features), classify(ensemble, features)
    np.testing.assert_allclose(found, p, atol=1e-6)
    assert source.tolist() == same.tolist() and found.dtype == p.dtype


members = st.lists(st.sampled_from(list(HEADS)), min_size=1, max_size=4, unique=True)


@settings(max_examples=15, deadline=None)
@given(members, st.integers(0, 60), st.integers(1, 30), st.sampled_from([0.2, 0.9]))
def test_a_stream_gives_the_mean_of_all_who_know(
    names: list[str], frames: int, chunk: int, missing: float
) -> None:
    features = make_features(np.arange(frames) % 8, missing=missing)
    arrays = list_arrays(features)
    predictions = np.stack(
        [Ensemble([HEADS[name]]).find_outputs(*arrays)[0] for name in names]
    )  # (K, T, 9)
    known = ~np.isnan(predictions[..., :1])
    count = known.sum(axis=0)  # (T, 1)
    expected = np.where(known, predictions, 0).sum(axis=0) / np.where(count, count, np.nan)
    ensemble = Ensemble([HEADS[name] for name in names])
    np.testing.assert_allclose(ensemble.find_outputs(*arrays)[0], expected, atol=1e-6)
    stream, given_out = ensemble.open_stream(), []
    for start in range(0, frames, chunk):
        given_out.append(stream.push(*(a[start : start + chunk] for a in arrays)))
        assert sum(map(len, given_out)) == stream.given
        assert stream.given >= stream.seen - 2 * stream.window
    whole = np.concatenate([*given_out, stream.finish()]) if frames else expected
    np.testing.assert_allclose(whole, expected, atol=1e-6)


def test_a_fork_goes_its_own_way() -> None:
    ensemble = Ensemble([HEADS["gated"], HEADS["dual-branch"]])
    arrays = list_arrays(make_features(np.arange(60) % 8))
    stream = ensemble.open_stream()
    stream.push(*(array[:17] for array in arrays))
    fork = stream.fork()
    fork.push(*(array[30:50] for array in arrays))
    rest = np.concatenate([stream.push(*(array[17:] for array in arrays)), stream.finish()])
    whole = ensemble.find_outputs(*arrays)[0]
    np.testing.assert_allclose(rest, whole[-len(rest) :], atol=1e-6)


def test_a_row_rests_on_what_any_head_looks_at() -> None:
    features = make_features(np.arange(40) % 8, missing=0.5)
    _, source = classify(Ensemble([HEADS["audio"], HEADS["visual"]]), features)
    assert source.tolist() == classify(HEADS["concat"], features)[1].tolist()
    assert set(source) == {"av", "visual", "audio", "none"}
    around = classify(Ensemble([HEADS["visual"], HEADS["dual-branch"]]), features)[1]
    assert (around == np.where(source == "none", "filled", source)).all()
