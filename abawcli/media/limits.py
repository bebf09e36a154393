"""The largest frame that is decoded: headers may state any size, and memory is taken for it."""

from pathlib import Path

from abawcli.config import Media
from abawcli.errors import InputError

_largest = {"megapixels": Media.frame_megapixels}  # of this process


def limit_frames(megapixels: int) -> None:
    """Set the size from which frames are refused, in this process."""
    _largest["megapixels"] = megapixels


def count_allowed() -> int:
    """Return the largest number of pixels of a frame."""
    return _largest["megapixels"] * 1_000_000


def check_frame_size(width: int, height: int, path: str | Path) -> None:
    """Check the size that a header states, before anything of that size is allocated.

    Raises:
        InputError: it is too large.
    """
    if width * height > count_allowed():
        raise InputError(
            f"{path} has {width}x{height} pixels; up to {_largest['megapixels']} million are read: "
            "scale it down, or raise --max-megapixels"
        )
