"""Training a voice encoder: results, resuming, no voice, errors."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from audio_files import make_bursts, save_audio_set
from media_files import counting_picture, write_media
from raw_checkpoints import read_raw
from sklearn.linear_model import LogisticRegression

from abawcli.config import NO_AUDIO_AUGMENTATION, VoiceTraining
from abawcli.errors import InputError, OutputError, UsageError
from abawcli.formats.manifest import LabelledRecordings, read_audio_manifest
from abawcli.models import precision
from abawcli.models.voice import average_speech, load_voice_encoder
from abawcli.stages.train_voice import train_voice_encoder
from abawcli.training import voice_task
from abawcli.training.audio_augmentation import mask_bands
from abawcli.training.audio_data import AudioDataset
from abawcli.training.voice_classifier import MOMENTS, LabelledMoments, draw_moments, fit_linear
from abawcli.training.voice_task import VoiceTask, fit_temperature

pytestmark = pytest.mark.usefixtures("one_bank")
CPU = torch.device("cpu")
FAST = VoiceTraining(epochs=3, epoch_batches=2, batch_size=4, crop_s=0.64, precision="float32")


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recordings")
    save_audio_set(folder, train=8)
    return folder


def run(recordings: Path, out: Path, config: VoiceTraining = FAST, **options: Any) -> Any:
    return train_voice_encoder(
        recordings, recordings / "manifest.csv", out, config, device="cpu", **options
    )


def test_run_writes_encoder_metrics_and_config(recordings: Path, tmp_path: Path) -> None:
    said: list[str] = []
    history = run(
        recordings, tmp_path / "run", progress=lambda done, total, what: said.append(what)
    )
    lines = (tmp_path / "run/metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [result.to_json() for result in history]
    assert [result.epoch for result in history] == [1, 2, 3]
    first = history[0].validation
    assert first and first.corpora and first.corpora.keys() == {"a", "b"}
    assert first.macro_f1 == pytest.approx(np.mean([*first.corpora.values()]))
    tensors, metadata = read_raw(tmp_path / "run/encoder.safetensors")
    assert metadata["result"] == max(history, key=lambda row: row.criterion or 0).to_json()
    assert metadata["data"]["manifest"] == "manifest.csv"
    assert tensors["backbone.stem.0.weight"].dtype == torch.float16
    assert json.loads((tmp_path / "run/config.json").read_text())["training"]["epochs"] == 3
    assert "read recordings" in said and any(what.startswith("epoch 3/3, loss") for what in said)


def test_interrupted_run_ends_with_the_same_weights(
    recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(FAST, epochs=2)
    run(recordings, tmp_path / "whole", config)
    calls = []

    def stop_in_the_second_epoch(*args: Any) -> torch.Tensor:
        calls.append(args)
        if len(calls) == 4:  # two batches an epoch
            raise KeyboardInterrupt
        return original(*args)

    original = mask_bands
    monkeypatch.setattr(voice_task, "mask_bands", stop_in_the_second_epoch)
    with pytest.raises(KeyboardInterrupt):
        run(recordings, tmp_path / "cut", config)
    run(recordings, tmp_path / "cut", config)
    for name in ("encoder.safetensors", "last.safetensors", "metrics.jsonl"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_finished_run_is_not_trained_again_and_another_needs_overwrite(
    recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recordings = Path(shutil.copytree(recordings, tmp_path / "recordings"))
    short = replace(FAST, epochs=1)
    first = run(recordings, tmp_path / "run", short)
    with monkeypatch.context() as patch:
        patch.setattr(voice_task, "mask_bands", None)
        assert run(recordings, tmp_path / "run", short) == first
    other = replace(short, seed=1)
    with pytest.raises(OutputError, match="other settings"):
        run(recordings, tmp_path / "run", other)
    assert run(recordings, tmp_path / "run", other, overwrite=True) != first
    path = next(recordings.glob("*.wav"))
    path.write_bytes(path.read_bytes() + bytes(2))
    with pytest.raises(OutputError, match="other settings or data"):
        run(recordings, tmp_path / "run", other)


def test_it_learns_classes_and_speech_detection(recordings: Path, tmp_path: Path) -> None:
    config = replace(
        FAST, epochs=1, epoch_batches=24, warmup_steps=5, backbone_lr=4e-3, head_lr=4e-3,
        dropout=0.0, non_speech=0.5, speech_weight=1.0,
        augmentation=replace(NO_AUDIO_AUGMENTATION, gain_db=(-10.0, 0.0)),
    )  # fmt: skip
    history = run(recordings, tmp_path / "run", config)
    assert history[-1].validation and history[-1].validation.accuracy == 1.0
    encoder, _ = load_voice_encoder(tmp_path / "run/encoder.safetensors", CPU)
    high = encoder.encode(make_bursts(800, 2.0, seed=99))
    voice = encoder.speech_probability(high)
    assert encoder.classify(high[voice > 0.5].mean(dim=0)).argmax() == 1
    noise = 0.1 * np.random.default_rng(0).standard_normal(32_000, np.float32)
    assert voice.max() > 0.5 > encoder.speech_probability(encoder.encode(noise)).mean()
    assert encoder.classify(encoder.encode(noise)).max(axis=1).mean() < 0.5


def test_pauses_and_non_speech_have_no_speech(recordings: Path) -> None:
    splits = read_audio_manifest(recordings / "manifest.csv", recordings)
    task = VoiceTask(
        splits, replace(FAST, augmentation=NO_AUDIO_AUGMENTATION), CPU, settings={}, data={}
    )
    task.load_data(quiet)
    bands, target, loudness = task._prepare([0, 1, 2, 3], torch.Generator())
    assert bands.shape == (5, 64, 64) and loudness.shape == (5, 8)  # one without a voice
    assert target.sum(dim=1).tolist() == [1, 1, 1, 1, 0]
    assert (loudness[:4] <= 0).all() and (loudness[:4].amax(dim=1) == 0).all()
    assert (loudness[:4] < -30).any()  # the bursts' pauses
    assert (loudness[4] == -torch.inf).all()


def quiet(done: int, total: int | None, what: str) -> None:
    """Say nothing."""


def test_corpora_and_their_classes_are_drawn_alike() -> None:
    data = AudioDataset.__new__(AudioDataset)
    labels, corpora = np.array([0, 0, 0, 1, 0, 1, 1]), np.array(["a"] * 4 + ["b"] * 3)
    data.recordings = LabelledRecordings([], labels, np.array([""] * 7), corpora)
    share = data.balance()
    expected = torch.tensor([1 / 6] * 3 + [1 / 2] + [1 / 2] + [1 / 4] * 2)
    torch.testing.assert_close(share, expected)


def test_temperature_fits_the_certainty() -> None:
    logits = torch.zeros(100, 8)
    logits[:, 0] = 20.0  # sure of what holds for 70 of 100
    truth = torch.tensor([0] * 70 + [1, 2, 3] * 10)
    p = (logits / fit_temperature(logits, truth)).softmax(dim=1)[0, 0].item()
    assert p == pytest.approx(0.7, abs=0.01)


def test_last_step_refits_the_classifier_to_the_final_features(
    recordings: Path, tmp_path: Path
) -> None:
    run(recordings, tmp_path / "plain", replace(FAST, epochs=1))
    run(recordings, tmp_path / "refit", replace(FAST, epochs=1, refit=100.0))
    before, _ = read_raw(tmp_path / "plain/encoder.safetensors")
    after, metadata = read_raw(tmp_path / "refit/encoder.safetensors")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    names = ("expression.weight", "expression.bias", "temperature")
    assert changed == {f"classifier.{name}" for name in names}
    assert metadata["training"]["refit"] == 100.0
    encoder, _ = load_voice_encoder(tmp_path / "refit/encoder.safetensors", CPU)
    train = AudioDataset(
        read_audio_manifest(recordings / "manifest.csv", recordings)["train"], quiet
    )
    for k, label in enumerate(train.recordings.labels):
        features = encoder.encode(train[k].numpy())
        with torch.inference_mode():
            logits = encoder.classifier.expression(average_speech(features, encoder.classifier))
        assert logits.mean(dim=0).argmax() == label


def test_classifier_is_a_logistic_regression_with_small_answers_for_classes_never_seen() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=600)
    x = 5 + 2 * np.eye(3)[labels] + rng.normal(size=(600, 3))
    moments = LabelledMoments(x, labels, np.ones(600, np.float32))
    linear = fit_linear(moments, 1e4, unseen=0.01)
    theirs = LogisticRegression(C=np.inf, max_iter=1000).fit(x, labels)
    p = linear(torch.from_numpy(x).float()).softmax(dim=1).detach().numpy()
    known = p[:, :3] / p[:, :3].sum(axis=1, keepdims=True)
    np.testing.assert_allclose(known, theirs.predict_proba(x), atol=0.01)
    middle = linear(torch.from_numpy(x.mean(axis=0)).float()).softmax(dim=0)
    torch.testing.assert_close(middle[3:], torch.full((5,), 0.01), atol=1e-4, rtol=0)
    rare = replace(moments, weights=np.where(labels == 0, 0.01, 1).astype(np.float32))
    fewer = fit_linear(rare, 1e4, unseen=0.01)(torch.from_numpy(x).float()).argmax(dim=1)
    assert (fewer == 0).float().mean() < (p.argmax(axis=1) == 0).mean() / 2


def test_moments_of_recordings_count_by_corpus_and_class(recordings: Path) -> None:
    splits = read_audio_manifest(recordings / "manifest.csv", recordings)
    data = AudioDataset(splits["train"], quiet)
    moments = draw_moments(data, lambda audio: audio[:40].view(20, 2), seed=0)
    assert moments.features.shape == (8 * MOMENTS, 2)
    assert moments.labels.tolist() == splits["train"].labels.repeat(MOMENTS).tolist()
    assert moments.weights.sum() == pytest.approx(2 * MOMENTS)  # of two corpora
    again = draw_moments(data, lambda audio: audio[:40].view(20, 2), seed=0)
    assert (again.features == moments.features).all()


def test_bad_input(recordings: Path, tmp_path: Path) -> None:
    def train_on(**changes: str) -> None:
        lines = (recordings / "manifest.csv").read_text().splitlines()
        row = dict(zip(lines[0].split(","), lines[1].split(","), strict=True)) | changes
        manifest = tmp_path / "other.csv"
        manifest.write_text("\n".join([lines[0], ",".join(row.values()), *lines[2:]]))
        train_voice_encoder(
            recordings, manifest, tmp_path / "run", FAST, device="cpu", overwrite=True
        )

    with pytest.raises(InputError, match="a-valid.*both splits"):
        train_on(speaker="a-valid")
    with pytest.raises(InputError, match=r"nothing\.wav"):
        train_on(file="nothing.wav")
    write_media(recordings / "mute.mp4", [counting_picture(k) for k in range(3)])
    with pytest.raises(InputError, match="mute.mp4 has no audio"):
        train_on(file="mute.mp4")
    with pytest.raises(InputError, match="unknown expression"):
        train_on(label="bored")
    (tmp_path / "one").mkdir()
    save_audio_set(tmp_path / "one", classes=1)
    with pytest.raises(InputError, match="all of split 'train' is Neutral; two classes"):
        run(tmp_path / "one", tmp_path / "run")
    with pytest.raises(UsageError, match="at least 1 epoch"):
        run(recordings, tmp_path / "run", replace(FAST, epochs=0))
    with pytest.raises(UsageError, match="tpu"):
        train_voice_encoder(recordings, recordings / "manifest.csv", tmp_path / "run", device="tpu")


def test_training_is_in_float32_where_bfloat16_is_wrong(
    recordings: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(precision, "choose_precision", lambda wanted, device: "bfloat16")
    monkeypatch.setattr(precision, "measure_difference", lambda rough, exact: 0.3)
    splits = read_audio_manifest(recordings / "manifest.csv", recordings)
    config = replace(FAST, precision="auto")
    assert VoiceTask(splits, config, CPU, settings={}, data={}).config.precision == "float32"
    assert "in bfloat16 outputs differ by 30 %, more than 5 %" in caplog.text
