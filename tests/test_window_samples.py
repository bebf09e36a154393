"""What heads learn from: windows of annotated frames, and the dropout of a modality."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_features import BACKBONES

from abawcli.datasets.annotated import AnnotatedFeatures, VideoSet
from abawcli.training.window_samples import WindowSamples, drop_modalities, swap_audio

BOTH = ("visual", "audio")


def make_videos(lengths: list[int], seed: int = 0, share: float = 0.8) -> VideoSet:
    """Videos whose features are their row's number."""
    rng, rows = np.random.default_rng(seed), sum(lengths)
    number = np.arange(rows)[:, None].astype(np.float16)
    data = AnnotatedFeatures(
        names=[f"v{k}" for k in range(len(lengths))],
        starts=np.cumsum([0, *lengths]),
        time_s=np.arange(rows) / 25,
        visual=number,
        audio=-number,
        has_visual=rng.random(rows) < share,
        has_audio=rng.random(rows) < share,
        labels=np.where(rng.random(rows) < share, rng.integers(0, 8, rows), -1),
        backbones=BACKBONES,
    )
    return VideoSet(data, frozenset(name for name in data.names if name != "v1"))


def test_windows_are_rows_of_one_video_padded_with_nothing() -> None:
    videos = make_videos([20, 9, 5])
    data = videos.data
    samples = WindowSamples(videos, BOTH, window=8, stride=4)
    assert len(samples) == 5  # 0, 4, 8, 12, and all of the third
    v, a, has_v, has_a, y = samples.gather(torch.arange(5))
    assert v.shape == (5, 8, 1) and has_v.shape == y.shape == (5, 8)
    for k, start in enumerate((0, 4, 8, 12, 29)):
        inside = min(8, 34 - start)
        assert v[k, :inside, 0].tolist() == list(range(start, start + inside))
        assert torch.equal(a[k], -v[k])
        rows = slice(start, start + inside)
        assert has_v[k, :inside].tolist() == data.has_visual[rows].tolist()
        assert y[k, :inside].tolist() == data.labels[rows].tolist()
    assert not has_v[4, 5:].any() and not has_a[4, 5:].any() and (y[4, 5:] == -1).all()


def test_windows_without_labels_or_features_are_left_out() -> None:
    videos = make_videos([40], share=1.0)
    videos.data.labels[:16] = -1
    videos.data.has_visual[30:] = False
    starts = {
        uses: WindowSamples(videos, uses, 8, 4).bounds[:, 0].tolist() for uses in (BOTH, BOTH[:1])
    }
    assert starts[BOTH] == [12, 16, 20, 24, 28, 32]
    assert starts[BOTH[:1]] == [12, 16, 20, 24, 28]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 100), st.sampled_from([(1, 1), (8, 4), (8, 8), (30, 7)]))
def test_labels_are_counted_once(seed: int, shape: tuple[int, int]) -> None:
    videos = make_videos([25, 9, 5, 1], seed)
    samples = WindowSamples(videos, BOTH, *shape)
    _, _, _, _, y = samples.gather(torch.arange(len(samples)))
    held = {
        int(row)
        for (start, end), labels in zip(samples.bounds.tolist(), y, strict=True)
        for row, label in zip(range(start, end), labels, strict=False)
        if label >= 0
    }
    expected = [int(videos.data.labels[row]) for row in sorted(held)]
    assert samples.labels().tolist() == expected


def test_an_epoch_has_every_window_once_in_random_order() -> None:
    samples = WindowSamples(make_videos([80, 9, 120]), BOTH, 16, 8)
    batches = samples.batches(100, torch.Generator().manual_seed(0))
    order = torch.cat(batches)
    assert order.tolist() != sorted(order.tolist())
    assert sorted(order.tolist()) == list(range(len(samples)))
    assert max(map(len, batches)) * 16 <= 100
    assert len(samples.batches(3, torch.Generator())) == len(samples)  # at least one window


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([0.0, 0.1, 0.5, 1.0]))
def test_dropout_takes_a_whole_modality_and_never_the_only_one(seed: int, p: float) -> None:
    source = torch.Generator().manual_seed(seed)
    has_v, has_a = (torch.rand(40, 3, generator=source) < 0.3 for _ in BOTH)
    new_v, new_a = drop_modalities(has_v, has_a, p, source)
    for k in range(40):
        kept_v, kept_a = torch.equal(new_v[k], has_v[k]), torch.equal(new_a[k], has_a[k])
        assert kept_v or not new_v[k].any()
        assert kept_a or not new_a[k].any()
        assert kept_v or kept_a
        had_both = bool(has_v[k].any() and has_a[k].any())
        assert had_both or (kept_v and kept_a)
        assert p != 1 or not had_both or not (kept_v and kept_a)
        assert p != 0 or (kept_v and kept_a)


def test_dropout_takes_either_modality_as_often() -> None:
    there = torch.ones(20_000, 1, dtype=torch.bool)
    v, a = drop_modalities(there, there, 0.1, torch.Generator().manual_seed(0))
    assert [(~x).float().mean().item() for x in (v, a)] == pytest.approx([0.05, 0.05], abs=0.005)


def test_a_share_of_the_samples_with_a_face_gets_the_whole_audio_of_another() -> None:
    audio = torch.arange(10_000.0).view(-1, 1, 1).expand(-1, 3, 2)  # (B, T, Da)
    has_audio = torch.arange(10_000)[:, None].expand(-1, 3) % 3 > 0
    has_visual = torch.arange(10_000)[:, None].expand(-1, 3) % 2 > 0
    a, has_a = swap_audio(
        audio, has_visual, has_audio, p=0.3, generator=torch.Generator().manual_seed(0)
    )
    source = a[:, 0, 0].long()
    assert torch.equal(a, audio[source]) and torch.equal(has_a, has_audio[source])
    moved = source != torch.arange(10_000)
    assert not moved[0::2].any()  # no face: whoever loses the audio has nothing
    assert moved[1::2].float().mean().item() == pytest.approx(0.3, abs=0.02)
    same, _ = swap_audio(
        audio, has_visual, has_audio, p=0.0, generator=torch.Generator().manual_seed(0)
    )
    assert torch.equal(same, audio)
