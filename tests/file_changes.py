"""Every change of the file system, so that tests see what a program that is killed leaves.

Python announces them to audit hooks. What libraries write by themselves goes into files that were
made by Python before.
"""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.link", "os.symlink",
           "os.truncate", "os.utime"}  # fmt: skip


class _Watch:
    """Calls `act` with the number of each change below `root`, from 1."""

    root: str | None = None
    act: Callable[[int], object]
    count = 0

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.root is None or not (event in CHANGES or self._is_write(event, arguments)):
            return
        # A name relative to an open folder: of a tree that is removed.
        inside = isinstance(arguments[-1], int) and arguments[-1] != -1 and event != "open"
        if inside or os.path.abspath(os.fsdecode(arguments[0])).startswith(self.root):
            self.count += 1
            self.act(self.count)

    @staticmethod
    def _is_write(event: str, arguments: tuple[Any, ...]) -> bool:
        return (
            event == "open"
            and isinstance(arguments[0], str | bytes)
            and bool((arguments[2] or 0) & WRITES)
        )


_WATCH = _Watch()


@contextmanager
def watch_changes(root: Path, act: Callable[[int], object]) -> Iterator[_Watch]:
    """Call `act` before each change below a folder, with its number."""
    if not _WATCH.__dict__.get("installed"):
        sys.addaudithook(_WATCH)  # cannot be removed
        _WATCH.__dict__["installed"] = True
    _WATCH.act, _WATCH.count, _WATCH.root = act, 0, str(root)
    try:
        yield _WATCH
    finally:
        _WATCH.root = None


def copy_before_changes(root: Path, copies: Path, work: Callable[[], object]) -> list[Path]:
    """Do the work; return copies of a folder from before each change: what a kill there leaves."""
    with watch_changes(root, lambda number: shutil.copytree(root, copies / str(number))) as watch:
        work()
    return [copies / str(number) for number in range(1, watch.count + 1)]
