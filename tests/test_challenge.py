"""examples/challenge.sh on a small folder laid out as Aff-Wild2, from videos to predictions.txt."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
from functools import cache
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from media_files import AudioTrack, Image, counting_picture, write_media
from numpy.typing import NDArray
from PIL import Image as Pictures
from tiny_models import save_audio_backbone, save_vision_backbone

from abawcli.cli import main
from abawcli.config import AUDIO_RATE_HZ
from abawcli.formats.abaw import write_annotation
from abawcli.formats.features import read_features
from abawcli.formats.submission import HEADER, read_submission
from abawcli.formats.tables import read_table
from abawcli.media.audio import read_audio
from abawcli.media.video import read_frames
from abawcli.models.heads import load_head

PROJECT = Path(__file__).parents[1]
SAMPLES = PROJECT / "sample_videos"
FPS = 25
SPEECH_S = 2.7  # where somebody speaks in expressions.mp4
STARTS = 9, 69, 181  # indices of frames of expressions.mp4: neutral, happy, angry
LENGTH = 10  # frames of most clips
HALF = LENGTH // 2
FRAMES = {
    "10-60-1280x720": LENGTH,
    "10-60-1280x720_right": LENGTH,
    "nobody": LENGTH,
    "77": 18,
    "mute": 4,
}
GAP = slice(5, 11)  # indices of the frames of 77 in which nobody is to be seen
SEEN = FRAMES["77"] - (GAP.stop - GAP.start)


@cache
def read_pictures() -> list[Image]:
    """Return the first frames of expressions.mp4 at half their size."""
    frames = islice(read_frames(SAMPLES / "expressions.mp4"), max(STARTS) + LENGTH)
    return [np.ascontiguousarray(frame.rgb()[::2, ::2]) for frame in frames]


@cache
def read_speech() -> NDArray[np.float32]:
    """Return samples (1, N) of expressions.mp4 from where somebody speaks."""
    audio = read_audio(SAMPLES / "expressions.mp4")
    assert audio is not None
    return audio.samples[None, round((SPEECH_S - audio.start_s) * AUDIO_RATE_HZ) :]


def write_clip(path: Path, pictures: list[Image], codec: str = "libx264") -> None:
    """Write pictures with as much speech."""
    path.parent.mkdir(parents=True, exist_ok=True)
    speech = read_speech()[:, : len(pictures) * AUDIO_RATE_HZ // FPS]
    write_media(path, pictures, codec=codec, audio=AudioTrack([(0.0, speech)], AUDIO_RATE_HZ))


def join(left: list[Image], right: list[Image]) -> list[Image]:
    return [np.hstack(pair) for pair in zip(left, right, strict=True)]


def make_nobody(name: str) -> list[Image]:
    return [counting_picture(k) for k in range(FRAMES[name])]


def write_videos(folder: Path) -> None:
    """Write videos in two folders, mp4 and avi; two of them show two people."""
    neutral, happy, angry = (read_pictures()[start : start + LENGTH] for start in STARTS)
    write_clip(folder / "batch1" / "102.avi", neutral, "mpeg4")
    write_clip(folder / "batch1" / "video86_2.mp4", happy)
    write_clip(folder / "batch1" / "video45_5.mp4", join(angry, happy))
    write_clip(folder / "batch2" / "8-30.mp4", neutral[:HALF] + happy[:HALF])
    write_clip(folder / "batch2" / "9-15.mp4", angry)
    write_clip(folder / "batch2" / "10-60-1280x720.mp4", join(happy, neutral))
    write_clip(folder / "batch2" / "nobody.mp4", make_nobody("nobody"))
    write_media(folder / "batch2" / "mute.mp4", make_nobody("mute"))
    gap = [np.full_like(happy[0], 90)] * (GAP.stop - GAP.start)
    after = happy[: FRAMES["77"] - GAP.stop]
    write_clip(folder / "batch2" / "77.avi", happy[: GAP.start] + gap + after, "mpeg4")


def write_labels(folder: Path) -> None:
    """Write annotations: a row more than frames, a row less, two people, seven classes."""
    train, valid = folder / "Train_Set", folder / "Validation_Set"
    write_annotation(np.array([4] * (LENGTH + 1)), train / "video86_2.txt")
    write_annotation(np.array([1] * (LENGTH - 1)), train / "video45_5_left.txt")
    write_annotation(np.array([-1] * 2 + [4] * (LENGTH - 2)), train / "video45_5_right.txt")
    seven = "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise"
    (train / "102.txt").write_text("\n".join([seven, *["0"] * LENGTH]))
    write_annotation(np.array([0] * HALF + [4] * HALF), valid / "8-30.txt")
    write_annotation(np.array([1] * (LENGTH + 1)), valid / "9-15.txt")


def write_official(folder: Path) -> None:
    """Write official crops of two names, of 77 where a face is to be seen."""
    neutral, happy = (read_pictures()[start : start + LENGTH] for start in STARTS[:2])
    seen = [k for k in range(FRAMES["77"]) if k not in range(GAP.start, GAP.stop)]
    frames = {"102": range(LENGTH), "77": seen}
    for (name, numbers), pictures in zip(frames.items(), (neutral, happy + happy), strict=True):
        (folder / name).mkdir(parents=True)
        for k in numbers:
            face = Pictures.fromarray(pictures[k]).resize((112, 112))
            face.save(folder / name / f"{k + 1:05d}.jpg")


def write_root(root: Path) -> Path:
    write_videos(root / "videos")
    write_official(root / "cropped_aligned")
    write_labels(root / "EXPR_Recognition_Challenge")
    test_list = root / "Expression_Recognition_Challenge_test_set_release.txt"
    test_list.write_bytes("\r\n".join(FRAMES).encode())
    rows = [f"{name}/{k:05d}.jpg,0" for name, n in FRAMES.items() for k in range(1, n + 2)]
    (root / "sample.txt").write_text("\n".join([HEADER, *rows]) + "\n")
    return root


# The `abaw` of the script: sends its arguments to this process and prints the answer. A process of
# its own for each of two dozen commands would import torch each time.
CLIENT = f"""#!{sys.executable} -SE
import json, os, sys
channel = int(os.environ["ABAW_CHANNEL"])
os.write(channel, json.dumps([os.getcwd(), sys.argv[1:]]).encode() + b"\\n")
out, err, status = json.loads(os.fdopen(channel).readline())
sys.stdout.write(out)
sys.stderr.write(err)
sys.exit(status)
"""


def answer(channel: socket.socket) -> None:
    """Run the commands that a script asks for, until it has ended."""
    with channel.makefile("rw") as lines:
        for line in lines:
            folder, arguments = json.loads(line)
            with contextlib.chdir(folder):
                done = CliRunner().invoke(main, arguments)
            lines.write(json.dumps([done.stdout, done.stderr, done.exit_code]) + "\n")
            lines.flush()


def run_script(root: Path, out: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run it, with environment variables, and with an `abaw` that works in this process.

    The path of `out` is relative to the working folder, as the script's default is.
    """
    folder = out.parent / f"{out.name} bin"
    folder.mkdir(exist_ok=True)
    client = folder / "abaw"
    client.write_text(CLIENT)
    client.chmod(0o755)
    ours, theirs = socket.socketpair()
    environment = os.environ | {
        "PATH": os.pathsep.join([str(folder), os.environ["PATH"]]),
        "ABAW_CHANNEL": str(theirs.fileno()),
        "EPOCHS": "2",
        **settings,
    }
    script_file = PROJECT / "examples" / "challenge.sh"
    command = ["bash", str(script_file), str(root), out.name]
    with (folder / "out").open("w+") as stdout, (folder / "err").open("w+") as stderr:
        script = subprocess.Popen(
            command,
            env=environment,
            stdout=stdout,
            stderr=stderr,
            cwd=out.parent,
            pass_fds=[theirs.fileno()],
        )
        theirs.close()
        with ours:
            answer(ours)
        status = script.wait()
        stdout.seek(0)
        stderr.seek(0)
        return subprocess.CompletedProcess(command, status, stdout.read(), stderr.read())


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the script on videos and a few official crops; return the folder that it makes."""
    work = tmp_path_factory.mktemp("challenge")
    run = run_script(write_root(work / "Aff Wild2"), work / "out")
    assert run.returncode == 0, run.stderr
    assert "has every row of" in run.stdout
    assert "macro-F1" in run.stdout
    return work / "out"


def test_every_row_of_the_sample_has_a_class(out: Path) -> None:
    text = (out / "predictions.txt").read_text()
    assert text.startswith(f"{HEADER}\n10-60-1280x720/00001.jpg,")
    rows = read_submission(out / "predictions.txt")
    assert rows.groupby("video", sort=False).size().to_dict() == {
        name: frames + 1 for name, frames in FRAMES.items()
    }
    assert rows["label"].between(0, 7).all()


def test_rows_are_the_predictions_of_their_frames(out: Path) -> None:
    rows = read_submission(out / "predictions.txt").set_index(["video", "frame"])["label"]
    folder = out / "test-smoothed" if (out / "test-smoothed").exists() else out / "test"
    for name, frames in FRAMES.items():
        table = read_table(folder / f"{name}.csv").set_index("frame")["label"]
        assert len(table) == frames
        known = table[table >= 0]
        if name == "mute":  # neither a face nor speech is detected
            assert known.empty and (rows[name] == 0).all()
            continue
        assert (rows[name].loc[known.index] == known).all()
        assert rows[name].loc[frames + 1] == known.iloc[-1]


def test_names_choose_their_person(out: Path) -> None:
    left, right = (
        read_features(out / "features" / f"video45_5_{side}.safetensors")
        for side in ("left", "right")
    )
    assert left.has_visual.all() and right.has_visual.all()
    middle = 240  # pixels: two pictures of this width stand side by side
    assert (left.box[:, 0] < middle).all() and (right.box[:, 0] > middle).all()


def test_frames_without_a_face_rest_on_the_audio(out: Path) -> None:
    nobody = read_features(out / "features" / "nobody.safetensors")
    assert not nobody.has_visual.any() and nobody.has_audio.any()
    gap = read_features(out / "features" / "77.safetensors")
    assert not gap.has_visual[GAP].any() and gap.has_visual.sum() == SEEN


def test_all_annotations_were_learned_from(out: Path) -> None:
    for name in ("102", "video86_2", "video45_5_left", "video45_5_right", "8-30", "9-15"):
        assert len(read_features(out / "features" / f"{name}.safetensors").frame) == LENGTH
    assert (out / "run" / "head.safetensors").is_file()


def test_official_crops_are_taken_where_there_are_some(out: Path) -> None:
    files = (out / "features").glob("*.safetensors")
    features = {path.stem: read_features(path) for path in files}
    assert len(features) == 11
    kinds = {name: found.metadata.source.kind for name, found in features.items()}
    assert {name for name, kind in kinds.items() if kind == "official crops"} == {"102", "77"}
    assert set(kinds.values()) == {"official crops", "crops"}
    assert features["102"].has_visual.all() and features["102"].has_audio.any()
    rows = (out / "strategy.csv").read_text().splitlines()
    assert len(rows) == 10 and not {"102,", "77,"} & set(rows)


def test_a_later_run_replaces_a_submission_of_other_tables(out: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(out.parent / "Aff Wild2", tmp_path / "Aff Wild2"))
    again = Path(shutil.copytree(out, tmp_path / "out", symlinks=True))
    first = (again / "predictions.txt").read_bytes()
    tables = [str(again / "test" / f"{name}.csv") for name in FRAMES if name != "mute"]
    smooth = ["smooth", *tables, "-o", str(tmp_path / "other"), "--window", "3"]
    assert CliRunner().invoke(main, smooth).exit_code == 0
    others = [*map(str, (tmp_path / "other").glob("*.csv")), str(again / "fallback" / "mute.txt")]
    to = ["--template", str(root / "sample.txt"), "-o", str(again / "predictions.txt")]
    assert CliRunner().invoke(main, ["submit", *others, *to, "--overwrite"]).exit_code == 0
    edited = (again / "predictions.txt").read_text() + "\n"
    (again / "predictions.txt").write_text(edited)
    for _ in range(2):  # of an equal submission, nothing is kept
        run = run_script(root, again)
        assert run.returncode == 0, run.stderr
        assert (again / "predictions.txt").read_bytes() == first
    assert [kept.read_text() for kept in again.glob("predictions.2*.txt")] == [edited]


@pytest.mark.parametrize(
    ("system", "visual", "audio"),
    [
        ("two-stage", "dinov2", "wav2vec2"),
        pytest.param("dual-branch", "beit", "wavlm", marks=pytest.mark.slow),
    ],
)
def test_the_published_systems_run_with_other_backbones(
    out: Path, tmp_path: Path, system: str, visual: str, audio: str
) -> None:
    backbones = {
        "VISUAL": str(save_vision_backbone(tmp_path / "image", visual)),
        "AUDIO": str(save_audio_backbone(tmp_path / "audio", audio)),
    }
    root = tmp_path / "data"
    shutil.copytree(out.parent / "Aff Wild2", root, ignore=shutil.ignore_patterns("cropped_*"))
    run = run_script(root, tmp_path / "out", SYSTEM=system, FALLBACK="4", **backbones)
    assert run.returncode == 0, run.stderr
    assert "has every row of" in run.stdout
    assert "mute has neither face nor speech: all its frames get the label 4" in run.stderr
    gap = read_features(tmp_path / "out" / "features" / "77.safetensors")
    assert not gap.has_visual[GAP].any() and gap.has_visual.sum() == SEEN
    rows = read_submission(tmp_path / "out" / "predictions.txt").set_index("video")["label"]
    assert len(rows) == sum(FRAMES.values()) + len(FRAMES) and (rows["mute"] == 4).all()
    _, metadata = load_head(tmp_path / "out" / "run" / "head.safetensors", torch.device("cpu"))
    assert metadata.head == ("gated" if system == "two-stage" else "dual-branch")
    image = metadata.backbones.visual
    assert image and image.preprocess and image.preprocess.crop_scales == (0.9, 1.2, 1.5)
    assert (tmp_path / "out" / "crops" / "nobody" / "faces.parquet").is_file()
    assert {p.name for p in (tmp_path / "out" / "crops" / "77").iterdir()} >= {"0.9", "1.2", "1.5"}


@pytest.mark.parametrize(
    ("smoothed", "biased", "window", "expected"),
    [
        (0.3, 0.35, 25, "--window 25 --space logits --bias 1,-2"),  # both gain
        (0.3, 0.3, 25, "--window 25 --space logits"),  # biases add nothing
        (0.2, 0.15, 25, ""),  # nothing gains
        (0.1, 1e-05, 25, ""),  # both lose
        (0.2, 0.3, None, "--window 1 --space logits --bias 1,-2"),  # biases alone gain
    ],
)
def test_the_script_takes_of_the_sweep_what_gains_on_other_videos(
    tmp_path: Path, smoothed: float, biased: float, window: int | None, expected: str
) -> None:
    smooth = f"abaw smooth v -o w --smoothing median --window {window or 1} --space logits"
    fold = {"fold": 0, "as_predicted": 0.9, "macro_f1": 0.9}
    sweep = {
        "as_predicted": 0.2,
        "cross_validated": smoothed,
        "best": {"macro_f1": 0.9},
        "command": smooth if window else None,
        "bias": {
            "macro_f1": 0.9,
            "cross_validated": biased,
            "command": f"{smooth} --bias 1,-2",
        },
        "folds": [fold],
    }
    (tmp_path / "sweep.json").write_text(json.dumps(sweep, indent=2))
    script = (PROJECT / "examples" / "challenge.sh").read_text()
    functions = script[script.index("figure()") : script.index("smoothing=$(")]
    call = ["bash", "-euo", "pipefail", "-c", f"OUT={tmp_path}\n{functions}\nchoose_options"]
    found = subprocess.run(call, capture_output=True, text=True, check=True).stdout.strip()
    assert found == (expected and f"--smoothing median {expected}")


def test_an_unknown_system_is_told(tmp_path: Path) -> None:
    run = run_script(tmp_path, tmp_path / "out", SYSTEM="three-stage")
    assert run.returncode == 2
    assert run.stderr == "SYSTEM must be compact, two-stage or dual-branch, not three-stage\n"


def test_a_folder_that_lacks_something_is_told(tmp_path: Path) -> None:
    run = run_script(tmp_path, tmp_path / "out")
    assert run.returncode == 2
    assert run.stderr.startswith(f"{tmp_path}/videos is missing; see the top of ")
