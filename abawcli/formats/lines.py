"""Lines of the challenge's text files, with the changes that editors and spreadsheets make.

A byte order mark, Windows line ends, blanks and commas at line ends, or other capitals in a header
do not change the content of a file. Readers accept them and name them in a warning, with the line.
Such a deviation is called a quirk.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

from abawcli.errors import InputError, explain_os_error
from abawcli.formats.text_form import check_encoding, explain_bytes
from abawcli.tasks import find_task

LOG = logging.getLogger(__name__)
BYTE_ORDER_MARK = "\ufeff"
BLANKS = " \t"


def read_text(path: str | Path, what: str) -> tuple[str, list[str]]:
    """Return a file's text with `\\n` between its lines and none at the end, and its quirks.

    `what` is the expected kind of file, for messages. Quirks are phrases for `note_quirks`.

    Raises:
        InputError: the file is missing, or is no text in UTF-8.
    """
    path = Path(path)
    try:
        text = path.read_bytes().decode("utf-8")
        if "\0" in text:
            check_encoding(path)
    except OSError as error:
        raise InputError(explain_os_error(path, error)) from error
    except UnicodeDecodeError as error:
        check_encoding(path)
        reason = explain_bytes(path.read_bytes())
        raise InputError(f"cannot read the {what} {path}: {reason}") from error
    except ValueError as error:  # a NUL in the path
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


def strip_header(line: str, expected: Sequence[str]) -> tuple[str | None, list[str]]:
    """Return which of the `expected` headers a first line matches, or None, and its quirks."""
    cells = [cell.strip().lower() for cell in line.rstrip(BLANKS + ",").split(",")]
    for header in expected:
        if line == header:
            return header, []
        if cells == header.lower().split(","):
            return header, [f"a header that is not exactly {header} (line 1)"]
    return None, []


def read_body(path: str | Path, what: str, headers: Sequence[str]) -> tuple[str, str, list[str]]:
    """Return which of the `headers` a file has, the text after it, and its quirks.

    `what` is the expected kind of file, for messages, which name the first of the headers.

    Raises:
        InputError: the file is missing, is no text in UTF-8, has another header (the message
            says if it is another task's) or no rows.
    """
    path = Path(path)
    text, quirks = read_text(path, what)
    if not text:
        raise InputError(f"{path} is empty; its first line must be {headers[0]}")
    first, _, body = text.partition("\n")
    header, unlike = strip_header(first, headers)
    if header is None:
        task = find_task(first)
        same = task in (None, find_task(headers[0]))
        hint = "" if same else f"; this is a file of --task {task}"
        raise InputError(
            f"{path}, line 1: the header must be {headers[0]}, not {first[:80]!r}{hint}"
        )
    if not body:
        raise InputError(f"{path} holds no rows")
    return header, body, quirks + unlike


def strip_ends(lines: Sequence[str], first_line: int) -> tuple[list[str], list[str]]:
    """Return lines without commas and blanks at their ends, and the quirk if there were any.

    `first_line` is the number of the first line in the file.
    """
    stripped = [line.rstrip(BLANKS + ",") for line in lines]
    pairs = enumerate(zip(lines, stripped, strict=True), first_line)
    unlike = next((number for number, (line, bare) in pairs if line != bare), None)
    return stripped, [] if unlike is None else [describe_ends(unlike)]


def describe_ends(line: int) -> str:
    """Return the quirk of commas or blanks at the end of a line."""
    return f"commas or blanks at line ends (line {line})"


def note_quirks(path: str | Path, quirks: Sequence[str]) -> None:
    """Warn of the quirks of a file in one line."""
    path = Path(path)
    if quirks:
        LOG.warning("%s is read in spite of %s", path, ", ".join(quirks))
