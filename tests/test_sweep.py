"""The search for the best smoothing, and what it is worth."""

import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sample_tables import make_table

from abawcli.balance import apply_bias, find_bias
from abawcli.config import SMOOTHING_METHODS, Smoothing, Sweeping
from abawcli.datasets.pairing import read_predictions
from abawcli.datasets.smoothed_tracks import smooth_labels
from abawcli.errors import InputError, UsageError
from abawcli.formats.abaw import read_annotation, write_annotation
from abawcli.formats.table_schemas import LOGITS, PROBABILITIES
from abawcli.formats.tables import read_table, write_table
from abawcli.metrics import count_confusion, find_macro_f1, score_labels
from abawcli.stages.smooth import smooth_table
from abawcli.stages.sweep import (
    Sweep,
    choose_by_folds,
    describe_sweep,
    list_candidates,
    sweep_files,
    write_command,
)

CONFIG = Sweeping(windows=(3, 9), folds=5)
STEADY = np.repeat([0, 4, 5, 2], 30)


def flicker(labels: np.ndarray, seed: int, share: float = 0.3) -> np.ndarray:
    """Replace a share of the labels (T,) by any other ones."""
    rng = np.random.default_rng(seed)
    return np.where(rng.random(len(labels)) < share, rng.integers(0, 8, len(labels)), labels)


def write_videos(place: Path, count: int = 4) -> tuple[list[Path], list[Path]]:
    """Write predictions that flicker, a table a video, and annotations."""
    predictions, annotations = [], []
    for k in range(count):
        name = f"v{k}"
        predictions.append(place / "p" / f"{name}.parquet")
        write_table(make_table(flicker(STEADY, k), name), predictions[-1], {})
        annotations.append(place / "t" / f"{name}.txt")
        write_annotation(STEADY, annotations[-1])
    return predictions, annotations


class TestCounts:
    @settings(deadline=None)
    @given(
        st.lists(st.tuples(st.integers(-1, 7), st.integers(-1, 7)), min_size=1).filter(
            lambda pairs: any(truth != -1 for truth, _ in pairs)
        )
    )
    def test_the_macro_f1_of_counts_is_that_of_labels(self, pairs: list[tuple[int, int]]) -> None:
        truth, predicted = np.array(pairs).T
        counts, score = count_confusion(truth, predicted), score_labels(truth, predicted)
        assert find_macro_f1(counts) == pytest.approx(score.macro_f1)
        np.testing.assert_array_equal(counts[:, :8], score.confusion)
        np.testing.assert_array_equal(counts.sum(axis=1), score.support)

    def test_counts_of_several_are_scored_each(self) -> None:
        one, other = (count_confusion(np.arange(8), np.full(8, k)) for k in (0, -1))
        assert find_macro_f1(np.stack([one, other])) == pytest.approx([2 / 9 / 8, 0])

    def test_nothing_annotated_counts_nothing(self) -> None:
        assert count_confusion(np.array([-1, -1]), np.array([0, -1])).sum() == 0


def test_candidates_begin_with_none_and_grow_wider() -> None:
    candidates = list_candidates((3, 9))
    assert candidates[0].window_frames == 1
    assert len(candidates) == len(set(candidates)) == 1 + 2 * 7
    assert {c.method for c in candidates} == set(SMOOTHING_METHODS)
    assert [c.window_frames for c in candidates] == [1, *[3] * 7, *[9] * 7]
    assert Smoothing("vote", 3, None, "logits") not in candidates


def test_default_windows_are_what_smooth_takes() -> None:
    windows = Sweeping().windows
    assert list(windows) == sorted(set(windows))
    assert all(window % 2 == 1 and window > 1 for window in windows)


@settings(deadline=None, max_examples=12)
@given(st.integers(0, 10_000), st.sampled_from(list_candidates((3, 9, 25))[1:]), st.booleans())
@example(0, Smoothing("median", 9, None, "logits"), True)
def test_labels_are_those_that_smooth_gives(
    tmp_path_factory: pytest.TempPathFactory, seed: int, smoothing: Smoothing, logits: bool
) -> None:
    """Whatever is missing: rows without a prediction, filled rows, and frames without a row."""
    rng = np.random.default_rng(seed)
    table = make_table(rng.integers(-1, 8, 40), "a")
    known = table["label"] != -1
    table.loc[known, PROBABILITIES] = rng.dirichlet(np.ones(8), int(known.sum()))
    table["label"] = np.where(known, table[PROBABILITIES].fillna(0).to_numpy().argmax(1), -1)
    if logits:  # whose level differs from row to row
        level = rng.normal(0, 5, (40, 1))
        table[LOGITS] = np.log(np.maximum(table[PROBABILITIES].to_numpy(), 1e-9)) + level
    table.loc[known & (rng.random(40) < 0.2), "source"] = "filled"
    table = table[rng.random(40) < 0.9].sample(frac=1, random_state=seed)
    path = tmp_path_factory.mktemp("a") / "a.parquet"
    write_table(table, path, {})
    track = read_predictions(path)["a", "main"]
    labels = smooth_labels(track, smoothing)
    expected = smooth_table(table, smoothing)
    np.testing.assert_array_equal(labels[expected["frame"] - 1], expected["label"])
    without = np.setdiff1d(np.arange(1, len(labels) + 1), expected["frame"])
    assert (labels[without - 1] == -1).all()


