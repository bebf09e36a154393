"""Names of videos, and how they are compared.

A name is that of a file without its suffix, or its path below a folder, such as `control/P01`.
Composed (NFC) and decomposed (NFD, as on macOS) accents are equal.
"""

import os
import unicodedata
from collections.abc import Collection
from pathlib import Path, PurePosixPath

from abawcli.formats.inputs import VIDEO_SUFFIXES

_SETS = frozenset({"train_set", "validation_set", "test_set"})  # folders of annotations


def compose_name(name: str) -> str:
    """Return a name in the normal form for comparisons, with composed accents."""
    return unicodedata.normalize("NFC", name)


def decode_name(name: str) -> str:
    """Return a file's name as text, with replacement characters for bytes that are not UTF-8."""
    return os.fsencode(name).decode("utf-8", "replace")


def name_input(relative: str | Path) -> str:
    """Return the name of an input by its relative path (`inputs.RelativePaths`)."""
    relative = Path(relative)
    return "/".join([*relative.parts[:-1], relative.stem])


def find_names(name: str, known: Collection[str]) -> list[str]:
    """Return the names among `known` that match `name`; several match equally well.

    A match is the name itself; or else the name without a video's suffix; or else a name that is
    the end of the other one, by whole folders, such as `P01` of `control/P01`. Where there is none,
    the folders of the challenge's sets do not count: `Train_Set/102` matches `batch1/102`.
    """
    wanted = compose_name(name)
    if wanted in known:  # the usual case
        return [wanted]
    if same := [one for one in known if compose_name(one) == wanted]:
        return same
    bare = {one: _strip_suffix(compose_name(one)) for one in known}
    wanted = _strip_suffix(wanted)
    if same := [one for one in known if bare[one] == wanted]:
        return same
    parts = PurePosixPath(wanted).parts
    paths = {one: PurePosixPath(bare[one]).parts for one in known}
    if ends := [one for one in known if _is_tail(paths[one], parts)]:
        return ends
    parts = _drop_set(parts)
    return [one for one in known if _is_tail(_drop_set(paths[one]), parts)]


def _drop_set(parts: tuple[str, ...]) -> tuple[str, ...]:
    """Return the parts of a path below the folder of one of the challenge's sets, if any."""
    places = [k for k, part in enumerate(parts[:-1], 1) if part.lower() in _SETS]
    return parts[places[-1] :] if places else parts


def _strip_suffix(name: str) -> str:
    suffix = PurePosixPath(name).suffix
    return name.removesuffix(suffix) if suffix.lower() in VIDEO_SUFFIXES else name


def _is_tail(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Tell whether the shorter of two paths is not empty and is the end of the longer one."""
    count = min(len(one), len(other))
    return count > 0 and one[-count:] == other[-count:]
