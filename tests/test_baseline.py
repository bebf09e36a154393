"""`--baseline`: what a resting face adds is taken off."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sample_features import BACKBONES, SMALL_GATED, make_features
from sample_tables import make_table
from scipy import special

from abawcli.cli import main
from abawcli.config import BASELINE_FRAMES, Smoothing
from abawcli.errors import InputError
from abawcli.formats.features import write_features
from abawcli.formats.provenance import read_provenance
from abawcli.formats.table_schemas import LOGITS, PROBABILITIES
from abawcli.formats.tables import read_table, set_probabilities, write_table
from abawcli.labels import NEUTRAL
from abawcli.models.heads import build_head, save_head
from abawcli.models.metadata import HeadMetadata
from abawcli.pipeline.baseline import Baseline, remove_baseline

HAPPINESS = 4
SMILE = 3.0 * np.eye(8)[HAPPINESS]  # that a resting face adds to the logits
MODEL = special.log_softmax(2.0 * np.eye(8)[NEUTRAL])  # average answer for neutral faces


def tabulate(logits: NDArray[np.float64], subject: str = "main") -> pd.DataFrame:
    """Return a table of a person who has a face in every frame, 25 a second."""
    table = make_table([0] * len(logits), subject=subject)
    p = special.softmax(logits, axis=1)
    return set_probabilities(table, p, table["source"].to_numpy(str), logits)


def draw_neutral(seed: int, count: int = 40) -> NDArray[np.float64]:
    """Return logits whose log-probabilities have the mean MODEL."""
    log_p = special.log_softmax(np.random.default_rng(seed).normal(0, 1, (count, 8)), axis=1)
    shifted = log_p - log_p.mean(axis=0) + MODEL
    return shifted + np.random.default_rng(seed).normal(0, 1, (count, 1))


def read_p(table: pd.DataFrame) -> NDArray[np.float64]:
    return table[PROBABILITIES].to_numpy(np.float64)


def normalise(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean log-probabilities, as a checkpoint keeps them."""
    return special.log_softmax(logits, axis=1).mean(axis=0)


@settings(max_examples=10)
@given(st.integers(0, 999))
def test_nothing_changes_where_a_person_is_neutral_on_average(seed: int) -> None:
    logits = draw_neutral(seed)
    table, neutral = tabulate(logits), normalise(logits)
    for baseline in (Baseline((0, 99)), Baseline()):
        changed = remove_baseline(table, baseline, neutral, "clip")
        np.testing.assert_allclose(read_p(changed), read_p(table), atol=1e-9)
        assert changed["label"].tolist() == table["label"].tolist()


@settings(max_examples=10)
@given(st.integers(0, 999))
def test_smile_of_a_resting_face_is_taken_off_all_frames(seed: int) -> None:
    rng = np.random.default_rng(seed)
    resting = draw_neutral(seed, 25)
    logits = np.concatenate([resting, rng.normal(0, 3, (30, 8))])
    changed = remove_baseline(
        tabulate(logits + SMILE), Baseline((0, 1)), normalise(resting), "clip"
    )
    np.testing.assert_allclose(read_p(changed), special.softmax(logits, axis=1), atol=1e-9)


def test_auto_takes_a_constant_smile_off() -> None:
    logits = np.log(np.full((50, 8), 0.05)) + 2 * np.eye(8)[NEUTRAL]
    table = tabulate(logits + SMILE)
    assert set(table["label"]) == {HAPPINESS}
    changed = remove_baseline(table, Baseline(), normalise(logits), "clip")
    np.testing.assert_allclose(read_p(changed), special.softmax(logits, axis=1), atol=1e-9)


@settings(max_examples=10)
@given(st.integers(0, 999))
def test_it_is_the_difference_of_mean_features_for_a_linear_classifier(seed: int) -> None:
    rng = np.random.default_rng(seed)
    weight, bias = rng.normal(size=(6, 8)), rng.normal(size=8)
    person, model = rng.normal(1, 1, (30, 6)), rng.normal(size=(40, 6))
    # All neutral faces of the model have one set of features, so that means of both are the same.
    reference = model.mean(axis=0, keepdims=True)
    changed = remove_baseline(
        tabulate(person @ weight + bias), Baseline((0, 99)),
        special.log_softmax(reference @ weight + bias, axis=1)[0], "clip",
    )  # fmt: skip
    centred = person - person.mean(axis=0) + reference
    np.testing.assert_allclose(
        read_p(changed), special.softmax(centred @ weight + bias, axis=1), atol=1e-9
    )


def test_each_subject_has_its_own_baseline_and_audio_rows_stay(
    caplog: pytest.LogCaptureFixture,
) -> None:
    resting = np.tile(2.0 * np.eye(8)[NEUTRAL], (30, 1))
    smiling, plain = tabulate(resting + SMILE, "1"), tabulate(resting, "2")
    late = tabulate(resting + SMILE, "3").assign(time_s=lambda t: t["time_s"] + 9)
    smiling.loc[3, ["found", "source"]] = False, "audio"
    table = pd.concat([smiling, plain, late], ignore_index=True)
    changed = remove_baseline(table, Baseline((0, 2)), MODEL, "clip")
    expected = np.full(90, NEUTRAL)
    expected[[3, *range(60, 90)]] = HAPPINESS
    assert changed["label"].tolist() == expected.tolist()
    assert "clip, subject 3: no face in neutral frames" in caplog.text
    with pytest.raises(InputError, match=r"clip: no face in the neutral frames"):
        remove_baseline(table, Baseline((90, 99)), MODEL, "clip")


