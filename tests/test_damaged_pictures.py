"""Pictures that are damaged, cut or too large: what is there is kept, and the rest is said."""

import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from media_files import corner_picture, counting_picture, read_count
from picture_files import read_one, save
from PIL import Image

from abawcli.config import Media
from abawcli.errors import InputError
from abawcli.media.video import read_frames


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "tif"])
def test_of_a_cut_picture_what_is_there_is_kept_with_a_warning(tmp_path, caplog, suffix):
    noise = np.random.default_rng(0).integers(60, 256, (256, 256, 3)).astype(np.uint8)
    path = save(tmp_path / f"p.{suffix}", noise)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    shown = read_one(path)
    assert shown.shape == noise.shape
    top = shown[-100:] if suffix == "bmp" else shown[:100]  # a BMP is written from below
    assert top.mean() > 120
    assert caplog.text.count("WARNING") == 1 and f"p.{suffix} is damaged" in caplog.text


@pytest.mark.parametrize("suffix", ["webp", "avif"])
def test_a_cut_picture_of_which_nothing_is_there_is_an_error(tmp_path, suffix):
    path = save(tmp_path / f"p.{suffix}", counting_picture(5))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError, match=rf"p\.{suffix} (is damaged|holds no picture)") as caught:
        read_one(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("head", [b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"II*\0", b"MM\0*"])
@pytest.mark.parametrize("length", [0, 8, 500])
def test_garbage_that_begins_like_a_picture_is_an_error(tmp_path, head, length):
    path = tmp_path / "p.jpg"
    path.write_bytes(head + np.random.default_rng(length).bytes(length))
    with pytest.raises(InputError, match=r"p\.jpg") as caught:
        read_one(path)
    assert "\n" not in str(caught.value)


def test_of_a_damaged_animation_the_frames_before_are_kept(tmp_path, caplog):
    path = tmp_path / "p.tif"
    noise = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3)).astype(np.uint8)
    first, *others = map(Image.fromarray, noise)
    first.save(path, save_all=True, append_images=others, compression="tiff_lzw")
    with Image.open(path) as image:
        image.seek(2)
        start = image.tag_v2[0x0111][0]
    data = bytearray(path.read_bytes())
    data[start : start + 4000] = b"\xff" * 4000
    path.write_bytes(data)
    frames = list(read_frames(path))
    assert [(frame.rgb() == noise[k]).all() for k, frame in enumerate(frames)] == [True, True]
    assert "p.tif is damaged: it is read up to frame 2" in caplog.text


def test_pages_before_a_damaged_one_are_kept_where_they_cannot_be_counted(tmp_path, caplog):
    path = tmp_path / "p.tif"
    first, *others = (Image.fromarray(counting_picture(k)) for k in range(4))
    first.save(path, save_all=True, append_images=others)
    with Image.open(path) as image:
        image.seek(2)
        place = image._frame_pos[2]
    data = bytearray(path.read_bytes())
    data[place : place + 40] = bytes(40)  # its directory
    path.write_bytes(data)
    assert [read_count(frame.rgb()) for frame in read_frames(path)] == [0, 1]
    assert "p.tif is damaged: it is read up to frame 2" in caplog.text


def test_damaged_tags_are_no_warnings_of_python(tmp_path):
    exif = Image.Exif()
    exif[0x010F] = "maker" * 9
    path = save(tmp_path / "p.jpg", corner_picture(), exif=exif)
    data = path.read_bytes()
    start = data.index(b"Exif") + 14
    path.write_bytes(data[:start] + b"\xff\xff" + data[start + 2 :])  # so many tags
    with pytest.warns(UserWarning, match="EXIF"), Image.open(path) as image:
        image.getexif()
    code = "import sys, pathlib, abawcli.media.video as v; "
    code += "print(len(list(v.read_frames(pathlib.Path(sys.argv[1])))))"
    run = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    assert (run.stdout, run.stderr) == ("1\n", "")


def test_too_many_pixels_are_refused_before_they_are_decoded(tmp_path):
    data = save(path := tmp_path / "p.png", corner_picture()).read_bytes()
    header = b"IHDR" + struct.pack(">II", 20_000, 10_001) + data[24:29]
    path.write_bytes(data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:])
    with pytest.raises(InputError, match=f"20000x10001 pixels; up to {Media.frame_megapixels} m"):
        read_one(path)


def test_large_pictures_within_the_limit_are_read_without_a_warning(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # warned of from here on
    assert read_one(save(tmp_path / "p.png", corner_picture())).shape == (64, 96, 3)
