from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from media_files import (
    ONE,
    TURNS,
    AudioTrack,
    corner_picture,
    counting_picture,
    make_clicks,
    read_count,
    write_media,
)
from PIL import Image as PillowImage

from abawcli.config import ROTATIONS
from abawcli.media.frame import Frame
from abawcli.media.video import read_frames

# Of each codec and container; test_claims has those of the recordings that it labels.
DECODED = {
    "av1_video.mkv": 125,
    "bt709_full_range.mp4": 30,
    "cry_then_laugh_sound.mp4": 472,
    "h264_10bits.mp4": 30,
    "h265_video.mp4": 10,
    "noface_car_with_sound.mp4": 377,
    "speech_bbaf2n.mpg": 75,
    "speech_lrwp9a.mpg": 75,
    "speech_sbwe5n.mpg": 75,
    "talk_again.mkv": 77,
    "talk_book.mkv": 109,
    "talk_eat.mkv": 47,
    "talk_help.mkv": 58,
    "talk_school.mkv": 72,
    "twofaces_headpose.gif": 56,
}


def pictures(count: int) -> list[np.ndarray]:
    return [counting_picture(k) for k in range(count)]


def times_and_counts(path: Path) -> tuple[list[float], list[int]]:
    frames = list(read_frames(path))
    assert [frame.frame for frame in frames] == list(range(1, len(frames) + 1))
    return [frame.time_s for frame in frames], [read_count(frame.rgb()) for frame in frames]


# --- times ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("b_frames.mp4", {"options": {"bf": "3"}}),
        ("hevc.mp4", {"codec": "libx265", "options": {"x265-params": "log-level=none"}}),
        ("av1.mkv", {"codec": "libsvtav1", "options": {"svtav1-params": "lp=1"}}),
        ("ten_bit.mp4", {"pixel_format": "yuv420p10le"}),
        ("gif.gif", {"codec": "gif", "pixel_format": "rgb8"}),
        ("xvid.avi", {"codec": "mpeg4"}),
        ("motion_jpeg.avi", {"codec": "mjpeg", "pixel_format": "yuvj420p"}),
        ("raw.h264", {"container": "h264"}),  # no times at all, no rate
    ],
)
def test_each_frame_has_its_number_and_time(tmp_path, monkeypatch, name, settings):
    monkeypatch.setenv("SVT_LOG", "0")
    path = write_media(tmp_path / name, pictures(12), **settings)
    times_s, counts = times_and_counts(path)
    assert counts == list(range(12))
    assert times_s == pytest.approx([k / 25 for k in range(12)], abs=1e-6)


@pytest.mark.parametrize("name", ["a.mpg", "a.ts", "h264.avi"])
def test_times_start_where_the_container_says(tmp_path, name):
    # AVI has no presentation times: with B-frames they come from the decoder's delay.
    codec = "mpeg1video" if name.endswith("mpg") else "libx264"
    times_s, counts = times_and_counts(write_media(tmp_path / name, pictures(12), codec=codec))
    assert counts == list(range(12))
    assert times_s[0] > 0
    assert np.diff(times_s) == pytest.approx([0.04] * 11, abs=1e-6)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov"])
def test_variable_frame_rate_with_b_frames(tmp_path, suffix):
    times = [200, 240, 245, 300, 500, 510, 511, 550, 1200, 1201, 1203, 2200]
    path = tmp_path / f"v.{suffix}"
    write_media(path, pictures(12), times=times, time_base=Fraction(1, 1000), options={"bf": "2"})
    times_s, counts = times_and_counts(path)
    assert counts == list(range(12))
    assert times_s == pytest.approx([t / 1000 for t in times], abs=0.0011)


def test_video_that_starts_after_audio(tmp_path):
    audio = AudioTrack([(0.0, make_clicks([0.5], 1.0, 48_000))], codec="flac")
    path = write_media(tmp_path / "v.mkv", pictures(5), times=range(10, 15), audio=audio)
    assert times_and_counts(path)[0] == pytest.approx([0.4, 0.44, 0.48, 0.52, 0.56])


