import logging
import os
import struct
import wave
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from media_files import AudioTrack, counting_picture, find_clicks, make_clicks, write_media

from abawcli.config import AUDIO_RATE_HZ
from abawcli.errors import InputError
from abawcli.media.audio import Audio, fill_gaps, read_audio, read_audio_blocks
from abawcli.media.video import read_frames

CLICKS_S = [0.25, 0.75]
PICTURES = [counting_picture(k) for k in range(12)]


def make_audio(codec, rate_hz, layout="mono", start_s=0.0):
    channels = {"mono": 1, "stereo": 2, "5.1": 6}[layout]
    samples = np.repeat(make_clicks(CLICKS_S, 1.0, rate_hz), channels, 0)
    return AudioTrack([(start_s, samples)], rate_hz, codec, layout)


@pytest.mark.parametrize("start_s", [0.0, 0.5])
@pytest.mark.parametrize(
    ("suffix", "codec", "rate_hz", "layout"),
    [
        ("mkv", "pcm_s16le", 8_000, "mono"),
        ("mkv", "pcm_f32le", 16_000, "mono"),
        ("mkv", "flac", 44_100, "stereo"),
        ("mov", "pcm_s24le", 48_000, "5.1"),
        ("mkv", "pcm_u8", 22_050, "stereo"),
    ],
)
def test_lossless_audio_stands_where_it_was(tmp_path, suffix, codec, rate_hz, layout, start_s):
    track = make_audio(codec, rate_hz, layout, start_s)
    path = write_media(tmp_path / f"v.{suffix}", PICTURES, audio=track)
    audio = read_audio(path)
    assert audio.samples.dtype == np.float32
    assert audio.start_s == pytest.approx(start_s, abs=0.001)
    assert len(audio.samples) == pytest.approx(AUDIO_RATE_HZ, abs=2)
    clicks = find_clicks(audio.samples, audio.start_s, AUDIO_RATE_HZ)
    assert clicks == pytest.approx([start_s + t for t in CLICKS_S], abs=0.001)
    assert 0.6 < audio.samples.max() <= 1.0


@pytest.mark.parametrize("start_s", [0.0, 0.5])
@pytest.mark.parametrize(
    ("suffix", "codec", "rate_hz"),
    [
        ("mp4", "aac", 44_100),
        ("mp4", "libmp3lame", 44_100),
        ("mkv", "libopus", 48_000),
        ("mkv", "ac3", 48_000),
        ("ts", "aac", 48_000),
        ("mpg", "mp2", 44_100),
    ],
)
def test_lossy_audio_keeps_its_distance_from_the_video(tmp_path, suffix, codec, rate_hz, start_s):
    path = tmp_path / f"v.{suffix}"
    pictures_codec = "mpeg1video" if suffix == "mpg" else "libx264"
    track = make_audio(codec, rate_hz, "stereo", start_s)
    write_media(path, PICTURES, codec=pictures_codec, audio=track)
    audio, first = read_audio(path), next(read_frames(path))
    clicks = find_clicks(audio.samples, audio.start_s - first.time_s, AUDIO_RATE_HZ)
    assert clicks == pytest.approx([start_s + t for t in CLICKS_S], abs=0.01)


@pytest.mark.parametrize(("suffix", "codec"), [("wav", "pcm_s16le"), ("mp3", "libmp3lame")])
def test_audio_without_video(tmp_path, suffix, codec):
    path = write_media(tmp_path / f"a.{suffix}", audio=make_audio(codec, 44_100, "stereo"))
    audio = read_audio(path)
    clicks = find_clicks(audio.samples, audio.start_s, AUDIO_RATE_HZ)
    # An mp3 starts where its encoder's delay ends.
    assert clicks[1] - clicks[0] == pytest.approx(0.5, abs=0.002)
    assert clicks[0] == pytest.approx(0.25, abs=0.03)


def test_video_without_audio(tmp_path):
    path = write_media(tmp_path / "v.mp4", PICTURES)
    assert read_audio(path) is None
    assert list(read_audio_blocks(path)) == []


