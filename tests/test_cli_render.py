"""`abaw render`: what is written, kept and refused, and what is left when FFmpeg fails."""

import os
import stat
from pathlib import Path

import moviepy.video.io.ffmpeg_writer
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from media_files import AudioTrack, counting_picture, write_media
from sample_tables import make_table

from abawcli.cli import main
from abawcli.errors import OutputError
from abawcli.formats.provenance import read_provenance
from abawcli.formats.tables import write_table
from abawcli.media import encoding
from abawcli.media.encoding import write_video
from abawcli.media.video import read_frames

FRAMES = 6


@pytest.fixture(autouse=True)
def clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Go to a folder with clip.mp4 of six frames, 25 a second, and its table clip.csv."""
    monkeypatch.chdir(tmp_path)
    write_media(Path("clip.mp4"), [counting_picture(k + 1) for k in range(FRAMES)])
    write_table(make_table([4] * FRAMES), "clip.csv", {})


def render(*arguments: str, table: str = "clip.csv", output: str = "out.mp4") -> Result:
    return CliRunner().invoke(main, ["render", "clip.mp4", table, "-o", output, *arguments])


def test_a_finished_video_is_kept_and_other_settings_make_it_anew() -> None:
    first = render()
    assert (
        first.exit_code == 0 and "out.mp4: 6 frames, 25 per second, without audio" in first.stderr
    )
    time_ns = os.stat("out.mp4").st_mtime_ns
    assert render().exit_code == 0 and os.stat("out.mp4").st_mtime_ns == time_ns
    assert render("--to", "0.1").exit_code == 0 and os.stat("out.mp4").st_mtime_ns != time_ns
    provenance = read_provenance("out.mp4")
    assert provenance["settings"]["span_s"] == [None, 0.1] and provenance["summary"]["frames"] == 3
    Path("out.mp4").write_bytes(b"mine")
    kept = render()
    assert kept.exit_code == 1 and "was changed after it was made" in kept.stderr
    assert Path("out.mp4").read_bytes() == b"mine"


def test_names_may_hold_anything(tmp_path: Path) -> None:
    odd = "-1: 100%d 'ä' \u7b11.mp4"
    Path("clip.mp4").rename(odd)
    result = CliRunner().invoke(main, ["render", "-o", odd[:-4] + ".MOV", "--", odd, "clip.csv"])
    assert result.exit_code == 0, result.output
    assert len(list(read_frames(odd[:-4] + ".MOV"))) == FRAMES


def write_tables() -> None:
    """Write tables that do not fit."""
    write_table(make_table([4] * (FRAMES - 2)), "short.csv", {})
    write_table(make_table([4] * (FRAMES + 3)), "long.csv", {})
    other = make_table([4] * FRAMES)
    write_table(other.assign(time_s=other["time_s"] * 3), "times.csv", {})
    write_table(other.assign(time_s=np.nan), "timeless.csv", {})
    write_table(make_table([-1] * FRAMES, subject="track 7"), "nobody.csv", {})
    two = [make_table([4] * FRAMES, video=name) for name in ("a", "b")]
    write_table(pd.concat(two), "two.csv", {})


@pytest.mark.parametrize(
    ("table", "output", "arguments", "code", "message"),
    [
        (
            "short.csv",
            "out.mp4",
            [],
            1,
            "clip.mp4 has 6 frames, and short.csv is of a video with 4",
        ),
        ("long.csv", "out.mp4", [], 1, "clip.mp4 has 6 frames, and long.csv is of a video with 9"),
        ("times.csv", "out.mp4", [], 1, "frame 3 is at 0.080 s, not at 0.240 s"),
        ("timeless.csv", "out.mp4", [], 1, "its frames have no times"),
        ("nobody.csv", "out.mp4", [], 1, "nobody.csv has neither a face nor a label of track 7"),
        ("two.csv", "out.mp4", [], 1, "none of which is clearly clip.mp4"),
        ("none.csv", "out.mp4", [], 1, "no such file: none.csv"),
        ("clip.mp4", "out.mp4", [], 1, "clip.mp4 is not a table file"),
        ("clip.csv", "out.avi", [], 2, "out.avi is no video name; it must end in .mp4, .mov, .mkv"),
        ("clip.csv", "-", [], 2, "stdout"),
        ("clip.csv", "clip.mp4", [], 2, "clip.mp4 is an input and would be replaced"),
        ("clip.csv", "clip.csv/out.mp4", [], 1, "clip.csv is not a folder"),
        ("clip.csv", "out.mp4", ["--from", "2", "--to", "1"], 2, "the span 2 s to 1 s is empty"),
        ("clip.csv", "out.mp4", ["--from", "9"], 1, "no frame in the span; it goes from 0.00 s to"),
        ("clip.csv", "out.mp4", ["--rotate", "45"], 2, "45"),
    ],
)
def test_bad_input(table: str, output: str, arguments: list[str], code: int, message: str) -> None:
    write_tables()
    before = sorted(os.listdir())
    result = render(*arguments, table=table, output=output)
    assert result.exit_code == code, result.output
    assert message in " ".join(result.stderr.split())
    assert sorted(os.listdir()) == before


def test_a_video_that_is_none() -> None:
    Path("clip.mp4").write_text("no video")
    result = render()
    assert result.exit_code == 1 and "clip.mp4 is not a readable media file" in result.stderr
    assert not Path("out.mp4").exists()


def test_a_video_that_is_missing_or_a_folder_is_named_once() -> None:
    write_tables()
    Path("clip.mp4").unlink()
    assert render().stderr == "abaw: error: no such file: clip.mp4\n"
    Path("clip.mp4").mkdir()
    assert render().stderr == "abaw: error: clip.mp4 is a folder, not a media file\n"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_place_that_must_not_be_written_to() -> None:
    Path("closed").mkdir(mode=0o500)
    result = render(output="closed/out.mp4")
    assert result.exit_code == 1 and "is not writable" in result.stderr


def test_an_encoder_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = encoding.Codecs("libx999", "aac", ())
    monkeypatch.setitem(encoding.CODECS, ".mp4", missing)
    before = sorted(os.listdir())
    result = render()
    assert result.exit_code == 1 and "Unknown encoder 'libx999'" in result.stderr
    assert "cannot write out.mp4: FFmpeg cannot write the video" in result.stderr
    assert sorted(os.listdir()) == before


def use_ffmpeg(script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a shell script stand for FFmpeg."""
    path = Path("ffmpeg.sh")
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    binary = str(path.resolve())
    monkeypatch.setattr(moviepy.video.io.ffmpeg_writer, "FFMPEG_BINARY", binary)


