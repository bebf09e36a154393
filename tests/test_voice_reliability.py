"""Frames without a face are labelled from audio only where the voice encoder is reliable."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_features import SMALL_GATED, VISUAL, make_features

from abawcli.cli import main
from abawcli.config import SUBJECTS, Smoothing
from abawcli.formats.features import read_features, write_features
from abawcli.formats.hashing import hash_file
from abawcli.formats.metadata import AudioBackboneMetadata, Backbones
from abawcli.formats.provenance import read_provenance
from abawcli.formats.strategy import SubjectSegment
from abawcli.formats.table_schemas import PROBABILITIES
from abawcli.formats.tables import read_table
from abawcli.logits import N_OUTPUTS
from abawcli.models.checkpoint import save_checkpoint
from abawcli.models.heads import build_head, save_head
from abawcli.models.metadata import HeadMetadata, VoiceEncoderMetadata
from abawcli.models.voice import CompactVoice, VoiceNetwork
from abawcli.models.voice_reliability import VoiceReliability, load_reliability
from abawcli.pipeline.prediction_columns import PredictionColumns
from abawcli.pipeline.subject_stream import FramePrediction
from abawcli.progress import ignore_progress

DIM, LEAST = 6, 0.4


def make_voice(path: str, least: float | None) -> VoiceNetwork:
    """Write a tiny voice encoder whose answers are of any confidence."""
    torch.manual_seed(1)
    network = VoiceNetwork(CompactVoice((4, 4, 4, 4), DIM))
    with torch.no_grad():
        network.classifier.voice.bias.fill_(5)  # speech
    metadata = VoiceEncoderMetadata(network.backbone.shape, reliable_confidence=least)
    save_checkpoint(path, network.state_dict(), metadata)
    return network


@pytest.fixture
def voice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> VoiceReliability:
    """An encoder, a head on its features, and features of somebody, in the working directory."""
    monkeypatch.chdir(tmp_path)
    make_voice("voice.safetensors", LEAST)
    path = str(tmp_path / "voice.safetensors")
    audio = AudioBackboneMetadata("compact-voice", DIM, hash_file(path), path)
    backbones = Backbones(VISUAL, audio)
    torch.manual_seed(0)
    head = build_head("gated", backbones, SMALL_GATED)
    save_head(
        "head.safetensors", head, HeadMetadata("gated", asdict(SMALL_GATED), backbones, Smoothing())
    )
    found = make_features(np.arange(200) % 8, "p", missing=0.5, backbones=backbones)
    write_features(found, "p.safetensors", {})
    judge = load_reliability(path, audio.sha256)
    assert judge is not None
    return judge


def predict(output: str, *more: str) -> pd.DataFrame:
    call = ["predict", "p.safetensors", "-o", output, "--recipe", "head.safetensors"]
    result = CliRunner().invoke(main, [*call, "--device", "cpu", "--no-smooth", *more])
    assert result.exit_code == 0, result.output
    return read_table(Path(output))


def test_only_reliable_audio_labels_a_frame_without_a_face(voice: VoiceReliability) -> None:
    table, every = predict("t.parquet"), predict("all.parquet", "--label-all")
    alone = (every["source"] == "audio").to_numpy()
    dropped = (table["source"] != every["source"]).to_numpy()
    assert 0 < dropped.sum() < alone.sum() and not (dropped & ~alone).any()
    assert set(table["source"][dropped]) == {"none"} and set(table["label"][dropped]) == {-1}
    kept = ~dropped
    pd.testing.assert_frame_equal(table[kept], every[kept])
    reliable = voice.judge(read_features(Path("p.safetensors")).audio)
    assert (dropped == (alone & ~reliable)).all()
    assert read_provenance("all.parquet")["settings"]["label_all"] is True
    assert (predict("a.parquet", "--modality", "audio")["source"] != "none").sum() > alone.sum()


def test_encoder_that_is_gone_or_another_one_judges_nothing(
    voice: VoiceReliability,
) -> None:
    path = Path("voice.safetensors")
    assert load_reliability(str(path), "0" * 64) is None
    make_voice("silent.safetensors", None)
    assert load_reliability("silent.safetensors", hash_file("silent.safetensors")) is None
    assert load_reliability("facebook/wav2vec2-base", None) is None
    path.unlink()
    assert "all frames with speech are labelled" in run_and_read_warnings()
    every = predict("all.parquet", "--label-all")
    assert (predict("t2.parquet")["source"] == every["source"]).all()


@pytest.mark.parametrize(
    "detected",
    [
        AudioBackboneMetadata("wav2vec2", DIM, "0" * 64, "/gone/wav2vec2", layers="last4"),
        AudioBackboneMetadata("hf:voices", DIM, "0" * 64, "hf:/gone/voices"),
        AudioBackboneMetadata.join([AudioBackboneMetadata(name, DIM // 2) for name in "ab"]),
    ],
)
def test_a_backbone_that_knows_no_reliability_is_not_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, detected: AudioBackboneMetadata
) -> None:
    monkeypatch.chdir(tmp_path)
    backbones = Backbones(VISUAL, detected)
    head = build_head("gated", backbones, SMALL_GATED)
    metadata = HeadMetadata("gated", asdict(SMALL_GATED), backbones, Smoothing())
    save_head("head.safetensors", head, metadata)
    write_features(make_features(np.arange(9) % 8, "p", backbones=backbones), "p.safetensors", {})
    predict("t.csv")
    assert read_provenance("t.csv").get("warnings", []) == []


def run_and_read_warnings() -> str:
    call = ["predict", "p.safetensors", "-o", "t.csv", "--recipe", "head.safetensors"]
    return CliRunner().invoke(main, [*call, "--device", "cpu"]).stderr


@settings(max_examples=20)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=12))
def test_frames_of_a_video_follow_the_same_rule(rows: list[tuple[bool, bool]]) -> None:
    def stream() -> Iterator[FramePrediction]:
        outputs = np.full(N_OUTPUTS, 1 / 8, np.float32)
        for number, (detected, reliable) in enumerate(rows, 1):
            known = outputs if detected else None
            yield FramePrediction(number, number / 25, [], {}, known, detected, reliable)

    columns = PredictionColumns().collect(stream(), ignore_progress)
    people = (SubjectSegment(SUBJECTS[0]),)
    table = columns.tabulate("v", columns.select(people, "v"), people)
    expected = ["audio" if detected and reliable else "none" for detected, reliable in rows]
    assert table["source"].tolist() == expected
    assert table[PROBABILITIES].notna().all(axis=1).tolist() == [s == "audio" for s in expected]


@settings(max_examples=20)
@given(st.integers(1, 40), st.integers(0, 99))
def test_judgement_does_not_depend_on_the_number_of_rows(count: int, seed: int) -> None:
    torch.manual_seed(seed)
    network = VoiceNetwork(CompactVoice((4, 4, 4, 4), DIM))
    judge = VoiceReliability(network.classifier, 0.13)
    audio = np.random.default_rng(seed).normal(0, 2, (count, DIM)).astype(np.float16)
    together = judge.judge(audio)
    assert together.tolist() == [bool(judge.judge(row[None])[0]) for row in audio]
