"""Numbers that do not depend on the CPU, the batch size or the number of threads."""

import itertools
import platform
from pathlib import Path

import isa_worker
import numpy as np
import pytest
import torch
from early_forks import EarlyFork
from sample_clips import cut_clip
from tiny_models import save_audio_backbone

from abawcli.config import PRECISION_TOLERANCE, PROBABILITY_TOLERANCE
from abawcli.models.encoder import FeatureEncoder
from abawcli.pipeline.reproducibility import compute_exact, make_probe, measure_agreement

LIMITS = ("AVX2", "AVX512_CORE")
UNLIMITED = "DEFAULT"  # all that the CPU has
LOWEST = "Intel AVX2"  # what oneDNN reports under the first limit, and on a CPU that has no more
PATIENCE_S = 300.0  # of a busy machine
Found = dict[str, np.ndarray]
FRAMES = 12


def compute_under(folder: Path, clip: Path, backbone: Path, limit: str) -> Found:
    """Return what is computed in a process of its own under a limit."""
    (folder / limit).mkdir()
    run = EarlyFork(folder / limit, isa_worker.compute, clip, backbone, limit)
    said = run.read(PATIENCE_S)
    assert run.poll() == 0, said
    return dict(np.load(folder / limit / isa_worker.FOUND))


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Found]:
    """What is computed of a part of a sample clip under each limit that is one on this CPU."""
    folder = tmp_path_factory.mktemp("isa")
    clip = cut_clip(folder / "clip.mkv", FRAMES)
    backbone = save_audio_backbone(folder / "w2v")
    np.save(folder / isa_worker.EXACT, compute_exact("compact").numpy())
    found = {UNLIMITED: compute_under(folder, clip, backbone, UNLIMITED)}
    limits = () if found[UNLIMITED]["isa"] == LOWEST else LIMITS
    return found | {limit: compute_under(folder, clip, backbone, limit) for limit in limits}


def test_tables_agree_between_instruction_sets_batch_sizes_and_threads(
    found: dict[str, Found],
) -> None:
    tables = [p for kept in found.values() for key, p in kept.items() if "," in key]
    assert len(tables) == len(isa_worker.SETTINGS) * len(found)
    for one, other in itertools.combinations(tables, 2):
        assert one.shape == other.shape == (FRAMES, 8) and not np.isnan(one).any()
        assert np.abs(one - other).max() < PROBABILITY_TOLERANCE
        assert (one.argmax(axis=1) != other.argmax(axis=1)).mean() <= 0.005


def test_limits_are_those_that_were_asked_for(found: dict[str, Found]) -> None:
    used = {limit: str(kept["isa"]) for limit, kept in found.items()}
    assert all(used.values()) or platform.machine() != "x86_64"
    assert used.get("AVX2", LOWEST) == LOWEST
    assert "AMX" not in used.get("AVX512_CORE", "")


def test_numbers_are_right_under_every_limit(found: dict[str, Found]) -> None:
    for limit, kept in found.items():
        # With AMX, compact-face is computed in bfloat16.
        allowed = PROBABILITY_TOLERANCE if "AMX" in str(kept["isa"]) else 1e-4
        assert 0 < kept["numbers"] < allowed, limit
        for name in ("doubtful", "audio", "face", "voice"):
            assert kept[name] < PRECISION_TOLERANCE, (limit, name)


def test_the_probe_is_of_more_than_one_class() -> None:
    crops, audio = make_probe()
    assert crops.shape == (64, 1, 48, 48, 3) and audio.shape == (64 * 640,)
    assert np.unique(crops.reshape(64, -1), axis=0).shape[0] == 64


def test_wrong_numbers_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the face encoder were computed wrong here; a mere factor would not change the head."""
    right = FeatureEncoder.encode
    monkeypatch.setattr(FeatureEncoder, "encode", lambda self, crops: right(self, crops).roll(1, 1))
    threads = torch.get_num_threads()
    assert measure_agreement("compact", (64,), (1,)) > PROBABILITY_TOLERANCE
    assert torch.get_num_threads() == threads