class TestFolds:
    def test_a_choice_is_scored_on_other_videos_than_it_was_made_on(self) -> None:
        """Each candidate is right about one video only, which is the one that it wins on."""
        right, wrong = (count_confusion(np.arange(8), np.roll(np.arange(8), k)) for k in (0, 1))
        counts = np.stack([[wrong, wrong], [right, wrong], [wrong, right]])  # (3, 2, 8, 9)
        choices, cross_validated = choose_by_folds(counts, {"a": 1, "b": 2})
        assert [choice.chosen for choice in choices] == [2, 1]
        assert [choice.videos for choice in choices] == [["a"], ["b"]]
        assert [choice.macro_f1 for choice in choices] == [0, 0]
        assert cross_validated == 0
        assert find_macro_f1(counts.sum(axis=1)).max() == pytest.approx(1 / 2)

    def test_of_equals_the_first_wins(self) -> None:
        right = count_confusion(np.arange(8), np.arange(8))
        choices, cross_validated = choose_by_folds(np.stack([[right] * 2] * 3), {"a": 1, "b": 2})
        assert [choice.chosen for choice in choices] == [0, 0]
        assert cross_validated == 1


class TestSweep:
    def test_smoothing_wins_on_predictions_that_flicker(self, tmp_path: Path) -> None:
        done: list[tuple[int, int | None, str]] = []
        sweep = sweep_files(*write_videos(tmp_path), CONFIG, lambda *state: done.append(state))
        assert sweep.candidates[sweep.best].window_frames == 9
        assert sweep.macro_f1[0] < sweep.cross_validated <= sweep.macro_f1[sweep.best]
        assert [choice.fold for choice in sweep.folds] == [1, 2, 3, 4]
        assert sorted(v for choice in sweep.folds for v in choice.videos) == sweep.videos
        assert (sweep.videos, sweep.failed) == (["v0", "v1", "v2", "v3"], {})
        assert sweep.frames == 4 * len(STEADY)
        assert done[0] == (0, 4, "v0") and done[-1] == (4, 4, "class biases")

    def test_no_smoothing_wins_where_every_frame_is_right(self, tmp_path: Path) -> None:
        predictions, annotations = write_videos(tmp_path, 2)
        labels = np.tile(np.arange(8), 5)
        for table, annotation in zip(predictions, annotations, strict=True):
            write_table(make_table(labels, table.stem), table, {})
            write_annotation(labels, annotation)
        sweep = sweep_files(predictions, annotations, CONFIG)
        assert (sweep.best, sweep.macro_f1[0], sweep.cross_validated) == (0, 1, 1)
        described = describe_sweep(sweep, "p")
        assert described["command"] is None
        assert described["best"]["window_frames"] == 1

    def test_the_order_of_files_does_not_matter(self, tmp_path: Path) -> None:
        predictions, annotations = write_videos(tmp_path)
        one = sweep_files(predictions, annotations, CONFIG)
        other = sweep_files(predictions[::-1], annotations[::-1], CONFIG)
        assert one.macro_f1.tolist() == other.macro_f1.tolist()
        assert one.cross_validated == other.cross_validated

    def test_rows_are_counted_as_the_score_counts_them(self, tmp_path: Path) -> None:
        """One annotation is two rows longer than its video, and partly not annotated."""
        predictions, annotations = write_videos(tmp_path, 2)
        longer = np.concatenate([np.full(20, -1), STEADY[20:], [2, 3]])
        write_annotation(longer, annotations[0])
        sweep = sweep_files(predictions, annotations, CONFIG)
        predicted = [flicker(STEADY, k) for k in range(2)]
        predicted[0] = np.append(predicted[0], [predicted[0][-1]] * 2)
        score = score_labels(np.concatenate([longer, STEADY]), np.concatenate(predicted))
        assert sweep.macro_f1[0] == pytest.approx(score.macro_f1)
        assert sweep.frames == score.frames

    def test_the_description_has_every_candidate_and_fold(self, tmp_path: Path) -> None:
        sweep = sweep_files(*write_videos(tmp_path), CONFIG)
        described = describe_sweep(sweep, str(tmp_path / "p"))
        assert len(described["candidates"]) == 15
        assert described["candidates"][sweep.best] == described["best"]
        assert described["best"]["macro_f1"] == max(c["macro_f1"] for c in described["candidates"])
        assert described["as_predicted"] == described["candidates"][0]["macro_f1"]
        assert described["folds"][0]["chosen"]["method"] in SMOOTHING_METHODS
        assert described["frames"] == sweep.frames


