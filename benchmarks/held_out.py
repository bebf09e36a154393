"""Features of training data from encoders that did not see it, in the space of the encoder in use.

A head that is trained on features of images and speech that their encoder has learned from meets
features that are too good, and trusts them too much in use. So they come from encoders that were
trained without them. Every training run has a feature space of its own. A linear map, fitted on
data that both encoders were trained on, brings the features of one into the space of the other; it
knows no labels.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from encoder import read_crops
from numpy.typing import NDArray

from abawcli.config import AudioFeatures
from abawcli.media.audio import Audio
from abawcli.models.classifiers import load_audio_backbone
from abawcli.models.encoder import FeatureEncoder, load_feature_encoder
from abawcli.pipeline.audio_features import AudioEncoder, FrameAligner

Floats = NDArray[np.float32]
CPU = torch.device("cpu")
RIDGE = 1.0  # of sums over thousands of rows: only against features that never vary
IMAGES, CLIPS = 3000, 400  # that a map is fitted on: ten times the width of the features
BATCH = 64


def fit_map(source: Floats, target: Floats) -> Floats:
    """Return the affine map (D + 1, D') from features (N, D) to (N, D'), by ridge regression."""
    rows = append_one(source).astype(np.float64)
    penalty = np.eye(rows.shape[1]) * RIDGE
    penalty[-1, -1] = 0  # not of the offset
    weights = np.linalg.solve(rows.T @ rows + penalty, rows.T @ target.astype(np.float64))
    return np.asarray(weights, np.float32)


def append_one(features: Floats) -> Floats:
    """Return features (N, D) with a column of ones, (N, D + 1)."""
    return np.concatenate([features, np.ones((len(features), 1), np.float32)], axis=1)


class FaceFeatures:
    """An image encoder, with a map into the space of another one or without."""

    def __init__(self, name: str, weights: Floats | None = None) -> None:
        self.encoder: FeatureEncoder = load_feature_encoder(name, CPU)[0]
        self.preprocess = self.encoder.preprocess
        self.weights = weights

    def encode(self, crops: NDArray[np.uint8]) -> Floats:
        """Return the features (B, D) of crops (B, K, S, S, 3)."""
        parts = [
            self.encoder.encode(crops[k : k + BATCH]).numpy() for k in range(0, len(crops), BATCH)
        ]
        features: Floats = np.concatenate(parts)
        return features if self.weights is None else append_one(features) @ self.weights

    def encode_files(self, files: Sequence[Path]) -> Floats:
        """Return the features (N, D) of face images."""
        return self.encode(read_crops(list(files), self.preprocess.resize))


class VoiceFeatures(AudioEncoder):
    """An audio encoder, likewise."""

    def __init__(self, name: str, weights: Floats | None = None) -> None:
        super().__init__(load_audio_backbone(name, AudioFeatures.layers), CPU)
        self.weights = weights
        self.dim = self.dim if weights is None else weights.shape[1]

    def encode(
        self, samples: Floats, kept: slice = slice(None)
    ) -> tuple[Floats, NDArray[np.bool_]]:
        """Return the `kept` of features (S, D) of samples (N,) and of the speech mask (S,)."""
        features, speech = super().encode(samples, kept)
        if self.weights is not None:
            features = append_one(features) @ self.weights
        return features, speech

    def align(self, blocks: Iterable[Audio]) -> FrameAligner:
        """Return the features of audio, to be asked for at the times of frames."""
        return FrameAligner(self.encode_blocks(blocks), self.dim, self.config.window_s)


def fit_face_maps(
    files: Sequence[Path], folds: NDArray[np.int64], encoders: Sequence[str], target: str
) -> list[Floats]:
    """Return the map of each fold's encoder, from images (N) of the other folds."""
    goal = FaceFeatures(target)
    maps = []
    for fold, name in enumerate(encoders):
        seen = np.flatnonzero(folds != fold)
        chosen = np.random.default_rng(fold).permutation(seen)[:IMAGES]
        images = [files[k] for k in chosen]
        maps.append(fit_map(FaceFeatures(name).encode_files(images), goal.encode_files(images)))
    return maps


def fit_voice_map(clips: Sequence[Floats], encoder: str, target: str) -> Floats:
    """Return the map of an audio encoder, from clips of speech (N,) that both were trained on."""
    source, goal = VoiceFeatures(encoder), VoiceFeatures(target)
    pairs = [(source.encode(clip)[0], goal.encode(clip)[0]) for clip in clips]
    return fit_map(*(np.concatenate(parts) for parts in zip(*pairs, strict=True)))
