"""Training of adapters (LoRA) in place of the weights of an encoder."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from face_runs import FAST, run, save_images

from abawcli.config import COMPACT_FACE
from abawcli.errors import CheckpointError, UsageError
from abawcli.models.encoder import load_backbone
from abawcli.models.image_backbones import build_backbone
from abawcli.stages.train_face import train_face_encoder


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return save_images(tmp_path / "images")


def test_adapters_are_trained_in_place_of_weights_and_saved_within_them(
    images: Path, tmp_path: Path
) -> None:
    config = replace(FAST, epochs=2, lora_rank=2, backbone_lr=1e-2, precision="float32")
    run(images, tmp_path / "run", config)
    history = (tmp_path / "run/metrics.jsonl").read_text()
    assert run(images, tmp_path / "run", config) and history  # is finished
    start = build_backbone(str(images / "vit")).state_dict()
    (images / "vit").rename(images / "away")  # the encoder does not need it
    backbone, _, metadata = load_backbone(tmp_path / "run/encoder.safetensors")
    assert metadata.training and metadata.training.config["lora_rank"] == 2
    changed = set()
    for name, value in backbone.state_dict().items():
        difference = value - start[name].half().float() if value.ndim > 1 else value - start[name]
        if difference.abs().max() > 1e-3:
            changed.add(name)
            assert torch.linalg.matrix_rank(difference, atol=1e-3) <= 2
    linear = {n for n, m in backbone.named_modules() if isinstance(m, torch.nn.Linear)}
    blocks = {n for n in linear if ".layers.1." in n or ".layers.2." in n}
    assert changed == {f"{name}.weight" for name in blocks} and len(blocks) == 12


def test_an_interrupted_run_of_adapters_is_resumed(images: Path, tmp_path: Path) -> None:
    config = replace(FAST, epochs=2, lora_rank=2, precision="float32", ema_decay=0.9)
    run(images, tmp_path / "whole", config)

    def stop(done: int, total: int | None, what: str) -> None:
        if what.startswith("epoch 2"):
            raise KeyboardInterrupt

    manifest, vit = images / "manifest.csv", str(images / "vit")
    with pytest.raises(KeyboardInterrupt):
        train_face_encoder(
            images, manifest, tmp_path / "cut", vit, config=config, device="cpu", progress=stop
        )
    run(images, tmp_path / "cut", config)
    files = [(tmp_path / name / "encoder.safetensors").read_bytes() for name in ("whole", "cut")]
    assert files[0] == files[1]


def test_adapters_that_cannot_be(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(FAST, lora_rank=2)
    with pytest.raises(UsageError, match="DINOv2, BEiT and ViT, not for compact-face"):
        run(images, tmp_path / "run", config, COMPACT_FACE)
    with pytest.raises(UsageError, match="has 3 blocks, and 3 are frozen"):
        run(images, tmp_path / "run", replace(config, frozen_blocks=3))
    with monkeypatch.context() as patch:
        patch.delattr("peft.inject_adapter_in_model")  # as without peft: it cannot be imported
        with pytest.raises(UsageError, match=r"needs peft: pip install 'abawcli\[lora\]'"):
            run(images, tmp_path / "run", config)
    (images / "vit/config.json").unlink()
    (images / "vit/adapter_config.json").write_text(
        '{"base_model_name_or_path": "facebook/dinov2-large", "peft_type": "LORA"}'
    )
    with pytest.raises(
        CheckpointError, match=r"vit has an adapter \(LoRA\) of 'facebook/dinov2-large'"
    ):
        run(images, tmp_path / "run")
    assert not (tmp_path / "run").exists()
