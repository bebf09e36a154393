"""The voice encoder: timing, what its answers depend on, files, and the embedded weights."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from audio_files import make_bursts
from raw_checkpoints import write_raw

from abawcli.config import AUDIO_RATE_HZ, COMPACT_VOICE
from abawcli.errors import CheckpointError
from abawcli.labels import CLASSES
from abawcli.media.audio import read_audio
from abawcli.models.recipes import WEIGHTS
from abawcli.models.voice import (
    CompactVoice,
    VoiceClassifier,
    VoiceEncoder,
    VoiceNetwork,
    average_around,
    load_voice_encoder,
)

CPU = torch.device("cpu")
EMBEDDED = WEIGHTS / f"{COMPACT_VOICE}.safetensors"


@pytest.fixture(scope="module")
def net() -> CompactVoice:
    torch.manual_seed(0)
    return CompactVoice().eval()


@torch.inference_mode()
def test_features_of_any_length(net: CompactVoice) -> None:
    for samples, steps in ((1, 1), (1280, 1), (1281, 2), (16_000, 13)):
        assert net(torch.zeros(2, samples)).shape == (2, steps, net.dim)
    assert net.step_s == 0.08


@torch.inference_mode()
def test_a_step_depends_on_a_second_or_two_around_it(net: CompactVoice) -> None:
    audio = torch.from_numpy(make_bursts(300, 9.6))[None]
    other = audio.clone()
    other[0, 60 * 1280 : 61 * 1280] += 0.3  # all of step 60
    changed = (net(audio) - net(other)).abs().amax(dim=2)[0] > 1e-4
    reach = round(2.4 / net.step_s)
    assert changed[60]
    assert not changed[: 60 - reach].any() and not changed[60 + reach + 1 :].any()


@torch.inference_mode()
def test_audio_that_comes_later_has_the_same_features_later(net: CompactVoice) -> None:
    audio = torch.from_numpy(make_bursts(300, 8.0))[None]
    apart = net(audio[:, 1280:])[:, 30:-1] - net(audio)[:, 31:-1]
    assert apart.abs().max() < 1e-3


@torch.inference_mode()
def test_batches_do_not_matter(net: CompactVoice) -> None:
    recordings = torch.stack([torch.from_numpy(make_bursts(hz)) for hz in (150, 300, 600)])
    alone = torch.cat([net(audio[None]) for audio in recordings])
    torch.testing.assert_close(net(recordings), alone, atol=1e-4, rtol=1e-4)


def test_averages_are_of_voiced_steps_in_reach() -> None:
    features = torch.tensor([[1.0], [2.0], [4.0], [8.0], [16.0], [32.0]])
    voiced = torch.tensor([True, True, False, False, False, True])
    mean, valid = average_around(features, voiced, 1)
    assert mean[:, 0].tolist() == [1.5, 1.5, 2.0, 0.0, 32.0, 32.0]
    assert valid.tolist() == [True, True, True, False, True, True]


@torch.inference_mode()
def test_non_speech_gives_uniform_probabilities_and_temperature_flattens() -> None:
    classifier = VoiceClassifier(4)
    features = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    classifier.voice.bias.fill_(-20)
    torch.testing.assert_close(classifier(features), torch.full((3, 8), 0.125))
    classifier.voice.bias.fill_(20)
    sure = classifier(features)
    torch.testing.assert_close(sure.sum(dim=1), torch.ones(3))
    torch.testing.assert_close(sure, classifier.expression(features).softmax(dim=1))
    classifier.temperature.fill_(3)
    assert (classifier(features).amax(dim=1) < sure.amax(dim=1)).all()


def save_network(path: Path, **changes: Any) -> Path:
    network = VoiceNetwork(CompactVoice((2, 4, 4, 8), 16))
    metadata = {
        "kind": "voice-encoder",
        "network": network.backbone.shape,
        "classes": list(CLASSES),
    }
    tensors = {k: v for k, v in network.state_dict().items() if k not in changes.get("lost", ())}
    write_raw(path, tensors, metadata | {k: v for k, v in changes.items() if k != "lost"})
    return path


def test_encoder_of_a_file(tmp_path: Path) -> None:
    encoder, metadata = load_voice_encoder(save_network(tmp_path / "v.safetensors"), CPU)
    assert metadata.network == {"widths": [2, 4, 4, 8], "dim": 16}
    features = encoder.encode(make_bursts(300))
    assert features.shape == (19, 16) and encoder.dim == 16
    assert encoder.speech_probability(features).shape == (19,)
    np.testing.assert_allclose(encoder.classify(features).sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": ["a", "b"]}, "other classes"),
        ({"network": {"depth": 3}}, "no voice network"),
        ({"network": {"widths": [2, 4, 4, 8], "dim": 8}}, "does not fit"),
        ({"lost": ["classifier.voice.bias"]}, "does not fit"),
        ({"kind": "encoder"}, "holds 'encoder' weights"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        load_voice_encoder(save_network(tmp_path / "v.safetensors", **changes), CPU)


@pytest.fixture(scope="module")
def embedded() -> VoiceEncoder:
    return load_voice_encoder(EMBEDDED, CPU)[0]


def test_embedded_weights_are_small_and_described() -> None:
    assert EMBEDDED.stat().st_size < 15e6
    _, metadata = load_voice_encoder(EMBEDDED, CPU)
    assert metadata.training and metadata.training.result
    validation = metadata.training.result.validation
    assert validation and validation.macro_f1 > 0.45 and validation.temperature
    assert 0.1 < validation.temperature < 10


def test_voices_are_voices(embedded: VoiceEncoder, shared_data: Path) -> None:
    for name in ("speech_bbaf2n.mpg", "speech_lrwp9a.mpg", "speech_sbwe5n.mpg"):
        audio = read_audio(shared_data / "videos" / name)
        assert audio is not None
        voiced = embedded.speech_probability(embedded.encode(audio.samples)) >= 0.5  # (S,)
        steps = np.resize(audio.samples, (len(voiced), round(embedded.step_s * AUDIO_RATE_HZ)))
        loudness = np.square(steps).mean(axis=1)
        spoken = loudness > loudness.max() / 100  # less than 20 dB below the loudest
        assert voiced[spoken].mean() > 0.8
