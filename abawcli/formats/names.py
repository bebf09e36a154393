"""Names of videos, and which of them mean the same one.

A name is a file's without its suffix, or its path below a folder, `control/P01`. Two spellings
of a letter with an accent, composed (NFC) and decomposed (NFD, as macOS writes it), are one name.
"""

import os
import unicodedata
from collections.abc import Collection
from pathlib import Path, PurePosixPath

from abawcli.formats.inputs import VIDEO_SUFFIXES


def compose_name(name: str) -> str:
    """Return a name in the one spelling by which names are compared."""
    return unicodedata.normalize("NFC", name)


def decode_name(name: str) -> str:
    """Return a file's name as text: replacement characters for bytes that are no UTF-8."""
    return os.fsencode(name).decode("utf-8", "replace")


def name_input(place: str | Path) -> str:
    """Return the name of a file by its place (`inputs.expand_inputs`)."""
    place = Path(place)
    return "/".join([*place.parts[:-1], place.stem])


def find_names(name: str, known: Collection[str]) -> list[str]:
    """Return those of `known` that mean the same as `name`; several are as near as each other.

    That is the name itself; or else the same but for a video's suffix; or else those that are its
    end, or that end in it, by whole folders: `control/P01` and `P01`.
    """
    wanted = compose_name(name)
    if wanted in known:  # as nearly always
        return [wanted]
    if same := [one for one in known if compose_name(one) == wanted]:
        return same
    bare = {one: _strip_suffix(compose_name(one)) for one in known}
    wanted = _strip_suffix(wanted)
    if same := [one for one in known if bare[one] == wanted]:
        return same
    parts = PurePosixPath(wanted).parts
    return [one for one in known if _is_tail(PurePosixPath(bare[one]).parts, parts)]


def _strip_suffix(name: str) -> str:
    suffix = PurePosixPath(name).suffix
    return name.removesuffix(suffix) if suffix.lower() in VIDEO_SUFFIXES else name


def _is_tail(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Tell whether the shorter of two paths, which is not empty, is the end of the longer one."""
    count = min(len(one), len(other))
    return count > 0 and one[-count:] == other[-count:]
