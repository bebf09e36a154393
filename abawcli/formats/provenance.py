"""The provenance of an output, in a file beside it, which tells whether work is finished.

    abawcli, command     version and command that made it
    inputs               name, relative to the working folder, size and hash of each input
    companions           likewise of other files that were read; they may be removed later
    settings             all that the result depends on, with the sha256 of models
    made_from            the provenance of the inputs, if it is relevant for the result
    warnings, summary    messages of the run
    output               sha256 of the file, or of every file of a folder by its relative name
    replaces             likewise of the output before, until it is replaced

Provenance is written when the output is complete under a temporary name, just before that is
renamed. If a run is killed in between, the output matches `replaces`, and the work can be repeated.
"""

import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from abawcli import __version__
from abawcli.errors import InputError, OutputError
from abawcli.formats.atomic import check_plain, report_errors, write_whole
from abawcli.formats.hashing import hash_ends, hash_file, hash_listing
from abawcli.formats.inputs import relate_path

LOG = logging.getLogger(__name__)
PROVENANCE_SUFFIX = ".provenance.json"
COMPARED = ("abawcli", "settings")  # that must be equal, as the command and the inputs
Provenance = dict[str, Any]
Find = Callable[[Path, Provenance, bool], Provenance | None]


def describe_work(
    command: str,
    inputs: Sequence[str | Path],
    settings: Mapping[str, Any],
    *,
    companions: Sequence[str | Path] = (),
    made_from: Sequence[Provenance] = (),
) -> Provenance:
    """Return the provenance of work before it is done, as JSON values.

    Files and folders that do not exist have the size and hash None.

    Args:
        command: name of the command.
        inputs: files and folders.
        settings: all that the result depends on, with the sha256 of models.
        companions: other files that are read.
        made_from: provenance of the inputs.
    """
    inputs = list(map(Path, inputs))
    companions = list(map(Path, companions))
    origins = [_strip_run(each) for each in made_from]
    work: Provenance = {
        "abawcli": __version__,
        "command": command,
        "inputs": [describe_input(path) for path in inputs],
        "companions": [describe_input(path) for path in companions],
        "settings": json.loads(json.dumps(dict(settings))),
        "made_from": origins,
        "warnings": [],
        "summary": {},
    }
    return work


def describe_input(path: str | Path) -> Provenance:
    """Return an input's name relative to the working folder, its size in bytes and its hash.

    The hash is of a file's size and ends, or of the names and sizes of a folder's files.
    """
    path = Path(path)
    size, digest = None, None
    with suppress(OSError):  # reported by its reader
        if os.path.isdir(path):
            size, digest = hash_listing(path)
        elif os.path.isfile(path):
            size, digest = os.path.getsize(path), hash_ends(path)
    return {"name": relate_path(path), "size": size, "sha256": digest}


def check_unchanged(work: Provenance) -> None:
    """Check that no input file was changed since the work was described.

    Raises:
        InputError: one was removed, replaced, or is still growing.
    """
    for described in work.get("inputs", []):
        name, there = described["name"], described["sha256"]
        if there is None or os.path.isdir(name):
            continue
        now = describe_input(name)["sha256"]
        if now is None:
            raise InputError(f"{name} was removed while it was read; nothing is written")
        if now != there:
            raise InputError(f"{name} changed while it was read; run again when it is complete")


def find_input(described: Mapping[str, Any], near: str | Path) -> Path | None:
    """Return the current path of an unchanged input, also if the study was moved; or None.

    `described` is the result of `describe_input`. The name is looked up from the working folder
    and from the folders above `near`.
    """
    near = Path(near)
    for folder in (Path(), *Path(os.path.abspath(near)).parents):
        path = folder / str(described.get("name"))
        with suppress(OSError):  # no permission
            if path.is_file() and hash_ends(path) == described.get("sha256"):
                return path
    return None


def provenance_path(output: str | Path) -> Path:
    """Return the path of an output's provenance, which is beside it."""
    output = Path(output)
    return output.with_name(output.name + PROVENANCE_SUFFIX)


def write_provenance(output: str | Path, provenance: Mapping[str, Any]) -> None:
    """Write the provenance of an output beside it.

    Raises:
        OutputError: it cannot be written.
    """
    output = Path(output)
    with write_whole(provenance_path(output)) as temporary:
        temporary.write_text(json.dumps(provenance, indent=1) + "\n")


