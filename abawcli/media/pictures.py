"""Still and animated pictures, read by Pillow: all their frames, as they are displayed.

FFmpeg shows of a tiled picture the first tile and of an animated one the first frame, and does not
know JPEG in TIFF; GIF stays with it, as a video.
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
from abawcli.media.tone import HDR_NAMES, SIGNAL_ONE, tone_map

LOG = logging.getLogger(__name__)
Pixels = NDArray[np.uint8]

# Of damaged tags, which do not keep a picture from being read. For these modules alone, and once:
# `catch_warnings` would change the filters of other threads.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")

HEIF = "HEIF"
# Not `Image.open`: it warns of large pictures, for the whole process or not at all. The first
# picture of a JPEG is the photograph, whatever else is in the file (depth, a second lens).
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
_MOTION_JPEG = (".mjpg", ".mjpeg")  # JPEGs one after the other: a video
_HEAD = 64  # bytes, in which a signature is
_COLOUR_HEAD = 1 << 16  # likewise what says that a picture is HDR
_ORIENTATION, _SUBFILE = 0x0112, 0x00FE  # tags of EXIF and TIFF
_REDUCED_OR_MASK = 5  # bits of a page that only serves another one
_SHOWN_UNDER_ALPHA = "white"  # as on a page


def identify_picture(path: str | Path) -> str | None:
    """Return the format of a picture by its first bytes; None of what is none or is not there."""
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
    """Return the format of an ISO file whose first box is `ftyp`: its brands say it."""
    end = min(int.from_bytes(head[:4]), len(head))
    major, others = head[8:12], {head[k : k + 4] for k in range(16, end, 4)}
    if major in _AVIF_BRANDS or (major in _HEIF_BRANDS and others & _AVIF_BRANDS):
        return "AVIF"
    return HEIF if major in _HEIF_BRANDS else None


def read_pictures(path: str | Path, kind: str, rotate: int = 0) -> Iterator[Frame]:
    """Yield every frame of a picture of the format `kind`, which `identify_picture` tells.

    Animated pictures have their own times. Pages of a TIFF have none and come 25 a second.
    Alpha is shown over white. `rotate` is as in `read_frames`.

    Raises:
        InputError: nothing can be decoded, it is too large, or what reads HEIC is missing.
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
    except Exception as error:  # Pillow's readers raise of every kind on damaged files
        raise InputError(f"{path} is damaged, or no {kind} picture: {error}") from error


def _find_hdr(head: bytes, kind: str) -> tuple[int, int] | None:
    """Return the tags of transfer and primaries of an HDR picture; None of any other.

    They stand in a box of AVIF and HEIC (ISO 23000-22) and in a chunk of PNG, which Pillow skips.
    """
    if kind == "PNG":
        primaries, transfer = _read_after(head, b"cICP", 2)
    elif kind in ("AVIF", HEIF):
        _, primaries, _, transfer = _read_after(head, b"colrnclx", 4)
    else:
        return None
    return (transfer, primaries) if transfer in HDR_NAMES else None


def _read_after(head: bytes, mark: bytes, count: int) -> bytes:
    """Return the bytes that follow a mark, zeros where it is not."""
    return head.partition(mark)[2][:count].ljust(count, b"\0")


def _find_heif_reader(path: Path) -> Callable[[IO[bytes], str], ImageFile]:
    try:
        from pillow_heif import HeifImageFile
    except ImportError:
        message = "is a HEIC picture: install what reads it (pip install pillow-heif)"
        raise InputError(f"{path} {message}, or save it as JPEG") from None
    reader: Callable[[IO[bytes], str], ImageFile] = HeifImageFile
    return reader


