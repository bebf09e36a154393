"""Outputs that are whole or not there: a temporary beside them, then a rename."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from abawcli.errors import OutputError


def name_temporary(path: Path) -> Path:
    """Return a name beside `path`; the suffix stays last: writers choose their format by it.

    Raises:
        OutputError: `path` is `.` or `/`, which have no name.
    """
    if not path.name:
        raise OutputError(f"cannot write {path}: it is a folder; give it a name in there")
    return path.with_name(f".{os.getpid()}.{path.name}")


@contextmanager
def write_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` that replaces it when the block ends without error.

    Raises:
        OutputError: the place cannot be written.
    """
    temporary = name_temporary(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except (FileExistsError, NotADirectoryError) as error:
        raise OutputError(f"cannot write {path}: {path.parent} is not a folder") from error
    except OSError as error:  # no permission, no space, a folder in the way, ...
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):  # it has become `path`, or could not be made
            temporary.unlink()
