"""Training a head: results, resuming, held-out videos, errors."""

import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from head_runs import FAST, list_files, run
from raw_checkpoints import read_raw
from sample_features import AUDIO, NAMES, VISUAL, make_features, save_videos

from abawcli.config import Smoothing
from abawcli.datasets.annotated import read_annotated
from abawcli.errors import CheckpointError, InputError, OutputError, UsageError
from abawcli.formats.abaw import read_annotation, write_annotation
from abawcli.formats.feature_sets import list_feature_paths
from abawcli.formats.features import read_features, write_features
from abawcli.formats.metadata import Backbones
from abawcli.metrics import choose_labels
from abawcli.models.audio_backbones import build_audio_backbone
from abawcli.models.encoder import Encoder, load_feature_encoder
from abawcli.models.heads import HEADS, WithEncoders, load_head
from abawcli.models.normalise import Moments
from abawcli.models.recipes import find_weights
from abawcli.models.voice import load_voice_encoder
from abawcli.stages import crossval, train_head
from abawcli.stages.train_head import Files, hold_out
from abawcli.training import loop, objectives
from abawcli.training.loop import TrainingLoop
from abawcli.training.losses import class_weights, focal_loss

CPU = torch.device("cpu")


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return list_files(save_videos(tmp_path, NAMES))


def test_run_writes_head_metrics_and_config(files: Files, tmp_path: Path) -> None:
    history = run(files, tmp_path / "run")
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert rows == [result.to_json() for result in history]
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    _, metadata = read_raw(tmp_path / "run/head.safetensors")
    assert metadata["result"] == max(rows, key=lambda row: row["macro_f1"])
    assert metadata["visual"] == VISUAL.to_json() and metadata["head"] == "gated"
    assert metadata["smoothing"] == Smoothing("median", 101, None, "logits").to_json()
    data = metadata["data"]
    assert data["train"]["videos"] + data["valid"]["videos"] == len(NAMES)
    settings = json.loads((tmp_path / "run/config.json").read_text())
    assert settings["training"] == asdict(FAST) and settings["data"] == data


def test_a_head_keeps_the_classifier_of_its_encoder(tmp_path: Path) -> None:
    encoder, face = load_feature_encoder("compact-face", CPU)
    backbones = Backbones(face, AUDIO)
    files = list_files(save_videos(tmp_path, NAMES, backbones=backbones))
    config = replace(FAST, face_only="encoder")
    run(files, tmp_path / "run", config=config)
    head, metadata = load_head(tmp_path / "run/head.safetensors", CPU)
    assert metadata.face_only == "encoder"
    assert isinstance(head.head, WithEncoders) and isinstance(encoder, Encoder)
    own, linear = encoder.classifier, head.head.classifier.linear
    assert torch.equal(linear.weight, own.weight) and torch.equal(linear.bias, own.bias)
    with pytest.raises(UsageError, match="of visual features alone"):
        run(files, tmp_path / "visual", "visual", config=config)
    gone = replace(backbones, visual=replace(face, path=str(tmp_path / "gone.safetensors")))
    files = list_files(save_videos(tmp_path / "gone", NAMES, backbones=gone))
    with pytest.raises(CheckpointError, match=r"gone\.safetensors"):
        run(files, tmp_path / "none", config=config)
    other = replace(backbones, visual=replace(face, sha256="0" * 64))
    files = list_files(save_videos(tmp_path / "other", NAMES, backbones=other))
    with pytest.raises(CheckpointError, match="is not the encoder that made the features"):
        run(files, tmp_path / "none", config=config)


def test_a_head_keeps_the_classifier_of_its_audio_encoder(tmp_path: Path) -> None:
    backbone = build_audio_backbone("compact-voice")
    own_audio = replace(AUDIO, name="compact-voice", path="compact-voice", dim=backbone.dim)
    files = list_files(
        save_videos(
            tmp_path, NAMES, backbones=Backbones(VISUAL, replace(own_audio, sha256=backbone.sha256))
        )
    )
    config = replace(FAST, speech_only="encoder")
    run(files, tmp_path / "run", config=config)
    head, metadata = load_head(tmp_path / "run/head.safetensors", CPU)
    assert metadata.speech_only == "encoder" and isinstance(head.head, WithEncoders)
    own = load_voice_encoder(find_weights("compact-voice"), CPU)[0].classifier
    kept = head.head.speech_classifier
    assert kept is not None
    for name, tensor in own.state_dict().items():
        assert torch.equal(kept.classifier.state_dict()[name], tensor)
    files = list_files(
        save_videos(tmp_path / "other", NAMES, backbones=Backbones(VISUAL, own_audio))
    )
    with pytest.raises(UsageError, match="the encoder is not here"):
        run(files, tmp_path / "none", config=config)


