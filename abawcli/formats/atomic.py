"""Atomic writes: an output is written to a temporary path beside it and then renamed.

A temporary path is called `.abaw-<machine>-<process>-<random>.<name>`, an old folder that is being
replaced `.abaw-old-...`. A run removes its own. Those of killed runs are removed by the next run
that writes into the same folder on the same machine; those of other machines, if nothing in them
changed for `config.LEFTOVER_AGE_S`.
"""

import functools
import hashlib
import itertools
import os
import re
import secrets
import shutil
import socket
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

from abawcli.config import LEFTOVER_AGE_S
from abawcli.errors import OutputError

PREFIX, OLD_PREFIX = ".abaw-", ".abaw-old-"
NAME_BYTES = 255  # longest name of a file on common file systems
_LEFTOVER = re.compile(
    r"\.abaw-(?P<old>old-)?((?P<machine>[0-9a-f]{8})-(?P<process>[0-9a-f]{1,8})-)?[0-9a-f]{12}"
    r"\.(?P<name>.*)",
    re.DOTALL,
)
Made = TypeVar("Made")
_unfinished: set[Path] = set()  # temporaries of this process


def name_temporary(path: str | Path, prefix: str = PREFIX) -> Path:
    """Return a new temporary path beside `path`, with its suffix, by which writers choose formats.

    A long name is cut at its beginning, so that the result is not too long.

    Raises:
        OutputError: as `check_name`.
    """
    path = Path(path)
    check_name(path)
    head = f"{prefix}{_identify_machine()}-{os.getpid():x}-{secrets.token_hex(6)}."
    tail = os.fsencode(path.name)[len(head) - NAME_BYTES :].decode("utf-8", "ignore")
    temporary = path.with_name(head + tail)
    if prefix == PREFIX:
        _unfinished.add(temporary)
    return temporary


def remove_temporaries() -> None:
    """Remove the temporary files of this process, before it is ended."""
    for temporary in tuple(_unfinished):
        shutil.rmtree(temporary, ignore_errors=True)
        with suppress(OSError):  # it was a folder, or has been renamed
            temporary.unlink()


def check_name(path: str | Path) -> None:
    """Check that `path` ends in a name.

    Raises:
        OutputError: it is `.`, `..` or `/`.
    """
    path = Path(path)
    if path.name in ("", ".."):
        raise OutputError(f"cannot write {path}: it is a folder; name a file or folder in it")


@contextmanager
def report_errors(path: str | Path, temporary: str | Path) -> Iterator[None]:
    """Convert errors of writing into an OutputError that names `path`, not `temporary`.

    Raises:
        OutputError: for any OSError, and for an OutputError about a file in `temporary`.
    """
    path = Path(path)
    temporary = Path(temporary)
    try:
        yield
    except OutputError as error:  # of a file in a temporary folder
        if str(temporary) not in str(error):
            raise
        raise OutputError(str(error).replace(str(temporary), str(path))) from error
    except (FileExistsError, NotADirectoryError) as error:
        raise OutputError(f"cannot write {path}: {path.parent} is not a folder") from error
    except OSError as error:  # no permission, no space, ...
        text = error.strerror or str(error).replace(str(temporary), str(path))
        raise OutputError(f"cannot write {path}: {text or type(error).__name__}") from error


@contextmanager
def create_below(path: str | Path, create: Callable[[], Made]) -> Iterator[Made]:
    """Make the folders above `path`, and yield what `create` returns, which makes something there.

    If the block ends with an error, those of the folders that were made and are empty are removed.

    Raises:
        OSError: the folders cannot be made, or of `create`.
    """
    missing = list(itertools.takewhile(lambda folder: not folder.exists(), Path(path).parents))
    try:
        yield _create_in(Path(path).parent, create)
    except BaseException:
        for folder in missing:
            with suppress(OSError):  # something else is in it
                folder.rmdir()
        raise


def _create_in(folder: Path, create: Callable[[], Made]) -> Made:
    for _ in range(8):
        folder.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # another run failed and has removed the empty folder
            return create()
    return create()


