"""Head checkpoints and what a trained head says of a video."""

from copy import deepcopy
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from raw_checkpoints import read_raw, write_raw
from sample_features import AUDIO, BACKBONES, VISUAL, make_features, small_network

from abawcli.config import HEAD_NAMES, DualBranchHead, GatedHead, Smoothing
from abawcli.errors import CheckpointError, InputError, UsageError
from abawcli.formats.features import Features
from abawcli.formats.metadata import Backbones
from abawcli.models import heads
from abawcli.models.checkpoint import halve_matrices
from abawcli.models.classifier import AveragedClassifiers, EncoderClassifier, SpeechClassifier
from abawcli.models.encoder import load_classifier
from abawcli.models.heads import (
    HEADS,
    TrainedHead,
    build_head,
    check_features,
    load_head,
    save_head,
)
from abawcli.models.metadata import HeadMetadata
from abawcli.models.recipes import RECIPES
from abawcli.models.voice import VoiceClassifier
from abawcli.models.windows import place_windows

CPU = torch.device("cpu")
names = pytest.mark.parametrize("name", list(HEADS))


@cache
def make_head(name: str) -> TrainedHead:
    """Return a random head, which no test changes."""
    torch.manual_seed(0)
    return TrainedHead(build_head(name, BACKBONES, small_network(name)), CPU)


def classify(head: TrainedHead, features: Features) -> tuple[np.ndarray, np.ndarray]:
    return head.classify(features.visual, features.audio, features.has_visual, features.has_audio)


def test_names_are_those_of_the_settings() -> None:
    assert tuple(HEADS) == HEAD_NAMES


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    settings = small_network("gated")
    path = tmp_path / "head.safetensors"
    head = build_head("gated", BACKBONES, settings)
    save_head(path, head, HeadMetadata("gated", asdict(settings), BACKBONES))
    tensors, metadata = read_raw(path)
    tensors["classifier.layers.2.bias"][3] = torch.inf
    write_raw(path, tensors, metadata)
    with pytest.raises(CheckpointError, match=r"no finite numbers \(classifier.layers.2.bias\)"):
        load_head(path, CPU)


@names
def test_a_saved_head_says_the_same(name: str, tmp_path: Path) -> None:
    head, features = deepcopy(make_head(name)), make_features(np.arange(30) % 8)
    path = tmp_path / "head.safetensors"
    metadata = HeadMetadata(name, asdict(small_network(name)), BACKBONES, Smoothing("mean"))
    assert not isinstance(head.head, EncoderClassifier | AveragedClassifiers)
    save_head(path, head.head, metadata)
    loaded, found = load_head(path, CPU)
    (p, source), (before, expected) = classify(loaded, features), classify(head, features)
    np.testing.assert_allclose(p, before, atol=1e-3)  # matrices are kept in half precision,
    np.testing.assert_array_equal(source, expected)
    head.head.load_state_dict(halve_matrices(head.head.state_dict()))
    np.testing.assert_array_equal(p, classify(head, features)[0])  # and nothing else is changed
    assert replace(found, training=None) == metadata


@cache
def make_face_only(name: str) -> TrainedHead:
    torch.manual_seed(1)
    classifier = EncoderClassifier(torch.nn.Linear(VISUAL.dim, 8))
    head = build_head(name, BACKBONES, small_network(name))
    return TrainedHead(heads.add_encoders(head, classifier), CPU)


@pytest.mark.parametrize("name", ["gated", "concat", "dual-branch"])
@given(st.integers(1, 60), st.floats(0, 1), st.integers(0, 99))
@settings(deadline=None, max_examples=15)
def test_a_face_without_speech_gets_the_encoders_answer_to_the_last_bit(
    name: str, frames: int, missing: float, seed: int
) -> None:
    head = make_face_only(name)
    assert isinstance(head.head, heads.WithEncoders) and head.head.classifier
    features = make_features(np.arange(frames) % 8, missing=missing, seed=seed)
    p, _ = classify(head, features)
    own, _ = classify(TrainedHead(head.head.classifier, CPU), features)
    fused, _ = classify(TrainedHead(head.head.head, CPU), features)
    alone = features.has_visual & ~features.has_audio
    np.testing.assert_array_equal(p[alone], own[alone])
    np.testing.assert_array_equal(p[~alone], fused[~alone])


