"""Commands that write folders leave alone what others put there, whatever they are asked."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from blob_faces import BlobDetector, picture
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from media_files import write_media
from tiny_models import save_voice_encoder

from abawcli.cli import main
from abawcli.config import Cropping
from abawcli.errors import OutputError, UsageError
from abawcli.pipeline.feature_stream import Extractor
from abawcli.stages.crop import crop_video
from abawcli.stages.extract import extract_features

Write = Callable[[Path, Path, int, bool], object]  # video, folder, which settings, overwrite


def crop(video: Path, folder: Path, k: int, overwrite: bool) -> None:
    crop_video(video, folder, detector=BlobDetector(), cropping=Cropping(scales=(1.0 + k,)),
               overwrite=overwrite)  # fmt: skip


def extract(video: Path, folder: Path, k: int, overwrite: bool) -> None:
    extract_features(video, folder.with_suffix(".safetensors"), load_extractor(k), subject="all",
                     overwrite=overwrite)  # fmt: skip


@cache
def load_extractor(k: int) -> Extractor:
    with TemporaryDirectory() as folder:
        voice = save_voice_encoder(Path(folder, "voice.safetensors"))
        extractor = Extractor(audio=str(voice), modality=("av", "visual")[k], device="cpu")
    extractor.detector = BlobDetector()
    return extractor


@cache
def record(folder: str) -> Path:
    return write_media(Path(folder, "clip.mkv"), [picture(40)])


def read(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("write", [crop, extract], ids=["crop", "extract"])
@settings(max_examples=8, deadline=None)
@given(
    mine=st.dictionaries(
        st.sampled_from(["notes.txt", "faces.parquet", "1.0/00001.jpg", "subject0.safetensors",
                         "subject0.safetensors.provenance.json", "1.0/kept/a", ".hidden"]),
        st.sampled_from([b"", b"mine"]), max_size=2,
    ),
    before=st.booleans(),
    overwrite=st.booleans(),
)  # fmt: skip
def test_what_others_put_into_a_folder_stays(
    tmp_path_factory: pytest.TempPathFactory,
    write: Write,
    mine: dict[str, bytes],
    before: bool,
    overwrite: bool,
) -> None:
    video = record(str(tmp_path_factory.getbasetemp()))
    with TemporaryDirectory() as place:
        folder = Path(place, "clip")
        if before:
            write(video, folder, 1, False)
        for name, text in mine.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(text)
        there = read(Path(place))
        if mine:
            with pytest.raises(OutputError, match="did not write, or that were changed"):
                write(video, folder, 0, overwrite)
            assert read(Path(place)) == there
        else:
            write(video, folder, 0, overwrite)
            assert set(read(folder)) and read(Path(place)) != there
        assert not [name for name in read(Path(place)) if ".abaw-" in name]


def test_a_folder_called_like_the_video_is_not_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_media(Path("project.mp4"), [np.full((48, 64, 3), 90, np.uint8)] * 2)
    Path("project").mkdir()
    Path("project/thesis.tex").write_text("years of work")
    for command in (["extract", "--subject", "all"], ["crop"]):
        for flag in ([], ["--overwrite"]):
            result = CliRunner().invoke(main, [*command, "project.mp4", "-o", ".", *flag])
            assert result.exit_code == 1 and "thesis.tex" in result.stderr
            assert Path("project/thesis.tex").read_text() == "years of work"


@pytest.mark.parametrize("name", ["...mp4", "..mp4"])
def test_a_video_whose_name_is_a_folder_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_media(Path("clip.mp4"), [np.full((48, 64, 3), 90, np.uint8)] * 2).rename(name)
    Path("out").mkdir()
    Path("out/mine.txt").write_text("mine")
    there = read(tmp_path)
    for command in ("crop", "extract", "predict"):
        result = CliRunner().invoke(main, [command, name, "-o", "out", "--overwrite"])
        assert result.exit_code == UsageError.exit_code, result.output
        assert "no output can be named after" in result.stderr
    assert read(tmp_path) == there
