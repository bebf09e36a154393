"""The composed videos hold what their labels and plans say."""

import importlib
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
from media_files import AudioTrack, write_media

from abawcli.errors import InputError
from abawcli.formats.abaw import read_annotation, split_side
from abawcli.labels import CLASSES, IGNORE
from abawcli.media.audio import read_audio
from abawcli.media.video import read_frames

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
compose: Any = importlib.import_module("compose")
sequences: Any = importlib.import_module("sequences")
motion: Any = importlib.import_module("motion")

GREY = {"train": 5, "valid": 250}  # of every face image of a split
TONE_HZ = {"train": 500, "valid": 1500}  # of every voice
RATE_HZ = 16_000
VIDEOS = {"train": 4, "valid": 1}  # the fourth one shows two people
SEED, SECONDS = 42, (2, 2.5)  # of short videos with whole faces, some over the border, and none


def write_faces(folder: Path) -> Path:
    """Write three images of each class and split, and their manifest."""
    rows = ["file,split,label,dup_of_train"]
    for split, grey in GREY.items():
        for k in range(3 * len(CLASSES)):
            name = f"{split}{k}.png"
            cv2.imwrite(str(folder / name), np.full((48, 48), grey, np.uint8))
            rows.append(f"{name},{split.title()},{CLASSES[k // 3]},0")
    # Of the wrong grey: neither may be used.
    cv2.imwrite(str(folder / "wrong.png"), np.full((48, 48), GREY["train"], np.uint8))
    rows += ["wrong.png,Valid,Anger,1", "wrong.png,Valid,,0"]
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    return folder


def write_voices(folder: Path) -> Path:
    """Write a tone between silences for each class but Other, and their manifest."""
    rows = ["file,corpus,speaker,label,split,seconds"]
    for split, tone_hz in TONE_HZ.items():
        time_s = np.arange(2 * RATE_HZ) / RATE_HZ
        tone = 0.2 * np.sin(2 * np.pi * tone_hz * time_s) * (abs(time_s - 1) < 0.6)
        pieces = [(0.0, tone[None].astype(np.float32))]
        name = f"{split}.wav"
        write_media(folder / name, audio=AudioTrack(pieces, RATE_HZ, "pcm_s16le"))
        rows += [f"{name},one,someone,{label},{split},2.0" for label in CLASSES[:-1]]
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return the folders of faces and voices."""
    make = tmp_path_factory.mktemp
    return write_faces(make("faces")), write_voices(make("voices"))


@pytest.fixture(scope="module")
def composed(
    sources: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Path, list[Any]]]:
    """Compose a few short videos of each split; return their folder and their plans."""
    out = {split: tmp_path_factory.mktemp(split) for split in GREY}
    return {
        split: (
            out[split],
            list(compose.compose(*sources, out[split], split, VIDEOS[split], SEED, SECONDS)),
        )
        for split in out
    }


def list_tracks(
    composed: dict[str, tuple[Path, list[Any]]],
) -> Iterator[tuple[str, Path, str, Any]]:
    """Yield split, folder, name and plan of every person."""
    for split, (out, videos) in composed.items():
        for video in videos:
            for name, track in video.tracks.items():
                yield split, out, name, track


def make_planner(seed: int, faces: int = 3) -> Any:
    """Return a planner with a few images of each label and clips of 2 s."""
    images = {label: np.arange(faces) + faces * label for label in range(len(CLASSES))}
    clips = {label: [np.array([10 * label])] for label in range(len(CLASSES) - 1)}
    looks = np.random.default_rng(0).normal(size=(faces * len(CLASSES), 4))
    return sequences.Planner(images, clips, lambda clip: 2.0, (seed,), looks)


def test_labels_and_plan_have_a_row_for_every_decoded_frame(composed) -> None:
    names = []
    for _, out, name, track in list_tracks(composed):
        video = out / "videos" / f"{split_side(name)[0]}.mp4"
        times_s = [frame.time_s for frame in read_frames(video)]
        labels = read_annotation(out / "labels" / f"{name}.txt")
        plan = pd.read_csv(out / "plan" / f"{name}.csv")
        assert len(labels) == len(plan) == len(times_s)
        np.testing.assert_allclose(times_s, np.arange(len(labels)) / 25, atol=1e-6)
        np.testing.assert_array_equal(labels, track.labels)
        np.testing.assert_array_equal(plan["label"], labels)
        np.testing.assert_array_equal(plan["frame"], np.arange(1, len(labels) + 1))
        names.append(name)
    assert {"train000", "train003_pair_left", "train003_pair_right", "valid000"} <= set(names)
    written = {p.stem for out, _ in composed.values() for p in (out / "labels").iterdir()}
    assert written == set(names)


def test_faces_of_the_own_split_are_where_and_when_the_plan_says(composed) -> None:
    seen = {"whole": 0, "edge": 0, "none": 0}
    for split, (out, videos) in composed.items():
        for video in videos:
            silence = np.zeros(video.frames * compose.FRAME_SAMPLES, np.float32)
            room = compose.Painter(video, [], silence).room
            plans = [pd.read_csv(out / "plan" / f"{name}.csv") for name in video.tracks]
            for frame in read_frames(out / "videos" / f"{video.name}.mp4"):
                picture = cv2.cvtColor(frame.rgb(), cv2.COLOR_RGB2GRAY).astype(float)
                rows = [plan.iloc[frame.frame - 1] for plan in plans]
                if not any(row["face"] for row in rows):
                    assert abs(picture - room).mean() < 8
                    seen["none"] += 1
                for row in (row for row in rows if row["face"]):
                    shown = picture[_inside(row, picture.shape)]
                    assert abs(np.median(shown) - GREY[split]) < 70  # light varies, and noise
                    seen["edge" if row["edge"] else "whole"] += 1
    assert min(seen.values()) > 20, seen


def _inside(row: pd.Series, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Return the part of the picture well within a face."""
    x0, y0 = (max(0, round(row[c] + 0.25 * row["side"])) for c in "xy")
    x1, y1 = (
        min(limit, round(row[c] + 0.75 * row["side"]))
        for c, limit in zip("xy", shape[1::-1], strict=True)
    )
    return slice(y0, y1), slice(x0, x1)


