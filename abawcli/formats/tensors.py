"""safetensors files with metadata in the header, as JSON: features and weights."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from abawcli.errors import InputError, explain_os_error
from abawcli.formats.atomic import make_work_folder
from abawcli.formats.json_values import JsonObject, parse_object

METADATA_KEY = "abaw"  # of the metadata in the header
_OS_CODE = re.compile(r"\b(?:code:|os error) (\d+)")  # how safetensors words an error of the system


@contextmanager
def open_tensors(path: str | Path, framework: str) -> Iterator[Any]:
    """Open a file as `safetensors.safe_open` does.

    The file's size is compared with the header before anything is read.

    Raises:
        InputError: it cannot be opened, or is cut, damaged or no safetensors file.
    """
    path = Path(path)
    try:
        with path.open("rb"):  # safetensors says of all that cannot be opened that it is not there
            pass
        with safe_open(path, framework=framework) as file:
            yield file
    except OSError as error:
        raise InputError(explain_os_error(path, error)) from error
    except SafetensorError as error:
        named = path.suffix.lower() == ".safetensors"
        reason = f": {error}" if named else ", whose name ends in .safetensors"
        raise InputError(f"{path} is not a safetensors file{reason}") from error


@contextmanager
def saving_tensors(path: str | Path) -> Iterator[Path]:
    """Yield a path for `save_file` of safetensors, which replaces the file `path` at the end.

    safetensors first writes a file `.tmp...` beside its target: it gets a folder that the next run
    removes if this one is killed.

    Raises:
        OSError: the system refuses to write.
    """
    with make_work_folder(path) as folder:
        target = folder / "tensors"
        try:
            yield target
        except SafetensorError as error:
            if code := _OS_CODE.search(str(error)):
                raise OSError(int(code[1]), os.strerror(int(code[1]))) from error
            raise
        target.replace(path)


def read_header(path: str | Path, file: Any) -> JsonObject | None:
    """Return the metadata in the header of an open file; None if there is none.

    Raises:
        InputError: it is no JSON object.
    """
    path = Path(path)
    text = (file.metadata() or {}).get(METADATA_KEY)
    try:
        return None if text is None else parse_object(text)
    except ValueError as error:
        raise InputError(f"{path} has damaged metadata: {error}") from error
