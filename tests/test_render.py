"""Review videos: what is shown when, read from the videos written."""

import bisect
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from media_files import (
    AudioTrack,
    Image,
    counting_picture,
    find_clicks,
    make_clicks,
    read_count,
    write_media,
)
from sample_tables import make_table

from abawcli.cli import main
from abawcli.formats.tables import write_table
from abawcli.labels import N_CLASSES
from abawcli.media.audio import read_audio, read_audio_blocks
from abawcli.media.video import read_frames
from abawcli.stages.predict import Predictor
from abawcli.views.frame_labels import FrameLabels
from abawcli.views.overlay import COLOURS, Style, draw_people, lay_out
from abawcli.views.render import RenderSettings, find_rotation, fit_picture, render_video
from abawcli.views.strip import MAX_ROWS, choose_timelines, draw_strip
from abawcli.views.timeline import split_timelines

WIDTH, HEIGHT = 192, 144
BOX = (40.0, 90.0, 60.0, 40.0)  # below the row where counting pictures are read
MS = Fraction(1, 1000)
UNEVEN_MS = [0, 40, 80, 120, 253, 270, 287, 400, 440, 480, 705, 745, 785, 825, 951, 991, 1031]
NTSC_MS = [round(k * 1001 / 30) for k in range(40)]


def label_frames(times_s: Sequence[float], video: str = "clip", turn: int = 0) -> pd.DataFrame:
    """Return a table in which each frame has the class after that of the frame before."""
    labels = (np.arange(len(times_s)) + turn) % N_CLASSES
    table = make_table(labels, video).assign(time_s=list(times_s))
    return table.assign(**dict(zip("xywh", BOX, strict=True)))


PERSON = FrameLabels.of(label_frames([0.0]), "clip.mp4", "clip.csv").list_people(1)[0]


def write_clip(
    folder: Path, times_ms: Sequence[int], name: str = "clip.mkv", **more: object
) -> Path:
    """Write a video that counts its frames, and its table beside it."""
    pictures = [counting_picture(k + 1, WIDTH, HEIGHT) for k in range(len(times_ms))]
    video = folder / name
    write_media(video, pictures, times=times_ms, time_base=MS, **more)  # type: ignore[arg-type]
    times_s = [frame.time_s for frame in read_frames(video)]
    write_table(label_frames(times_s), folder / "clip.csv", {})
    return video


def read_shown(path: Path) -> list[tuple[float, int, int]]:
    """Return time, number and class of each frame of a result."""
    return [
        (f.time_s, read_count(f.rgb()[:HEIGHT]), read_class(f.rgb())) for f in read_frames(path)
    ]


