import json
import os
from dataclasses import asdict
from fractions import Fraction
from typing import Any

import pytest
from media_files import AudioTrack, counting_picture, make_clicks, write_media
from PIL import Image

from abawcli.errors import InputError
from abawcli.stages.probe import probe_media

PICTURES = [counting_picture(k) for k in range(12)]
SOUND = AudioTrack([(0.5, make_clicks([0.25], 1.0, 48_000))], 48_000, "flac", "mono")


def test_video_with_audio(tmp_path):
    path = write_media(tmp_path / "v.mkv", PICTURES, options={"bf": "2"}, audio=SOUND)
    report = probe_media(path)
    assert report.path == str(path)
    assert report.container == "matroska,webm"
    assert report.header_duration_s == pytest.approx(1.5, abs=0.01)
    assert report.other_streams == ()
    video = report.video
    assert (video.codec, video.pixel_format) == ("h264", "yuv420p")
    assert (video.width, video.height, video.rotation, video.mirrored) == (128, 96, 0, False)
    assert (video.header_frames, video.decoded_frames) == (0, 12)
    assert video.nominal_fps == 25
    assert video.constant_rate
    assert video.interval_ms == (40.0, 40.0, 40.0)
    assert (video.first_time_s, video.last_time_s) == pytest.approx((0, 0.44))
    audio = report.audio
    assert (audio.codec, audio.rate_hz, audio.channels) == ("flac", 48_000, 1)
    assert (audio.start_s, audio.duration_s) == pytest.approx((0.5, 1.0), abs=0.001)
    assert report.audio_offset_s == pytest.approx(0.5, abs=0.001)
    assert json.loads(json.dumps(asdict(report)))["video"]["interval_ms"] == [40, 40, 40]


def test_variable_rate_turned(tmp_path):
    times = [100, 140, 180, 200, 300]
    path = write_media(
        tmp_path / "v.mp4",
        PICTURES[:5],
        times=times,
        time_base=Fraction(1, 1000),
        matrix=(0, -65536, 0, 65536, 0, 0, 0, 0, 1 << 30),
    )
    video = probe_media(path).video
    assert not video.constant_rate
    assert video.interval_ms == pytest.approx((20, 40, 100))
    assert (video.width, video.height, video.rotation) == (96, 128, 90)


@pytest.mark.parametrize("suffix", ["mkv", "gif"])
def test_rounding_of_times_is_no_variable_rate(tmp_path, suffix):
    gif: dict[str, Any] = {"codec": "gif", "pixel_format": "rgb8"}
    settings = gif if suffix == "gif" else {}
    path = write_media(tmp_path / f"v.{suffix}", PICTURES, time_base=Fraction(1, 30), **settings)
    video = probe_media(path).video
    low, _, high = video.interval_ms
    assert low < high
    assert video.constant_rate


def test_header_count_beside_the_decoded(tmp_path):
    path = write_media(tmp_path / "v.mp4", PICTURES, times=range(-4, 8), options={"bf": "0"})
    video = probe_media(path).video
    assert (video.header_frames, video.decoded_frames) == (12, 8)


def test_single_picture(tmp_path):
    video = probe_media(write_media(tmp_path / "v.mp4", PICTURES[:1])).video
    assert (video.decoded_frames, video.constant_rate) == (1, True)
    assert video.interval_ms == (0, 0, 0)


def test_audio_only(tmp_path):
    report = probe_media(write_media(tmp_path / "a.flac", audio=SOUND))
    assert (report.video, report.audio_offset_s) == (None, None)
    assert report.audio.duration_s == pytest.approx(1.0)


def test_subtitles_only(tmp_path):
    subtitles = tmp_path / "s.srt"
    subtitles.write_text("1\n00:00:00,000 --> 00:00:01,000\nHello\n")
    with pytest.raises(InputError, match="has neither video nor audio"):
        probe_media(subtitles)


def test_cut_before_the_first_frame(tmp_path):
    path = write_media(tmp_path / "v.mp4", PICTURES, container_options={"movflags": "faststart"})
    data = path.read_bytes()
    os.truncate(path, data.index(b"mdat") + 8)
    with pytest.raises(InputError, match="no frame that can be decoded"):
        probe_media(path)


def test_pictures_are_reported_as_they_are_displayed(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 5
    first, *others = map(Image.fromarray, PICTURES[:3])
    path = tmp_path / "p.webp"
    first.save(path, save_all=True, append_images=others, duration=[40, 80, 40], exif=exif)
    report = probe_media(path)
    assert (report.container, report.audio, report.other_streams) == ("picture", None, ())
    video = report.video
    assert (video.codec, video.width, video.height) == ("WebP", 96, 128)
    assert (video.decoded_frames, video.last_time_s) == (3, pytest.approx(0.12))
    assert (video.rotation, video.mirrored) == (270, True)


def test_pixel_shape_and_hdr(tmp_path):
    path = write_media(tmp_path / "v.mp4", PICTURES[:2], pixel_aspect=Fraction(3, 2), transfer=16)
    video = probe_media(path).video
    assert (video.width, video.height, video.pixel_aspect, video.hdr) == (192, 96, 1.5, "PQ")
