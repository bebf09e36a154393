"""Tiny random models and image sets, saved to folders."""

import shutil
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import pandas as pd
import torch
import transformers
from torch import nn

from abawcli.config import CompactFaceShape
from abawcli.labels import CLASSES, N_CLASSES
from abawcli.models.checkpoint import save_checkpoint
from abawcli.models.image_backbones import build_compact_face
from abawcli.models.metadata import VoiceEncoderMetadata
from abawcli.models.voice import CompactVoice, VoiceNetwork

TEMPORARY = TemporaryDirectory(prefix="abaw-backbones-")  # removed when the process ends
KINDS = {
    "dinov2": (transformers.Dinov2Config, transformers.Dinov2Model),
    "beit": (transformers.BeitConfig, transformers.BeitModel),
    "vit": (transformers.ViTConfig, transformers.ViTModel),
}

AUDIO_KINDS = {
    "wav2vec2": (transformers.Wav2Vec2Config, transformers.Wav2Vec2Model),
    "wavlm": (transformers.WavLMConfig, transformers.WavLMModel),
    "hubert": (transformers.HubertConfig, transformers.HubertModel),
}


def save_vision_backbone(folder: Path, kind: str = "dinov2", image_size: int = 28) -> Path:
    """Save a random three-block vision transformer of width 16 with preprocessor settings."""
    torch.manual_seed(0)
    made = _make_vision_backbone(kind, image_size)
    return Path(shutil.copytree(made, folder, dirs_exist_ok=True))


@cache
def _make_vision_backbone(kind: str, image_size: int) -> Path:
    folder = Path(TEMPORARY.name, f"{kind}{image_size}")
    config_class, model_class = KINDS[kind]
    config = config_class(
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=image_size,
        patch_size=14,
    )
    torch.manual_seed(0)
    model_class(config).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(
        f'{{"crop_size": {{"height": {image_size}, "width": {image_size}}},'
        ' "image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.2, 0.2]}'
    )
    return folder


def save_audio_backbone(folder: Path, kind: str = "wav2vec2", normalise: bool = True) -> Path:
    """Save a random four-block audio transformer of width 16: steps of 20 ms, as the large ones.

    HuBERT is made in the way of the base models, the others in that of the large ones.
    """
    torch.manual_seed(0)
    made = _make_audio_backbone(kind, normalise)
    return Path(shutil.copytree(made, folder, dirs_exist_ok=True))


@cache
def _make_audio_backbone(kind: str, normalise: bool) -> Path:
    folder = Path(TEMPORARY.name, f"{kind}{normalise}")
    config_class, model_class = AUDIO_KINDS[kind]
    config = config_class(
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=32,
        conv_dim=(8,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
        feat_extract_norm="group" if kind == "hubert" else "layer",
        do_stable_layer_norm=kind != "hubert",
    )
    torch.manual_seed(0)
    model_class(config).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(
        f'{{"do_normalize": {str(normalise).lower()}, "sampling_rate": 16000}}'
    )
    return folder


def save_whisper(folder: Path) -> Path:
    """Save a random Whisper of width 16 with three layers in its encoder, as whole models are."""
    config = transformers.WhisperConfig(
        vocab_size=50,
        d_model=16,
        encoder_layers=3,
        encoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_layers=1,
        decoder_attention_heads=2,
        decoder_ffn_dim=32,
        num_mel_bins=20,
        max_source_positions=200,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
    )
    torch.manual_seed(0)
    transformers.WhisperForConditionalGeneration(config).save_pretrained(folder)
    return folder


def save_face_encoder(path: Path) -> Path:
    """Save our own face encoder with random weights; it is quick."""
    torch.manual_seed(0)
    backbone = build_compact_face(CompactFaceShape(4, (8, 8), (1, 1)))
    parts = nn.ModuleDict({"backbone": backbone, "classifier": nn.Linear(backbone.dim, N_CLASSES)})
    save_checkpoint(path, parts.state_dict(), backbone.describe())
    return path


def save_voice_encoder(path: Path) -> Path:
    """Save our own voice encoder with random weights, which takes everything for a voice."""
    torch.manual_seed(0)
    network = VoiceNetwork(CompactVoice(widths=(4, 4, 4, 4), dim=8))
    torch.nn.init.constant_(network.classifier.voice.bias, 100)
    save_checkpoint(path, network.state_dict(), VoiceEncoderMetadata(network.backbone.shape))
    return path


def save_image_set(
    folder: Path, train: int = 24, valid: int = 8, side: int = 48, classes: Sequence[int] = range(8)
) -> Path:
    """Write grey images whose brightness tells the class, and their manifest with votes."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for k in range(train + valid):
        label = classes[k % len(classes)]
        image = np.full((side, side), 16 + 30 * label, np.uint8)
        image += rng.integers(0, 10, image.shape, dtype=np.uint8)
        cv2.imwrite(str(folder / f"{k}.png"), image)
        votes = {f"v_{name.lower()}": 8 * (c == label) for c, name in enumerate(CLASSES)}
        votes["v_other"], votes["v_contempt"] = 0, votes["v_other"]
        split = "Train" if k < train else "Valid"
        rows.append({"file": f"{k}.png", "split": split, "label": CLASSES[label], **votes})
    pd.DataFrame(rows).to_csv(folder / "manifest.csv", index=False)
    return folder / "manifest.csv"
