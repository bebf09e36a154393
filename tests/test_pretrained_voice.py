"""Voice encoders that start from a Whisper: equality with it, context, files, training, errors."""

import hashlib
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from audio_files import make_bursts, save_audio_set
from click.testing import CliRunner
from raw_checkpoints import read_raw
from tiny_models import save_audio_backbone, save_whisper

from abawcli.cli import main
from abawcli.config import AUDIO_RATE_HZ, PRETRAINED_VOICE_TRAINING
from abawcli.errors import CheckpointError
from abawcli.media.audio import Audio
from abawcli.models.audio_backbones import load_voice_backbone
from abawcli.models.pretrained_voice import PretrainedVoice, build_pretrained_voice
from abawcli.models.whisper import WhisperLayers, cut_windows, slaney_filters
from abawcli.pipeline.audio_features import AudioEncoder
from abawcli.stages.train_voice import train_voice_encoder

CPU = torch.device("cpu")
FAST = replace(
    PRETRAINED_VOICE_TRAINING, epochs=1, epoch_batches=2, batch_size=4, crop_s=0.64,
    precision="float32",
)  # fmt: skip


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_whisper(tmp_path_factory.mktemp("whisper"))


@pytest.fixture(scope="module")
def run(whisper: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    save_audio_set(folder / "recordings")
    train_voice_encoder(
        folder / "recordings", folder / "recordings/manifest.csv", folder, FAST, device="cpu",
        init=whisper, layers=2,
    )  # fmt: skip
    return folder


def test_filters_are_those_of_whisper() -> None:
    theirs = transformers.WhisperFeatureExtractor(feature_size=80).mel_filters.T
    np.testing.assert_allclose(slaney_filters(80).numpy(), theirs, atol=1e-6)


def test_warped_filters_take_in_a_voice_at_higher_frequencies() -> None:
    plain, higher = slaney_filters(80), slaney_filters(80, torch.tensor([1.0, 1.2]))
    torch.testing.assert_close(higher[0], plain)
    assert (higher[1, 40].argmax() / plain[40].argmax()).item() == pytest.approx(1.2, abs=0.05)


@torch.inference_mode()
def test_layers_are_those_of_whisper(whisper: Path) -> None:
    ours = build_pretrained_voice(whisper, 3).trunk.eval()
    theirs = transformers.WhisperModel.from_pretrained(whisper).encoder.eval()
    # The first window begins 48 tokens before the audio, and its middle has 96 tokens.
    positions = theirs.embed_positions.weight[48:192]
    theirs.embed_positions = torch.nn.Embedding.from_pretrained(positions)
    theirs.config.max_source_positions = 144
    bands = torch.randn(2, 20, 288, generator=torch.Generator().manual_seed(0))
    expected = theirs(bands, output_hidden_states=True).hidden_states
    torch.testing.assert_close(theirs.layer_norm(ours.encode(bands))[:, :96], expected[3][:, :96])


def test_middles_of_windows_follow_each_other() -> None:
    tokens = torch.arange(1.0, 251.0)  # two and a half middles
    windows, there = cut_windows(tokens[None, :, None])
    assert windows.shape == (1, 3, 192, 1)
    middle = slice(48, 144)
    assert windows[0, :, middle, 0].flatten()[:250].tolist() == tokens.tolist()
    assert there[:, middle].flatten().tolist() == [True] * 250 + [False] * 38
    assert torch.equal(windows[0, :, :, 0] > 0, there)


def small_voice() -> PretrainedVoice:
    shape = {"bands": 20, "width": 16, "heads": 2, "feed_forward": 32, "layers": 2}
    torch.manual_seed(0)
    return PretrainedVoice(shape, dim=8).eval()


@torch.inference_mode()
def test_a_feature_depends_on_its_context_and_on_nothing_beyond() -> None:
    net = small_voice()
    audio = torch.from_numpy(make_bursts(300, 19.2))[None]
    other = audio.clone()
    other[0, 100 * 1280 : 101 * 1280] += 0.3  # all of audio frame 100
    changed = (net(audio) - net(other)).abs().amax(dim=2)[0] > 1e-6
    grid, reach = net.grid_samples // 1280, math.ceil(net.context_s / net.step_s)
    start = torch.arange(240) // grid * grid
    assert changed[100]
    assert not changed[(start - reach > 100) | (start + grid + reach < 100)].any()
    # Audio that begins later by a step of the grid has the same features, but for its edge.
    edge = math.ceil(reach / grid) * grid
    later, whole = net(audio[:, net.grid_samples :])[:, edge:], net(audio)[:, grid + edge :]
    torch.testing.assert_close(later, whole, atol=1e-5, rtol=1e-4)


@torch.inference_mode()
def test_only_windows_with_kept_features_are_computed() -> None:
    net, windows = small_voice(), []
    net.trunk.layers[0].register_forward_hook(lambda _m, _x, y: windows.append(len(y)))
    audio = torch.from_numpy(make_bursts(300, 9.0))[None]
    whole = net(audio)
    cases = {(0, 1): 1, (24, 48): 1, (23, 49): 3, (30, 200): 4, (None, None): 5}
    for (first, end), count in cases.items():
        windows.clear()
        found = net(audio, slice(first, end))
        torch.testing.assert_close(found, whole[:, first:end], atol=1e-5, rtol=1e-4)
        assert windows == [count]


@torch.inference_mode()
def test_gain_of_the_recording_changes_nothing() -> None:
    net, audio = small_voice(), torch.from_numpy(make_bursts(300, 3.2))[None]
    torch.testing.assert_close(net(0.1 * audio), net(audio), atol=1e-3, rtol=1e-3)


@torch.inference_mode()
def test_chunks_do_not_matter(run: Path) -> None:
    audio = make_bursts(300, 47.0)
    encoder = AudioEncoder(load_voice_backbone(run / "encoder.safetensors"), CPU)
    whole = encoder.backbone(torch.from_numpy(audio)[None])[0]
    assert whole.shape == (588, encoder.dim)
    for count in (3_000, 400_000):
        blocks = [
            Audio(audio[at : at + count], at / AUDIO_RATE_HZ) for at in range(0, len(audio), count)
        ]
        parts = list(encoder.encode_blocks(blocks))
        assert len(parts) > 2
        found = np.concatenate([part.features for part in parts])
        np.testing.assert_allclose(found, whole.numpy(), atol=1e-4)


def test_run_writes_an_encoder_that_needs_no_folder(run: Path) -> None:
    tensors, metadata = read_raw(run / "encoder.safetensors")
    assert tensors["backbone.trunk.layers.1.fc1.weight"].dtype == torch.float16
    assert metadata["network"]["whisper"]["layers"] == 2
    assert len(metadata["data"]["init_sha256"]) == 64
    assert json.loads((run / "config.json").read_text())["layers"] == 2


def test_pretrained_weights_learn_slower(whisper: Path, run: Path) -> None:
    before = build_pretrained_voice(whisper, 2).state_dict()
    after, _ = read_raw(run / "encoder.safetensors")

    def move(name: str) -> float:
        return (after[f"backbone.{name}"].float() - before[name]).abs().max().item()

    assert 0 < move("trunk.conv1.weight") < 1e-3
    assert set(WhisperLayers(20, 16, 2, 32, layers=2).state_dict()) == {
        name.removeprefix("trunk.") for name in before if name.startswith("trunk.")
    }


def test_an_encoder_is_trained_further(run: Path, tmp_path: Path) -> None:
    start = run / "encoder.safetensors"

    def go_on(name: str, **changes: Any) -> dict[str, torch.Tensor]:
        train_voice_encoder(
            run / "recordings", run / "recordings/manifest.csv", tmp_path / name,
            replace(FAST, warmup_steps=0, **changes), device="cpu", init=start,
        )  # fmt: skip
        return read_raw(tmp_path / name / "encoder.safetensors")[0]

    before, metadata = read_raw(start)
    frozen, moved = go_on("frozen", backbone_lr=0.0, refit=0.0), go_on("moved", refit=0.0)
    names = [name for name in before if ".trunk." in name and "positions" not in name]
    assert names and all(torch.equal(frozen[name], before[name]) for name in names)
    assert not all(torch.equal(moved[name], before[name]) for name in names)
    step = 3 * FAST.head_lr  # Adam moves a weight by about its rate in each of two steps
    for name in ("backbone.project.weight", "classifier.voice.weight"):
        assert 0 < (frozen[name] - before[name]).abs().max() < step
    _, after = read_raw(tmp_path / "frozen/encoder.safetensors")
    assert after["network"] == metadata["network"]
    assert after["data"]["init"] == "encoder.safetensors"
    assert after["data"]["init_sha256"] == hashlib.sha256(start.read_bytes()).hexdigest()


def test_bad_start(run: Path, tmp_path: Path) -> None:
    def start(*arguments: object) -> str:
        out = CliRunner().invoke(
            main,
            ["train", "voice", "--recordings", str(run / "recordings"), "--manifest",
             str(run / "recordings/manifest.csv"), "-o", str(tmp_path / "new"),
             "--epochs", "1", "--epoch-batches", "1", *map(str, arguments)],
        )  # fmt: skip
        assert out.exit_code != 0 and not (tmp_path / "new/encoder.safetensors").exists()
        return " ".join(out.stderr.split())

    assert "--init nowhere does not exist; give the folder of a Whisper, compact-voice, or" in (
        start("--init", "nowhere")
    )
    encoder = run / "encoder.safetensors"
    assert "keeps its own layers" in start("--init", encoder, "--layers", 1)
    assert "manifest.csv" in start("--init", run / "recordings/manifest.csv")
    assert "--backbone-lr 0 needs --init" in start("--backbone-lr", 0)


def test_bad_folders(whisper: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="3 layers, not 4"):
        build_pretrained_voice(whisper, 4)
    with pytest.raises(CheckpointError, match=r"no such file: .*config\.json; give the folder"):
        build_pretrained_voice(tmp_path / "nowhere", 1)
    with pytest.raises(CheckpointError, match="'wavlm'; a Whisper is needed"):
        build_pretrained_voice(save_audio_backbone(tmp_path / "wavlm", "wavlm"), 1)
    config = json.loads((whisper / "config.json").read_text())
    short = config | {"max_source_positions": 100}
    for name, content in (("empty", config), ("short", short)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="100 positions; 192 are needed"):
        build_pretrained_voice(tmp_path / "short", 1)
    with pytest.raises(CheckpointError, match=r"lack conv1\.bias"):
        build_pretrained_voice(tmp_path / "empty", 1)
    (tmp_path / "empty/model.safetensors").write_bytes(b"no weights")
    with pytest.raises(CheckpointError, match=r"model\.safetensors is damaged: "):
        build_pretrained_voice(tmp_path / "empty", 1)
    for text, reason in (
        ("[]", "it is a list, not an object"),
        ("{", "Expecting property name"),
        (json.dumps(config | {"d_model": None}), "its d_model is no whole number"),
    ):
        (tmp_path / "short/config.json").write_text(text)
        with pytest.raises(CheckpointError, match=rf"config\.json is damaged: {reason}"):
            build_pretrained_voice(tmp_path / "short", 1)
