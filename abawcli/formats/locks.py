"""Locks between processes that change one file, on one machine or on a shared file system.

Where the system has no such locks, work goes on without one.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from abawcli.formats.atomic import create_below, report_errors

LOCK_NAME = ".abaw-lock"


def lock_file(descriptor: int) -> None:
    """Wait for the lock of an open file, which ends when the file is closed."""
    if sys.platform != "win32":
        import fcntl

        with suppress(OSError):  # the file system has no locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)


@contextmanager
def lock_replaced(path: str | Path) -> Iterator[None]:
    """Lock a block that reads the file `path` and then replaces it.

    The lock is a file beside it, which is removed at the end: a file that is replaced cannot be
    locked itself, and network file systems lock only what is open for writing, not folders. In
    Windows, which cannot remove an open file, there is none.

    Raises:
        OutputError: the folder cannot be created or written to.
    """
    if sys.platform == "win32":
        yield
        return
    lock = Path(path).with_name(LOCK_NAME)
    with report_errors(path, lock), create_below(lock, partial(open_locked, lock)) as descriptor:
        try:
            yield
        finally:
            with suppress(OSError):
                if os.fstat(descriptor).st_size == 0:  # else somebody else wrote it
                    lock.unlink()
            os.close(descriptor)


def open_locked(path: str | Path) -> int:
    """Return the locked file; its previous owner may have removed the one that was opened."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        lock_file(descriptor)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return descriptor
        os.close(descriptor)