def _decode(image: ImageFile, path: Path) -> Iterator[tuple[float, Pixels, Orientation]]:
    """Yield time in seconds, pixels (H, W, 3) as stored, and orientation of every frame."""
    first, end = _find_frames(image)
    time_ms = 0.0
    for k in itertools.takewhile(lambda k: k != end, itertools.count(first)):
        try:
            image.seek(k)
            if k and _is_auxiliary(image):
                continue
            _check_size(image, path)
            _load(image, path, is_first=k == first)
        except (InputError, MemoryError):
            raise
        except Exception as error:  # as above
            if k == first:
                raise InputError(f"{path} holds no picture that can be decoded: {error}") from error
            LOG.warning("%s is damaged: it is read up to its frame %d", path, k - first)
            return
        yield image.info.get("timestamp", time_ms) / 1e3, _to_rgb(image), _read_orientation(image)
        time_ms += image.info.get("duration") or 1e3 / Media.fallback_fps


def _find_frames(image: ImageFile) -> tuple[int, int | None]:
    """Return the index of the first frame and that after the last, None where damage hides it."""
    if image.format == HEIF:  # other pictures in the file are no later ones
        return image.tell(), image.tell() + 1
    # An APNG may have one to be shown by what cannot show the others.
    first = int(bool(image.info.get("default_image")))
    try:
        return first, getattr(image, "n_frames", 1)
    except Exception as error:  # as above; frames are read up to the damage
        LOG.debug("frames cannot be counted: %s", error)
        return first, None


def _is_auxiliary(image: ImageFile) -> bool:
    """Tell whether a page of a TIFF is a smaller version, or the mask, of another one."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return False
    return bool(image.tag_v2.get(_SUBFILE, 0) & _REDUCED_OR_MASK)


def _check_size(image: ImageFile, path: Path) -> None:
    limit = Media.picture_megapixels
    if image.width * image.height > limit * 1e6:
        size = f"{image.width}x{image.height}"
        raise InputError(f"{path} has {size} pixels; up to {limit} million are read: scale it down")


def _load(image: ImageFile, path: Path, is_first: bool) -> None:
    """Decode a frame. Of the first one of a damaged file, what can be decoded is kept.

    Later ones could show what is left of those before.
    """
    try:
        image.load()
    except (OSError, SyntaxError) as error:
        if not is_first:
            raise
        image.tile = []  # nothing is left to be decoded; `load` raises where nothing was
        image.load()
        LOG.warning("%s is damaged: %s; what was decoded is kept", path, error)


def _read_orientation(image: ImageFile) -> Orientation:
    try:
        return Orientation.of_exif(image.getexif().get(_ORIENTATION, 1))
    except Exception as error:  # the tags are damaged, of whatever kind
        LOG.debug("no orientation: %s", error)
        return Orientation()


# --- colours -------------------------------------------------------------------------------


def _to_rgb(image: Image.Image) -> Pixels:
    """Return RGB (H, W, 3) of any mode, by the ICC profile where there is one."""
    if image.mode == "F" or image.mode.startswith("I"):
        return _scale_to_8_bits(np.asarray(image))
    profile = image.info.get("icc_profile")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        image = Image.new("RGBA", rgba.size, _SHOWN_UNDER_ALPHA)
        image.alpha_composite(rgba)
        image = image.convert("RGB")
    if profile and image.mode in ("RGB", "CMYK"):
        image = _apply_profile(image, profile)
    return np.asarray(image.convert("RGB"), np.uint8)


def _scale_to_8_bits(grey: NDArray[np.generic]) -> Pixels:
    """Return RGB of deep greys: integers are of 16 bits, or of more, floats go to 1 or to 255."""
    values = np.nan_to_num(grey.astype(np.float64))
    ranges = (1.0, 255.0) if grey.dtype.kind == "f" else (2.0**16 - 1, 2.0**31 - 1)
    top = ranges[bool(values.max(initial=0) > ranges[0])]
    levels = np.rint(np.clip(values / top, 0, 1) * 255).astype(np.uint8)
    return np.repeat(levels[..., None], 3, axis=-1)


def _apply_profile(image: Image.Image, profile: bytes) -> Image.Image:
    """Return an image in sRGB; as it is where it is sRGB, or its profile is of no use."""
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
