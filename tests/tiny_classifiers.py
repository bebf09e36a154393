"""Tiny random classifiers of other people's forms, saved to folders."""

import json
from pathlib import Path

import numpy as np
import onnx
import torch
import transformers

FACE_LABELS = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
VOICE_LABELS = ("neu", "hap", "ang", "sad")
_VIT = {
    "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32,
    "image_size": 28, "patch_size": 14,
}  # fmt: skip
# Of each kind: its configuration, and the settings of its image processor.
FACE_CLASSIFIERS = {
    "vit": (transformers.ViTConfig(**_VIT), {
        "image_processor_type": "ViTImageProcessor", "size": {"height": 28, "width": 28},
        "image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4],
    }),
    "beit": (transformers.BeitConfig(**_VIT), {
        "image_processor_type": "BeitImageProcessor", "size": {"height": 32, "width": 32},
        "crop_size": {"height": 28, "width": 28}, "do_center_crop": True,
    }),
    "dinov2": (transformers.Dinov2Config(**_VIT), {
        "image_processor_type": "BitImageProcessor", "size": {"shortest_edge": 32},
        "crop_size": {"height": 28, "width": 28}, "resample": 3,
    }),
    "convnext": (
        transformers.ConvNextConfig(hidden_sizes=[4, 8, 8, 16], depths=[1, 1, 1, 1]),
        {
            "image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 64},
            "crop_pct": 0.875,
        },
    ),
    "efficientnet": (
        transformers.EfficientNetConfig(
            image_size=32, width_coefficient=0.25, depth_coefficient=0.25, hidden_dim=320,
            initializer_range=0.5,
        ),
        {
            "image_processor_type": "EfficientNetImageProcessor", "include_top": True,
            "size": {"height": 32, "width": 32}, "rescale_offset": True, "resample": 0,
            "rescale_factor": 1 / 127.5,
        },
    ),
    "deit": (transformers.DeiTConfig(**_VIT), {  # the mean of two classifiers
        "image_processor_type": "DeiTImageProcessor", "size": {"height": 32, "width": 32},
        "crop_size": {"height": 28, "width": 28},
    }),
}  # fmt: skip
_SOUND = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
    "conv_dim": (8,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2,
    "classifier_proj_size": 12,
}  # fmt: skip
# Of each kind: its configuration, and its feature extractor.
VOICE_CLASSIFIERS = {
    "wav2vec2": lambda: (
        transformers.Wav2Vec2Config(**_SOUND), transformers.Wav2Vec2FeatureExtractor()
    ),
    "hubert": lambda: (
        transformers.HubertConfig(**_SOUND), transformers.Wav2Vec2FeatureExtractor()
    ),
    "whisper": lambda: (
        transformers.WhisperConfig(
            d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
            decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, vocab_size=60,
            pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
            classifier_proj_size=12,
        ),
        transformers.WhisperFeatureExtractor(),
    ),
    "ast": lambda: (
        transformers.ASTConfig(
            hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
            max_length=128, num_mel_bins=32,
        ),
        transformers.ASTFeatureExtractor(max_length=128, num_mel_bins=32),
    ),
}  # fmt: skip


def _set_labels(config, labels):
    config.num_labels = len(labels)
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: k for k, label in enumerate(labels)}
    return config


def _save(network, folder):
    """Save a network with a last layer that tells inputs apart."""
    for module in network.modules():
        if isinstance(module, torch.nn.Linear) and module.out_features == network.config.num_labels:
            torch.nn.init.normal_(module.weight)
    network.save_pretrained(folder)


def save_face_classifier(folder: Path, kind: str = "vit", labels=FACE_LABELS) -> Path:
    """Save a random image classifier of the hub's form, with its preprocessing."""
    config, processor = FACE_CLASSIFIERS[kind]
    torch.manual_seed(0)
    if kind == "deit":
        network = transformers.DeiTForImageClassificationWithTeacher(_set_labels(config, labels))
    else:
        auto = transformers.AutoModelForImageClassification
        network = auto.from_config(_set_labels(config, labels))
    _save(network, folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder


def save_voice_classifier(folder: Path, kind: str = "wav2vec2", labels=VOICE_LABELS) -> Path:
    """Save a random audio classifier of the hub's form, with its preprocessing."""
    config, extractor = VOICE_CLASSIFIERS[kind]()
    torch.manual_seed(0)
    auto = transformers.AutoModelForAudioClassification
    _save(auto.from_config(_set_labels(config, labels)), folder)
    extractor.save_pretrained(folder)
    return folder


def save_onnx_classifier(path: Path, outputs: int = 8, side: int | str = 224) -> Path:
    """Write an ONNX classifier whose logits are those of the mean colour of an image."""
    weight = np.random.default_rng(0).normal(size=(3, outputs)).astype(np.float32)
    nodes = [
        onnx.helper.make_node("GlobalAveragePool", ["input"], ["pooled"]),
        onnx.helper.make_node("Flatten", ["pooled"], ["flat"]),
        onnx.helper.make_node("MatMul", ["flat", "weight"], ["output"]),
    ]
    kind = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        nodes,
        "classifier",
        [onnx.helper.make_tensor_value_info("input", kind, ["batch", 3, side, side])],
        [onnx.helper.make_tensor_value_info("output", kind, ["batch", outputs])],
        [onnx.numpy_helper.from_array(weight, "weight")],
    )
    opset = [onnx.helper.make_opsetid("", 13)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path
