"""Features of composed videos without encoding them, and from encoders that did not see them."""

import importlib
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_compose import make_planner, write_faces, write_voices

from abawcli.formats.abaw import read_annotation
from abawcli.formats.features import read_features

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
composed_features: Any = importlib.import_module("composed_features")
held_out: Any = importlib.import_module("held_out")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return the description of two videos from small sources."""
    make = tmp_path_factory.mktemp
    faces, voices = write_faces(make("faces")), write_voices(make("voices"))
    return composed_features.Work(
        faces, voices, make("out"), "compact-face", "compact-voice", videos=(1, 1)
    )


def test_features_of_a_video_fit_its_plan(work: Any) -> None:
    maker = composed_features.Maker(work, "valid")
    planner = make_planner(3)
    video = planner.plan_video("v", 3, (2, 3))  # of two people
    maker.make(video)
    assert len(video.tracks) == 2
    for name, track in video.tracks.items():
        found = read_features(work.find_file("valid", name))
        labels = read_annotation(work.out / "valid" / "labels" / f"{name}.txt")
        np.testing.assert_array_equal(labels, track.labels)
        np.testing.assert_array_equal(found.has_visual, track.image >= 0)
        assert (np.abs(found.visual).max(axis=1) > 0)[found.has_visual].all()
        assert not found.visual[~found.has_visual].any()
        centre = found.box[:, :2] + found.box[:, 2:] / 2
        far = np.abs(centre - track.centre).max(axis=1) / track.side
        assert far[found.has_visual].max() < 0.1
        assert found.metadata.backbones == maker.backbones


def test_other_sources_need_another_folder(work: Any) -> None:
    composed_features.check_sources(work)
    composed_features.check_sources(work)
    with pytest.raises(SystemExit, match="other encoders or plans"):
        composed_features.check_sources(replace(work, seed=1))


def test_held_out_speakers_are_a_fifth_of_each_corpus(tmp_path: Path) -> None:
    rows = [
        f"{corpus}{speaker:02d}.wav,{corpus},{corpus}-{speaker:02d},Anger,train"
        for corpus, count in (("a", 10), ("b", 3))
        for speaker in range(count)
    ]
    (tmp_path / "manifest.csv").write_text("file,corpus,speaker,label,split\n" + "\n".join(rows))
    voices = composed_features.Voices(tmp_path, "train")
    held = composed_features.hold_speakers(voices)
    assert list(voices.table["speaker"][held]) == ["a-02", "a-07", "b-02"]
    voices.keep(held)
    ((label, corpora),) = voices.by_label.items()
    assert label == 1
    np.testing.assert_array_equal(np.concatenate(corpora), np.flatnonzero(held))


def test_a_train_video_has_images_of_the_fold_whose_encoder_is_used(work: Any, tmp_path) -> None:
    files = pd.read_csv(work.faces / "manifest.csv")["file"]
    folds = tmp_path / "folds.csv"
    pd.DataFrame({"file": files, "fold": np.arange(len(files)) % 3}).to_csv(folds, index=False)
    maker = composed_features.Maker(replace(work, folds=folds, videos=(3, 0)), "train")
    for number, video in enumerate(maker.plan()):
        assert video.fold == number % 3
        for track in video.tracks.values():
            shown = track.image[track.image >= 0]
            assert set(maker.faces.folds[shown]) == {video.fold}


@settings(max_examples=20)
@given(width=st.integers(1, 6), goal=st.integers(1, 6), seed=st.integers(0, 99))
def test_a_map_brings_features_into_the_other_space(width: int, goal: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    source = random.normal(size=(2000, width)).astype(np.float32)
    true = random.normal(size=(width + 1, goal)).astype(np.float32)
    weights = held_out.fit_map(source, held_out.append_one(source) @ true)
    np.testing.assert_allclose(weights, true, atol=0.01)