def test_the_classifier_of_a_backbone_that_has_none(files: Files, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="tiny-face: only encoders of `abaw train face`"):
        run(files, tmp_path / "run", config=replace(FAST, face_only="encoder"))


@pytest.mark.parametrize("head", [name for name in HEADS if name != "dual-branch"])
def test_every_head_learns(head: str, files: Files, tmp_path: Path) -> None:
    """The dual branch does in `test_train_dual_branch`."""
    epochs = 2 if head in ("tcn", "gru") else 5  # they see each frame in several windows
    config = replace(FAST, epochs=epochs, batch_frames=FAST.batch_frames // 2)
    run(files, tmp_path / "run", head, config=config)
    trained, _ = load_head(tmp_path / "run/head.safetensors", CPU)
    truth = np.arange(80) % 8
    features = make_features(truth, seed=100, noise=0.3, missing=0.0)
    p, _ = trained.classify(
        features.visual, features.audio, features.has_visual, features.has_audio
    )
    assert (choose_labels(p) == truth).mean() > 0.8


@pytest.mark.parametrize("head", ["gated", "dual-branch", "gru"])
def test_a_head_learns_in_bfloat16(head: str, files: Files, tmp_path: Path) -> None:
    losses = {}
    for precision in ("bfloat16", "float32"):
        config = replace(FAST, epochs=1, precision=precision)
        losses[precision] = run(files, tmp_path / precision, head, config=config)[-1].loss
        _, metadata = read_raw(tmp_path / precision / "head.safetensors")
        assert metadata["training"]["precision"] == precision
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.1)
    assert losses["bfloat16"] != losses["float32"]


def test_training_ends_early_without_a_better_epoch(files: Files, tmp_path: Path) -> None:
    config = replace(FAST, epochs=30, patience=1)
    history = run(files, tmp_path / "run", config=config)
    scores = [result.criterion or 0.0 for result in history]
    assert len(history) < 30 and scores.index(max(scores)) == len(history) - 2
    assert run(files, tmp_path / "run", config=config) == history  # and is finished
    whole = run(files, tmp_path / "whole", config=replace(FAST, epochs=len(history)))
    assert all(result.validation and result.validation.loss for result in whole)
    rates = [result.lr for result in whole]
    assert rates == sorted(rates, reverse=True) and FAST.last_lr <= rates[-1] < FAST.lr / 2


