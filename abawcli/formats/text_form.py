"""Checks of the form of text files by their beginning: their encoding, and the commas of a csv.

And messages for what cannot be read as text or as a csv.
"""

import csv
import re
from pathlib import Path

from abawcli.errors import InputError

_CELL = re.compile(
    r"In CSV column #(?P<column>\d+): Row #(?P<line>\d+): CSV conversion error to (?P<type>\w+): "
    r"(?P<problem>.*)",
    re.DOTALL,
)
_VALUE = re.compile(r"invalid value (?P<value>.*)", re.DOTALL)
KINDS = {"bool": "true or false", "double": "a number"}


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


def explain_bytes(data: bytes) -> str:
    """Return why the content of a file is no text in UTF-8, for messages."""
    if b"\0" in data:
        return "it is no text file"
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return f"line {line} is not in UTF-8; save it as UTF-8 (in Excel: `CSV UTF-8`)"
    return "it is in UTF-8"


def _name_column(path: Path, index: int) -> str:
    """Return the name of a column by the header, which may be damaged or very long."""
    names = next(csv.reader(_read_head(path).decode("utf-8-sig", "replace").splitlines()), [])
    name = names[index].strip() if index < len(names) else ""
    return name or f"column {index + 1}"


def explain_csv_error(path: str | Path, error: Exception) -> str:
    """Return the message for a csv that Arrow cannot read; it names the column and the line."""
    path = Path(path)
    cell = _CELL.fullmatch(str(error))
    if isinstance(error, UnicodeDecodeError) or (cell and "UTF8" in cell["problem"]):
        return f"cannot read the table {path}: {explain_bytes(path.read_bytes())}"
    if cell and (value := _VALUE.fullmatch(cell["problem"])):
        name = _name_column(path, int(cell["column"]))
        kind = KINDS.get(cell["type"], cell["type"])
        return f"{path}, line {cell['line']}: {name} must be {kind}, not {value['value']}"
    reason = re.sub(r"\bRow #(\d+)", r"line \1", str(error))  # Arrow counts the header
    return f"cannot read the table {path}: {reason}"


def check_commas(path: str | Path) -> None:
    """Check by the beginning of a csv that it is not in UTF-16 and its cells are between commas.

    Files that cannot be read are not reported here, but by their reader.

    Raises:
        InputError: it is in UTF-16, is separated by semicolons or tabs, or line 1 is one cell in
            quotes.
    """
    check_encoding(path)
    head = _read_head(path)
    first = head.splitlines()[0] if head else b""
    for separator, name in ((b";", "semicolons"), (b"\t", "tabs")):
        if separator in first and b"," not in first:
            raise InputError(
                f"{path} is separated by {name}; separate it by commas, with points in numbers"
            )
    line = first.decode("utf-8-sig", "replace").strip()
    cells = next(csv.reader([line]), [])
    if len(cells) == 1 and "," in cells[0] and line.endswith('"'):
        raise InputError(
            f"{path}: line 1 is in quotes as a whole, which makes it a single cell; remove the "
            "quotes around each line, or export the table again"
        )