def test_edit_list_hides_frames_that_the_header_counts(tmp_path):
    # A start before zero: the muxer writes an edit list that leaves those frames out.
    path = write_media(tmp_path / "v.mp4", pictures(12), times=range(-4, 8), options={"bf": "0"})
    with av.open(str(path)) as container:
        assert container.streams.video[0].frames == 12
    times_s, counts = times_and_counts(path)
    assert counts == list(range(4, 12))
    assert times_s == pytest.approx([k / 25 for k in range(8)])


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "webp", "tiff"])
def test_picture_is_a_video_of_one_frame(tmp_path, suffix):
    path = tmp_path / f"00001 a:b %03d.{suffix}"
    PillowImage.fromarray(corner_picture()).save(path)
    (frame,) = read_frames(path)
    assert (frame.frame, frame.time_s, frame.size) == (1, 0.0, (96, 64))
    assert np.abs(frame.rgb().astype(int) - corner_picture()).mean() < 6


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "webp", "tiff"])
def test_a_name_is_no_pattern(tmp_path, suffix):
    folder = tmp_path / "%d"
    folder.mkdir()
    for name, grey in (("a%d", 200), ("a1", 50), ("a2", 60)):
        picture = PillowImage.fromarray(np.full((64, 96, 3), grey, np.uint8))
        picture.save(folder / f"{name}.{suffix}")
    (frame,) = read_frames(folder / f"a%d.{suffix}")
    assert abs(frame.rgb().mean() - 200) < 2


@pytest.mark.parametrize("suffix", ["mp4", "gif"])
def test_a_video_may_be_named_like_a_pattern(tmp_path, suffix):
    gif: dict[str, Any] = {"codec": "gif", "pixel_format": "rgb8"}
    settings = gif if suffix == "gif" else {}
    for name, count in (("v%d", 5), ("v1", 3)):
        write_media(tmp_path / f"{name}.{suffix}", pictures(count), **settings)
    assert times_and_counts(tmp_path / f"v%d.{suffix}")[1] == list(range(5))


def test_palette_picture_can_be_scaled(tmp_path):
    path = tmp_path / "p.png"
    PillowImage.fromarray(corner_picture()).convert("P").save(path)
    (frame,) = read_frames(path)
    assert frame.rgb(48).shape == (32, 48, 3)


# --- orientation ---------------------------------------------------------------------------


