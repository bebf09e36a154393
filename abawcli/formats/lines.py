"""Lines of the challenge's text files as editors and spreadsheets leave them behind.

A byte order mark, Windows line ends, blanks and commas at line ends, other capitals in a header
change nothing of what a file says: readers take such a file and name in a warning, with the line,
what the challenge's own files do not have.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

from abawcli.errors import InputError, explain_os_error

LOG = logging.getLogger(__name__)
BYTE_ORDER_MARK = "\ufeff"
BLANKS = " \t"


def read_text(path: str | Path, what: str) -> tuple[str, list[str]]:
    """Return a file's text with `\\n` between its lines and none at the end, and its quirks.

    `what` the file should be goes into messages. A quirk is words for `note_quirks`.

    Raises:
        InputError: no such file, or it is no text in UTF-8.
    """
    path = Path(path)
    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise InputError(explain_os_error(path, error)) from error
    except ValueError as error:  # no UTF-8, or a NUL in the path
        raise InputError(f"cannot read the {what} {path}: {error}") from error
    quirks = []
    if text.startswith(BYTE_ORDER_MARK):
        quirks.append("a byte order mark (line 1)")
        text = text.removeprefix(BYTE_ORDER_MARK)
    if "\r\n" in text:
        line = text.count("\n", 0, text.index("\r\n")) + 1
        quirks.append(f"Windows line ends (line {line})")
        text = text.replace("\r\n", "\n")
    whole = text.rstrip(BLANKS + "\n")
    if text[len(whole) :].count("\n") > 1:
        quirks.append(f"blank lines at the end (line {whole.count(chr(10)) + 2})")
    return whole, quirks


def check_commas(path: str | Path) -> None:
    """Refuse a csv whose beginning shows that it is in UTF-16, or separated by something else.

    Raises:
        InputError: it is. What cannot be read at all is left to the reader.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except (OSError, ValueError):
        return
    if head.startswith((b"\xff\xfe", b"\xfe\xff")) or head.count(0) > len(head) // 4:
        raise InputError(f"{path} is in UTF-16; save it as UTF-8 (in Excel: `CSV UTF-8`)")
    first = head.splitlines()[0] if head else b""
    for separator, name in ((b";", "semicolons"), (b"\t", "tabs")):
        if separator in first and b"," not in first:
            raise InputError(
                f"{path} is separated by {name}; separate it by commas, with points in numbers"
            )


def strip_header(line: str, expected: Sequence[str]) -> tuple[str | None, list[str]]:
    """Return which of the `expected` headers a file's first line means, and its quirks.

    None where it means none of them.
    """
    cells = [cell.strip().lower() for cell in line.rstrip(BLANKS + ",").split(",")]
    for header in expected:
        if line == header:
            return header, []
        if cells == header.lower().split(","):
            return header, [f"a header that is not exactly {header} (line 1)"]
    return None, []


def strip_ends(lines: Sequence[str], first_line: int) -> tuple[list[str], list[str]]:
    """Return lines without commas and blanks at their ends, and the quirk if any had some.

    `first_line` is the number of the first of them in the file.
    """
    stripped = [line.rstrip(BLANKS + ",") for line in lines]
    pairs = enumerate(zip(lines, stripped, strict=True), first_line)
    unlike = next((number for number, (line, bare) in pairs if line != bare), None)
    return stripped, [] if unlike is None else [describe_ends(unlike)]


def describe_ends(line: int) -> str:
    """Return the quirk of a line that ends in commas or blanks."""
    return f"commas or blanks at line ends (line {line})"


def note_quirks(path: str | Path, quirks: Sequence[str]) -> None:
    """Warn, in one line, of what a file has that the challenge's own files do not have."""
    path = Path(path)
    if quirks:
        LOG.warning("%s is read in spite of %s", path, ", ".join(quirks))