def test_channels_are_averaged(tmp_path):
    samples = np.stack([np.full(48_000, 0.5), np.full(48_000, -0.1)]).astype(np.float32)
    track = AudioTrack([(0.0, samples)], 48_000, "pcm_f32le", "stereo")
    audio = read_audio(write_media(tmp_path / "a.wav", audio=track))
    assert audio.samples[1000:-1000] == pytest.approx(0.2, abs=1e-3)


def test_gap_becomes_silence(tmp_path):
    pieces = [(0.0, make_clicks([0.1], 0.4, 48_000)), (1.5, make_clicks([0.1], 0.4, 48_000))]
    path = write_media(tmp_path / "v.mkv", PICTURES, audio=AudioTrack(pieces, codec="pcm_s16le"))
    audio = read_audio(path)
    assert find_clicks(audio.samples, 0.0, AUDIO_RATE_HZ) == pytest.approx([0.1, 1.6], abs=0.001)
    assert len(audio.samples) == pytest.approx(1.9 * AUDIO_RATE_HZ, abs=40)
    assert not audio.samples[int(0.45 * AUDIO_RATE_HZ) : int(1.45 * AUDIO_RATE_HZ)].any()


def test_overlap_keeps_the_clock(tmp_path):
    first, second = make_clicks([0.1], 0.6, 48_000), make_clicks([0.4], 0.6, 48_000)
    track = AudioTrack([(0.0, first), (0.4, second)], codec="pcm_s16le")
    audio = read_audio(write_media(tmp_path / "v.mkv", PICTURES, audio=track))
    assert find_clicks(audio.samples, 0.0, AUDIO_RATE_HZ) == pytest.approx([0.1, 0.8], abs=0.002)
    assert len(audio.samples) == pytest.approx(AUDIO_RATE_HZ, abs=40)


def test_rounded_times_are_no_gaps(tmp_path):
    # Matroska counts milliseconds: blocks of 1024 at 44.1 kHz never begin on one.
    tone = np.sin(2 * np.pi * 200 * np.arange(44_100) / 44_100).astype(np.float32)[
        None
    ] / np.float32(2)
    path = tmp_path / "v.mkv"
    write_media(path, PICTURES, audio=AudioTrack([(0.0, tone)], 44_100, "pcm_f32le"))
    samples = read_audio(path).samples
    expected = np.sin(2 * np.pi * 200 * np.arange(len(samples)) / AUDIO_RATE_HZ) / 2
    assert samples[200:-200] == pytest.approx(expected[200:-200], abs=0.01)


def test_a_gap_is_a_gap_between_blocks(tmp_path):
    pieces = [(0.5, make_clicks([0.1], 0.4, 48_000)), (25.0, make_clicks([0.1], 0.4, 48_000))]
    path = write_media(tmp_path / "v.mkv", PICTURES, audio=AudioTrack(pieces, codec="pcm_s16le"))
    blocks = list(read_audio_blocks(path))
    gaps_s = [after.start_s - before.end_s for before, after in pairwise(blocks)]
    assert sorted(gaps_s)[-2:] == pytest.approx([0, 24.1], abs=1e-3)
    assert min(gaps_s) > -1e-6
    whole = read_audio(path)
    assert whole.start_s == blocks[0].start_s == 0.5
    assert whole.end_s == pytest.approx(25.4, abs=1e-3)
    for block in (blocks[0], blocks[-1]):
        first = round((block.start_s - 0.5) * AUDIO_RATE_HZ)
        assert (whole.samples[first : first + len(block.samples)] == block.samples).all()


@given(
    gaps_s=st.lists(st.floats(0, 1e6), min_size=1, max_size=4),
    length=st.integers(1, 3000),
)
def test_silence_is_bounded(gaps_s, length):
    blocks = [Audio(np.ones(length, np.float32), 7.0)]
    for gap_s in gaps_s:
        blocks.append(Audio(np.ones(length, np.float32), blocks[-1].end_s + gap_s))
    filled = list(fill_gaps(blocks, 0.5))
    assert sum(block.samples.any() for block in filled) == len(blocks)
    silence = sum(len(block.samples) for block in filled if not block.samples.any())
    assert silence <= len(gaps_s) * AUDIO_RATE_HZ
    for before, after in pairwise(filled):
        gap_s = after.start_s - before.end_s
        assert gap_s > -1e-4
        if before.samples.any() and after.samples.any():
            assert gap_s < 1e-4