def turn(picture: np.ndarray, degrees: int, mirrored: bool) -> np.ndarray:
    turned = np.rot90(picture, degrees // 90)  # counterclockwise
    return turned[:, ::-1] if mirrored else turned


@pytest.mark.parametrize(("degrees", "mirrored"), TURNS)
def test_display_matrix_is_applied(tmp_path, degrees, mirrored):
    matrix = TURNS[degrees, mirrored]
    path = write_media(tmp_path / "v.mp4", [corner_picture()], matrix=matrix)
    (frame,) = read_frames(path)
    expected = turn(corner_picture(), degrees, mirrored)
    assert frame.size == (expected.shape[1], expected.shape[0])
    assert (frame.orientation.degrees, frame.orientation.mirrored) == (degrees, mirrored)
    assert np.abs(frame.rgb().astype(int) - expected).mean() < 4
    small = frame.rgb(48)
    assert max(small.shape) == 48
    assert np.abs(small.astype(int) - expected[::2, ::2]).mean() < 8
    assert (frame.region_rgb(5, 9, 42, 60) == frame.rgb()[9:60, 5:42]).all()


@pytest.mark.parametrize(
    ("degrees", "shown", "tilt"),
    [(30, 0, 30), (44, 0, 44), (125, 90, 35), (200, 180, 20), (350, 0, 10)],
)
def test_a_display_matrix_between_quarter_turns_is_named(tmp_path, caplog, degrees, shown, tilt):
    cosine, sine = (round(ONE * f(np.radians(degrees))) for f in (np.cos, np.sin))
    matrix = (cosine, -sine, 0, sine, cosine, 0, 0, 0, 1 << 30)
    path = write_media(tmp_path / "v.mp4", [corner_picture()] * 2, matrix=matrix)
    assert [frame.orientation.degrees for frame in read_frames(path)] == [shown] * 2
    (message,) = caplog.messages
    assert f"rotates frames by {degrees} degrees counterclockwise" in message
    assert f"rotated by {shown}, in quarter turns, and stay tilted by {tilt}" in message


@pytest.mark.parametrize("degrees", [0, 90, 91, 269])
def test_a_display_matrix_that_is_rounded_is_not_named(tmp_path, caplog, degrees):
    cosine, sine = (round(ONE * f(np.radians(degrees))) for f in (np.cos, np.sin))
    matrix = (cosine, -sine, 0, sine, cosine, 0, 0, 0, 1 << 30)
    list(read_frames(write_media(tmp_path / "v.mp4", [corner_picture()], matrix=matrix)))
    assert caplog.messages == []


@pytest.mark.parametrize("rotate", ROTATIONS)
@pytest.mark.parametrize(("degrees", "mirrored"), TURNS)
def test_rotation_comes_on_top_of_the_display_matrix(tmp_path, degrees, mirrored, rotate):
    matrix = TURNS[degrees, mirrored]
    path = write_media(tmp_path / "v.mp4", [corner_picture()], matrix=matrix)
    (shown,), (frame,) = read_frames(path), read_frames(path, rotate)
    expected = np.rot90(shown.rgb(), -rotate // 90)  # clockwise
    assert frame.size == (expected.shape[1], expected.shape[0])
    assert (frame.rgb() == expected).all()
    assert (frame.region_rgb(5, 9, 42, 60) == expected[9:60, 5:42]).all()


# --- pixels that are not square -------------------------------------------------------------


def check_shape(frame: Frame, expected: np.ndarray) -> None:
    """Compare a frame with a corner picture in every way in which it gives pixels."""
    height, width = expected.shape[:2]
    assert frame.size == (width, height)
    whole = frame.rgb().astype(int)
    assert whole.shape == expected.shape
    assert np.abs(whole - expected).mean() < 5
    assert (frame.region_rgb(5, 9, 42, 60) == whole[9:60, 5:42]).all()
    small = frame.rgb(48)
    assert max(small.shape) == 48
    step = max(expected.shape) // 48
    assert np.abs(small.astype(int) - expected[::step, ::step][: len(small)]).mean() < 12


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi", "ts"])
def test_pixels_are_shown_square(tmp_path, suffix):
    path = tmp_path / f"v.{suffix}"
    stored = corner_picture(96, 128)
    write_media(path, [stored] * 4, codec="mpeg4", pixel_aspect=Fraction(2))
    for frame in read_frames(path):
        check_shape(frame, corner_picture(192, 128))


def test_narrow_pixels_make_a_narrow_picture(tmp_path):
    path = write_media(tmp_path / "v.mp4", [corner_picture(192, 96)], pixel_aspect=Fraction(1, 2))
    (frame,) = read_frames(path)
    check_shape(frame, corner_picture(96, 96))


@pytest.mark.parametrize(("degrees", "mirrored"), TURNS)
def test_pixels_are_shown_square_in_turned_pictures(tmp_path, degrees, mirrored):
    path, matrix = tmp_path / "v.mp4", TURNS[degrees, mirrored]
    write_media(path, [corner_picture(96, 96)], pixel_aspect=Fraction(2), matrix=matrix)
    (frame,) = read_frames(path)
    check_shape(frame, turn(corner_picture(192, 96), degrees, mirrored))


@pytest.mark.parametrize("aspect", [Fraction(1), Fraction(404, 405), Fraction(1281, 1280)])
def test_pixels_that_are_nearly_square_are_square(tmp_path, aspect):
    path = write_media(tmp_path / "v.mp4", [corner_picture(960, 64)], pixel_aspect=aspect)
    (frame,) = read_frames(path)
    assert (frame.pixel_aspect, frame.size) == (1, (960, 64))


def test_pixels_of_no_possible_shape_are_square_with_a_warning(tmp_path, caplog):
    path = write_media(tmp_path / "v.mp4", [corner_picture()], pixel_aspect=Fraction(50))
    (frame,) = read_frames(path)
    assert frame.size == (96, 64)
    assert "v.mp4: the pixel aspect ratio 50 is invalid; read as 1" in caplog.text


def test_picture_is_turned_as_its_exif_says(tmp_path):
    path = tmp_path / "v.jpg"
    exif = PillowImage.Exif()
    exif[0x0112] = 6  # to be turned clockwise by 90 degrees
    PillowImage.fromarray(corner_picture()).save(path, exif=exif, quality=95)
    (frame,) = read_frames(path)
    assert frame.orientation.degrees == 270
    assert np.abs(frame.rgb().astype(int) - np.rot90(corner_picture(), 3)).mean() < 6


# --- recordings ----------------------------------------------------------------------------


@pytest.mark.shared_data
def test_decoded_counts_of_recordings(shared_data, caplog):
    videos = shared_data / "videos"
    counts = {name: sum(1 for _ in read_frames(videos / name)) for name in DECODED}
    assert counts == DECODED
    assert caplog.text == ""
