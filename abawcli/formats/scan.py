"""The search for inputs in folders and by patterns, and the report of files that are left out.

Links to folders are followed, but no folder is entered twice: a link to a folder below the searched
one, or above it, is ignored, so that loops of links end.
"""

import fnmatch
import glob
import logging
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

Test = Callable[[Path], bool]
LOG = logging.getLogger(__name__)

# Formats of cameras and phones that are not supported in folders: raw, or unknown to FFmpeg.
OTHER_MEDIA = frozenset(
    {".mod", ".tod", ".braw", ".r3d", ".crm", ".ari", ".heic", ".heif", ".avif", ".dng"}
)
STRATEGY_NAME = "strategy.csv"  # the proposal of `crop`, in the folder that crops are written to
# Of the records that abaw writes beside outputs: provenance, and manifests of runs.
RECORD_SUFFIXES = (".provenance.json", "manifest.jsonl")
# Signatures of files that FFmpeg reads: MP4 and QuickTime, Matroska, AVI and WAVE, Ogg, FLV, MPEG
# program and transport streams, ASF, MXF, MP3 with tags, FLAC, GIF.
_MEDIA_START = re.compile(
    rb"....ftyp|....moov|....mdat|\x1aE\xdf\xa3|RIFF|OggS|FLV\x01|\x00\x00\x01[\xba\xb3]|\x47\x40"
    rb"|0&\xb2u|\x06\x0e\x2b\x34|ID3|fLaC|GIF8",
    re.DOTALL,
)


def walk_folders(
    root: str | Path, on_error: Callable[[OSError], None] | None = None
) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Yield `root` and every folder below it, with the sorted names of its folders and files.

    The caller may remove names from the list of folders, which are then not entered.
    """
    root = Path(root)
    top = os.path.realpath(root)
    seen = {_identify(top)}
    for parent, folders, files in os.walk(root, followlinks=True, onerror=on_error):
        folders.sort()
        folders[:] = [name for name in folders if _is_new(os.path.join(parent, name), top, seen)]
        yield Path(parent), folders, sorted(files)


def _identify(path: str) -> tuple[int, int] | None:
    try:
        state = os.stat(path)
    except OSError:
        return None
    return state.st_dev, state.st_ino


def _is_new(path: str, top: str, seen: set[tuple[int, int] | None]) -> bool:
    """Tell whether a folder has not been entered yet, and add it to `seen`."""
    if os.path.islink(path):
        real = os.path.realpath(path)
        if os.path.commonpath([real, top]) in (real, top):  # it is below or above `top`
            return False
    identity = _identify(path)
    if identity in seen:
        return False
    seen.add(identity)
    return True


def scan_folder(folder: str | Path, suffixes: frozenset[str], is_input: Test) -> list[Path]:
    """Return the files below a folder with one of `suffixes`, and folders that are inputs.

    Hidden files are ignored: files that are being written, and macOS's `._clip.mp4`, which is no
    video. So are the records that abaw writes beside outputs. One warning counts other files that
    are left out; with -v, they are named.
    """
    folder = Path(folder)
    found: list[Path] = []
    left_out: dict[str, list[str]] = {}
    media = ".mp4" in suffixes  # inputs of other commands are never mistaken for media

    def note(error: OSError) -> None:
        left_out.setdefault("folders that cannot be read", []).append(str(error.filename))

    for parent, folders, files in walk_folders(folder, note):
        below = [parent / name for name in folders if not name.startswith(".")]
        whole = [path for path in below if is_input(path)]
        found += whole
        folders[:] = [path.name for path in below if path not in whole]
        for name in files:
            path = parent / name
            suitable = path.suffix.lower() in suffixes
            if name.startswith("."):
                continue
            if suitable and os.path.isfile(path):
                found.append(path)
            elif reason := _explain_left_out(path, suitable, media):
                left_out.setdefault(reason, []).append(str(path))
    _report_left_out(folder, left_out)
    return sorted(found)


def _explain_left_out(path: Path, suitable: bool, media: bool) -> str | None:
    """Return why a file that may be meant as an input is left out; None if it is no such file."""
    if suitable:
        return "dead links" if os.path.islink(path) else "files that cannot be read"
    if media and path.suffix.lower() in OTHER_MEDIA:
        return "files of unsupported formats"
    if media and not path.suffix and _begins_like_media(path):
        return "media files without a suffix"
    if media and not _is_record(path.name):
        return f"{path.suffix.lower()} files" if path.suffix else "files without a suffix"
    return None


def _is_record(name: str) -> bool:
    """Tell whether a file's name is that of a record that abaw writes beside outputs."""
    return name.endswith(RECORD_SUFFIXES) or name == STRATEGY_NAME


def _begins_like_media(path: Path) -> bool:
    if not os.path.isfile(path):  # reading a pipe would block
        return False
    try:
        with path.open("rb") as file:
            return _MEDIA_START.match(file.read(16)) is not None
    except OSError:
        return False


def _report_left_out(folder: Path, left_out: dict[str, list[str]]) -> None:
    if left_out:
        counts = ", ".join(f"{reason}: {len(left_out[reason])}" for reason in sorted(left_out))
        named = "" if LOG.isEnabledFor(logging.INFO) else "; -v names them"
        LOG.warning("%s: some files are left out (%s)%s", folder, counts, named)
    for reason, paths in left_out.items():
        for path in paths:
            LOG.info("left out (%s): %s", reason, path)


def find_root(pattern: str) -> Path:
    """Return the folder that contains all matches of a glob: its parts without wildcards."""
    parts = Path(pattern).parts
    wild = next((k for k, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    return Path(*parts[: min(wild, len(parts) - 1)])


def match_pattern(pattern: str) -> list[Path]:
    """Return the matches of a glob, sorted; `**` matches any number of folders, not hidden ones."""
    root = find_root(pattern)
    wanted = Path(pattern).parts[len(root.parts) :]
    if "**" not in wanted:
        return sorted(map(Path, glob.glob(pattern)))
    matches = []
    for parent, folders, files in walk_folders(root):
        for name in (*folders, *files):
            path = parent / name
            if _fits(path.relative_to(root).parts, wanted):
                matches.append(path)
    return sorted(matches)


def _fits(parts: tuple[str, ...], wanted: tuple[str, ...]) -> bool:
    if not parts or not wanted:
        return not parts and wanted in ((), ("**",))
    part, pattern = parts[0], wanted[0]
    if part.startswith(".") and not pattern.startswith("."):
        return pattern == "**" and _fits(parts, wanted[1:])
    if pattern == "**":
        return _fits(parts, wanted[1:]) or _fits(parts[1:], wanted)
    return fnmatch.fnmatchcase(part, pattern) and _fits(parts[1:], wanted[1:])