def test_the_audio_holds_voices_of_the_own_split_where_somebody_speaks(composed) -> None:
    detected = dict.fromkeys(GREY, 0)
    for split, (out, videos) in composed.items():
        for video in videos:
            audio = read_audio(out / "videos" / f"{video.name}.mp4")
            assert audio is not None and audio.start_s == 0
            speaks = np.any([track.voice for track in video.tracks.values()], axis=0)
            assert len(audio.samples) >= 640 * len(speaks)
            loud = [
                _measure_tones(audio.samples[640 * k : 640 * k + 640]) for k in range(len(speaks))
            ]
            own, other = (np.array([row[s] for row in loud]) for s in (split, _other(split)))
            # The codec blurs half a frame; at the ends of a run the tone fades.
            surely = np.convolve(speaks, np.ones(5), "same") > 4.5
            surely_not = np.convolve(speaks, np.ones(5), "same") < 0.5
            assert (own[surely] > 0.01).all()
            assert (own[surely_not] < 0.01).all() and (other < 0.01).all()
            detected[split] += surely.sum()
    assert min(detected.values()) > 20, detected


def _other(split: str) -> str:
    return "valid" if split == "train" else "train"


def _measure_tones(samples: np.ndarray) -> dict[str, float]:
    """Return how loud each split's tone is in a frame's audio."""
    time_s = np.arange(len(samples)) / RATE_HZ
    waves = {split: np.exp(2j * np.pi * tone_hz * time_s) for split, tone_hz in TONE_HZ.items()}
    return {split: float(abs((samples * wave).mean())) for split, wave in waves.items()}


def test_the_same_seed_makes_the_same_files(sources, composed, tmp_path) -> None:
    (again,) = compose.compose(*sources, tmp_path, "train", 1, SEED, SECONDS)
    out, (first, *_) = composed["train"]
    for part in (f"videos/{again.name}.mp4", f"plan/{first.name}.csv"):
        assert (tmp_path / part).read_bytes() == (out / part).read_bytes()


def test_the_plan_follows_from_the_seed() -> None:
    first, same, different = (make_planner(seed) for seed in (7, 7, 8))
    for number in range(4):
        a, b, c = (p.plan_video("v", number) for p in (first, same, different))
        assert a.speech == b.speech and a.speech != c.speech and a.room == b.room
        for track, twin in zip(a.tracks.values(), b.tracks.values(), strict=True):
            for field in fields(track):
                np.testing.assert_array_equal(getattr(track, field.name), getattr(twin, field.name))


def test_shares_are_as_planned() -> None:
    planner = make_planner(0)
    videos = [planner.plan_video(f"v{k}", k) for k in range(48)]
    tracks = [track for video in videos for track in video.tracks.values()]
    labels = np.concatenate([track.labels for track in tracks])
    face = np.concatenate([track.image >= 0 for track in tracks])
    edge = np.concatenate([track.edge for track in tracks])
    fading = np.concatenate([track.mix > sequences.FADED for track in tracks])
    assert 0.06 < (labels == IGNORE)[~fading].mean() < 0.14
    assert 0.12 < (~face).mean() < 0.18
    assert 0.12 < edge.mean() < 0.18 and not (edge & ~face).any()
    shares = np.bincount(labels[labels >= 0], minlength=8) / (labels >= 0).sum()
    np.testing.assert_allclose(shares, sequences.share_labels(range(8)), atol=0.04)
    assert set(np.argsort(shares)[-2:]) == {CLASSES.index("Neutral"), CLASSES.index("Other")}
    assert sum(len(video.tracks) == 2 for video in videos) == 6
    assert sum(not video.has_audio and not video.speech for video in videos) == 4


