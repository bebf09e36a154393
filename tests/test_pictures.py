"""Pictures: every frame, with its time and its pixels as displayed."""

import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from media_files import corner_picture, counting_picture, read_count
from picture_files import read_one, save
from PIL import Image, ImageCms, ImageOps
from PIL.TiffImagePlugin import AppendingTiffWriter, ImageFileDirectory_v2

from abawcli.errors import InputError
from abawcli.media.pictures import identify_picture
from abawcli.media.tone import HLG, PQ, tone_map
from abawcli.media.video import read_frames

WEBP = {"lossless": True}
LOSSLESS = {"png": {}, "tiff": {}, "webp": WEBP}
NEARLY = {"jpg": {"quality": 95}, "avif": {"quality": 95}}


# --- orientation ---------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [*LOSSLESS, *NEARLY])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_shown_as_pillow_shows_it(tmp_path, suffix, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = (LOSSLESS | NEARLY)[suffix]
    path = save(tmp_path / f"p.{suffix}", corner_picture(), exif=exif, **options)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    (frame,) = read_frames(path)
    assert (frame.rgb() == expected).all()
    assert frame.size == expected.shape[1::-1]
    assert (frame.region_rgb(5, 9, 42, 60) == expected[9:60, 5:42]).all()
    small = frame.rgb(48)
    assert np.abs(small.astype(int) - expected[::2, ::2]).mean() < 8
    assert (read_one(path, rotate=90) == np.rot90(expected, 3)).all()


@pytest.mark.parametrize("orientation", [0, 9, 70])
def test_no_such_orientation_means_nothing(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / "p.png", corner_picture(), exif=exif)
    assert (read_one(path) == corner_picture()).all()


# --- frames and times ----------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["webp", "avif", "png"])
def test_animated_pictures_have_all_frames_with_their_times(tmp_path, suffix):
    path = tmp_path / f"p.{suffix}"
    first, *others = (Image.fromarray(counting_picture(k)) for k in range(5))
    durations = [200, 40, 500, 120, 80]
    first.save(path, save_all=True, append_images=others, duration=durations)
    frames = list(read_frames(path))
    assert [read_count(frame.rgb()) for frame in frames] == list(range(5))
    assert [frame.frame for frame in frames] == [1, 2, 3, 4, 5]
    assert [frame.time_s for frame in frames] == pytest.approx([0, 0.2, 0.24, 0.74, 0.86])


@pytest.mark.parametrize("suffix", ["webp", "png"])
@pytest.mark.parametrize("durations", [[0, 0, 0], [0, 100, 0]])
def test_times_ascend_without_durations(tmp_path, suffix, durations):
    path = tmp_path / f"p.{suffix}"
    first, *others = (Image.fromarray(counting_picture(k)) for k in range(3))
    first.save(path, save_all=True, append_images=others, duration=durations)
    expected = [0, 0.04, 0.04 + (durations[1] / 1e3 or 0.04)]
    if suffix == "webp" and durations[1]:  # its stamps are kept where they ascend
        expected[2] = 0.1
    assert [frame.time_s for frame in read_frames(path)] == pytest.approx(expected)


def test_the_picture_beside_an_animation_is_no_frame_of_it(tmp_path):
    path = tmp_path / "p.png"
    first, *others = (Image.fromarray(counting_picture(k)) for k in range(4))
    first.save(path, save_all=True, default_image=True, append_images=others, duration=100)
    frames = list(read_frames(path))
    assert [read_count(frame.rgb()) for frame in frames] == [1, 2, 3]
    assert [frame.time_s for frame in frames] == pytest.approx([0, 0.1, 0.2])


def box(name: str, *parts: bytes, version: int | None = None) -> bytes:
    """Return a box of an ISO file; with a version, a full one."""
    head = b"" if version is None else bytes([version, 0, 0, 0])
    content = head + b"".join(parts)
    return struct.pack(">I", 8 + len(content)) + name.encode() + content