def test_same_seed_same_bits(files: Files, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        torch.manual_seed(ord(name))  # whatever happened before
        run(files, tmp_path / name, config=replace(FAST, epochs=2, seed=seed))
    weights = [(tmp_path / name / "last.safetensors").read_bytes() for name in "abc"]
    assert weights[0] == weights[1] != weights[2]


def test_interrupted_run_ends_with_the_same_weights(files: Files, tmp_path: Path) -> None:
    run(files, tmp_path / "whole")

    def stop(done: int, total: int | None, what: str) -> None:
        if what.startswith("epoch 3") and done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(files, tmp_path / "cut", progress=stop)
    assert len((tmp_path / "cut/metrics.jsonl").read_text().splitlines()) == 2
    run(files, tmp_path / "cut")
    for name in ("head.safetensors", "last.safetensors", "metrics.jsonl"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_finished_run_is_not_trained_again(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(files, tmp_path / "run")
    monkeypatch.setattr(TrainingLoop, "_train_epoch", None)
    assert run(files, tmp_path / "run") == first


def test_other_settings_or_labels_need_overwrite(files: Files, tmp_path: Path) -> None:
    run(files, tmp_path / "run")
    with pytest.raises(OutputError, match="other settings"):
        run(files, tmp_path / "run", config=replace(FAST, epochs=1))
    labels = read_annotation(files[1][0])
    write_annotation((labels + 1) % 8, files[1][0])
    with pytest.raises(OutputError, match="other settings"):
        run(files, tmp_path / "run")
    config = replace(FAST, epochs=1)
    assert len(run(files, tmp_path / "run", config=config, overwrite=True)) == 1


def test_features_that_changed_need_overwrite(files: Files, tmp_path: Path) -> None:
    """As those of another person, who is in the same frames."""
    run(files, tmp_path / "run")
    path = list_feature_paths(files[0][0])[0]
    features = read_features(path)
    write_features(replace(features, visual=2 * features.visual), path, {})
    with pytest.raises(OutputError, match="other settings or data"):
        run(files, tmp_path / "run")
    config = tmp_path / "run/config.json"
    settings = json.loads(config.read_text())
    for part in settings["data"].values():
        del part["features_sha256"]  # of an older version
    config.write_text(json.dumps(settings))
    run(files, tmp_path / "run")


def test_a_training_that_diverges_ends(files: Files, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the loss of epoch 1 is nan.* lower learning rate"):
        run(files, tmp_path / "run", config=replace(FAST, lr=1e30))


def test_training_uses_what_the_settings_say(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses, rates = [], []
    step = torch.optim.AdamW.step

    def note_loss(
        logits: torch.Tensor, y: torch.Tensor, gamma: float, weight: torch.Tensor
    ) -> torch.Tensor:
        assert gamma == 0
        if logits.requires_grad:  # not the validation loss
            losses.append((logits, y, weight))
        return focal_loss(logits, y, gamma, weight)

    def note_rate(self: torch.optim.AdamW, *args: Any) -> Any:
        rates.append(self.param_groups[0]["lr"])
        assert self.param_groups[0]["weight_decay"] == 1e-4
        return step(self, *args)

    monkeypatch.setattr(objectives, "focal_loss", note_loss)
    monkeypatch.setattr(torch.optim.AdamW, "step", note_rate)
    run(files, tmp_path / "run", config=replace(FAST, lr=1e-4))
    train, valid = hold_out(read_annotated(*files), 5)
    data = train.data
    used = (train.labels() >= 0) & np.concatenate(
        [(data.has_visual | data.has_audio)[rows] for rows in train.slices()]
    )
    batches = math.ceil(used.sum() / FAST.batch_frames)
    assert len(rates) == 3 * batches > 3
    done = torch.arange(len(rates)) / len(rates)
    cosine = 1e-5 + 9e-5 * 0.5 * (1 + torch.cos(torch.pi * done))
    assert rates == pytest.approx(cosine.tolist())
    counts = torch.from_numpy(np.bincount(train.labels()[used], minlength=8)).float()
    assert all(torch.allclose(weight, class_weights(counts, 1.0)) for _, _, weight in losses)
    seen = torch.cat([y for _, y, _ in losses[:batches]]).bincount(minlength=8)
    assert torch.equal(seen, counts.long())  # every frame once an epoch
    assert not any(logits.isnan().any() for logits, _, _ in losses)


def test_statistics_are_those_of_the_training_videos(files: Files, tmp_path: Path) -> None:
    run(files, tmp_path / "run")
    train, _ = hold_out(read_annotated(*files), 5)
    moments = Moments(10)
    for rows in train.slices():
        has = train.data.has_visual[rows]
        moments.add(torch.from_numpy(train.data.visual[rows][has]))
    head, _ = load_head(tmp_path / "run/head.safetensors", CPU)
    norm = head.head.get_submodule("visual.norm")
    torch.testing.assert_close(norm.get_buffer("mean"), moments.mean.float())


def test_held_out_videos_are_whole_source_videos(files: Files) -> None:
    train, valid = hold_out(read_annotated(*files), 3)
    assert train.names | valid.names == set(NAMES) and not train.names & valid.names
    assert len({name in valid.names for name in ("d_left", "d_right")}) == 1
    with pytest.raises(UsageError, match=r"source video \(d\) cannot be split.*--valid-features"):
        hold_out(read_annotated(files[0], [f for f in files[1] if f.stem.startswith("d")]), 5)


def test_given_videos_to_validate_on(files: Files, tmp_path: Path) -> None:
    valid = list_files(save_videos(tmp_path / "valid", ["g", "h"]))
    run(files, tmp_path / "run", valid_files=valid)
    _, metadata = read_raw(tmp_path / "run/head.safetensors")
    assert metadata["data"]["train"]["videos"] == len(NAMES)
    assert metadata["data"]["valid"]["videos"] == 2
    with pytest.raises(InputError, match="a is to be trained on and to be validated on"):
        run(files, tmp_path / "run2", valid_files=files)
    big = Backbones(replace(VISUAL, name="big", sha256="0" * 64), AUDIO)
    other = list_files(save_videos(tmp_path / "o", ["g"], backbones=big))
    with pytest.raises(InputError, match="to validate on: visual features of big"):
        run(files, tmp_path / "run2", valid_files=other)


def test_a_class_absent_from_training(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights: list[torch.Tensor] = []

    def weigh(counts: torch.Tensor, power: float) -> torch.Tensor:
        weights.append(class_weights(counts, power))
        return weights[-1]

    monkeypatch.setattr(objectives, "class_weights", weigh)
    files = list_files(save_videos(tmp_path, NAMES, classes=6))
    run(files, tmp_path / "run")
    assert "no training frame is annotated Surprise or Other" in caplog.text
    present, absent = weights[0][:6], weights[0][6:]
    assert (absent == present.max()).all() and weights[0].isfinite().all()


def test_one_modality_alone(tmp_path: Path) -> None:
    files = list_files(save_videos(tmp_path, NAMES, backbones=Backbones(VISUAL)))
    with pytest.raises(InputError, match="the head 'gated' needs audio features"):
        run(files, tmp_path / "run")
    assert run(files, tmp_path / "run", "visual")[-1].criterion > 0.3


def without(path: Path, modality: str) -> None:
    """Take a modality's features away from a file."""
    features = read_features(path)
    nothing = np.zeros(len(features.frame), bool)
    changes: dict[str, Any] = {f"has_{modality}": nothing}
    write_features(replace(features, **changes), path, {})


def test_videos_without_audio_or_faces(files: Files, tmp_path: Path) -> None:
    features = [path for (path,) in map(list_feature_paths, files[0])]
    without(features[0], "audio")
    without(features[1], "visual")
    without(features[1], "audio")
    assert np.isfinite(run(files, tmp_path / "run")[-1].loss)
    for path in features:
        without(path, "audio")
    with pytest.raises(InputError, match="no training frame has audio features"):
        run(files, tmp_path / "silent")
    with pytest.raises(InputError, match="has features that the head 'audio' uses"):
        run(files, tmp_path / "silent", "audio")
    assert not (tmp_path / "silent").exists()


def test_bad_input(files: Files, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown head 'giant'; known are gated, visual"):
        run(files, tmp_path / "run", "giant")
    for config in (replace(FAST, epochs=0), replace(FAST, batch_frames=0)):
        with pytest.raises(UsageError, match="at least 1 epoch"):
            run(files, tmp_path / "run", config=config)
    for rate in (0.0, float("nan")):
        with pytest.raises(UsageError, match=f"must be a positive number, not {rate:g}"):
            run(files, tmp_path / "run", config=replace(FAST, lr=rate))
    with pytest.raises(UsageError, match=r"rise from 1e-06 to 1e-05; give a lower --last-lr"):
        run(files, tmp_path / "run", config=replace(FAST, lr=1e-6))
    with pytest.raises(UsageError, match="unknown precision 'half'"):
        run(files, tmp_path / "run", config=replace(FAST, precision="half"))
    features = read_features(files[0][0])
    features.visual[3] = np.nan
    write_features(features, files[0][0], {})
    with pytest.raises(InputError, match=r"a\.safetensors: the visual features of frame 4"):
        run(files, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_predicted_labels_say_where_there_is_none() -> None:
    p = np.eye(8)[[3, 0, 7]]
    p[1] = np.nan
    assert choose_labels(p).tolist() == [3, -1, 7]


@pytest.mark.parametrize("stage", [train_head, crossval])
def test_each_process_trains_on_its_own_device(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: ModuleType
) -> None:
    class Stop(Exception):
        pass

    def see(*_: object, device: torch.device, **__: object) -> None:
        seen.append(device)
        raise Stop

    seen: list[torch.device] = []
    own = SimpleNamespace(device=torch.device("cuda", 1))
    monkeypatch.setattr(loop, "start_accelerator", lambda device: own)
    monkeypatch.setattr(stage, "HeadTask", see)
    with pytest.raises(Stop):
        if stage is train_head:
            run(files, tmp_path / "run")
        else:
            crossval.cross_validate(*files, tmp_path / "cv", folds=2, device="cpu")
    assert seen == [own.device]
