"""Samples that are no numbers, and files of which packets or bytes are damaged."""

import contextlib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from media_files import AudioTrack, counting_picture, make_clicks, write_media

from abawcli.errors import InputError
from abawcli.media.audio import read_audio, read_audio_blocks
from abawcli.media.video import read_frames
from abawcli.stages.probe import probe_media

PICTURES = [counting_picture(k) for k in range(12)]
CLICKS_MP2 = AudioTrack([(0.0, make_clicks([0.2], 0.5, 44_100))], 44_100, "mp2")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
@pytest.mark.parametrize("codec", ["pcm_f32le", "pcm_f64le"])
def test_what_is_no_number_is_silenced(tmp_path, caplog, codec, value):
    tone = np.full((2, 48_000), 0.25, np.float32)
    good = read_audio(
        write_media(tmp_path / "g.wav", audio=AudioTrack([(0.0, tone)], 48_000, codec, "stereo"))
    )
    bad = tone.copy()
    bad[0, [9_000, 24_000]] = value
    path = write_media(tmp_path / "b.wav", audio=AudioTrack([(0.0, bad)], 48_000, codec, "stereo"))
    assert caplog.text == ""
    audio = read_audio(path)
    assert np.isfinite(audio.samples).all()
    off = np.flatnonzero(np.abs(audio.samples - good.samples) > 1e-4)
    assert {round(k / 16_000, 2) for k in off} <= {0.19, 0.5}
    assert caplog.text.count("samples that are no finite numbers (2, the first at 0.") == 1


def damage_packets(path: Path, is_hit: Callable[[int], bool]) -> None:
    """Write noise over the audio packets of a file, by their numbers."""
    with av.open(str(path)) as container:
        packets = [bytes(p) for p in container.demux(audio=0) if p.size]
    data, rng, at = path.read_bytes(), np.random.default_rng(1), 0
    for number, packet in enumerate(packets):
        at = data.index(packet, at)
        if is_hit(number):
            data = data[:at] + rng.bytes(len(packet)) + data[at + len(packet) :]
        at += len(packet)
    path.write_bytes(data)


def write_noise(path: Path, seconds: float = 6.0) -> Path:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (1, round(seconds * 48_000)))
    return write_media(path, audio=AudioTrack([(0.0, noise.astype(np.float32))], codec="flac"))


def test_what_is_left_of_destroyed_audio_is_not_audio(tmp_path, caplog):
    path = write_noise(tmp_path / "a.mkv")
    damage_packets(path, lambda number: number % 3 > 0)
    assert read_audio(path) is None
    assert "is damaged" in caplog.text
    with pytest.raises(InputError, match="has neither video nor audio that can be decoded"):
        probe_media(path)


def test_audio_with_some_damage_is_kept(tmp_path, caplog):
    path = write_noise(tmp_path / "a.mkv")
    whole = read_audio(path)
    damage_packets(path, lambda number: number % 4 == 3)
    detected = sum(len(block.samples) for block in read_audio_blocks(path))
    assert detected / len(whole.samples) == pytest.approx(0.75, abs=0.05)
    assert "is damaged" in caplog.text


def test_a_stream_of_no_known_format_in_a_damaged_mpeg(tmp_path, caplog):
    path = write_media(tmp_path / "v.mpg", PICTURES, codec="mpeg1video", audio=CLICKS_MP2)
    data = bytearray(path.read_bytes())
    data[data.rindex(b"\0\0\1\xc0") + 3] = 0xE1  # the last piece of audio says that it is video
    path.write_bytes(data)
    report = probe_media(path)
    assert report.other_streams == ("video of unknown format",)
    assert report.video.decoded_frames == 12
    assert "(video of unknown format) is not read" in caplog.text


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mpg", "ts", "avi", "wav", "ogg"])
def test_any_damage_is_an_error_line_or_frames_in_order(tmp_path, suffix, caplog):
    audio = {"mpg": ("mp2", 44_100), "wav": ("pcm_f32le", 16_000), "ogg": ("libopus", 48_000)}
    codec, rate_hz = audio.get(suffix, ("libmp3lame", 44_100))
    source = write_media(
        tmp_path / f"s.{suffix}",
        [] if suffix in ("wav", "ogg") else PICTURES[:8],
        codec="mpeg1video" if suffix == "mpg" else "mpeg4",
        audio=AudioTrack([(0.0, make_clicks([0.1], 0.3, rate_hz))], rate_hz, codec),
    )
    good, rng = source.read_bytes(), np.random.default_rng(len(suffix))
    path = tmp_path / f"v.{suffix}"
    for _ in range(12):
        data = bytearray(good)
        for _ in range(rng.choice([1, 10, 100])):
            data[rng.integers(len(data))] = rng.integers(256)
        path.write_bytes(data[: rng.integers(len(data) // 2, len(data))])
        with contextlib.suppress(InputError):
            probe_media(path)
        with contextlib.suppress(InputError):
            times_s = [frame.time_s for frame in read_frames(path)]
            assert np.all(np.diff(times_s) > 0)
        with contextlib.suppress(InputError):
            blocks = list(read_audio_blocks(path))
            assert all(np.isfinite(block.samples).all() for block in blocks)
            assert all(a.end_s < b.start_s + 1e-6 for a, b in pairwise(blocks))
