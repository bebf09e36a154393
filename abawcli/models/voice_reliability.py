"""Whether audio alone is reliable enough to label a frame without a face.

Labels from voices of unknown people are worse than those from faces. A voice encoder may record the
lowest confidence of its own classifier from which on at least half of the labels are right. The
confidence of a head is no measure of that: heads are trained on voices of the encoder's corpora.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from abawcli.models.speech_classifier import find_voice_encoder
from abawcli.models.voice import VoiceClassifier, load_voice_encoder


class VoiceReliability:
    """A voice encoder's classifier, and its lowest reliable confidence."""

    def __init__(self, classifier: VoiceClassifier, least: float) -> None:
        # In double precision, so that results do not depend on how many rows there are at once.
        self.classifier, self.least = classifier.double().eval(), least

    @torch.inference_mode()
    def judge(self, audio: NDArray[np.float16]) -> NDArray[np.bool_]:
        """Return for which audio features (T, Da) the label is reliable, (T,)."""
        p: Tensor = self.classifier(torch.from_numpy(audio.astype(np.float64)))  # (T, 8)
        return np.asarray(p.amax(dim=1).numpy() >= self.least)


def load_reliability(backbone: str, sha256: str | None) -> VoiceReliability | None:
    """Load the reliability of an audio backbone, which is identified by its hash.

    None if the backbone has changed since, or records no reliable confidence.

    Raises:
        CheckpointError: the encoder is damaged.
    """
    path = find_voice_encoder(backbone, sha256)
    if path is None:
        return None
    encoder, metadata = load_voice_encoder(path, torch.device("cpu"))
    if metadata.reliable_confidence is None:
        return None
    return VoiceReliability(encoder.classifier, metadata.reliable_confidence)
