"""Still and animated pictures, read by Pillow: all their frames, as displayed.

FFmpeg reads only the first tile of tiled pictures and the first frame of animated ones, and cannot
read JPEG in TIFF. GIF is read by FFmpeg, as a video.
"""

import itertools
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import IO

import av
import numpy as np
from numpy.typing import NDArray
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    Image,
    ImageCms,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)
from PIL.ImageFile import ImageFile

from abawcli.config import Media
from abawcli.errors import InputError
from abawcli.media.frame import Frame, Orientation
from abawcli.media.limits import check_frame_size
from abawcli.media.tone import HDR_NAMES, SIGNAL_ONE, tone_map

LOG = logging.getLogger(__name__)
Pixels = NDArray[np.uint8]

# Warnings of damaged tags, with which a picture can still be read. The filter is global, for Pillow
# only, because `catch_warnings` would change the filters of other threads.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")

HEIF = "HEIF"
# `Image.open` is not used: its warning of large pictures can only be set for the whole process. The
# first picture of a JPEG is the photograph; others are depth, a second lens and the like.
_READERS: dict[str, Callable[[IO[bytes], str], ImageFile]] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "WebP": WebPImagePlugin.WebPImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
    "AVIF": AvifImagePlugin.AvifImageFile,
}
_SIGNATURES = {b"\xff\xd8\xff": "JPEG", b"\x89PNG\r\n\x1a\n": "PNG", b"BM": "BMP"}
_SIGNATURES |= dict.fromkeys((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), "TIFF")
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"})
_HEIF_BRANDS |= {b"mif1", b"mif2", b"msf1", b"avci", b"avcs", b"heif"}
_MOTION_JPEG = (".mjpg", ".mjpeg")  # a sequence of JPEGs: a video
_HEAD = 64  # bytes that contain the signature
_COLOUR_HEAD = 1 << 16  # bytes that contain the tags of HDR
_ORIENTATION, _SUBFILE = 0x0112, 0x00FE  # tags of EXIF and TIFF
_REDUCED_OR_MASK = 5  # bits of a page that belongs to another one
_BACKGROUND = "white"  # under alpha, as on paper


def identify_picture(path: str | Path) -> str | None:
    """Return the format of a picture by its first bytes; None if it is no picture or missing."""
    path = Path(path)
    if not os.path.isfile(path) or path.suffix.lower() in _MOTION_JPEG:
        return None
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return None
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    if head[4:8] == b"ftyp":
        return _identify_brands(head)
    return next((kind for start, kind in _SIGNATURES.items() if head.startswith(start)), None)


def _identify_brands(head: bytes) -> str | None:
    """Return the picture format of an ISO file by the brands in its first box, `ftyp`, or None."""
    end = min(int.from_bytes(head[:4]), len(head))
    major, others = head[8:12], {head[k : k + 4] for k in range(16, end, 4)}
    if major in _AVIF_BRANDS or (major in _HEIF_BRANDS and others & _AVIF_BRANDS):
        return "AVIF"
    return HEIF if major in _HEIF_BRANDS else None


