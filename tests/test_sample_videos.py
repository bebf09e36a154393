"""The sample videos: what was drawn is read, who is who is kept, and the notebook shows it."""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
from loaded_networks import load_predictor
from media_files import AudioTrack, write_media
from notebook_cells import run_cell
from sample_clips import SAMPLES

from abawcli.config import AUDIO_RATE_HZ
from abawcli.faces.detect import Box, load_detector
from abawcli.faces.track import track_faces
from abawcli.formats.abaw import read_annotation
from abawcli.labels import IGNORE
from abawcli.media.audio import read_audio
from abawcli.media.video import read_frames
from abawcli.stages.predict import Predictor


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return load_predictor()


def check_labels(table: pd.DataFrame, clip: str) -> None:
    """Check that most frames of a clip are read as they were drawn."""
    truth = np.asarray(read_annotation(SAMPLES / f"{clip}.txt"))
    assert len(table) == len(truth)
    known = truth != IGNORE
    assert table["found"].to_numpy()[known].mean() > 0.95
    assert (table["label"].to_numpy() == truth)[known].mean() > 0.8


def test_most_frames_of_a_rotated_video_are_read_as_they_were_drawn(predictor: Predictor) -> None:
    check_labels(predictor.predict_video(SAMPLES / "rotated_phone.mp4"), "rotated_phone")


def test_a_sample_that_is_no_number_costs_no_label(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    speech = read_audio(SAMPLES / "expressions.mp4")
    assert speech is not None
    samples = speech.samples[9 * AUDIO_RATE_HZ : 11 * AUDIO_RATE_HZ].copy()
    listener, tables = load_predictor(label_all=True), []
    for name in ("whole", "spoilt"):
        audio = AudioTrack([(0.0, samples[None])], AUDIO_RATE_HZ, "pcm_f32le")
        path = write_media(tmp_path / f"{name}.wav", audio=audio)
        tables.append(listener.predict_video(path))
        samples[AUDIO_RATE_HZ] = np.nan  # in the middle of a word
    whole, spoilt = tables
    assert "spoilt.wav: its audio has samples that are no finite numbers (1, " in caplog.text
    assert (whole["source"] == "audio").mean() > 0.6
    assert (spoilt["source"] == whole["source"]).all()
    assert (spoilt["label"] == whole["label"]).all()


def test_a_face_is_found_when_it_is_there() -> None:
    clip = SAMPLES / "leaves_and_returns_vfr.mp4"
    detector = load_detector("retinaface", threads=1)
    followed = [item.faces for _, item in track_faces(read_frames(clip), detector)]
    there = pd.read_csv(clip.with_suffix(".csv"))["seen"].to_numpy() >= 0.5
    found = np.array([len(faces) > 0 for faces in followed])
    assert len(found) == len(there)
    assert (found != there).sum() <= 8  # half a face is a matter of taste
    everything = [face for faces in followed for face in faces]
    assert {face.subject for face in everything} == {0}
    assert sum(face.detected for face in everything) < 0.6 * found.sum()


def find_owner(people: dict[str, Box], box: Box) -> str:
    """Return the person whose face is nearest to a box."""

    def measure(person: str) -> float:
        (x, y, w, h), (px, py, pw, ph) = box, people[person]
        return float(np.hypot(x + w / 2 - px - pw / 2, y + h / 2 - py - ph / 2))

    return min(people, key=measure)


def test_two_people_stay_who_they_are_over_a_cut_and_a_crossing() -> None:
    truth: dict[int, dict[str, Box]] = defaultdict(dict)
    for row in pd.read_csv(SAMPLES / "two_people.csv").itertuples():
        truth[row.frame][row.person] = cast(Box, (row.x, row.y, row.w, row.h))
    detector = load_detector("retinaface", threads=1)
    found = [
        (face.subject, find_owner(truth[item.frame], face.box))
        for _, item in track_faces(read_frames(SAMPLES / "two_people.mp4"), detector)
        for face in item.faces
    ]
    subjects, owners = (np.array(column) for column in zip(*found, strict=True))
    shares = pd.crosstab(subjects, owners, normalize="index")
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


def list_kinds(cells: list[Any]) -> list[list[str]]:
    """Return the kinds of outputs of each cell."""
    return [[output["output_type"] for output in outputs] for outputs in cells]


def test_the_notebook_runs_and_shows_what_is_checked_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """examples/study.ipynb, on two of these videos; most of their frames are read as drawn."""
    notebook = SAMPLES.parent / "examples" / "study.ipynb"
    cells = [c for c in json.loads(notebook.read_text())["cells"] if c["cell_type"] == "code"]
    monkeypatch.chdir(notebook.parent)
    names: dict[str, Any] = {}
    shown = [run_cell("".join(cell["source"]), names) for cell in cells]
    kept = [cell["outputs"] for cell in cells]
    assert list_kinds(shown) == list_kinds(kept) and any(kept)
    for now, before in zip(shown[1], kept[1], strict=True):  # of the cell that predicts
        for form, lines in before.get("data", {"text": before.get("text")}).items():
            assert now.get("data", now)[form] == "".join(lines)
    for name, file in names["videos"].items():
        table = names["table"]
        check_labels(table[table["video"] == name], Path(file).stem)
    assert len(names["videos"]) == 2