def find_box(data: bytes, name: bytes) -> bytes:
    """Return the content of the first box of that name."""
    at = data.index(name)
    return data[at + 4 : at - 4 + int.from_bytes(data[at - 4 : at])]


def write_grid(path: Path, tiles: list[bytes], side: int) -> Path:
    """Write an AVIF of two by two tiles, each an AVIF of `side` pixels, as phones write HEIC."""
    grid = bytes([0, 0, 1, 1]) + struct.pack(">HH", 2 * side, 2 * side)
    items = [grid, *(find_box(tile, b"mdat") for tile in tiles)]
    kinds = [b"grid", *[b"av01"] * 4]
    entries = [
        box("infe", struct.pack(">HH", k, 0) + kind + b"\0", version=2)
        for k, kind in enumerate(kinds, 1)
    ]
    properties = box(
        "ipco",
        box("ispe", struct.pack(">II", 2 * side, 2 * side), version=0),
        box("ispe", struct.pack(">II", side, side), version=0),
        box("av1C", find_box(tiles[0], b"av1C")),
        box("pixi", bytes([3, 8, 8, 8]), version=0),
    )
    used = [(1, 4), *[(2, 0x83, 4)] * 4]  # of the properties, from 1; 0x80: essential
    links = b"".join(struct.pack(">HB", k, len(own)) + bytes(own) for k, own in enumerate(used, 1))
    refers = box("dimg", struct.pack(">HHHHHH", 1, 4, 2, 3, 4, 5))

    def lay(start: int) -> bytes:
        places = b""
        for k, item in enumerate(items, 1):
            places += struct.pack(">HHHII", k, 0, 1, start, len(item))
            start += len(item)
        return box(
            "meta",
            box("hdlr", bytes(4), b"pict", bytes(13), version=0),
            box("pitm", struct.pack(">H", 1), version=0),
            box("iloc", struct.pack(">BBH", 0x44, 0, 5), places, version=0),
            box("iinf", struct.pack(">H", 5), *entries, version=0),
            box("iref", refers, version=0),
            box("iprp", properties, box("ipma", struct.pack(">I", 5), links, version=0)),
            version=0,
        )

    head = box("ftyp", b"avif", bytes(4), b"avifmif1miaf")
    start = len(head) + len(lay(0)) + 8
    path.write_bytes(head + lay(start) + box("mdat", *items))
    return path


def test_a_tiled_picture_is_whole(tmp_path):
    side, tiles = 64, []
    whole = np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    whole = whole.repeat(16, 0).repeat(16, 1)
    for y, x in ((0, 0), (0, side), (side, 0), (side, side)):
        part = whole[y : y + side, x : x + side]
        options = {"quality": 95, "subsampling": "4:4:4"}
        tiles.append(save(tmp_path / "tile.avif", part, **options).read_bytes())
    shown = read_one(write_grid(tmp_path / "p.avif", tiles, side))
    assert shown.shape == (2 * side, 2 * side, 3)
    assert np.abs(shown.astype(int) - whole).mean() < 6


def test_pages_of_a_tiff_are_frames(tmp_path):
    path = tmp_path / "p.tif"
    pages = [counting_picture(k, 128 + 16 * k, 96) for k in range(4)]
    first, *others = map(Image.fromarray, pages)
    first.save(path, save_all=True, append_images=others)
    frames = list(read_frames(path))
    assert [frame.size[0] for frame in frames] == [128, 144, 160, 176]
    assert all((frame.rgb() == page).all() for frame, page in zip(frames, pages, strict=True))
    assert [frame.time_s for frame in frames] == pytest.approx([0, 0.04, 0.08, 0.12])


