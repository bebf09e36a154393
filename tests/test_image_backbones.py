"""Backbones, ours and the hub's, and the one preprocessing."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import KINDS, save_vision_backbone
from transformers import AutoModel, BeitConfig, BeitModel

from abawcli.errors import CheckpointError, UsageError
from abawcli.formats.hashing import hash_file
from abawcli.formats.metadata import Preprocess
from abawcli.models.image_backbones import (
    COMPACT_FACE_PREPROCESS,
    Backbone,
    build_backbone,
    hash_pretrained,
    rebuild_backbone,
)
from abawcli.models.preprocessing import prepare_crops


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_hub_backbone_from_a_folder(tmp_path: Path, kind: str) -> None:
    backbone = build_backbone(str(save_vision_backbone(tmp_path, kind))).eval()
    assert backbone.dim == 16
    assert backbone.preprocess == Preprocess(
        32, 28, (0.5, 0.4, 0.3), (0.2, 0.2, 0.2), (0.9, 1.2, 1.5), "bicubic"
    )
    pixels = torch.randn(2, 3, 28, 28)
    features, out = backbone(pixels), backbone.network(pixels)
    own = out.pooler_output if kind == "beit" else out.last_hidden_state[:, 0]
    assert torch.equal(features, own)


def test_weights_in_half_precision_are_loaded_in_float32(tmp_path: Path) -> None:
    path = save_vision_backbone(tmp_path)
    AutoModel.from_pretrained(path).half().save_pretrained(path)
    assert load_file(path / "model.safetensors")["layernorm.weight"].dtype == torch.float16
    assert {weight.dtype for weight in build_backbone(str(path)).parameters()} == {torch.float32}


@pytest.mark.parametrize("mean", [True, False])
def test_beit_is_pooled_as_it_was_trained(tmp_path: Path, mean: bool) -> None:
    path = save_vision_backbone(tmp_path, "beit")
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | {"use_mean_pooling": mean}))
    if not mean:  # its last norm is then before the pooling
        weights = load_file(path / "model.safetensors")
        norm = {k.replace("pooler.", ""): v.clone() for k, v in weights.items() if "pooler" in k}
        save_file(weights | norm, path / "model.safetensors", {"format": "pt"})
    backbone, pixels = build_backbone(str(path)).eval(), torch.randn(2, 3, 28, 28)
    out = backbone.network(pixels)
    torch.testing.assert_close(backbone(pixels), out.pooler_output)
    states = out.last_hidden_state
    pooled = states[:, 1:].mean(dim=1) if mean else states[:, 0]
    if mean:
        pooled = torch.nn.functional.layer_norm(pooled, (16,), eps=1e-12)
    torch.testing.assert_close(backbone(pixels), pooled)


def test_beit_can_be_trained_after_another_beit_was_run() -> None:
    # transformers keeps the positions of a size for all networks; no other test has this size.
    config = BeitConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        image_size=70, patch_size=14, use_relative_position_bias=True,
    )  # fmt: skip
    pixels = torch.randn(1, 3, 70, 70)
    teacher, student = (
        Backbone("beit", BeitModel(config).eval(), 16, COMPACT_FACE_PREPROCESS) for _ in range(2)
    )
    with torch.inference_mode():
        assert teacher(pixels).shape == (1, 16)
    student(pixels).square().sum().backward()
    assert all(p.grad is not None for p in student.blocks.parameters())


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_depth_groups_are_embedding_blocks_rest_and_cover_everything(
    tmp_path: Path, kind: str
) -> None:
    backbone = build_backbone(str(save_vision_backbone(tmp_path, kind)))
    groups = backbone.depth_groups()
    assert len(groups) == 1 + 3 + 1
    grouped = [id(p) for group in groups for p in group]
    assert sorted(grouped) == sorted(id(p) for p in backbone.parameters())
    names = {id(p): name for name, p in backbone.named_parameters()}
    assert all("embeddings" in names[id(p)] for p in groups[0])
    assert groups[0]


def test_compact_depth_groups() -> None:
    groups = build_backbone("compact-face").depth_groups()
    assert len(groups) == 1 + 6 + 1
    assert groups[0] and groups[-1]


def test_rebuild_needs_no_folder(tmp_path: Path) -> None:
    backbone = build_backbone(str(save_vision_backbone(tmp_path / "x"))).eval()
    metadata = backbone.describe()
    for file in (tmp_path / "x").iterdir():
        file.unlink()
    again = rebuild_backbone(metadata).eval()
    again.load_state_dict(backbone.state_dict())
    pixels = torch.randn(1, 3, 28, 28)
    assert torch.equal(again(pixels), backbone(pixels))
    assert again.preprocess == backbone.preprocess


def test_rebuild_keeps_recorded_preprocessing_of_compact() -> None:
    metadata = build_backbone("compact-face").describe()
    metadata = replace(metadata, preprocess=replace(metadata.preprocess, crop_scales=(1.1, 1.3)))
    assert rebuild_backbone(metadata).preprocess.crop_scales == (1.1, 1.3)


def test_rebuild_keeps_recorded_widths_of_compact() -> None:
    metadata = build_backbone("compact-face").describe()
    metadata = replace(metadata, network={"stem": 8, "widths": [8, 16, 24], "blocks": [1, 2, 1]})
    assert len(rebuild_backbone(metadata).depth_groups()) == 1 + 4 + 1
    assert rebuild_backbone(metadata)(torch.rand(2, 1, 40, 40)).shape == (2, 256)


def test_missing_backbone_names_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(CheckpointError, match="hf download nobody/nowhere"):
        build_backbone("nobody/nowhere")
    with pytest.raises(CheckpointError, match="no such backbone folder: .*nowhere"):
        build_backbone(str(tmp_path / "nowhere"))
    assert not logging.getLogger("huggingface_hub").isEnabledFor(logging.WARNING)  # one line


def test_a_mobilenet_of_another_size_is_not_sought_on_the_hub() -> None:
    with pytest.raises(UsageError, match="no backbone 'mobilenet-99'; known are compact-face, mob"):
        build_backbone("mobilenet-99")


def test_folder_without_weights_is_an_error(tmp_path: Path) -> None:
    folder = save_vision_backbone(tmp_path)
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="cannot load the backbone"):
        build_backbone(str(folder))


def test_text_model_is_no_image_backbone(tmp_path: Path) -> None:
    from transformers import BertConfig, BertModel

    config = BertConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8,
        vocab_size=20,
    )  # fmt: skip
    BertModel(config).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="no image backbone"):
        build_backbone(str(tmp_path))


def test_preparation_is_grey_centre_normalised() -> None:
    how = replace(COMPACT_FACE_PREPROCESS, resize=6, size=4, mean=(0.5,), std=(0.25,))
    crops = np.random.default_rng(0).integers(0, 256, (2, 6, 6, 3), dtype=np.uint8)
    out = prepare_crops(crops, how)
    luma = crops[:, 1:5, 1:5] @ np.array([0.299, 0.587, 0.114]) / 255
    assert out.shape == (2, 1, 4, 4)
    np.testing.assert_allclose(out[:, 0].numpy(), (luma - 0.5) / 0.25, atol=1e-5)


def test_sha256_of_weights_in_one_file_or_several(tmp_path: Path) -> None:
    folder = save_vision_backbone(tmp_path / "one")
    assert hash_pretrained(str(folder)) == hash_file(folder / "model.safetensors")
    network = AutoModel.from_pretrained(folder)
    network.save_pretrained(tmp_path / "two", max_shard_size="20KB")
    assert not (tmp_path / "two" / "model.safetensors").exists()
    several = hash_pretrained(str(tmp_path / "two"))
    assert several is not None and several != hash_pretrained(str(folder))
    assert hash_pretrained("nobody/nothing") is None


@pytest.mark.parametrize("text", ["{", "[]", "\xe4"])
def test_damaged_settings_are_named(tmp_path: Path, text: str) -> None:
    folder = save_vision_backbone(tmp_path)
    (folder / "preprocessor_config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(CheckpointError, match=r"preprocessor_config\.json is damaged: "):
        build_backbone(str(folder))
    for content in (text, "{}"):
        (folder / "model.safetensors.index.json").write_bytes(content.encode("latin-1"))
        with pytest.raises(CheckpointError, match=r"index\.json is damaged: "):
            hash_pretrained(str(folder))
    (folder / "config.json").rename(folder / "adapter_config.json")
    (folder / "adapter_config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(CheckpointError, match=r"adapter_config\.json is damaged: "):
        build_backbone(str(folder))


def test_weights_that_are_missing_are_named(tmp_path: Path) -> None:
    path = save_vision_backbone(tmp_path) / "model.safetensors"
    weights = {k: v for k, v in load_file(path).items() if "mask_token" not in k}
    save_file(weights, path, {"format": "pt"})
    build_backbone(str(tmp_path))  # of no use here
    save_file({k: v for k, v in weights.items() if "layer.2" not in k}, path, {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"lack encoder\.layer\.2.* and \d+ more"):
        build_backbone(str(tmp_path))