@pytest.mark.parametrize("recipe", ["compact", "compact-dual-branch"])
def test_embedded_recipes_without_speech_are_the_encoder(recipe: str) -> None:
    head, metadata = load_head(RECIPES[recipe], CPU)
    encoder, _ = load_classifier(RECIPES["compact-face"], CPU)
    assert metadata.face_only == "encoder" and metadata.backbones.audio
    rng = np.random.default_rng(0)
    visual = rng.normal(size=(70, head.head.width("visual"))).astype(np.float16)
    audio = np.zeros((70, metadata.backbones.audio.dim), np.float16)
    there, none = np.ones(70, bool), np.zeros(70, bool)
    p, source = head.classify(visual, audio, there, none)
    assert set(source) == {"visual"}
    for rows in (slice(70), slice(0, 1), slice(3, 9)):  # of which the answer does not depend
        own = encoder.classify(visual[rows], audio[rows], there[rows], none[rows])[0]
        np.testing.assert_array_equal(p[rows], own)


@cache
def make_with_both(name: str) -> heads.WithEncoders:
    torch.manual_seed(1)
    speech = SpeechClassifier(VoiceClassifier(AUDIO.dim))
    speech.classifier.temperature.fill_(1.7)
    face = EncoderClassifier(torch.nn.Linear(VISUAL.dim, 8))
    head = heads.add_encoders(build_head(name, BACKBONES, small_network(name)), face, speech)
    assert isinstance(head, heads.WithEncoders)
    return head


