"""Recordings are opened once for each stream that is read; images of a camera are frames, too."""

import itertools
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from blob_faces import BlobDetector, picture
from loaded_networks import load_predictor
from media_files import AudioTrack, make_clicks, write_media

import abawcli.media.streams as streams
from abawcli.errors import InputError
from abawcli.media.recording import open_recording
from abawcli.media.video import TimedImage, read_frames, wrap_images
from abawcli.stages.predict import Predictor

SOUND = AudioTrack([(0.0, make_clicks([0.2], 0.5, 16_000))], 16_000, "pcm_s16le")


@pytest.fixture
def predictor() -> Predictor:
    made = load_predictor()
    made.extractor.detector = BlobDetector()
    return made


@pytest.mark.parametrize(
    ("name", "pictures", "audio", "count"),
    [("both.mkv", 12, SOUND, 2), ("mute.mkv", 12, None, 1), ("audio.wav", 0, SOUND, 1)],
)
def test_a_file_is_opened_once_for_each_stream(
    name: str,
    pictures: int,
    audio: AudioTrack | None,
    count: int,
    predictor: Predictor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = write_media(tmp_path / name, [picture(30)] * pictures, audio=audio)
    opened, original = [], streams.open_media
    monkeypatch.setattr(streams, "open_media", lambda p: opened.append(p) or original(p))  # type: ignore[func-returns-value]
    assert len(list(predictor.predict_frames(path))) >= 12
    assert opened == [path] * count


def test_images_give_what_their_video_gives(predictor: Predictor, tmp_path: Path) -> None:
    path = write_media(tmp_path / "v.mp4", [picture(32 * (k < 20), 24) for k in range(30)])
    images = ((frame.time_s, frame.rgb()) for frame in read_frames(path))
    faces = 0
    for seen, film in zip(
        predictor.predict_frames(images), predictor.predict_frames(path), strict=True
    ):
        assert (seen.frame, seen.time_s, seen.has_audio) == (film.frame, film.time_s, False)
        assert [face.subject for face in seen.faces] == [face.subject for face in film.faces]
        for a, b in zip(seen.faces, film.faces, strict=True):
            assert a.source == b.source == "visual"
            np.testing.assert_allclose(a.probabilities, b.probabilities, atol=0.02)
        faces += len(seen.faces)
    assert faces >= 20


def test_a_camera_without_end_can_be_left(predictor: Predictor) -> None:
    camera = ((k / 25, picture(30)) for k in itertools.count())
    stream = predictor.predict_frames(camera)
    assert [next(stream).frame for _ in range(3)] == [1, 2, 3]
    stream.close()  # type: ignore[attr-defined]
    assert not [t for t in threading.enumerate() if t.name == "abaw-frames"]


def test_images_are_rotated() -> None:
    image = np.zeros((20, 40, 3), np.uint8)
    image[:, 20:] = 250
    (frame,) = wrap_images([(1.5, image)], rotate=90)
    assert (frame.frame, frame.time_s, frame.size) == (1, 1.5, (20, 40))
    assert frame.rgb()[:20].max() < 10 and frame.rgb()[20:].min() > 240


IMAGE = np.zeros((9, 9, 3), np.uint8)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([], "there is no image"),
        ([(0.0, IMAGE), (0.0, IMAGE)], "image 2 is at 0.0 s, the one before it at 0.0 s"),
        ([(float("nan"), IMAGE)], "image 1 is at nan s"),
        ([(0.0, IMAGE[..., 0])], r"image 1 is uint8 \(9, 9\), not uint8 \(H, W, 3\)"),
        ([(0.0, IMAGE.astype(float))], r"image 1 is float64 \(9, 9, 3\)"),
    ],
)
def test_images_that_are_none(images: list[TimedImage], message: str) -> None:
    with pytest.raises(InputError, match=message):
        list(wrap_images(images))


def test_images_have_no_audio() -> None:
    def make() -> Iterator[TimedImage]:
        yield 0.0, IMAGE

    with open_recording(make()) as recording:
        assert recording.has_video and not recording.has_audio
        assert list(recording.read_audio()) == []
    with pytest.raises(InputError, match="images have no audio; use --modality visual"):
        next(iter(load_predictor(modality="audio").predict_frames(make())))