@contextmanager
def write_whole(path: str | Path, seal: Callable[[Path], None] | None = None) -> Iterator[Path]:
    """Yield a temporary path that replaces the file `path` when the block ends without an error.

    The file gets the permissions of the umask. `seal` is called with the temporary path just before
    it is renamed.

    Raises:
        OutputError: `path` cannot be written, or is no regular file.
    """
    path = Path(path)
    temporary = name_temporary(path)
    create = partial(temporary.touch, exist_ok=False)
    try:
        with report_errors(path, temporary), create_below(path, create), _removing(temporary):
            check_plain(path)
            sweep_leftovers(path.parent)
            rights = stat.S_IMODE(temporary.stat().st_mode)
            yield temporary
            temporary.chmod(rights)  # safetensors creates a file with permissions of its own
            if seal:
                seal(temporary)
            temporary.replace(path)
    finally:
        _unfinished.discard(temporary)


@contextmanager
def _removing(temporary: Path) -> Iterator[None]:
    try:
        yield
    finally:
        with suppress(OSError):  # it has been renamed
            temporary.unlink()


@contextmanager
def make_work_folder(path: str | Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`, for writers that make temporary files of their own.

    It is removed with all that is in it; if this process is killed, by the next run.

    Raises:
        OSError: it cannot be made.
    """
    folder = name_temporary(path)
    try:
        folder.mkdir()
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _unfinished.discard(folder)


def check_plain(path: str | Path) -> None:
    """Check that `path` is a regular file or does not exist: links and devices are not replaced.

    Raises:
        OutputError: it is something else.
    """
    path = Path(path)
    if path.is_symlink():
        raise OutputError(f"{path} is a link to {os.readlink(path)}; give the name of the file")
    if path.exists() and not path.is_file():
        what = "a folder" if path.is_dir() else "no regular file"
        raise OutputError(f"cannot write {path}: it is {what}")


def sweep_leftovers(folder: str | Path) -> None:
    """Remove the temporary files of killed runs from a folder, once per folder and process."""
    _sweep_once(os.path.abspath(folder))


@functools.cache
def _sweep_once(folder: str) -> None:
    sweep_now(folder)


def sweep_now(folder: str | Path) -> None:
    """Remove the temporary files of killed runs from a folder."""
    with suppress(OSError):  # it cannot be listed, or another run sweeps too
        for name in os.listdir(folder):
            found, path = _LEFTOVER.fullmatch(name), os.path.join(folder, name)
            if not found or _is_only_one(path, found) or not _is_abandoned(path, found):
                continue
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path, ignore_errors=True)
            else:
                os.unlink(path)


@functools.cache
def _identify_machine() -> str:
    """Return 8 hexadecimal digits for the machine, or the container, whose process ids are ours."""
    parts = [socket.gethostname()]
    with suppress(OSError):  # only Linux has it
        parts.append(os.readlink("/proc/self/ns/pid"))
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()[:8]


def _is_abandoned(path: str, found: re.Match[str]) -> bool:
    """Tell whether the process that made a temporary path has ended, or else whether it is old."""
    if os.name == "posix" and found["machine"] == _identify_machine():
        process = int(found["process"], 16)
        return process != os.getpid() and not _is_alive(process)
    return time.time() - _find_last_change(path) > LEFTOVER_AGE_S


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # it is somebody else's; it is no process id
        return True
    return True


def _find_last_change(path: str) -> float:
    """Return the last change of a file, or of anything in a folder, in seconds since 1970."""
    inside = [os.path.join(folder, name) for folder, a, b in os.walk(path) for name in (*a, *b)]
    return max(os.lstat(each).st_mtime for each in (path, *inside))


def _is_only_one(path: str, found: re.Match[str]) -> bool:
    """Tell whether an old folder is the only copy: the run was killed before it was replaced."""
    return bool(found["old"]) and not os.path.lexists(
        os.path.join(os.path.dirname(path), found["name"])
    )
