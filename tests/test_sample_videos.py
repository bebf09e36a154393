"""The sample videos: what was drawn is read, and who is who in a picture of two is kept."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from loaded_networks import load_predictor
from media_files import Sound, write_media
from sample_clips import CLIPS, EVERY, SAMPLES, thin_clip

from abawcli.config import AUDIO_RATE_HZ
from abawcli.formats.abaw import read_annotation
from abawcli.labels import IGNORE
from abawcli.media.audio import read_audio
from abawcli.media.video import read_frames
from abawcli.stages.predict import Predictor


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return load_predictor()


@pytest.mark.parametrize("clip", CLIPS)
def test_most_frames_are_read_as_they_were_drawn(predictor: Predictor, clip: str) -> None:
    thin = clip == "expressions"  # the longest, all of it with a face
    table = predictor.predict_video(thin_clip(clip) if thin else SAMPLES / f"{clip}.mp4")
    truth = np.asarray(read_annotation(SAMPLES / f"{clip}.txt"))[:: EVERY if thin else 1]
    assert len(table) == len(truth)
    known = truth != IGNORE
    assert table["found"][known].mean() > 0.95
    assert (table["label"].to_numpy() == truth)[known].mean() > 0.8


def test_a_sample_that_is_no_number_costs_no_label(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    speech = read_audio(SAMPLES / "expressions.mp4")
    assert speech is not None
    samples = speech.samples[9 * AUDIO_RATE_HZ : 11 * AUDIO_RATE_HZ].copy()
    listener, tables = load_predictor(label_all=True), []
    for name in ("whole", "spoilt"):
        sound = Sound([(0.0, samples[None])], AUDIO_RATE_HZ, "pcm_f32le")
        path = write_media(tmp_path / f"{name}.wav", sound=sound)
        tables.append(listener.predict_video(path))
        samples[AUDIO_RATE_HZ] = np.nan  # in the middle of a word
    whole, spoilt = tables
    assert "spoilt.wav: its audio has samples that are no finite numbers (1, " in caplog.text
    assert (whole["source"] == "audio").mean() > 0.6
    assert (spoilt["source"] == whole["source"]).all()
    assert (spoilt["label"] == whole["label"]).all()


def find_owner(truth: pd.DataFrame, row: pd.Series) -> str:
    """Return the person whose face is nearest to a box."""
    middle = truth[["x", "y"]].to_numpy() + truth[["w", "h"]].to_numpy() / 2
    away = np.hypot(*(middle - (row["x"] + row["w"] / 2, row["y"] + row["h"] / 2)).T)
    return str(truth["person"].iloc[int(away.argmin())])


def test_two_people_stay_who_they_are_over_a_cut_and_a_crossing(predictor: Predictor) -> None:
    table = predictor.predict_video(SAMPLES / "two_people.mp4", "all")
    truth = dict(tuple(pd.read_csv(SAMPLES / "two_people.csv").groupby("frame")))
    found = table[table["found"]]
    owner = [find_owner(truth[row["frame"]], row) for _, row in found.iterrows()]
    shares = pd.crosstab(found["subject"], np.array(owner), normalize="index")
    assert len(shares) == 2 and set(shares.idxmax(axis=1)) == {"anna", "kofi"}
    assert shares.max(axis=1).min() > 0.97


def test_the_truth_of_two_people_is_of_every_frame() -> None:
    truth = pd.read_csv(SAMPLES / "two_people.csv")
    frames = sum(1 for _ in read_frames(SAMPLES / "two_people.mp4"))
    for person, rows in truth.groupby("person"):
        assert rows["frame"].tolist() == list(range(1, frames + 1))
        labels = read_annotation(Path(SAMPLES / f"two_people_{person}.txt"))
        assert rows["label"].tolist() == labels.tolist()
        assert (rows["label"][rows["seen"] < 0.5] == IGNORE).all()
