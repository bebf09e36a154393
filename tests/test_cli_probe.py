import json

import pytest
from click.testing import CliRunner
from media_files import AudioTrack, counting_picture, make_clicks, write_media

from abawcli.cli import main

PICTURES = [counting_picture(k) for k in range(12)]


@pytest.fixture
def video(tmp_path):
    audio = AudioTrack([(0.5, make_clicks([0.25], 1.0, 44_100))], 44_100, "flac")
    return write_media(tmp_path / "v.mkv", PICTURES, audio=audio)


def run(*arguments):
    return CliRunner().invoke(main, ["probe", *map(str, arguments)])


def test_json(video):
    result = run("--json", video)
    assert result.exit_code == 0
    (report,) = json.loads(result.stdout)
    assert report["path"] == str(video)
    assert report["video"]["decoded_frames"] == 12
    assert report["audio"]["rate_hz"] == 44_100
    assert report["audio_offset_s"] == pytest.approx(0.5, abs=0.001)


def test_table(video, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    turned = write_media(
        tmp_path / "turned.mp4",
        PICTURES,
        times=[*range(11), 30],
        matrix=(0, 65536, 0, 65536, 0, 0, 0, 0, 1 << 30),
    )
    # Whole paths, of any length, would leave no room for the other columns.
    monkeypatch.chdir(tmp_path)
    result = run(video.name, turned.name)
    assert result.exit_code == 0
    expected = (
        "v.mkv", "h264 yuv420p", "128x96", "0.00-0.44 s", "header: none", "25 constant",
        "40 40 40 ms", "flac 44.1k x1", "0.50-1.50 s", "+0.500 s",
        "turned.mp4", "96x128", "rotated 270", "mirrored", "variable", "none",
    )  # fmt: skip
    for text in expected:
        assert text in result.stdout, text


def test_failed_file_among_others(video, tmp_path):
    text = tmp_path / "text.mp4"
    text.write_text("This is not a video.\n" * 20)
    (tmp_path / "empty.mp4").touch()
    result = run("--json", tmp_path / "none.mp4", text, tmp_path / "empty.mp4", video)
    assert result.exit_code == 1
    assert [report["path"] for report in json.loads(result.stdout)] == [str(video)]
    errors = result.stderr.splitlines()
    assert "no such file" in errors[0]
    assert "not a readable media file" in errors[1]
    assert "is empty (0 bytes)" in errors[2]
    assert errors[3].startswith("abaw: 3 of 4 inputs failed")


def test_only_file_failed(tmp_path):
    result = run(tmp_path / "none.mp4")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.splitlines() == [f"abaw: error: no such file: {tmp_path}/none.mp4"]


def test_folder_without_videos(tmp_path):
    result = run(tmp_path)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"abaw: error: {tmp_path} has no")


def test_audio_file(tmp_path):
    audio = AudioTrack([(0.0, make_clicks([0.25], 1.0, 48_000))], codec="pcm_s16le")
    file = write_media(tmp_path / "a.wav", audio=audio)
    for name in (file, tmp_path):  # the file, or its folder
        result = run(name)
        assert result.exit_code == 0
        assert "pcm_s16le" in result.stdout


def test_jumps_of_the_clock_are_shown(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    audio = AudioTrack([(0.0, make_clicks([0.25], 1.0, 44_100))], 44_100)
    part = write_media(tmp_path / "part.ts", [*PICTURES, *PICTURES], audio=audio)
    joined = tmp_path / "joined.ts"
    joined.write_bytes(part.read_bytes() * 5)
    result = run(part, joined)
    assert result.exit_code == 0
    assert "ascends" in result.stdout
    assert "1 more jumps" in result.stdout  # of four, three have lines of their own
    assert result.stderr.count("its clock jumps by -0.9") == 1
    (report,) = json.loads(run("--json", joined).stdout)
    assert len(report["joins"]) == 4
    assert report["joins"][0]["jump_s"] == pytest.approx(-1.0, abs=0.1)
