"""What made an output, in a file beside it, and whether the work needs to be done again."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from abawcli import __version__
from abawcli.errors import OutputError
from abawcli.formats.atomic import name_temporary, write_whole

PROVENANCE_SUFFIX = ".provenance.json"


def describe_work(
    command: str, inputs: Sequence[Path], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Return an output's provenance: version, command, inputs, resolved settings.

    `inputs` become absolute paths, and `files` tells those that are files apart from later
    versions of themselves: their size in bytes and the time they were changed in ns. `settings`
    is JSON-like and holds what the result depends on, models with their sha256.
    """
    full = [os.path.abspath(path) for path in inputs]
    states = {path: os.stat(path) for path in full if os.path.isfile(path)}
    provenance: dict[str, Any] = json.loads(
        json.dumps(
            {
                "abawcli": __version__,
                "command": command,
                "inputs": full,
                "files": {path: [s.st_size, s.st_mtime_ns] for path, s in states.items()},
                "settings": dict(settings),
            }
        )
    )
    return provenance


def provenance_path(output: Path) -> Path:
    """Return where the provenance of a text output or a folder stands: a file beside it."""
    return output.with_name(output.name + PROVENANCE_SUFFIX)


def write_provenance(output: Path, provenance: Mapping[str, Any]) -> None:
    """Write the provenance of a finished output beside it."""
    with write_whole(provenance_path(output)) as temporary:
        temporary.write_text(json.dumps(provenance, indent=2) + "\n")


def read_provenance(output: Path) -> dict[str, Any]:
    """Return the provenance that stands beside `output`; empty where there is none."""
    try:
        there = json.loads(provenance_path(output).read_text())
    except (OSError, ValueError):
        return {}
    return there if isinstance(there, dict) else {}


def is_finished(output: Path, provenance: Mapping[str, Any], overwrite: bool) -> bool:
    """Tell whether `output` already holds just this work and can be skipped.

    An output of the same command and inputs is stale, and False is returned, if it was made
    with other settings or an input has changed since; one that is gone has not.

    Raises:
        OutputError: something else is in the way.
    """
    if overwrite or not os.path.exists(output):
        return False
    there = read_provenance(output)
    if any(there.get(key) != provenance[key] for key in ("command", "inputs")):
        raise OutputError(f"{output} exists and was not made from this input; use --overwrite")
    files = there.get("files", {}) | provenance["files"]
    return there == {**provenance, "files": files}


@contextmanager
def replace_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder that replaces `path` when the block ends without error.

    Raises:
        OutputError: the place cannot be written.
    """
    temporary = name_temporary(path)
    try:
        temporary.mkdir(parents=True)
        yield temporary
        provenance_path(path).unlink(missing_ok=True)
        if path.exists():
            shutil.rmtree(path)
        temporary.rename(path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