class TestFailures:
    def test_one_source_video_is_too_few(self, tmp_path: Path) -> None:
        """Its two sides are of one source."""
        predictions = [tmp_path / f"p/a_{side}.csv" for side in ("left", "right")]
        for path in predictions:
            write_table(make_table(STEADY, path.stem), path, {})
            write_annotation(STEADY, tmp_path / "t" / f"{path.stem}.txt")
        with pytest.raises(InputError, match="2 or more annotated source videos, not 1"):
            sweep_files(predictions, sorted((tmp_path / "t").iterdir()), CONFIG)

    def test_no_annotated_frame(self, tmp_path: Path) -> None:
        predictions, annotations = write_videos(tmp_path)
        for path in annotations:
            write_annotation(np.full(len(STEADY), -1), path)
        with pytest.raises(InputError, match="2 or more annotated source videos, not 0"):
            sweep_files(predictions, annotations, CONFIG)

    def test_too_few_frames_for_folds(self, tmp_path: Path) -> None:
        predictions, annotations = write_videos(tmp_path, 2)
        for k, path in enumerate(annotations):
            write_annotation(np.where(np.arange(len(STEADY)) == 0, k, -1), path)
        with pytest.raises(UsageError, match="no class has the 2 annotated frames that 2 folds"):
            sweep_files(predictions, annotations, CONFIG)

    def test_labels_without_probabilities_take_no_part(self, tmp_path: Path) -> None:
        predictions, annotations = write_videos(tmp_path, 3)
        predictions[1].unlink()
        predictions[1] = tmp_path / "p" / "v1.txt"
        write_annotation(STEADY, predictions[1])
        sweep = sweep_files(predictions, annotations, CONFIG)
        assert sweep.videos == ["v0", "v2"]
        assert sweep.failed == {
            "v1": "v1: its predictions are labels alone; a sweep needs a prediction table"
        }
        with pytest.raises(InputError, match="a sweep needs a prediction table"):
            sweep_files([predictions[1]], [annotations[1]], CONFIG)

    def test_what_cannot_be_read_is_named(self, tmp_path: Path) -> None:
        predictions, annotations = write_videos(tmp_path, 3)
        predictions[2].unlink()
        sweep = sweep_files(predictions, annotations, CONFIG)
        assert sweep.failed == {
            str(predictions[2]): f"no such file: {predictions[2]}",
            "v2": "v2: no predictions of this video",
        }
        with pytest.raises(InputError, match=r"no such file: .* \(and 3 other failures\)"):
            sweep_files([predictions[2]], annotations, CONFIG)


@pytest.mark.parametrize(
    ("provenance", "smoothed"),
    [
        ({"command": "smooth", "settings": {"method": "median"}}, True),
        ({"command": "predict", "settings": {"smoothing": {"method": "median"}}}, True),
        ({"command": "predict", "settings": {"smoothing": None}}, False),
        ({"command": "predict"}, False),
        ({}, False),
    ],
)
def test_smoothed_predictions_are_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, provenance: dict[str, object], smoothed: bool
) -> None:
    predictions, annotations = write_videos(tmp_path, 2)
    write_table(make_table(STEADY, "v0"), predictions[0], provenance)
    sweep_files(predictions, annotations, CONFIG)
    message = f"1 of 2 prediction files are smoothed already ({predictions[0]})"
    assert (message in caplog.text) == smoothed


