"""The classifier of an audio encoder, for frames with speech and without a face."""

from pathlib import Path

import torch

from abawcli.config import COMPACT_VOICE
from abawcli.errors import UsageError
from abawcli.formats.hashing import hash_file
from abawcli.formats.metadata import AudioBackboneMetadata
from abawcli.models.checkpoint import read_kind
from abawcli.models.classifier import SpeechClassifier
from abawcli.models.metadata import VoiceEncoderMetadata
from abawcli.models.recipes import find_weights
from abawcli.models.voice import load_voice_encoder


def find_voice_encoder(backbone: str, sha256: str | None) -> Path | None:
    """Return the file of an audio encoder of `abaw train voice`, identified by its hash.

    None: it is not such an encoder, or has changed since.
    """
    path = find_weights(COMPACT_VOICE) if backbone == COMPACT_VOICE else Path(backbone)
    if path.suffix != ".safetensors" or read_kind(path) != VoiceEncoderMetadata.kind:
        return None
    return path if hash_file(path) == sha256 else None


def load_speech_classifier(features: AudioBackboneMetadata | None) -> SpeechClassifier:
    """Load the classifier of the audio encoder that made features.

    Raises:
        UsageError: the features do not come from an encoder of `abaw train voice`.
        CheckpointError: the encoder is damaged.
    """
    path = find_voice_encoder(features.path or "", features.sha256) if features else None
    if path is None:
        raise UsageError(
            f"{features.name if features else 'features without audio'}: the encoder is not here, "
            "or is not one of `abaw train voice`, which alone have a classifier of speech; use "
            "--speech-only head"
        )
    return SpeechClassifier(load_voice_encoder(path, torch.device("cpu"))[0].classifier)
