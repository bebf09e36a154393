"""Numbers that do not depend on the CPU, the batch size or the number of threads."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from media_files import Sound, write_media
from tiny_models import save_audio_backbone

from abawcli.config import AUDIO_RATE_HZ, PRECISION_TOLERANCE, PROBABILITY_TOLERANCE
from abawcli.media.audio import read_audio
from abawcli.media.video import read_frames
from abawcli.models.encoder import FeatureEncoder
from abawcli.pipeline.reproducibility import compute_exact, make_probe, measure_agreement

LIMITS = ("AVX2", "AVX512_CORE", "DEFAULT")  # DEFAULT: all that the CPU has
Found = dict[str, np.ndarray]
CLIP = Path(__file__).parents[1] / "sample_videos" / "expressions.mp4"
FIRST, FRAMES = 200, 12  # somebody speaks


def cut_clip(path: Path) -> Path:
    """Write a part of a sample clip, with its sound."""
    frames = itertools.islice(read_frames(CLIP), FIRST, FIRST + FRAMES)
    sound = read_audio(CLIP)
    assert sound is not None
    first, count = FIRST * AUDIO_RATE_HZ // 25, FRAMES * AUDIO_RATE_HZ // 25
    part = Sound([(0.0, sound.samples[None, first : first + count])], AUDIO_RATE_HZ, "pcm_s16le")
    return write_media(path, [frame.rgb() for frame in frames], sound=part)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Found]:
    """What is computed under each limit of a part of a sample clip."""
    folder = tmp_path_factory.mktemp("isa")
    clip = cut_clip(folder / "clip.mkv")
    backbone = save_audio_backbone(folder / "w2v")
    np.save(folder / "exact.npy", compute_exact("compact").numpy())
    worker = Path(__file__).with_name("isa_worker.py")
    subprocess.run(
        [sys.executable, str(worker), str(folder), str(clip), str(backbone), *LIMITS],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=True,
    )
    return {limit: dict(np.load(folder / f"{limit}.npz")) for limit in LIMITS}


def test_tables_agree_between_instruction_sets_batch_sizes_and_threads(
    found: dict[str, Found],
) -> None:
    tables = {
        (limit, key): p for limit, kept in found.items() for key, p in kept.items() if "," in key
    }
    assert len(tables) == 6
    for (_, one), (_, other) in itertools.combinations(tables.items(), 2):
        assert one.shape == other.shape == (FRAMES, 8) and not np.isnan(one).any()
        assert np.abs(one - other).max() < PROBABILITY_TOLERANCE
        assert (one.argmax(axis=1) != other.argmax(axis=1)).mean() <= 0.005


def test_limits_are_those_that_were_asked_for(found: dict[str, Found]) -> None:
    used = {limit: str(kept["isa"]) for limit, kept in found.items()}
    assert "AVX-512" not in used["AVX2"]
    assert "AMX" not in used["AVX512_CORE"]


@pytest.mark.parametrize("limit", LIMITS)
def test_numbers_are_right_under_every_limit(found: dict[str, Found], limit: str) -> None:
    kept = found[limit]
    # With AMX, compact-face is computed in bfloat16.
    assert 0 < kept["numbers"] < (PROBABILITY_TOLERANCE if "AMX" in str(kept["isa"]) else 1e-4)
    for name in ("doubtful", "audio", "face", "voice"):
        assert kept[name] < PRECISION_TOLERANCE, name


def test_the_probe_is_of_more_than_one_class() -> None:
    crops, sound = make_probe()
    assert crops.shape == (64, 1, 48, 48, 3) and sound.shape == (64 * 640,)
    assert np.unique(crops.reshape(64, -1), axis=0).shape[0] == 64


def test_wrong_numbers_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the face encoder were computed wrong here; a mere factor would not change the head."""
    right = FeatureEncoder.encode
    monkeypatch.setattr(FeatureEncoder, "encode", lambda self, crops: right(self, crops).roll(1, 1))
    threads = torch.get_num_threads()
    assert measure_agreement("compact", (64,), (1,)) > PROBABILITY_TOLERANCE
    assert torch.get_num_threads() == threads
