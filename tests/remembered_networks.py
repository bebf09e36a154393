"""The embedded networks, loaded once in each process of tests, with a memory of their answers.

The same few clips go through the same networks in hundreds of tests. What is remembered is the
answer of a network to the same bytes, with the same weights, settings and number of threads; all
around it, and each input that is new, is computed. Of other weights than the embedded ones no
answer is remembered; networks of transformers from folders of the same files are copies of one.
"""

import hashlib
from collections.abc import Callable, Sequence
from copy import copy, deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from abawcli.config import COMPACT_FACE, COMPACT_VOICE, Detection
from abawcli.device import inference_dtype
from abawcli.faces import detect
from abawcli.formats.hashing import hash_file
from abawcli.models import audio_backbones, encoder, hub, image_backbones
from abawcli.models.audio_backbones import AudioBackbone
from abawcli.models.encoder import FeatureEncoder
from abawcli.models.recipes import find_weights
from abawcli.models.voice_reliability import VoiceReliability, load_reliability
from abawcli.pipeline import frame_predictor

KEPT = "kept_by_tests"  # the attribute of a network that is kept
_answers: dict[Any, Any] = {}
Judge = Callable[[str, str | None], VoiceReliability | None]


def keep_networks(patch: pytest.MonkeyPatch) -> None:
    """Let loaders return networks that are kept, and these answer from memory."""
    faces = detect.RetinaFace
    patch.setitem(detect.DETECTORS, "retinaface", _keep_detector(faces))
    patch.setattr(faces, "detect", _remember_faces(faces.detect))
    patch.setattr(encoder, "load_encoder", _keep_encoder(encoder.load_encoder))
    patch.setattr(FeatureEncoder, "encode", _remember_face_features(FeatureEncoder.encode))
    voices = audio_backbones.AUDIO_BACKBONES
    patch.setitem(voices, COMPACT_VOICE, _keep_voice(voices[COMPACT_VOICE]))
    voice = audio_backbones.CompactVoiceBackbone
    patch.setattr(voice, "encode", _remember_audio_features(voice.encode))
    load = _keep_pretrained(image_backbones.load_weights)
    patch.setattr(image_backbones, "load_weights", load)
    patch.setattr(hub, "load_weights", load)
    judge = _keep_reliability(load_reliability)
    patch.setattr(frame_predictor, "load_reliability", judge)


def _ask(key: Any, compute: Callable[[], Any]) -> Any:
    """Return a copy of what is remembered, or else what is computed."""
    if key not in _answers:
        _answers[key] = compute()
    return deepcopy(_answers[key])


def _hash(array: Any) -> tuple[tuple[int, ...], bytes]:
    return array.shape, hashlib.sha1(np.ascontiguousarray(array).data).digest()


def _describe(network: nn.Module) -> tuple[Any, ...]:
    """Return what tells a network from its like: number formats, threads, and changes in place."""
    tensors = [*network.parameters(), *network.buffers()]
    versions = tuple(0 if t.is_inference() else t._version for t in tensors)
    return tuple(t.dtype for t in tensors), network.training, torch.get_num_threads(), versions


def _keep_detector(real: Callable[[Detection, int], Any]) -> Callable[[Detection, int], Any]:
    """Return detectors of one thread: those of several wait for each other in a loop."""
    keep = cache(real)
    return lambda config, threads: keep(config, 1)


def _remember_faces(real: Callable[..., Any]) -> Callable[..., Any]:
    def find(self: Any, images: Sequence[Any]) -> Any:
        key = "faces", id(self), tuple(_hash(image) for image in images)
        return _ask(key, lambda: real(self, images))

    return find


def _keep_encoder(real: Callable[..., Any]) -> Callable[..., Any]:
    @cache
    def keep(path: Any, device: torch.device, dtype: torch.dtype) -> Any:
        return real(path, device)

    def load(path: Any, device: torch.device) -> Any:
        if path != find_weights(COMPACT_FACE):
            return real(path, device)
        loaded, metadata = keep(path, device, inference_dtype(device, small=True))
        setattr(loaded, KEPT, True)
        return copy(loaded), metadata

    return load


def _remember_face_features(real: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def encode(self: FeatureEncoder, crops: Any) -> Any:
        if not hasattr(self, KEPT):
            return real(self, crops)
        key = "visual", id(self.backbone), self.preprocess, _describe(self.backbone), _hash(crops)
        return _ask(key, lambda: real(self, crops))

    return encode


def _keep_voice(real: Callable[[], AudioBackbone]) -> Callable[[], AudioBackbone]:
    @cache
    def load() -> AudioBackbone:
        backbone = real()
        setattr(backbone, KEPT, True)
        return backbone

    return lambda: deepcopy(load())  # whoever changes its number format changes a copy


def _remember_audio_features(real: Callable[..., Any]) -> Callable[..., Any]:
    def encode(self: AudioBackbone, samples: Tensor, kept: slice = slice(None)) -> Any:
        if not hasattr(self, KEPT) or torch.is_grad_enabled():  # an answer has no gradient
            return real(self, samples, kept)
        key = "audio", _describe(self), kept.start, kept.stop, _hash(samples.numpy())
        return _ask(key, lambda: real(self, samples, kept))

    return encode


def _keep_pretrained(real: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    def load(kind: Any, name: str, spare: Sequence[str]) -> nn.Module:
        """Load a network; of a folder only once, whatever its name."""
        if not Path(name).is_dir():
            return real(kind, name, spare)
        files = sorted(path for path in Path(name).iterdir() if path.is_file())
        content = tuple((path.name, hash_file(path)) for path in files)
        with torch.random.fork_rng(devices=[]):  # the first time leaves what the others leave
            return _ask(("network", kind, *spare, content), lambda: real(kind, name, spare))

    return load


def _keep_reliability(real: Judge) -> Judge:
    keep = cache(real)

    def load(backbone: str, sha256: str | None) -> VoiceReliability | None:
        return (keep if backbone == COMPACT_VOICE else real)(backbone, sha256)

    return load
