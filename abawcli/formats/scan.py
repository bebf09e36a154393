"""Folders and patterns looked through for inputs, and what is left out of them.

Links to folders are followed, but no folder is entered twice: a link to a folder that is below the
one that is looked through, or that holds it, is passed over. So a loop of links has an end.
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

# Formats of cameras and phones that are not looked for: mostly raw, or what FFmpeg cannot read.
OTHER_MEDIA = frozenset(
    {".mod", ".tod", ".braw", ".r3d", ".crm", ".ari", ".heic", ".heif", ".avif", ".dng"}
)
# How files begin that FFmpeg knows: MP4 and QuickTime, Matroska, AVI and WAVE, Ogg, FLV, MPEG
# program and transport streams, ASF, MXF, MP3 with tags, FLAC, GIF.
_MEDIA_START = re.compile(
    rb"....ftyp|....moov|....mdat|\x1aE\xdf\xa3|RIFF|OggS|FLV\x01|\x00\x00\x01[\xba\xb3]|\x47\x40"
    rb"|0&\xb2u|\x06\x0e\x2b\x34|ID3|fLaC|GIF8",
    re.DOTALL,
)


def walk_folders(
    root: str | Path, on_error: Callable[[OSError], None] | None = None
) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Yield every folder from `root` on, with the names of its folders and files, sorted.

    Names that are taken out of the list of folders are not entered.
    """
    root = Path(root)
    top = os.path.realpath(root)
    seen = {_identify(top)}
    for place, folders, files in os.walk(root, followlinks=True, onerror=on_error):
        folders.sort()
        folders[:] = [name for name in folders if _is_new(os.path.join(place, name), top, seen)]
        yield Path(place), folders, sorted(files)


def _identify(path: str) -> tuple[int, int] | None:
    try:
        state = os.stat(path)
    except OSError:
        return None
    return state.st_dev, state.st_ino


def _is_new(path: str, top: str, seen: set[tuple[int, int] | None]) -> bool:
    """Tell whether a folder is to be entered, and note it."""
    if os.path.islink(path):
        real = os.path.realpath(path)
        if os.path.commonpath([real, top]) in (real, top):  # it is below `top`, or holds it
            return False
    identity = _identify(path)
    if identity in seen:
        return False
    seen.add(identity)
    return True


def scan_folder(folder: str | Path, suffixes: frozenset[str], is_input: Test) -> list[Path]:
    """Return the files below a folder with one of `suffixes`, and folders that are inputs.

    What is hidden is not looked at: files that are being written, and macOS's `._clip.mp4`, which
    are no videos. One warning says how much else is left out; with -v it is named.
    """
    folder = Path(folder)
    found: list[Path] = []
    left_out: dict[str, list[str]] = {}
    media = ".mp4" in suffixes  # other commands look for files that cannot be mistaken

    def note(error: OSError) -> None:
        left_out.setdefault("folders that cannot be read", []).append(str(error.filename))

    for place, folders, files in walk_folders(folder, note):
        below = [place / name for name in folders if not name.startswith(".")]
        whole = [path for path in below if is_input(path)]
        found += whole
        folders[:] = [path.name for path in below if path not in whole]
        for name in files:
            path = place / name
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
    """Return why a file that may have been meant as an input is none."""
    if suitable:
        return "dead links" if os.path.islink(path) else "files that cannot be read"
    if media and path.suffix.lower() in OTHER_MEDIA:
        return "files of formats that are not looked for"
    if media and not path.suffix and _begins_like_media(path):
        return "media files without a suffix"
    return None


def _begins_like_media(path: Path) -> bool:
    if not os.path.isfile(path):  # a pipe would be waited for
        return False
    try:
        with path.open("rb") as file:
            return _MEDIA_START.match(file.read(16)) is not None
    except OSError:
        return False


def _report_left_out(folder: Path, left_out: dict[str, list[str]]) -> None:
    if left_out:
        counts = ", ".join(f"{reason}: {len(paths)}" for reason, paths in left_out.items())
        named = "" if LOG.isEnabledFor(logging.INFO) else "; -v names them"
        LOG.warning("%s: some is left out (%s)%s", folder, counts, named)
    for reason, paths in left_out.items():
        for path in paths:
            LOG.info("left out (%s): %s", reason, path)


def find_root(pattern: str) -> Path:
    """Return the folder that the matches of a glob are below: its parts without wildcards."""
    parts = Path(pattern).parts
    wild = next((k for k, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    return Path(*parts[: min(wild, len(parts) - 1)])


def match_pattern(pattern: str) -> list[Path]:
    """Return what a glob matches, sorted; `**` is any number of folders that are not hidden."""
    root = find_root(pattern)
    wanted = Path(pattern).parts[len(root.parts) :]
    if "**" not in wanted:
        return sorted(map(Path, glob.glob(pattern)))
    matches = []
    for place, folders, files in walk_folders(root):
        for name in (*folders, *files):
            path = place / name
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