def read_class(picture: Image, box: Sequence[float] = BOX) -> int:
    """Return the class whose colour the left side of a box has."""
    x, y, _, h = map(int, box)
    colour = picture[y + h // 3 : y + 2 * h // 3, x : x + 2].mean(axis=(0, 1))
    return int(np.abs(np.array(COLOURS) - colour).sum(axis=1).argmin())


def count_on_screen(times_s: Sequence[float], time_s: float) -> int:
    """Return the number of the frame that is on screen; 2 ms are the rounding of containers."""
    return bisect.bisect_right(times_s, time_s + 0.002)


@pytest.mark.parametrize(
    ("name", "times_ms", "options"),
    [
        ("constant.mp4", [40 * k for k in range(30)], {"bf": "0"}),
        ("ntsc.mkv", NTSC_MS, {"bf": "2"}),
        ("uneven.mkv", UNEVEN_MS, {"bf": "0"}),
        ("uneven_b_frames.mp4", UNEVEN_MS, {"bf": "3", "x264-params": "b-adapt=0"}),
        ("late.mkv", [700 + t for t in UNEVEN_MS], {"bf": "3", "x264-params": "b-adapt=0"}),
    ],
)
def test_at_each_time_the_frame_on_screen_is_shown_with_its_own_label(
    tmp_path: Path, name: str, times_ms: list[int], options: dict[str, str]
) -> None:
    video = write_clip(tmp_path, times_ms, name, options=options)
    times_s = [frame.time_s for frame in read_frames(video)]
    assert np.allclose(times_s, np.array(times_ms) / 1000, atol=1e-3)
    done = render_video(video, tmp_path / "clip.csv", tmp_path / "out.mp4")
    shown = read_shown(tmp_path / "out.mp4")
    assert len(shown) == done.frames >= 0.9 * len(times_ms)
    for time_s, number, label in shown:
        expected = count_on_screen(times_s, times_s[0] + time_s)
        assert (number, label) == (expected, (expected - 1) % N_CLASSES), time_s
    if name in ("constant.mp4", "ntsc.mkv"):  # nothing twice, nothing left out
        assert [number for _, number, _ in shown] == list(range(1, len(times_ms) + 1))


def test_from_and_to_cut_out_a_span(tmp_path: Path) -> None:
    video = write_clip(tmp_path, [40 * k for k in range(30)])
    arguments = ["render", str(video), str(tmp_path / "clip.csv"), "-o", str(tmp_path / "out.webm")]
    result = CliRunner().invoke(main, [*arguments, "--from", "0.4", "--to", "0.8"])
    assert result.exit_code == 0, result.output
    assert [number for _, number, _ in read_shown(tmp_path / "out.webm")] == list(range(11, 21))


@pytest.mark.parametrize("suffix", ["mp4", "webm"])
def test_pictures_have_the_format_that_players_show(tmp_path: Path, suffix: str) -> None:
    video, output = write_clip(tmp_path, [0, 40]), tmp_path / f"out.{suffix}"
    render_video(video, tmp_path / "clip.csv", output)
    with av.open(output) as container:
        context = container.streams.video[0].codec_context
        assert (context.pix_fmt, context.colorspace) == ("yuv420p", 1)  # BT.709


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "webm"])
def test_audio_stays_in_time(tmp_path: Path, suffix: str) -> None:
    clicks_s = [0.3, 0.5, 0.75]  # on the clock of the frames, which begin at 0.2
    audio = AudioTrack(
        [(0.1, make_clicks([c - 0.1 for c in clicks_s], 0.8, 48_000))], codec="pcm_s16le"
    )
    video = write_clip(tmp_path, [200 + 40 * k for k in range(18)], audio=audio)
    output = tmp_path / f"out.{suffix}"
    assert render_video(video, tmp_path / "clip.csv", output).audio
    played = read_audio(output)
    assert played is not None
    first_s = next(iter(read_frames(output))).time_s
    found = np.array(find_clicks(played.samples, played.start_s, 16_000)) - first_s
    assert found == pytest.approx(np.array(clicks_s) - 0.2, abs=0.03)


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_the_same_work_gives_the_same_bytes(tmp_path: Path, suffix: str) -> None:
    audio = AudioTrack([(0.0, make_clicks([0.1], 0.5, 48_000))], codec="pcm_s16le")
    video = write_clip(tmp_path, [40 * k for k in range(10)], audio=audio)
    for name in ("one", "other"):
        render_video(video, tmp_path / "clip.csv", tmp_path / f"{name}.{suffix}")
    one = (tmp_path / f"one.{suffix}").read_bytes()
    assert one == (tmp_path / f"other.{suffix}").read_bytes()
    assert str(tmp_path).encode() not in one


def test_audio_keeps_its_channels_and_high_tones(tmp_path: Path) -> None:
    tone = np.sin(np.arange(48_000) * 2 * np.pi * 12_000 / 48_000) / 2
    left = np.stack([tone, np.zeros(48_000)]).astype(np.float32)
    audio = AudioTrack([(0.0, left)], codec="pcm_s16le", layout="stereo")
    video = write_clip(tmp_path, [40 * k for k in range(25)], audio=audio)
    render_video(video, tmp_path / "clip.csv", tmp_path / "out.mp4")
    blocks = list(read_audio_blocks(tmp_path / "out.mp4", 48_000, "stereo"))
    played = np.concatenate([block.samples for block in blocks])[9600:-9600]  # (N, 2)
    assert played.std(axis=0) == pytest.approx([tone.std(), 0], abs=0.02)


