"""Videos that are cut, damaged or none."""

import logging
import os
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest
from media_files import (
    AudioTrack,
    corner_picture,
    counting_picture,
    make_clicks,
    read_count,
    write_media,
)
from PIL import Image as PillowImage
from test_video import pictures, times_and_counts

from abawcli.errors import InputError
from abawcli.media.streams import OpenMedia
from abawcli.media.video import decode_frames, read_frames


def noisy_pictures(count: int) -> list[np.ndarray]:
    """Pictures with detail, so that packets are not tiny."""
    noise = np.random.default_rng(0).integers(0, 40, (count, 96, 128, 3)).astype(np.uint8)
    return [counting_picture(k) + noise[k] for k in range(count)]


def packet_ends(path: Path) -> list[int]:
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(video=0) if p.size]
    return [packet.pos + packet.size for packet in packets]


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov", "avi"])
@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_cut_tail_keeps_every_whole_frame(tmp_path, caplog, suffix, codec):
    path = tmp_path / f"v.{suffix}"
    options = {"movflags": "faststart"} if suffix in ("mp4", "mov") else {}
    write_media(path, noisy_pictures(50), codec=codec, container_options=options)
    ends = packet_ends(path)
    cut = ends[30] - 20  # the thirty-first packet is not whole
    os.truncate(path, cut)
    with caplog.at_level(logging.WARNING):
        times_s, counts = times_and_counts(path)
    # Frames that refer to a packet behind the cut are lost, not those before it.
    assert len(counts) >= 30
    assert counts[:28] == list(range(28))
    assert np.all(np.diff(times_s) > 0)
    assert "v." + suffix in caplog.text
    assert "seems to be cut" in caplog.text
    assert caplog.text.count("WARNING") <= 2


def test_cut_transport_stream(tmp_path):
    path = write_media(tmp_path / "v.ts", noisy_pictures(50), options={"bf": "0"})
    os.truncate(path, path.stat().st_size * 6 // 10)
    _, counts = times_and_counts(path)
    # Nothing in such a stream says where it should end.
    assert 25 <= len(counts) < 35
    assert counts[:-1] == list(range(len(counts) - 1))


def test_garbage_in_the_middle_thins_the_video(tmp_path, caplog):
    path = write_media(tmp_path / "v.mp4", noisy_pictures(50), options={"bf": "0", "g": "10"})
    data, ends = bytearray(path.read_bytes()), packet_ends(path)
    data[ends[19] : ends[21]] = np.random.default_rng(0).bytes(ends[21] - ends[19])
    path.write_bytes(data)
    times_s, counts = times_and_counts(path)
    assert counts[:20] == list(range(20))
    assert counts[-20:] == list(range(30, 50))
    assert times_s[-1] == pytest.approx(49 / 25)
    assert "is damaged" in caplog.text


class BreakingContainer:
    """A container that can no longer be read after eight packets, as on a drive that is gone."""

    def __init__(self, container):
        self.container, self.format = container, container.format

    def demux(self, *streams):
        yield from islice(self.container.demux(*streams), 8)
        raise OSError(5, "Input/output error")


def test_read_error_keeps_what_is_in_the_decoder(tmp_path, caplog):
    path = write_media(tmp_path / "v.mp4", pictures(12), options={"bf": "2"})
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        media = OpenMedia(path, BreakingContainer(container), stream, None)  # type: ignore[arg-type]
        frames = list(decode_frames(media, stream))
    assert len(frames) == 8
    assert [frame.time_s for frame in frames] == pytest.approx(
        [read_count(frame.rgb()) / 25 for frame in frames]
    )
    assert "v.mp4 ends early" in caplog.text
    assert "Input/output error" in caplog.text


def test_whole_files_warn_of_nothing(tmp_path, caplog):
    for suffix in ("mp4", "mkv", "avi", "ts", "mov"):
        assert len(list(read_frames(write_media(tmp_path / f"v.{suffix}", pictures(30))))) == 30
    assert caplog.text == ""


# --- bad input -----------------------------------------------------------------------------


def expect_error(path: Path, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        list(read_frames(path))
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_no_such_file(tmp_path):
    expect_error(tmp_path / "none.mp4", "no such file")


def test_folder(tmp_path):
    expect_error(tmp_path, "is a folder")


def test_empty_file(tmp_path):
    (tmp_path / "v.mp4").touch()
    expect_error(tmp_path / "v.mp4", r"is empty \(0 bytes\)")


def test_text_named_mp4(tmp_path):
    (tmp_path / "v.mp4").write_text("This is not a video.\n" * 20)
    expect_error(tmp_path / "v.mp4", "is not a readable media file: Invalid data")


@pytest.mark.parametrize("suffix", ["txt", "nfo", "ans"])
def test_text_is_not_drawn(tmp_path, suffix):
    (tmp_path / f"v.{suffix}").write_text("Neutral,Anger\n0\n1\n" * 200)
    expect_error(tmp_path / f"v.{suffix}", f"v.{suffix} is a text file, not a media file")


def test_file_that_may_not_be_read(tmp_path, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    path = write_media(tmp_path / "v.mp4", pictures(2))
    monkeypatch.setattr(av, "open", refuse)
    expect_error(path, "permission denied")


@pytest.mark.parametrize("method", ["is_dir", "stat"])
def test_folder_that_may_not_be_entered(tmp_path, monkeypatch, method):
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, method, refuse)
        expect_error(tmp_path / "v.mp4", "cannot be read: permission denied")


@pytest.mark.parametrize(
    ("name", "reason"), [("v" * 300 + ".mp4", "File name too long"), ("v\0.mp4", "null")]
)
def test_name_that_no_file_can_have(tmp_path, name, reason):
    expect_error(tmp_path / name, f"is not a readable media file: .*{reason}")


def test_audio_only(tmp_path):
    audio = AudioTrack([(0.0, make_clicks([0.5], 1.0, 48_000))], codec="pcm_s16le")
    expect_error(write_media(tmp_path / "v.wav", audio=audio), r"no video \(audio only\)")


def test_cover_picture_is_no_video(tmp_path):
    path = tmp_path / "song.mp3"
    cover = tmp_path / "cover.jpg"
    PillowImage.fromarray(corner_picture()).save(cover)
    with av.open(str(path), "w") as out, av.open(str(cover)) as picture:
        audio = out.add_stream("libmp3lame", rate=44_100, layout="mono")
        art = out.add_stream_from_template(picture.streams.video[0])
        art.disposition = av.stream.Disposition.attached_pic
        (packet,) = [p for p in picture.demux() if p.size]
        packet.stream = art
        out.mux(packet)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4608), np.float32), "fltp", "mono")
        frame.sample_rate = 44_100
        out.mux(audio.encode(frame) + audio.encode())
    with av.open(str(path)) as container:
        assert len(container.streams.video) == 1
    expect_error(path, r"no video \(audio only\)")


def test_video_without_a_decoder(tmp_path):
    path = write_media(tmp_path / "v.mkv", pictures(2))
    path.write_bytes(path.read_bytes().replace(b"V_MPEG4/ISO/AVC", b"V_MPEG4/ISO/XYZ"))
    expect_error(path, "cannot decode")


def test_header_without_frames(tmp_path):
    path = write_media(tmp_path / "v.mp4", pictures(5), container_options={"movflags": "faststart"})
    os.truncate(path, packet_ends(path)[0] - 10)
    expect_error(path, "has no frame that can be decoded")
