"""Files whose headers state giant sizes are refused before memory is taken for them."""

import resource
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from media_files import write_media
from PIL import Image

from abawcli.cli import main
from abawcli.config import Media
from abawcli.errors import InputError
from abawcli.formats.tensors import open_tensors
from abawcli.media.limits import limit_frames
from abawcli.media.video import read_frames

MEGABYTES = 1 << 10  # in the unit of ru_maxrss, KiB


@pytest.fixture(autouse=True)
def usual_limit() -> Iterator[None]:
    """Restore the limit, which is that of the process."""
    yield
    limit_frames(Media.frame_megapixels)


@pytest.fixture
def little_memory() -> Iterator[None]:
    """Fail if a test takes much more memory than was ever taken before it."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * MEGABYTES


def write_gif(path: Path, width: int, height: int) -> Path:
    """Write a picture of 64x48 pixels whose header states another size."""
    Image.new("L", (64, 48)).save(path)
    data = bytearray(path.read_bytes())
    data[6:10] = struct.pack("<HH", width, height)
    path.write_bytes(data)
    return path


@pytest.mark.usefixtures("little_memory")
def test_a_video_above_the_limit(tmp_path: Path) -> None:
    path = write_gif(tmp_path / "a.gif", 16_000, 16_000)
    message = "a.gif has 16000x16000 pixels; up to 200 million are read: scale it down, or raise"
    with pytest.raises(InputError, match=message):
        list(read_frames(path))
    path = write_gif(tmp_path / "b.gif", 16_384, 16_384)  # above FFmpeg's own limit
    with pytest.raises(InputError, match="decoded: its header has no size that FFmpeg decodes$"):
        list(read_frames(path))


@pytest.mark.usefixtures("little_memory")
def test_a_picture_above_the_limit(tmp_path: Path) -> None:
    Image.new("L", (64, 48)).save(path := tmp_path / "a.png")
    data = path.read_bytes()
    header = b"IHDR" + struct.pack(">II", 50_000, 50_000) + data[24:29]
    path.write_bytes(data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:])
    with pytest.raises(InputError, match="50000x50000 pixels; up to 200 million are read"):
        list(read_frames(path))


@pytest.mark.usefixtures("little_memory")
def test_a_video_whose_frames_grow_beyond_the_limit(tmp_path: Path) -> None:
    frames = [np.zeros((1000, 1100, 3), np.uint8)]
    large = write_media(tmp_path / "a.mpg", frames, codec="mpeg2video", container="mpeg")
    small = write_media(tmp_path / "b.mpg", [np.zeros((48, 64, 3), np.uint8)] * 3,
                        codec="mpeg2video", container="mpeg")  # fmt: skip
    limit_frames(1)
    both = tmp_path / "c.mpg"
    both.write_bytes(small.read_bytes() + large.read_bytes())
    assert {frame.native.width for frame in read_frames(both)} == {64}


def test_an_option_raises_the_limit(tmp_path: Path) -> None:
    pixels = np.zeros((1000, 1100, 3), np.uint8)
    paths = [write_media(tmp_path / "a.mkv", [pixels]), tmp_path / "b.png"]
    Image.fromarray(pixels).save(paths[1])
    call = ["predict", *map(str, paths), "-o", str(tmp_path / "out"), "--device", "cpu"]
    refused = CliRunner().invoke(main, [*call, "--max-megapixels", "1"])
    assert refused.exit_code == 1
    for path in paths:
        assert f"{path} has 1100x1000 pixels; up to 1 million are read" in refused.stderr
    assert CliRunner().invoke(main, [*call, "--max-megapixels", "2"]).exit_code == 0


@pytest.mark.parametrize("size", [1 << 60, (1 << 63) + 5, 200_000_000])
@pytest.mark.usefixtures("little_memory")
def test_a_header_of_tensors_larger_than_the_file(tmp_path: Path, size: int) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", size) + b'{"a":{}}')
    with (
        pytest.raises(InputError, match="a.safetensors is not a safetensors file"),
        open_tensors(path, "numpy"),
    ):
        pass