@pytest.mark.parametrize(
    ("named", "given", "output"),
    [
        ("preds", "preds", "preds-smoothed"),
        ("preds/", "preds/", "preds-smoothed"),
        ("preds/a.csv", "preds/a.csv", "preds/a-smoothed.csv"),
        ("preds/*.csv", "preds/*.csv", "smoothed"),
        ("@list.txt", "@list.txt", "smoothed"),
        ("it's; ls", "it's; ls", "it's; ls-smoothed"),
        ("-x.csv", "./-x.csv", "./-x-smoothed.csv"),
    ],
)
def test_the_command_is_what_a_shell_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str, given: str, output: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("preds", "it's; ls"):
        Path(folder).mkdir()
    for table in ("preds/a.csv", "-x.csv"):
        Path(table).touch()
    line = write_command(named, Smoothing("mean", 25, None, "logits"))
    options = ["--smoothing", "mean", "--window", "25", "--space", "logits"]
    assert shlex.split(line) == ["abaw", "smooth", given, "-o", output, *options]


def test_the_working_directory_is_smoothed_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    words = shlex.split(write_command(".", Smoothing()))
    assert words[2:5] == [".", "-o", str(tmp_path / "here-smoothed")]


def test_subjects_of_one_table_are_swept_apart(tmp_path: Path) -> None:
    """A left and a right person, and another video, in one table."""
    tables = [make_table(flicker(STEADY, k), "a", side) for k, side in enumerate(("left", "right"))]
    tables.append(make_table(flicker(STEADY, 2), "b"))
    write_table(pd.concat(tables), tmp_path / "all.parquet", {})
    for name in ("a_left", "a_right", "b"):
        write_annotation(STEADY, tmp_path / "t" / f"{name}.txt")
    sweep: Sweep = sweep_files(
        [tmp_path / "all.parquet"], sorted((tmp_path / "t").iterdir()), CONFIG
    )
    assert [choice.videos for choice in sweep.folds] in (
        [["a_left", "a_right"], ["b"]],
        [["b"], ["a_left", "a_right"]],
    )


def write_unbalanced(place: Path, count: int = 8) -> tuple[list[Path], list[Path]]:
    """Write predictions that name rare classes too seldom, as of a network trained on few."""
    predictions, annotations = [], []
    prior = np.array([0.5, 0.03, 0.02, 0.02, 0.3, 0.06, 0.04, 0.03])
    for k in range(count):
        rng = np.random.default_rng(k)
        truth = rng.choice(8, 400, p=prior)
        z = rng.normal(0, 1, (400, 8)) + 1.5 * np.eye(8)[truth] + np.log(prior)
        p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
        table = make_table(p.argmax(axis=1), f"v{k}")
        table[PROBABILITIES] = p
        table["confidence"] = p.max(axis=1)
        predictions.append(place / "p" / f"v{k}.parquet")
        write_table(table, predictions[-1], {})
        annotations.append(place / "t" / f"v{k}.txt")
        write_annotation(truth, annotations[-1])
    return predictions, annotations


def test_class_biases_have_an_honest_gain(tmp_path: Path) -> None:
    predictions, annotations = write_unbalanced(tmp_path)
    sweep = sweep_files(predictions, annotations, CONFIG)
    assert sweep.best == 0  # single frames: smoothing is no use
    raw = sweep.macro_f1[0]
    assert sweep.biased_cross_validated > raw + 0.05
    assert sweep.biased_macro_f1 >= sweep.biased_cross_validated - 0.01
    # What is proposed is what `smooth` gives.
    smoothing = replace(sweep.candidates[0], bias=sweep.bias)
    labels = [smooth_table(read_table(path), smoothing)["label"] for path in predictions]
    truth = np.concatenate([read_annotation(path) for path in annotations])
    assert score_labels(truth, np.concatenate(labels)).macro_f1 == sweep.biased_macro_f1
    described = describe_sweep(sweep, "p")["bias"]
    assert described["command"].endswith("--bias " + ",".join(f"{b:g}" for b in sweep.bias))
    # A fold has no part in its own bias.
    (first, *_) = sweep.folds
    pairs = [k for k, path in enumerate(annotations) if path.stem not in first.videos]
    others = [[paths[k] for k in pairs] for paths in (predictions, annotations)]
    held = [k for k in range(8) if k not in pairs]
    p = np.concatenate([read_table(path)[PROBABILITIES] for path in others[0]])
    bias = find_bias(p, np.concatenate([read_annotation(path) for path in others[1]]))
    found = [apply_bias(read_table(predictions[k])[PROBABILITIES].to_numpy(), bias) for k in held]
    own = np.concatenate([read_annotation(annotations[k]) for k in held])
    counts = count_confusion(own, np.concatenate(found).argmax(axis=1))
    assert find_macro_f1(counts) > first.as_predicted