@pytest.mark.parametrize(
    ("suffix", "codec"), [("wav", "pcm_s16le"), ("wav", "pcm_f32le"), ("mka", "aac")]
)
@pytest.mark.parametrize(
    ("right", "warned"), [(-1.0, True), (-0.95, True), (0.0, False), (1.0, False)]
)
def test_channels_that_cancel_each_other_are_named(tmp_path, caplog, suffix, codec, right, warned):
    left = np.random.default_rng(0).uniform(-0.5, 0.5, 8000).astype(np.float32)
    stereo = AudioTrack([(0.0, np.stack([left, right * left]))], 16_000, codec, "stereo", 128_000)
    path = write_media(tmp_path / f"a.{suffix}", audio=stereo)
    read_audio(path)
    said = f"a.{suffix}: its two channels cancel each other" in caplog.text
    assert said == warned
    caplog.clear()
    list(read_audio_blocks(path, 16_000, "stereo"))
    assert not caplog.text


@pytest.mark.parametrize(("suffix", "codec"), [("flac", "flac"), ("mkv", "aac")])
def test_cut_audio_is_kept(tmp_path, caplog, suffix, codec):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (1, 3 * 48_000)).astype(np.float32)
    path = write_media(tmp_path / f"a.{suffix}", audio=AudioTrack([(0.0, noise)], codec=codec))
    os.truncate(path, path.stat().st_size // 2)
    with caplog.at_level(logging.WARNING):
        audio = read_audio(path)
    assert len(audio.samples) == pytest.approx(1.5 * AUDIO_RATE_HZ, rel=0.05)
    assert "seems to be cut" in caplog.text


def test_layout_that_changes_inside_the_stream(tmp_path):
    first = write_media(tmp_path / "1.ts", audio=make_audio("aac", 48_000, "mono"))
    second = write_media(tmp_path / "2.ts", audio=make_audio("aac", 44_100, "stereo"))
    path = tmp_path / "both.ts"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    audio = read_audio(path)
    assert len(find_clicks(audio.samples, 0.0, AUDIO_RATE_HZ)) >= 2
    assert np.isfinite(audio.samples).all()


def test_audio_without_a_decoder(tmp_path):
    path = write_media(tmp_path / "v.mkv", audio=make_audio("flac", 48_000))
    path.write_bytes(path.read_bytes().replace(b"A_FLAC", b"A_XLAC"))
    with pytest.raises(InputError, match=r"v\.mkv: its audio is in a format"):
        read_audio(path)


def test_no_such_file(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_audio(tmp_path / "none.wav")


@pytest.mark.parametrize("channels", [9, 18, 24])
@pytest.mark.parametrize("width", [1, 2, 4])
def test_channels_of_a_microphone_array_are_averaged(tmp_path, channels, width):
    level = 2.0 ** (8 * width - 1)
    values = np.linspace(-0.5, 0.9, channels)  # of each channel
    whole = np.round(values * level + (level if width == 1 else 0)).astype(
        {1: "u1", 2: "<i2", 4: "<i4"}[width]
    )
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((channels, width, AUDIO_RATE_HZ, 0, "NONE", ""))
        file.writeframes(np.tile(whole, 1000).tobytes())
    audio = read_audio(tmp_path / "a.wav")
    assert len(audio.samples) == 1000
    np.testing.assert_allclose(audio.samples, 0.2, atol=2 / level)


@pytest.mark.parametrize("rate_hz", [3, 800_000_000])
def test_an_impossible_rate_is_damage(tmp_path, caplog, rate_hz):
    path = write_media(tmp_path / "a.wav", audio=make_audio("pcm_s16le", 8_000))
    header = struct.pack("<I", 8_000)
    path.write_bytes(path.read_bytes().replace(header, struct.pack("<I", rate_hz), 1))
    assert read_audio(path) is None
    assert f"a.wav: audio at {rate_hz} Hz is not used" in caplog.text
