"""The manifest of runs, `manifest.jsonl` in an output folder: a line of JSON per input as it ends.

    input           path relative to the argument by which it was found
    size, sha256    as in provenance: of the file's size and ends
    state           done, kept (it was finished before) or failed
    outputs         relative to the manifest
    frames          of the video
    faces           rows with a face, over all outputs
    labelled        share of labelled rows; only for predictions
    seconds         that the input took
    warnings, error

Lines are only added, each under a lock of the file, so that several runs may share a manifest. The
last line of an input counts. A line that is cut, by a full disk or a killed run, is ignored.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from abawcli.errors import InputError, OutputError, explain_os_error
from abawcli.formats.atomic import create_below
from abawcli.formats.json_values import JsonObject, parse_object
from abawcli.formats.locks import open_locked

MANIFEST_NAME = "manifest.jsonl"
STATES = ("done", "kept", "failed")


def add_line(path: str | Path, line: Mapping[str, object]) -> None:
    """Add a line to a manifest.

    Raises:
        OutputError: it cannot be written.
    """
    path = Path(path)
    try:
        # Without a lock, a line that another run is writing looks cut.
        with (
            create_below(path, partial(open_locked, path)) as descriptor,
            os.fdopen(descriptor, "ab+", buffering=0) as file,
            _removing_empty(path, descriptor),
        ):
            end = b"" if _is_whole(descriptor) else b"\n"
            # Bytes of names that are not UTF-8 stay escaped, as JSON has it.
            text = json.dumps(line, ensure_ascii=False).encode(errors="backslashreplace")
            file.write(end + text + b"\n")
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error


@contextmanager
def _removing_empty(path: Path, descriptor: int) -> Iterator[None]:
    """Remove a locked file at the end of the block if nothing could be written into it."""
    try:
        yield
    finally:
        if os.fstat(descriptor).st_size == 0:
            path.unlink()


def _is_whole(descriptor: int) -> bool:
    """Tell whether a file is empty or ends with a whole line."""
    size = os.lseek(descriptor, 0, os.SEEK_END)
    if size == 0:
        return True
    os.lseek(descriptor, size - 1, os.SEEK_SET)
    return os.read(descriptor, 1) == b"\n"


def read_run_manifest(path: str | Path) -> dict[str, JsonObject]:
    """Return the last line of each input, by the input, in the order of first lines.

    Raises:
        InputError: the file cannot be read.
    """
    path = Path(path)
    lines: dict[str, JsonObject] = {}
    try:
        with path.open("rb") as file:
            for text in file:
                try:
                    line = parse_object(text)
                except ValueError:  # it is cut
                    continue
                if isinstance(line.get("input"), str) and line.get("state") in STATES:
                    lines[line["input"]] = line
    except OSError as error:
        raise InputError(explain_os_error(path, error)) from error
    return lines