@pytest.mark.parametrize("name", ["gated", "concat"])
@given(st.integers(1, 60), st.floats(0, 1), st.integers(0, 99))
@settings(deadline=None, max_examples=10)
def test_speech_without_a_face_gets_the_answer_of_the_audio_encoder(
    name: str, frames: int, missing: float, seed: int
) -> None:
    head = make_with_both(name)
    features = make_features(np.arange(frames) % 8, missing=missing, seed=seed)
    p, source = classify(TrainedHead(head, CPU), features)
    fused, _ = classify(TrainedHead(head.head, CPU), features)
    assert head.speech_classifier is not None
    with torch.inference_mode():
        own = head.speech_classifier.classifier(torch.from_numpy(features.audio).float()).numpy()
    alone, both = source == "audio", source == "av"
    np.testing.assert_array_equal(alone, features.has_audio & ~features.has_visual)
    np.testing.assert_allclose(p[alone], own[alone], rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(p[both], fused[both])


def test_a_head_with_both_classifiers_is_loaded_as_it_was_saved(tmp_path: Path) -> None:
    head, features = make_with_both("gated"), make_features(np.arange(30) % 8)
    network = asdict(small_network("gated"))
    metadata = HeadMetadata(
        "gated", network, BACKBONES, Smoothing(), face_only="encoder", speech_only="encoder"
    )
    save_head(tmp_path / "head.safetensors", head, metadata)
    loaded, found = load_head(tmp_path / "head.safetensors", CPU)
    assert found.speech_only == "encoder"
    alone = ~features.has_visual | ~features.has_audio
    (p, _), (before, _) = classify(loaded, features), classify(TrainedHead(head, CPU), features)
    np.testing.assert_array_equal(p[alone], before[alone])


def test_a_head_of_windows_labels_speech_itself() -> None:
    with pytest.raises(UsageError, match="use --speech-only head"):
        make_with_both("dual-branch")


def test_a_face_only_head_is_loaded_as_it_was_saved(tmp_path: Path) -> None:
    head, features = make_face_only("gated"), make_features(np.arange(30) % 8)
    assert isinstance(head.head, heads.WithEncoders)
    network = asdict(small_network("gated"))
    metadata = HeadMetadata("gated", network, BACKBONES, Smoothing(), face_only="encoder")
    save_head(tmp_path / "head.safetensors", head.head, metadata)
    loaded, found = load_head(tmp_path / "head.safetensors", CPU)
    assert found.face_only == "encoder"
    alone = features.has_visual & ~features.has_audio
    (p, _), (before, _) = classify(loaded, features), classify(head, features)
    np.testing.assert_array_equal(p[alone], before[alone])
    np.testing.assert_allclose(p, before, atol=1e-3)
    tensors, written = read_raw(tmp_path / "head.safetensors")
    del tensors["classifier.linear.bias"]
    write_raw(tmp_path / "head.safetensors", tensors, written)
    with pytest.raises(CheckpointError, match="does not fit its network"):
        load_head(tmp_path / "head.safetensors", CPU)


def test_sources_say_what_a_row_rests_on() -> None:
    features = make_features(np.arange(40) % 8, missing=0.5)
    has_v, has_a = features.has_visual, features.has_audio
    both = np.where(
        has_v & has_a, "av", np.where(has_v, "visual", np.where(has_a, "audio", "none"))
    )
    expected = {
        "gated": both,
        "concat": both,
        "visual": np.where(has_v, "visual", "none"),
        "audio": np.where(has_a, "audio", "none"),
    }
    assert len(set(both)) == 4
    for name, sources in expected.items():
        p, found = classify(make_head(name), features)
        assert p.dtype == np.float32
        assert found.tolist() == sources.tolist()
        assert (np.isnan(p).all(axis=1) == (sources == "none")).all()
        np.testing.assert_allclose(p[sources != "none"].sum(axis=1), 1, atol=1e-5)


def test_sources_of_a_head_that_looks_around() -> None:
    features = make_features(np.arange(60) % 8, missing=0.0)
    has_v, has_a = features.has_visual, features.has_audio
    has_v[5], has_a[6], has_v[7], has_a[7] = False, False, False, False
    has_v[20:], has_a[20:] = False, False  # whole windows of 12 frames from 25 on
    p, source = classify(make_head("dual-branch"), features)
    assert source[:9].tolist() == [*["av"] * 5, "audio", "visual", "filled", "av"]
    assert (source[20:27] == "filled").all() and (source[30:] == "none").all()
    assert (np.isnan(p).all(axis=1) == (source == "none")).all()
    np.testing.assert_allclose(p[source != "none"].sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("frames", [1, 7, 12, 13, 50])
def test_overlapping_windows_are_averaged(frames: int) -> None:
    head, features = make_head("dual-branch"), make_features(np.arange(frames) % 8)
    arrays = [features.visual, features.audio, features.has_visual, features.has_audio]
    votes = np.full((frames, frames, 8), np.nan)  # of the window that begins at a frame
    for start in place_windows(frames, 12, 5):
        part = slice(start, min(start + 12, frames))
        v, a, has_v, has_a = (torch.from_numpy(array[None, part]) for array in arrays)
        logits = head.head(v.float(), a.float(), has_v, has_a)
        votes[start, part] = logits[0].softmax(dim=-1).detach().numpy()
    known = ~np.isnan(votes).all(axis=0)
    expected = np.nansum(votes, axis=0) / np.maximum((~np.isnan(votes)).sum(axis=0), 1)
    p, _ = classify(head, features)
    np.testing.assert_allclose(p[known], expected[known], atol=1e-6)
    assert np.isnan(p[~known]).all()


@settings(max_examples=20, deadline=None)
@given(chunk=st.integers(1, 60), name=st.sampled_from(HEAD_NAMES))
def test_results_do_not_depend_on_the_size_of_pieces(chunk: int, name: str) -> None:
    head, features = make_head(name), make_features(np.arange(50) % 8)
    whole, _ = classify(head, features)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(heads, "CHUNK_FRAMES", chunk)
        pieces, _ = classify(head, features)
    np.testing.assert_allclose(pieces, whole, atol=1e-6)


def test_a_modality_that_was_not_extracted_is_missing() -> None:
    head, labels = make_head("gated"), np.arange(20) % 8
    silent = make_features(labels, backbones=Backbones(VISUAL))
    features = make_features(labels)
    expected = head.classify(
        features.visual, features.audio, features.has_visual, np.zeros(20, bool)
    )
    for found, same in zip(classify(head, silent), expected, strict=True):
        np.testing.assert_array_equal(found, same)


@pytest.mark.parametrize("name", sorted(HEADS))
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_a_finite_face_is_never_lost_to_what_is_not_finite(name: str, data: st.DataObject) -> None:
    """Rows whose audio is no finite number are read as if they had none; likewise faces."""
    frames = 20
    head, features = make_head(name), make_features(np.arange(frames) % 8)
    has_visual, has_audio = features.has_visual.copy(), features.has_audio.copy()
    visual, audio = features.visual.copy(), features.audio.copy()
    rows = st.lists(st.integers(0, frames - 1), max_size=frames)
    wrong = st.sampled_from([np.nan, np.inf, -np.inf])
    for values, has in ((visual, has_visual), (audio, has_audio)):
        for row in data.draw(rows):
            values[row, data.draw(st.integers(0, values.shape[1] - 1))] = data.draw(wrong)
        has &= np.isfinite(values).all(axis=1)
    found = head.classify(visual, audio, features.has_visual, features.has_audio)
    expected = head.classify(
        np.where(has_visual[:, None], features.visual, 0).astype(np.float16),
        np.where(has_audio[:, None], features.audio, 0).astype(np.float16),
        has_visual,
        has_audio,
    )
    for part, same in zip(found, expected, strict=True):
        np.testing.assert_array_equal(part, same)
    if "visual" in head.head.uses:
        assert not np.isnan(found[0][has_visual]).any()


@pytest.mark.parametrize("name", sorted(HEADS))
def test_the_largest_numbers_of_half_precision_give_probabilities(name: str) -> None:
    head, features = make_head(name), make_features(np.arange(20) % 8)
    everywhere = np.ones(20, bool)
    for size in (65504, -65504):
        visual, audio = np.full_like(features.visual, size), np.full_like(features.audio, size)
        p, _ = head.classify(visual, audio, everywhere, everywhere)
        np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-5)


def test_a_head_needs_the_modalities_it_looks_at() -> None:
    for name, missing in (("gated", "audio"), ("dual-branch", "audio"), ("audio", "audio")):
        with pytest.raises(InputError, match=f"the head '{name}' needs {missing} features"):
            build_head(name, Backbones(VISUAL), small_network(name))
    build_head("visual", Backbones(VISUAL), small_network("visual"))


def test_features_of_other_backbones_are_refused() -> None:
    trained = HeadMetadata("gated", {}, BACKBONES)
    check_features(trained, BACKBONES, "v")
    check_features(trained, Backbones(VISUAL), "v")
    with pytest.raises(CheckpointError, match=r"^v has none of what the head needs: visual feat"):
        check_features(replace(trained, head="visual"), Backbones(None, AUDIO), "v")
    changes: list[dict[str, Any]] = [{"dim": 11}, {"sha256": "e" * 64}, {"sha256": None}]
    for change in changes:
        other = Backbones(replace(VISUAL, **change), AUDIO)
        message = r"v: visual features of .* trained on those of tiny-face \(10 wide, ffff"
        with pytest.raises(CheckpointError, match=message):
            check_features(trained, other, "v")
        check_features(replace(trained, head="audio"), other, "v")  # never looks at faces
    moved = replace(VISUAL, name="./elsewhere", path="/a/elsewhere")  # the weights are the same
    check_features(trained, Backbones(moved), "v")
    unknown = replace(VISUAL, sha256=None)
    trained = replace(trained, backbones=Backbones(unknown, AUDIO))
    check_features(trained, Backbones(unknown), "v")
    with pytest.raises(CheckpointError, match=r"features of big \(10 wide, no encoder"):
        check_features(trained, Backbones(replace(unknown, name="big")), "v")


def test_damaged_checkpoints(tmp_path: Path) -> None:
    path = tmp_path / "head.safetensors"
    network = asdict(small_network("gated"))
    head = build_head("gated", BACKBONES, small_network("gated"))
    save_head(path, head, HeadMetadata("gated", network, BACKBONES))
    tensors, metadata = read_raw(path)
    unknown: list[tuple[dict[str, Any], str]] = [
        ({"head": "giant"}, "describes no head"),
        ({"network": {"width": 3}}, "describes no head"),
        ({"audio": None}, "names no audio backbone, which its head 'gated' needs"),
    ]
    for change, message in unknown:
        write_raw(path, tensors, metadata | change)
        with pytest.raises(CheckpointError, match=message):
            load_head(path, CPU)
    damaged: list[dict[str, Any]] = [
        {"head": 3},
        {"network": []},
        {"visual": 3},
        {"smoothing": {"method": 3}},
    ]
    for change in damaged:
        write_raw(path, tensors, metadata | change)
        with pytest.raises(CheckpointError, match=r"head.safetensors: its metadata has "):
            load_head(path, CPU)
    for change in ({"heads": 3}, {"stride_frames": 65}):
        network = asdict(DualBranchHead()) | change
        write_raw(path, tensors, metadata | {"head": "dual-branch", "network": network})
        with pytest.raises(CheckpointError, match="describes no head"):
            load_head(path, CPU)
    write_raw(path, tensors, metadata | {"classes": ["a"]})
    with pytest.raises(CheckpointError, match="other classes"):
        load_head(path, CPU)
    write_raw(path, tensors, metadata | {"network": asdict(GatedHead(hidden=8))})
    with pytest.raises(CheckpointError, match="does not fit its network"):
        load_head(path, CPU)
    write_raw(path, tensors, metadata | {"kind": "encoder"})
    with pytest.raises(CheckpointError, match="'head' is needed"):
        load_head(path, CPU)