def read_pictures(path: str | Path, kind: str, rotate: int = 0) -> Iterator[Frame]:
    """Yield every frame of a picture; `kind` is the result of `identify_picture`.

    Animated pictures have their own times. Pages of a TIFF, and frames without a duration, have no
    times and get a rate of 25 a second. Transparent pixels are shown over white. `rotate` is as in
    `read_frames`.

    Raises:
        InputError: no frame can be decoded, the picture is too large, or the package that reads
            HEIC is missing.
    """
    path = Path(path)
    turn = Orientation.turned(-rotate // 90 % 4)
    with path.open("rb") as file:
        hdr = _find_hdr(file.read(_COLOUR_HEAD), kind)
        file.seek(0)
        image = _open(file, path, kind)
        for number, (time_s, pixels, shown) in enumerate(_decode(image, path), 1):
            if hdr:
                pixels = tone_map(pixels.astype(np.uint16) * (SIGNAL_ONE // 255), *hdr)
            native = av.VideoFrame.from_ndarray(pixels, "rgb24")
            yield Frame(number, time_s, native, shown.then(turn))


def _open(file: IO[bytes], path: Path, kind: str) -> ImageFile:
    reader = _find_heif_reader(path) if kind == HEIF else _READERS[kind]
    try:
        return reader(file, str(path))
    except Exception as error:  # Pillow's readers raise any kind of error on damaged files
        raise InputError(f"{path} is damaged, or no {kind} picture: {error}") from error


def _find_hdr(head: bytes, kind: str) -> tuple[int, int] | None:
    """Return the tags of transfer and primaries of an HDR picture; None for other pictures.

    They are in a box of AVIF and HEIC (ISO 23000-22) and in a chunk of PNG, which Pillow skips.
    """
    if kind == "PNG":
        primaries, transfer = _read_after(head, b"cICP", 2)
    elif kind in ("AVIF", HEIF):
        _, primaries, _, transfer = _read_after(head, b"colrnclx", 4)
    else:
        return None
    return (transfer, primaries) if transfer in HDR_NAMES else None


def _read_after(head: bytes, mark: bytes, count: int) -> bytes:
    """Return the bytes that follow a mark, zeros if it is missing."""
    return head.partition(mark)[2][:count].ljust(count, b"\0")


def _find_heif_reader(path: Path) -> Callable[[IO[bytes], str], ImageFile]:
    try:
        from pillow_heif import HeifImageFile
    except ImportError:
        message = "is a HEIC picture: install pillow-heif (pip install pillow-heif)"
        raise InputError(f"{path} {message}, or save it as JPEG") from None
    reader: Callable[[IO[bytes], str], ImageFile] = HeifImageFile
    return reader


def _decode(image: ImageFile, path: Path) -> Iterator[tuple[float, Pixels, Orientation]]:
    """Yield time in seconds, pixels (H, W, 3) as stored, and orientation of every frame."""
    first, end = _find_frames(image)
    last_ms, time_ms = -1.0, 0.0  # of the frame before, and of this one without a timestamp
    for k in itertools.takewhile(lambda k: k != end, itertools.count(first)):
        try:
            image.seek(k)
            if k and _is_auxiliary(image):
                continue
            check_frame_size(image.width, image.height, path)
            _load(image, path, is_first=k == first)
        except (InputError, MemoryError):
            raise
        except Exception as error:  # as above
            if k == first:
                raise InputError(f"{path} holds no picture that can be decoded: {error}") from error
            LOG.warning("%s is damaged: it is read up to frame %d", path, k - first)
            return
        stamp_ms = image.info.get("timestamp", time_ms)
        last_ms = stamp_ms if stamp_ms > last_ms else time_ms  # stamps are equal without durations
        yield last_ms / 1e3, _to_rgb(image), _read_orientation(image)
        time_ms = last_ms + (image.info.get("duration") or 1e3 / Media.fallback_fps)


def _find_frames(image: ImageFile) -> tuple[int, int | None]:
    """Return the index of the first frame and of the end, which is None if damage hides it."""
    if image.format == HEIF:  # other pictures in the file are not later frames
        return image.tell(), image.tell() + 1
    # The first frame of an APNG may be one for programs that cannot show animations.
    first = int(bool(image.info.get("default_image")))
    try:
        return first, getattr(image, "n_frames", 1)
    except Exception as error:  # as above; frames are read up to the damage
        LOG.debug("frames cannot be counted: %s", error)
        return first, None


def _is_auxiliary(image: ImageFile) -> bool:
    """Tell whether a page of a TIFF is a reduced version or a mask of another one."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return False
    return bool(image.tag_v2.get(_SUBFILE, 0) & _REDUCED_OR_MASK)


def _load(image: ImageFile, path: Path, is_first: bool) -> None:
    """Decode a frame. If the first frame is damaged, its decoded part is used.

    A damaged later frame is not used, because it may contain parts of frames before it.
    """
    try:
        image.load()
    except (OSError, SyntaxError) as error:
        if not is_first:
            raise
        image.tile = []  # stop decoding; `load` raises if nothing was decoded
        image.load()
        LOG.warning("%s is damaged: %s; its decoded part is used", path, error)


def _read_orientation(image: ImageFile) -> Orientation:
    try:
        return Orientation.of_exif(image.getexif().get(_ORIENTATION, 1))
    except Exception as error:  # damaged tags raise any kind of error
        LOG.debug("no orientation: %s", error)
        return Orientation()


# --- colours -------------------------------------------------------------------------------


def _to_rgb(image: Image.Image) -> Pixels:
    """Return a picture of any mode as RGB (H, W, 3), converted by its ICC profile if it has one."""
    if image.mode == "F" or image.mode.startswith("I"):
        return _scale_to_8_bits(np.asarray(image))
    profile = image.info.get("icc_profile")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        image = Image.new("RGBA", rgba.size, _BACKGROUND)
        image.alpha_composite(rgba)
        image = image.convert("RGB")
    if profile and image.mode in ("RGB", "CMYK"):
        image = _apply_profile(image, profile)
    return np.asarray(image.convert("RGB"), np.uint8)


def _scale_to_8_bits(grey: NDArray[np.generic]) -> Pixels:
    """Return deep greys (H, W) as RGB (H, W, 3).

    The maximum of integers is that of 16 or 31 bits, that of floats 1 or 255, by their values.
    """
    values = np.nan_to_num(grey.astype(np.float64))
    ranges = (1.0, 255.0) if grey.dtype.kind == "f" else (2.0**16 - 1, 2.0**31 - 1)
    top = ranges[bool(values.max(initial=0) > ranges[0])]
    levels = np.rint(np.clip(values / top, 0, 1) * 255).astype(np.uint8)
    return np.repeat(levels[..., None], 3, axis=-1)


def _apply_profile(image: Image.Image, profile: bytes) -> Image.Image:
    """Return an image converted to sRGB; unchanged if it is sRGB or its profile is unusable."""
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        if "sRGB" in ImageCms.getProfileDescription(source):
            return image
        target = ImageCms.createProfile("sRGB")
        shown = ImageCms.profileToProfile(image, source, target, outputMode="RGB")
    except (ImageCms.PyCMSError, ImportError, OSError, ValueError) as error:
        LOG.debug("no colour profile: %s", error)
        return image
    return shown or image