def test_thumbnails_and_masks_in_a_tiff_are_no_frames(tmp_path):
    path = tmp_path / "p.tif"
    with path.open("w+b") as file, AppendingTiffWriter(file) as writer:
        for k, kind in enumerate((0, 1, 4, 2)):
            info = ImageFileDirectory_v2()
            info[0x00FE] = kind
            Image.fromarray(counting_picture(k)).save(writer, "tiff", tiffinfo=info)
            writer.newFrame()
    assert [read_count(frame.rgb()) for frame in read_frames(path)] == [0, 3]


@pytest.mark.parametrize("compression", ["jpeg", "tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_compressed_tiff(tmp_path, compression):
    path = save(tmp_path / "p.tif", corner_picture(), compression=compression)
    assert np.abs(read_one(path).astype(int) - corner_picture()).mean() < 4


def test_a_gif_stays_a_video_and_a_motion_jpeg_too(tmp_path):
    path = save(tmp_path / "p.gif", corner_picture())
    assert identify_picture(path) is None
    motion = tmp_path / "p.mjpeg"
    for k in range(3):
        save(tmp_path / "one.jpg", counting_picture(k))
        with motion.open("ab") as file:
            file.write((tmp_path / "one.jpg").read_bytes())
    assert [read_count(frame.rgb()) for frame in read_frames(motion)] == [0, 1, 2]


def test_what_is_in_a_picture_counts_not_its_name(tmp_path):
    path = save(tmp_path / "p.mp4", corner_picture(), format="png")
    assert (read_one(path) == corner_picture()).all()


# --- colours -------------------------------------------------------------------------------


def grey_steps() -> np.ndarray:
    return np.tile(np.arange(0, 256, 4, np.uint8), (32, 1))


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGB", "I;16", "I", "F"])
def test_modes_of_grey_pictures(tmp_path, mode):
    grey = (grey_steps() > 127) * np.uint8(255) if mode == "1" else grey_steps()
    stored: dict[str, np.ndarray] = {
        "I;16": grey.astype(np.uint16) * 257,
        "I": grey.astype(np.int32) * 257,
    }
    stored["F"] = grey.astype(np.float32) / 255
    image = Image.fromarray(stored.get(mode, grey))
    path = tmp_path / "p.tif"
    (image if mode in stored else image.convert(mode)).save(path)
    with Image.open(path) as opened:
        assert opened.mode == mode
    assert (read_one(path) == grey[..., None]).all()


def test_a_png_of_16_bits_is_no_white_picture(tmp_path):
    path = save(tmp_path / "p.png", grey_steps().astype(np.uint16) * 257)
    assert (read_one(path) == grey_steps()[..., None]).all()


def test_floats_up_to_255(tmp_path):
    path = save(tmp_path / "p.tif", grey_steps().astype(np.float32))
    assert (read_one(path) == grey_steps()[..., None]).all()


def test_cmyk(tmp_path):
    path = tmp_path / "p.jpg"
    Image.fromarray(corner_picture()).convert("CMYK").save(path, quality=95)
    assert np.abs(read_one(path).astype(int) - corner_picture()).mean() < 6


@pytest.mark.parametrize("suffix", ["png", "webp", "avif"])
def test_alpha_is_shown_over_white(tmp_path, suffix):
    pixels = np.zeros((64, 64, 4), np.uint8)
    pixels[..., 0], pixels[:32, :, 3], pixels[32:, :32, 3] = 200, 255, 128
    options = {"webp": WEBP}.get(suffix, {"quality": 95} if suffix == "avif" else {})
    shown = read_one(save(tmp_path / f"p.{suffix}", pixels, **options)).astype(int)
    for corner, colour in (
        (shown[:28], (200, 0, 0)),
        (shown[36:, :28], (227, 127, 127)),
        (shown[36:, 36:], (255, 255, 255)),
    ):
        assert np.abs(corner - colour).max() < 8


def test_a_transparent_colour_of_a_palette_is_white(tmp_path):
    image = Image.fromarray(grey_steps()).convert("P")
    image.save(tmp_path / "p.png", transparency=image.getpixel((0, 0)))
    shown = read_one(tmp_path / "p.png")
    assert (shown[:, 0] == 255).all() and shown[0, 5, 0] == 20


def test_colour_profiles_are_applied(tmp_path):
    """A profile of sRGB with red and blue exchanged shows red as blue."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert profile.count(b"rXYZ") == profile.count(b"bXYZ") == 1
    swapped = profile.replace(b"rXYZ", b"tmp_").replace(b"bXYZ", b"rXYZ").replace(b"tmp_", b"bXYZ")
    swapped = swapped.replace("sRGB".encode("utf-16-be"), "test".encode("utf-16-be"))
    picture = corner_picture()
    plain = read_one(save(tmp_path / "plain.png", picture, icc_profile=profile))
    assert (plain == picture).all()
    shown = read_one(save(tmp_path / "swapped.png", picture, icc_profile=swapped))
    assert np.abs(shown.astype(int) - picture[..., ::-1]).max() < 12
    useless = read_one(save(tmp_path / "useless.png", picture, icc_profile=b"none"))
    assert (useless == picture).all()


def insert_chunk(path: Path, name: bytes, content: bytes) -> None:
    """Put a chunk behind a PNG's header."""
    data = path.read_bytes()
    chunk = name + content
    chunk = struct.pack(">I", len(content)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    path.write_bytes(data[:33] + chunk + data[33:])


@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_hdr_png_is_tone_mapped(tmp_path, transfer):
    path = save(tmp_path / "p.png", corner_picture())
    insert_chunk(path, b"cICP", bytes([9, transfer, 0, 1]))
    expected = tone_map((corner_picture().astype(np.uint16) << 8).astype(np.uint16), transfer, 9)
    assert (read_one(path) == expected).all()


def test_hdr_avif_is_tone_mapped(tmp_path):
    path = save(tmp_path / "p.avif", corner_picture(), quality=95)
    with Image.open(path) as image:
        plain = np.asarray(image)
    data = path.read_bytes()
    tags = b"colrnclx" + struct.pack(">HHH", 1, 13, 6)  # BT.709, sRGB, BT.601
    assert data.count(tags) == 1
    path.write_bytes(data.replace(tags, b"colrnclx" + struct.pack(">HHH", 9, PQ, 6)))
    native = (plain.astype(np.uint16) << 8).astype(np.uint16)
    assert (read_one(path) == tone_map(native, PQ, 9)).all()


# --- HEIC ----------------------------------------------------------------------------------


def make_head(major: bytes, *others: bytes) -> bytes:
    box = major + bytes(4) + b"".join(others)
    return (8 + len(box)).to_bytes(4) + b"ftyp" + box


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (make_head(b"heic", b"mif1", b"heic"), "HEIF"),
        (make_head(b"mif1", b"heic"), "HEIF"),
        (make_head(b"mif1", b"miaf", b"avif"), "AVIF"),
        (make_head(b"avis", b"avif"), "AVIF"),
        (make_head(b"isom", b"mp41"), None),
        (make_head(b"qt  "), None),
    ],
)
def test_brands_tell_pictures_from_videos(tmp_path, head, kind):
    (tmp_path / "p").write_bytes(head)
    assert identify_picture(tmp_path / "p") == kind


def test_heic_without_its_reader_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "p.heic").write_bytes(make_head(b"heic", b"mif1"))
    with pytest.raises(InputError, match="HEIC picture: .*pip install pillow-heif"):
        read_one(tmp_path / "p.heic")


def test_heic_is_read_where_its_reader_is_installed(tmp_path):
    heif = pytest.importorskip("pillow_heif")
    heif.from_pillow(Image.fromarray(corner_picture())).save(tmp_path / "p.heic", quality=95)
    assert np.abs(read_one(tmp_path / "p.heic").astype(int) - corner_picture()).mean() < 6