def read_provenance(output: str | Path) -> Provenance:
    """Return the provenance of `output`; empty if it is missing or invalid.

    Inputs that earlier versions described by their paths alone are left out.
    """
    output = Path(output)
    try:
        there = json.loads(provenance_path(output).read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(there, dict) or not _has_types(there):
        return {}
    if "inputs" in there:
        there["inputs"] = [each for each in there["inputs"] if isinstance(each, dict)]
    return there


def _has_types(there: Provenance) -> bool:
    """Tell whether values have the types of provenance: other programs write such files, too."""
    lists = [there.get(name, []) for name in ("inputs", "companions", "made_from", "warnings")]
    if not all(isinstance(each, list) for each in lists):
        return False
    objects = [there.get("settings", {}), *lists[1], *lists[2]]
    return all(isinstance(each, dict) for each in objects)


def find_finished(output: str | Path, work: Provenance, overwrite: bool) -> Provenance | None:
    """Return the provenance of the file `output` if it is the result of this work, or None.

    None means that it may be written: it does not exist, or it is the unchanged result of the same
    command with other settings or another content of the input. The warnings of a finished run are
    repeated.

    Raises:
        OutputError: the file was not made by this command from this input, or was changed since,
            and `overwrite` is false; or it is a link or no regular file.
        InputError: likewise, and an input does not exist.
    """
    output = Path(output)
    with report_errors(output, output):
        check_plain(output)
        if overwrite or not output.exists():
            return None
        digest = hash_file(output)
    there = judge_output(output, digest, work)
    repeat_warnings(there)
    return there


@dataclass(frozen=True)
class Plan:
    """What a run would do with one output."""

    output: Path
    action: str  # make, keep or fail
    reason: str


def plan_output(
    output: str | Path, work: Provenance, overwrite: bool, find: Find | None = None
) -> Plan:
    """Return what a run would do with an output; `find` as `find_finished`, which is the default.

    Nothing is written, except that a run that was killed before its last step is completed.

    Raises:
        InputError: an input does not exist.
    """
    output = Path(output)
    there = os.path.lexists(output)
    try:
        finished = (find or find_finished)(output, work, overwrite)
    except OutputError as error:
        return Plan(output, "fail", str(error))
    if finished:
        return Plan(output, "keep", "it is made with these settings")
    if not there:
        return Plan(output, "make", "it does not exist")
    reason = "--overwrite" if overwrite else "it was made with other settings, or of another input"
    return Plan(output, "make", reason)


def _check_inputs_exist(work: Provenance) -> None:
    """Check that the inputs of some work exist: of a mistyped one, no output was made.

    Raises:
        InputError: one does not.
    """
    for described in work["inputs"]:
        if not os.path.lexists(described["name"]):
            raise InputError(f"no such file: {described['name']}")


def judge_output(output: str | Path, digest: Any, work: Provenance) -> Provenance | None:
    """Return the provenance of an output with this hash if it is this work, None if it is stale.

    Raises:
        InputError, OutputError: as `find_finished`.
    """
    output = Path(output)
    there = read_provenance(output)
    if there and "output" not in there:
        raise OutputError(
            f"{output} was made by an earlier version, and changes since cannot be detected; "
            "move it, or use --overwrite"
        )
    if there.get("command") != work["command"] or not _is_from(there, work):
        _check_inputs_exist(work)
        raise OutputError(f"{output} exists and was not made from this input; use --overwrite")
    if digest == there["output"]:
        if _is_same(there, work):
            if "replaces" in there:  # the run was killed before its last step
                write_provenance(output, {k: v for k, v in there.items() if k != "replaces"})
            return there
        same = all(there.get(key) == work[key] for key in COMPARED)
        what = "from inputs that have changed since" if same else "with other settings"
        LOG.warning("%s was made %s and is made anew", output, what)
    elif digest != there.get("replaces"):
        raise OutputError(f"{output} was changed after it was made; move it, or use --overwrite")
    return None


def _is_from(there: Provenance, work: Provenance) -> bool:
    """Tell whether provenance has the same inputs, by content or else by name."""
    inputs = there.get("inputs", [])
    if len(inputs) != len(work["inputs"]):
        return False
    pairs = zip(inputs, work["inputs"], strict=True)
    return all(_is_same_input(a, b) or a.get("name") == b["name"] for a, b in pairs)


def _is_same(there: Provenance, work: Provenance) -> bool:
    """Tell whether provenance is of the same work, independent of the folders of its inputs."""
    return (
        all(there.get(key) == work[key] for key in COMPARED)
        and all(map(_is_same_input, there["inputs"], work["inputs"]))
        and _are_among(there.get("companions", []), work["companions"])
    )


def _are_among(there: Sequence[Provenance], now: Sequence[Provenance]) -> bool:
    """Tell whether companions were there, unchanged and in this order; some may be gone since.

    Companions of one file name, such as those of two folders, differ by their order.
    """
    named: dict[str, list[Provenance]] = {}
    for each in there:
        named.setdefault(os.path.basename(str(each.get("name"))), []).append(each)
    rest = {name: iter(some) for name, some in named.items()}  # each is compared once
    return all(
        any(_is_same_input(before, each) for before in rest.get(os.path.basename(each["name"]), ()))
        for each in now
    )


def _is_same_input(there: Provenance, now: Provenance) -> bool:
    """Tell whether an input is unchanged; one that is missing now counts as unchanged."""
    if os.path.basename(str(there.get("name"))) != os.path.basename(now["name"]):
        return False
    return now["sha256"] in (None, there.get("sha256")) and now["size"] in (None, there.get("size"))


def _strip_run(provenance: Provenance) -> Provenance:
    return {k: v for k, v in provenance.items() if k not in ("output", "replaces", "warnings")}


def repeat_warnings(provenance: Provenance | None) -> None:
    """Repeat the warnings of a finished run."""
    for text in (provenance or {}).get("warnings", []):
        LOG.warning("%s", text)


@contextmanager
def write_result(path: str | Path, work: Provenance) -> Iterator[Path]:
    """Yield a temporary path that becomes the file `path`, with its provenance beside it.

    Raises:
        OutputError: as `atomic.write_whole`.
    """
    path = Path(path)
    with report_errors(path, path):
        before = {"replaces": hash_file(path)} if path.is_file() else {}
    done: Provenance = {}

    def seal(temporary: Path) -> None:
        check_unchanged(work)
        done.update(work, output=hash_file(temporary))
        write_provenance(path, done | before)

    with write_whole(path, seal) as temporary:
        yield temporary
    if before:
        write_provenance(path, done)