def test_images_and_voices_have_the_segments_label() -> None:
    planner = make_planner(0)
    other = set()
    for number in range(24):
        video = planner.plan_video("v", number)
        for track in video.tracks.values():
            shown = (track.image >= 0) & (track.labels != IGNORE)
            np.testing.assert_array_equal(track.image[shown] // 3, track.labels[shown])
            if not track.voice.any():
                continue
            for said in video.speech:
                labels = set(track.labels[said.start : said.stop]) - {IGNORE}  # -1: it fades
                assert len(labels) < 2
                if labels == {CLASSES.index("Other")}:
                    other.add(said.clip // 10)
                elif labels:
                    assert {said.clip // 10} == labels
    assert len(other) > 3  # any voice goes with it


def test_a_person_has_few_images_that_fade_into_each_other() -> None:
    planner = make_planner(0, faces=30)
    ends = 0
    for number in range(16):
        for track in planner.plan_video("v", number).tracks.values():
            seen = track.image >= 0
            for label in range(len(CLASSES)):
                assert len(set(track.image[seen & (track.labels == label)])) <= 2
            assert track.mix.min() == 0 and track.mix.max() <= 0.5
            share = np.where(track.image < track.other, track.mix, 1 - track.mix)
            pair = np.sort([track.image, track.other], axis=0)
            same = (pair[:, 1:] == pair[:, :-1]).all(axis=0) & (pair[0] != pair[1])[1:]
            assert (np.abs(np.diff(share))[same & seen[1:] & seen[:-1]] < 0.2).all()
            change = np.flatnonzero((np.diff(track.image) != 0) & seen[1:] & seen[:-1])
            assert (track.mix[change] > 0.3).all() and (track.mix[change + 1] > 0.3).all()
            new = track.image[change] // 30 != track.image[change + 1] // 30
            assert (track.labels[change[new]] == IGNORE).all()
            ends += new.sum()
    assert ends > 50


def test_videos_of_a_fold_show_images_of_that_fold_only() -> None:
    planner = make_planner(0, faces=30)
    planner.folds = np.arange(30 * len(CLASSES)) % 3
    for number in range(6):
        video = planner.plan_video("v", number)
        assert video.fold == number % 3
        for track in video.tracks.values():
            assert set(planner.folds[track.image[track.image >= 0]]) == {video.fold}


def test_the_mouth_opens_with_the_voice_and_the_face_stays_near() -> None:
    voice = np.repeat([False, True, False], 50)
    level = np.where(voice, np.abs(np.sin(np.arange(150) / 3)), 0)
    strength = motion.plan_motion(voice, level, np.random.default_rng(0))  # (150, 4)
    assert strength[~voice, 3].max() == 0
    assert np.corrcoef(strength[voice, 3], level[voice])[0, 1] > 0.8
    assert np.abs(strength).max() <= 1 and (strength[:, 2] == 1).any()
    image = np.random.default_rng(0).integers(0, 255, (motion.SIDE,) * 2, dtype=np.uint8)
    still = np.zeros(4, np.float32)
    np.testing.assert_array_equal(motion.animate(image, still), image)
    soft = cv2.GaussianBlur(image, (0, 0), 4)
    change = np.abs(motion.animate(soft, strength[60]).astype(int) - soft)
    assert 0 < change.mean() < 20


def test_runs_over_the_border_are_marked_and_smooth() -> None:
    planner = make_planner(0)
    for number in range(8):
        video = planner.plan_video("v", number)
        for name, track in video.tracks.items():
            low = track.centre - track.side[:, None] / 2
            high = track.centre + track.side[:, None] / 2
            over = (low < -1).any(axis=1) | (high > np.add(video.size, 1)).any(axis=1)
            assert not (track.edge & ~over).any()
            clear = np.maximum(-low, high - video.size).max(axis=1) > 0.03 * track.side
            assert track.edge[clear & (track.image >= 0)].all()
            assert np.abs(np.diff(track.centre, axis=0)).max() < 16
            if name.endswith("_left"):
                assert (track.centre[:, 0] < video.size[0] / 2).all()


def test_a_split_without_images_is_an_error(tmp_path, sources) -> None:
    (tmp_path / "manifest.csv").write_text("file,split,label\na.png,train,Anger\n")
    (tmp_path / "a.png").touch()
    with pytest.raises(InputError, match="no labelled image in split 'valid'"):
        next(compose.compose(tmp_path, sources[1], tmp_path, "valid", 1, 0))