def test_audio_that_begins_late_or_has_gaps_stays_in_time(tmp_path: Path) -> None:
    piece = make_clicks([0.1], 0.2, 48_000)
    audio = AudioTrack([(0.3, piece), (1.0, piece)], codec="pcm_s16le")
    video = write_clip(tmp_path, [40 * k for k in range(40)], audio=audio)
    render_video(
        video, tmp_path / "clip.csv", tmp_path / "out.mp4", RenderSettings(from_s=0.2, to_s=1.5)
    )
    played = read_audio(tmp_path / "out.mp4")
    assert played is not None
    found = find_clicks(played.samples, played.start_s, 16_000)
    assert found == pytest.approx([0.2, 0.9], abs=0.03)


TURNED = (0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)  # shows what is stored turned left


def write_turned(folder: Path, matrix: Sequence[int] | None) -> Path:
    """Write a clip that must be turned clockwise to be upright, with its table."""
    pictures = [np.ascontiguousarray(np.rot90(counting_picture(k, WIDTH, HEIGHT))) for k in (1, 2)]
    return write_media(folder / "clip.mp4", pictures, matrix=matrix)


def test_a_turned_recording_is_shown_upright(tmp_path: Path) -> None:
    video = write_turned(tmp_path, TURNED)
    write_table(label_frames([0.0, 0.04]), tmp_path / "clip.csv", {})
    render_video(video, tmp_path / "clip.csv", tmp_path / "out.mp4")
    assert [shown[1:] for shown in read_shown(tmp_path / "out.mp4")] == [(1, 0), (2, 1)]


@pytest.mark.parametrize("option", [[], ["--rotate", "90"]])
def test_frames_are_turned_as_for_the_table(tmp_path: Path, option: list[str]) -> None:
    video, table = write_turned(tmp_path, None), tmp_path / "clip.csv"
    predicted = {"command": "predict", "settings": {} if option else {"rotate": 90}}
    write_table(label_frames([0.0, 0.04]), table, {"command": "smooth", "made_from": [predicted]})
    arguments = ["render", str(video), str(table), "-o", str(tmp_path / "out.mp4"), *option]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert [shown[1:] for shown in read_shown(tmp_path / "out.mp4")] == [(1, 0), (2, 1)]


def test_the_rotation_is_found_where_predict_notes_it() -> None:
    described = Predictor("compact-face", device="cpu", rotate=270).describe("main", None)
    assert find_rotation({"settings": {}, "made_from": [{"settings": described}]}) == 270
    assert find_rotation({}) == find_rotation({"settings": {"rotate": 0}, "made_from": []}) == 0


def test_everybody_has_a_box_of_their_own_colour(tmp_path: Path) -> None:
    video = write_clip(tmp_path, [40 * k for k in range(10)])
    times_s = [0.04 * k for k in range(10)]
    right = dict(zip("xywh", (140.0, *BOX[1:]), strict=True))
    both = [label_frames(times_s), label_frames(times_s, turn=3).assign(**right)]
    people = [table.assign(subject=str(k)) for k, table in enumerate(both)]
    write_table(pd.concat(people), tmp_path / "all.csv", {})
    assert render_video(video, tmp_path / "all.csv", tmp_path / "out.mp4").subjects == 2
    for k, frame in enumerate(read_frames(tmp_path / "out.mp4")):
        classes = [read_class(frame.rgb(), (x, *BOX[1:])) for x in (40, 140)]
        assert classes == [k % N_CLASSES, (k + 3) % N_CLASSES]


