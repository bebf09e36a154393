"""Folders as outputs: a new folder is written beside the old one and then replaces it.

An old folder is replaced only if all its files are listed in its provenance and unchanged. Other
files are named in an error; no option replaces them.
"""

import logging
import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath

from abawcli.errors import OutputError
from abawcli.formats.atomic import (
    OLD_PREFIX,
    check_name,
    create_below,
    name_temporary,
    report_errors,
    sweep_leftovers,
)
from abawcli.formats.hashing import EMPTY, hash_folder
from abawcli.formats.provenance import (
    Provenance,
    check_unchanged,
    judge_output,
    read_provenance,
    repeat_warnings,
    write_provenance,
)

LOG = logging.getLogger(__name__)
_NAMED = 3  # files that an error names
FileHashes = dict[str, str]  # relative name -> sha256


def find_finished_folder(
    output: str | Path, work: Provenance, overwrite: bool
) -> Provenance | None:
    """Return the provenance of the folder `output` if it is the result of this work, or None.

    Raises:
        OutputError: as `provenance.find_finished`, or `check_folder`.
    """
    output = Path(output)
    there = check_folder(output, work["command"])
    if overwrite or not there:
        return None
    finished = judge_output(output, there, work)
    repeat_warnings(finished)
    return finished


def check_folder(output: str | Path, command: str) -> FileHashes:
    """Return the files of a folder that may be replaced; empty if the folder does not exist.

    Raises:
        OutputError: a file was not written by that command, or was changed since; or `output` is
            no folder, or a link to one.
    """
    output = Path(output)
    check_name(output)
    with report_errors(output, output):
        try:
            mode = os.lstat(output).st_mode
        except FileNotFoundError:
            return {}
        if not stat.S_ISDIR(mode):
            what = "a link" if stat.S_ISLNK(mode) else "no folder"
            raise OutputError(f"{output} is in the way and {what}; move it or change -o")
        there = hash_folder(output)
    foreign = _find_foreign(there, read_provenance(output), command)
    if foreign:
        more = f" and {len(foreign) - _NAMED} more" if len(foreign) > _NAMED else ""
        raise OutputError(
            f"{output} has files that `abaw {command}` did not write, or that were changed "
            f"since: {', '.join(foreign[:_NAMED])}{more}; move it or change -o"
        )
    return there


def _find_foreign(there: FileHashes, provenance: Provenance, command: str) -> list[str]:
    made = [provenance.get(key) for key in ("output", "replaces")]
    listed: list[FileHashes] = [files for files in made if isinstance(files, dict)]
    if provenance.get("command") != command:
        listed = []
    ours = [dict.fromkeys(_list_parents(files), EMPTY) | files for files in listed]
    return [name for name, digest in there.items() if all(f.get(name) != digest for f in ours)]


def _list_parents(names: Iterable[str]) -> set[str]:
    """Return the parent folders of relative names; they may be empty if files were removed."""
    return {str(parent) for name in names for parent in PurePath(name).parents}


@contextmanager
def replace_folder(path: str | Path, work: Provenance) -> Iterator[Path]:
    """Yield a temporary folder that becomes the folder `path`, with its provenance beside it.

    Raises:
        OutputError: `path` cannot be written, or as `check_folder`.
    """
    path = Path(path)
    temporary = name_temporary(path)
    check_folder(path, work["command"])
    with report_errors(path, temporary), create_below(path, temporary.mkdir):
        try:
            sweep_leftovers(path.parent)
            yield temporary
            _swap(temporary, path, work)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _swap(temporary: Path, path: Path, work: Provenance) -> None:
    """Replace a folder of the program's own files, or none, by a complete one."""
    check_unchanged(work)
    done = work | {"output": hash_folder(temporary)}
    before = check_folder(path, work["command"])
    write_provenance(path, done | ({"replaces": before} if before else {}))
    if not before:
        temporary.rename(path)
        return
    old = name_temporary(path, OLD_PREFIX)
    path.rename(old)
    if hash_folder(old) != before:  # it was changed meanwhile
        old.rename(path)
        check_folder(path, work["command"])
    temporary.rename(path)
    write_provenance(path, done)
    _remove(old, before)


def _remove(folder: Path, files: FileHashes) -> None:
    """Remove the listed files of a folder, and folders that are empty then."""
    try:
        for name, digest in files.items():
            if digest != EMPTY:
                (folder / name).unlink()
        for below, _, _ in os.walk(folder, topdown=False):
            os.rmdir(below)
    except OSError as error:
        LOG.warning("the old folder, %s, cannot be removed: %s", folder, error.strerror)
