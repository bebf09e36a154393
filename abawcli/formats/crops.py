"""Folders of face crops, a file a frame: our own, and those that ABAW gives out.

Ours has `faces.parquet` and a folder a scale (`formats.faces`, `stages.crop`). An official one,
`cropped_aligned/<name>/00001.jpg`, has images alone, of one size and scale; frames without a
face have no file, and the numbers keep their gaps. `<name>` may end in `_left` or `_right`.
"""

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from abawcli.errors import InputError, UsageError
from abawcli.formats.abaw import split_side
from abawcli.formats.faces import FACES_NAME, read_faces
from abawcli.formats.inputs import VIDEO_SUFFIXES
from abawcli.formats.outputs import name_outputs

_NUMBERED = re.compile(r"(\d+)\.(jpg|jpeg|png|bmp)", re.IGNORECASE)


def is_own_crops(folder: Path) -> bool:
    """Tell whether a folder was written by `abaw crop`."""
    return os.path.isfile(folder / FACES_NAME)  # no: also where the name is too long


def is_crops(folder: Path) -> bool:
    """Tell whether a folder holds the crops of one video, ours or official ones."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries]
    except OSError:  # no permission
        return False
    return FACES_NAME in names or any(_NUMBERED.fullmatch(name) for name in names)


@dataclass(frozen=True)
class Images:
    """Numbered images in a folder; `state` tells them apart from later versions of them."""

    files: dict[int, Path]  # by frame
    state: list[int]  # how many, bytes in all, the latest change in ns


def list_images(folder: Path) -> Images:
    """Return the images of an official folder.

    Raises:
        InputError: there is none, a number is 0, or one is there twice.
    """
    files: dict[int, Path] = {}
    size, changed = 0, 0
    with os.scandir(folder) as entries:
        for entry in entries:
            if not (found := _NUMBERED.fullmatch(entry.name)):
                continue
            number = int(found[1])
            if number in files or number == 0:
                reason = "frames are counted from 1" if number == 0 else f"so is {files[number]}"
                raise InputError(f"{entry.path} is frame {number}; {reason}")
            files[number] = Path(entry.path)
            size += entry.stat().st_size
            changed = max(changed, entry.stat().st_mtime_ns)
    if not files:
        raise InputError(f"{folder} holds no crop (00001.jpg and so on)")
    return Images(dict(sorted(files.items())), [len(files), size, changed])


def find_scales(folder: Path) -> list[float]:
    """Return the scales of which a folder of our own has crops, ascending."""
    below = [folder, *folder.glob("subject*")]
    names = {path.name for place in below for path in place.iterdir() if path.is_dir()}
    return sorted(float(name) for name in names if re.fullmatch(r"\d+(\.\d+)?", name))


def find_recording(folder: Path, name: str) -> Path | None:
    """Return the video in `folder` that crops called `name` were made from.

    That is the one of the same name, or of the name without `_left` or `_right`.

    Raises:
        UsageError: no such folder.
        InputError: there are two.
    """
    if not os.path.isdir(folder):
        raise UsageError(f"no such folder: {folder}")
    videos = [path for path in folder.iterdir() if path.suffix.lower() in VIDEO_SUFFIXES]
    for stem in (name, split_side(name)[0]):
        found = sorted(path for path in videos if path.stem == stem)
        if len(found) > 1:
            raise InputError(f"{found[0]} and {found[1]} could both be the video of {name}")
        if found:
            return found[0]
    return None


def name_video(path: Path) -> str:
    """Return the name that an input's features go by: a folder may have dots in its name."""
    return path.name if os.path.isdir(path) else path.stem


def name_features(paths: Sequence[Path], output: Path, suffix: str) -> dict[Path, Path]:
    """Return where the features of each input go: as `outputs.name_outputs`, by `name_video`.

    Raises:
        UsageError: as there.
    """
    # Of `my.video` only `my` would be left.
    files = {p: p.with_name(p.name + suffix) if os.path.isdir(p) else p for p in paths}
    named = name_outputs(list(files.values()), output, suffix)
    return {path: named[file] for path, file in files.items()}


def check_names(paths: Iterable[Path]) -> None:
    """Make sure that no two folders of crops are about one name: annotations go by it.

    Raises:
        UsageError: two are.
    """
    seen: dict[str, Path] = {}
    for path in paths:
        if os.path.isdir(path) and (other := seen.setdefault(path.name, path)) != path:
            raise UsageError(f"{other} and {path} are both called {path.name}; give one of them")


def read_subject(folder: Path) -> str:
    """Return whom crops show: what `abaw crop` was asked for; of official ones the name's side."""
    if not is_own_crops(folder):
        return split_side(folder.name)[1] or "main"
    _, about = read_faces(folder / FACES_NAME)
    return str(about.get("settings", {}).get("subject", "main"))


def find_sound(folder: Path, audio_from: Path | None) -> Path | None:
    """Return the file that has the sound of crops: in `audio_from`, or what they were made from.

    Raises:
        UsageError, InputError: as `find_recording`.
    """
    if audio_from:
        return find_recording(audio_from, folder.name)
    _, about = read_faces(folder / FACES_NAME) if is_own_crops(folder) else (None, {})
    made_from = [path for path in about.get("inputs", []) if os.path.isfile(path)]
    return Path(made_from[0]) if made_from else None
