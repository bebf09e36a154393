"""Checks of the form of text files by their beginning: their encoding, and the commas of a csv."""

from pathlib import Path

from abawcli.errors import InputError


def check_encoding(path: str | Path) -> None:
    """Check by the beginning of a text file that it is not in UTF-16, as some programs save it.

    Files that cannot be read are not reported here, but by their reader.

    Raises:
        InputError: it is in UTF-16.
    """
    head = _read_head(path)
    zeros = head[::2].count(0), head[1::2].count(0)  # half of the bytes of Latin letters are 0
    if head.startswith((b"\xff\xfe", b"\xfe\xff")) or max(zeros) > len(head) // 4 > min(zeros):
        raise InputError(f"{path} is in UTF-16; save it as UTF-8 (in Excel: `CSV UTF-8`)")


def _read_head(path: str | Path) -> bytes:
    try:
        with Path(path).open("rb") as file:
            return file.read(4096)
    except (OSError, ValueError):
        return b""


def check_commas(path: str | Path) -> None:
    """Check by the beginning of a csv that it is not in UTF-16 and is separated by commas.

    Files that cannot be read are not reported here, but by their reader.

    Raises:
        InputError: it is in UTF-16, or separated by semicolons or tabs.
    """
    check_encoding(path)
    head = _read_head(path)
    first = head.splitlines()[0] if head else b""
    for separator, name in ((b";", "semicolons"), (b"\t", "tabs")):
        if separator in first and b"," not in first:
            raise InputError(
                f"{path} is separated by {name}; separate it by commas, with points in numbers"
            )