@pytest.mark.parametrize("baseline", [Baseline(), Baseline((0, 2))])
def test_a_video_with_nobody_in_it_has_nothing_to_subtract(
    caplog: pytest.LogCaptureFixture, baseline: Baseline
) -> None:
    table = tabulate(np.tile(SMILE, (30, 1))).assign(found=False, source="audio")
    changed = remove_baseline(table, baseline, MODEL, "clip")
    assert changed["label"].tolist() == table["label"].tolist()
    assert "no face in neutral frames; it has no baseline" in caplog.text


@pytest.fixture
def person(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Features of somebody and a head, in the working directory."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    head = build_head("visual", BACKBONES, SMALL_GATED)
    metadata = HeadMetadata("visual", asdict(SMALL_GATED), BACKBONES, Smoothing())
    save_head("plain.safetensors", head, metadata)
    save_head("head.safetensors", head, replace(metadata, neutral=tuple(MODEL)))
    write_features(make_features(np.arange(60) % 8, "p", missing=0), "p.safetensors", {})
    return tmp_path


def predict(output: str, *more: str, recipe: str = "head.safetensors") -> Result:
    call = ["predict", "p.safetensors", "-o", output, "--recipe", recipe, "--device", "cpu"]
    return CliRunner().invoke(main, [*call, "--no-smooth", "--logits", *more])


def read_logits(path: str) -> NDArray[np.float64]:
    logits = read_table(path)[LOGITS].to_numpy(np.float64)
    return logits - logits.mean(axis=1, keepdims=True)


def test_a_part_a_file_and_a_table_of_frames_are_the_same(person: Path) -> None:
    assert predict("none.parquet").exit_code == 0
    assert predict("part.parquet", "--baseline", "0-0:00.4").exit_code == 0  # ten frames
    pd.DataFrame({"video": "p", "frame": range(1, 11)}).to_csv("rows.csv", index=False)
    assert predict("rows.parquet", "--baseline", "rows.csv").exit_code == 0
    neutral = read_table("none.parquet").head(10)
    write_table(neutral, "neutral.parquet", read_provenance("none.parquet"))
    assert predict("table.parquet", "--baseline", "neutral.parquet").exit_code == 0
    none, part = read_logits("none.parquet"), read_logits("part.parquet")
    offset = special.log_softmax(none[:10], axis=1).mean(axis=0) - MODEL
    np.testing.assert_allclose(part, none - (offset - offset.mean()), atol=1e-5)
    np.testing.assert_allclose(read_logits("rows.parquet"), part, atol=1e-5)
    np.testing.assert_allclose(read_logits("table.parquet"), part, atol=1e-5)
    made = {n: read_provenance(f"{n}.parquet")["settings"] for n in ("none", "part", "rows")}
    assert "baseline" not in made["none"] and made["part"]["baseline"] == [0, 0.4]
    assert made["rows"]["baseline"]["file"] == "rows.csv"


@pytest.mark.parametrize(
    ("baseline", "message"),
    [
        ("often", "neither auto, nor a file, nor times"),
        ("5-2", "ends before it begins"),
        ("x-2", "is not a time"),
        ("gone.csv", "gone.csv"),
        ("60-70", "no face in the neutral frames"),
        ("two.csv", "faces of 2 people"),
        ("changed.parquet", "predicted with --baseline"),
        ("other.parquet", "with the recipe other, not head.safetensors"),
    ],
)
def test_baseline_that_cannot_be_is_refused(person: Path, baseline: str, message: str) -> None:
    both = pd.concat([make_table([0], subject="1"), make_table([0], subject="2")])
    write_table(both, "two.csv", {})
    write_table(make_table([0]), "changed.parquet", {"settings": {"baseline": "auto"}})
    write_table(make_table([0]), "other.parquet", {"settings": {"recipe": "other"}})
    result = predict("t.csv", "--baseline", baseline)
    assert result.exit_code != 0 and message in result.stderr
    assert not Path("t.csv").exists()


def test_recipe_without_a_neutral_answer_is_refused(person: Path) -> None:
    result = predict("t.csv", "--baseline", "auto", recipe="plain.safetensors")
    assert result.exit_code == 2 and "`abaw calibrate` adds it" in result.stderr


def test_auto_takes_a_second_or_a_tenth() -> None:
    logits = np.tile(-5.0 * np.eye(8)[NEUTRAL], (300, 1))
    logits[:30, NEUTRAL] = np.linspace(1, 2, 30)
    logits[:30, HAPPINESS] = 3
    assert BASELINE_FRAMES < 30
    changed = remove_baseline(tabulate(logits), Baseline(), MODEL, "clip")
    offset = normalise(logits[:30]) - MODEL
    expected = special.softmax(logits - offset, axis=1)
    np.testing.assert_allclose(read_p(changed), expected, atol=1e-9)
