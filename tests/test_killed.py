"""A command that is killed before any of its changes is done again by itself, to the same bytes."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from blob_faces import BlobDetector, picture
from click.testing import CliRunner
from file_changes import copy_before_changes
from media_files import write_media
from sample_tables import make_table
from tiny_models import save_vision_backbone

from abawcli.cli import main
from abawcli.config import ContactSheet, Cropping, Smoothing
from abawcli.formats.abaw import write_annotation
from abawcli.formats.submission import HEADER
from abawcli.formats.tables import write_table
from abawcli.pipeline.feature_stream import Extractor
from abawcli.stages.crop import crop_video
from abawcli.stages.extract import extract_features
from abawcli.stages.predict import Predictor, predict_files
from abawcli.views.sheet import make_sheet

LABELS = [0] * 20 + [3] * 20 + [-1] * 5
DETECTOR = BlobDetector()
KINDS = ("dinov2", "beit")  # of backbones
NEW = ("smooth",)  # also tried where nothing was before


def abaw(*arguments: str) -> None:
    result = CliRunner().invoke(main, [*arguments, "-q"])
    assert result.exit_code == 0, result.output


@dataclass(frozen=True)
class Command:
    """A command as `run(k)`, with the k-th of two settings, on what `prepare` makes."""

    prepare: Callable[[], object]
    run: Callable[[int], object]
    change: Callable[[], object] = lambda: None  # of the inputs, where there are no two settings


def prepare_tables() -> None:
    for k, folder in enumerate("ab"):
        write_table(make_table(LABELS[k:] + LABELS[:k]), Path(folder, "clip.csv"), {})
    write_annotation(np.array(LABELS), Path("truth/clip.txt"))
    change_sample(29)


def change_sample(frames: int) -> None:
    rows = [f"clip/{k:05d}.jpg,0" for k in range(1, frames + 1)]
    Path("sample.txt").write_text("\n".join([HEADER, *rows]) + "\n")


def prepare_clip() -> None:
    write_media(Path("clip.mkv"), [picture(40, 30)])


def crop(k: int) -> None:
    crop_video(Path("clip.mkv"), Path("crops/clip"), subject="all", detector=DETECTOR,
               cropping=Cropping(scales=(1.2 + k,), side=16))  # fmt: skip


def prepare_crops() -> None:
    prepare_clip()
    crop(0)


def sheet(k: int) -> None:
    config = ContactSheet(columns=1, side=16 + k)
    make_sheet(Path("crops/clip"), Path("clip.png"), config=config)


def extract(k: int, subject: str) -> None:
    extractor = load_extractor(KINDS[k])
    extract_features(Path("crops/clip"), Path("f/clip.safetensors"), extractor, subject=subject)


def prepare_predictor() -> None:
    prepare_clip()
    load_predictor()


def prepare_features() -> None:
    prepare_crops()
    for kind in KINDS:
        load_extractor(kind)


@cache
def load_extractor(kind: str) -> Extractor:
    with TemporaryDirectory() as folder:
        backbone = save_vision_backbone(Path(folder), kind)
        return Extractor(str(backbone), modality="visual", device="cpu")


def predict(k: int) -> None:
    outputs, people = {"clip": Path("clip.csv")}, ("main", "largest")[k]
    predict_files(load_predictor(), Path("clip.mkv"), outputs, people, smoothing=Smoothing())


@cache
def load_predictor() -> Predictor:
    return Predictor(device="cpu")


def prepare_render() -> None:
    write_media(Path("clip.mkv"), [picture(40, 30)] * 2)
    write_table(make_table([4, 0]), Path("clip.csv"), {})


def render(k: int) -> None:
    abaw("render", "clip.mkv", "clip.csv", "-o", "out.mp4", *["--from", "0.03"][: 2 * k])


COMMANDS = {
    "predict": Command(prepare_predictor, predict),
    "crop": Command(prepare_clip, crop),
    "sheet": Command(prepare_crops, sheet),
    "extract": Command(prepare_features, lambda k: extract(k, "main")),
    "extract all": Command(prepare_features, lambda k: extract(k, "all")),
    "smooth": Command(
        prepare_tables, lambda k: abaw("smooth", "a", "-o", "out", "--window", str(3 + 2 * k))
    ),
    "fuse": Command(
        prepare_tables, lambda k: abaw("fuse", "a", "b", "-o", "out", "--weights", f"1,{k + 1}")
    ),
    "score": Command(
        prepare_tables,
        lambda k: abaw("score", "a", "truth", "-o", "score.json", "--json"),
        lambda: write_annotation(np.array(LABELS[::-1]), Path("truth/clip.txt")),
    ),
    "render": Command(prepare_render, render),
    "submit": Command(
        prepare_tables,
        lambda k: abaw("submit", "a", "--template", "sample.txt", "-o", "submission.txt"),
        lambda: change_sample(20),
    ),
}


def read(folder: Path) -> dict[str, bytes]:
    """Return all files but what a killed run leaves behind."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
        and not any(p.startswith(".abaw-") for p in path.relative_to(folder).parts)
    }


def keep_different(states: list[Path]) -> list[Path]:
    """Leave out states that are another one again: a change may change nothing."""
    return list({_describe(state): state for state in states}.values())


def _describe(folder: Path) -> frozenset[tuple[str, int, bytes]]:
    """Return the name, mode and content of all that is in a folder."""
    return frozenset(
        (
            str(path.relative_to(folder)),
            path.stat().st_mode,
            path.read_bytes() if path.is_file() else b"",
        )
        for path in folder.rglob("*")
    )


@pytest.mark.parametrize(
    ("name", "before"), [*((name, True) for name in COMMANDS), *((name, False) for name in NEW)]
)
def test_a_command_killed_anywhere_goes_on_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, before: bool
) -> None:
    command, start, place = COMMANDS[name], tmp_path / "start", tmp_path / "work"
    start.mkdir()
    monkeypatch.chdir(start)
    command.prepare()
    if before:
        command.run(1)
        command.change()

    shutil.copytree(start, place)
    monkeypatch.chdir(place)
    states = copy_before_changes(place, tmp_path / "states", lambda: command.run(0))
    expected = read(place)
    assert len(states) >= 4 and expected != read(start)
    assert not [name for name, data in expected.items() if str(tmp_path).encode() in data]
    for state in keep_different(states):
        monkeypatch.chdir(tmp_path)
        shutil.rmtree(place)
        state.rename(place)
        monkeypatch.chdir(place)
        command.run(0)
        assert read(place) == expected, f"killed before change {state.name} of {len(states)}"