def test_the_cursor_moves_along_the_timeline(tmp_path: Path) -> None:
    tracks = split_timelines(label_frames([0.0, 1.0, 2.0, 3.0]))
    strip = draw_strip(tracks, 400, (0.0, 4.0), Style.for_size(400, 300))
    row = strip.bottom - 3  # in the band of labels
    plain = strip.image[row, strip.left : strip.right + 1]
    quarter = len(plain) // 4
    for k in range(4):  # each label for as long as it is on screen
        assert (plain[k * quarter + 2 : (k + 1) * quarter - 2] == COLOURS[k]).all()
    for time_s in (0.0, 1.3, 4.0):
        changed = np.flatnonzero((strip.draw_cursor(time_s)[row] != strip.image[row]).any(axis=-1))
        expected = strip.left + time_s / 4 * (strip.right - strip.left)
        assert changed.mean() == pytest.approx(expected, abs=1)


@pytest.mark.parametrize(("width", "height"), [(97, 65), (64, 301), (33, 20), (1001, 30)])
def test_any_size_of_picture_can_be_rendered(tmp_path: Path, width: int, height: int) -> None:
    pictures = [np.full((height, width, 3), 90, np.uint8)] * 2
    write_media(tmp_path / "clip.mkv", pictures, codec="ffv1", pixel_format="bgr0")
    odd = label_frames([0.0, 0.04]).assign(x=-5.0, w=2000.0)
    write_table(odd, tmp_path / "clip.csv", {})
    render_video(tmp_path / "clip.mkv", tmp_path / "clip.csv", tmp_path / "out.mp4")
    for frame in read_frames(tmp_path / "out.mp4"):
        assert frame.size[0] == width + width % 2 and frame.size[1] > height


def test_frames_of_another_size_are_fitted_in() -> None:
    person = PERSON
    picture, (moved,) = fit_picture(np.full((50, 200, 3), 255, np.uint8), [person], (100, 100))
    assert picture.shape == (100, 100, 3) and (picture[38:62] == 255).all()
    assert not picture[:37].any() and not picture[63:].any()
    assert moved.box == (20.0, 82.0, 30.0, 20.0)


def test_a_label_without_a_face_stands_in_the_corner() -> None:
    played = replace(PERSON, box=None, source="audio", label=4)
    ground, style = np.zeros((144, 192, 3), np.uint8), Style.for_size(192, 144)
    assert (draw_people(ground, [played], style)[5, 6] == COLOURS[4]).all()
    assert played.text == "Happiness 0.65 (audio)"
    nobody = replace(played, label=-1)
    assert not draw_people(ground, [nobody], style).any()


@settings(max_examples=30)
@given(st.lists(st.tuples(*[st.integers(-20, 190)] * 2, *[st.integers(1, 80)] * 2), max_size=5))
def test_labels_and_bars_stay_in_the_picture(boxes: list[tuple[int, ...]]) -> None:
    people = [replace(PERSON, box=(float(x), y, w, h)) for x, y, w, h in boxes]
    size = WIDTH, HEIGHT
    for place in lay_out(people, size, Style.for_size(*size)):
        for x0, y0, x1, y1 in (place.box, place.tag, place.bars):
            assert 0 <= x0 < x1 <= WIDTH and 0 <= y0 < y1 <= HEIGHT


def test_labels_and_bars_hide_no_other_face() -> None:
    faces = [(100.0, 100.0, 40.0, 50.0), (160.0, 90.0, 40.0, 50.0), (120.0, 50.0, 40.0, 40.0)]
    people = [replace(PERSON, box=box, name=str(k)) for k, box in enumerate(faces)]
    places = lay_out(people, (480, 270), Style.for_size(480, 270))
    shown = np.zeros((270, 480), int)
    for place in places:
        for x0, y0, x1, y1 in (place.box, place.tag, place.bars):
            shown[y0:y1, x0:x1] += 1
    assert shown.max() == 1


def test_the_timeline_has_rows_for_those_who_have_labels_longest() -> None:
    tables = [make_table([4] * (k + 1), subject=str(k)) for k in range(MAX_ROWS + 3)]
    rows = choose_timelines(split_timelines(pd.concat(tables)))
    assert [track.subject for track in rows] == [str(k) for k in range(3, MAX_ROWS + 3)]