@pytest.mark.skipif(os.name != "posix", reason="runs a shell script")
@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("head -c 99 >/dev/null; echo '[out#0] Error: No space left on device' >&2; exit 1",
         "Error: No space left on device"),
        ("cat >/dev/null; exit 3", "it ended with status 3"),
        ("exit 0", "it ended with status 0"),
    ],
)  # fmt: skip
def test_a_failed_encode_leaves_no_file(
    script: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_ffmpeg(script, monkeypatch)
    before = sorted(os.listdir())
    images = [np.zeros((720, 1280, 3), np.uint8)] * 3
    with pytest.raises(OutputError, match=message):
        write_video("direct.mp4", images, 25.0)
    result = render()
    assert result.exit_code == 1 and sorted(os.listdir()) == before


def test_no_ffmpeg_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moviepy.video.io.ffmpeg_writer, "FFMPEG_BINARY", "/no/ffmpeg")
    result = render()
    assert result.exit_code == 1 and "no FFmpeg to write the video with" in result.stderr
    assert not Path("out.mp4").exists()


def test_audio_that_cannot_be_decoded_is_left_out_with_a_warning() -> None:
    pictures = [counting_picture(k + 1) for k in range(FRAMES)]
    audio = AudioTrack([(0.0, np.zeros((1, 9600), np.float32))], codec="pcm_s16le")
    write_media(Path("known.mov"), pictures, audio=audio)
    Path("clip.mp4").write_bytes(Path("known.mov").read_bytes().replace(b"sowt", b"zzzz"))
    result = render()
    assert result.exit_code == 0, result.output
    assert "in a format that FFmpeg cannot decode; the result is silent" in result.stderr
    assert len(read_provenance("out.mp4")["warnings"]) == 1


def test_a_place_for_the_audio_that_cannot_be_written() -> None:
    audio = AudioTrack([(0.0, np.zeros((1, 9600), np.float32))], codec="pcm_s16le")
    write_media(Path("loud.mkv"), [counting_picture(1)], audio=audio)
    with pytest.raises(OutputError, match="cannot write the audio to gone/audio.mka: No such file"):
        encoding.write_audio("loud.mkv", "gone/audio.mka", 0.0, 0.1)
