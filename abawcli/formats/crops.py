"""Folders of face crops, with one file per frame: those of `abaw crop`, and official ones of ABAW.

A folder of `abaw crop` has `faces.parquet` and a folder for each scale (`formats.faces`,
`stages.crop`). An official folder, `cropped_aligned/<name>/00001.jpg`, has only images, of one size
and scale. Frames without a face have no file; their numbers are left out. `<name>` may end in
`_left` or `_right`.
"""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from abawcli.errors import InputError, UsageError
from abawcli.formats.abaw import split_side
from abawcli.formats.faces import FACES_NAME, read_faces_provenance
from abawcli.formats.inputs import VIDEO_SUFFIXES
from abawcli.formats.json_values import JsonObject, read_optional, read_value
from abawcli.formats.names import compose_name
from abawcli.formats.provenance import find_input

Segment = tuple[str, int, int | None]  # strategy, first and last frame; None: the video's last
_NUMBERED = re.compile(r"(\d+)\.(jpg|jpeg|png|bmp)", re.IGNORECASE)


@dataclass(frozen=True)
class CropsMetadata:
    """Values from the provenance of crops of `abaw crop`: their subject and video."""

    subject: str = "main"  # what was asked for; strategy: what the segments say
    segments: tuple[Segment, ...] = ()  # of a strategy, by frame
    rotate: int = 0  # degrees by which frames were turned
    inputs: tuple[JsonObject, ...] = ()  # as `provenance.describe_input` describes them

    def name_subject(self, most: int) -> str:
        """Return a description of the subject of crops, naming at most so many segments."""
        parts = [f"{strategy} {first}-{last or ''}" for strategy, first, last in self.segments]
        parts[most:] = ["..."] if len(parts) > most else []
        return ", ".join(parts) or self.subject

    @classmethod
    def from_json(cls, values: JsonObject, path: str | Path) -> Self:
        """Return the record from the provenance in the file `path`.

        Raises:
            InputError: a value has another type.
        """
        settings = read_optional(values, "settings", dict, path) or {}
        key = "segments" if "segments" in settings else "stretches"  # in older files
        rows = read_optional(settings, key, list, path) or []
        inputs = read_optional(values, "inputs", list, path) or []
        return cls(
            subject=read_optional(settings, "subject", str, path) or "main",
            segments=tuple(_read_segment(row, path) for row in rows),
            rotate=read_optional(settings, "rotate", int, path) or 0,
            inputs=tuple(each for each in inputs if isinstance(each, dict)),  # once paths alone
        )


def _read_segment(row: Any, path: str | Path) -> Segment:
    cells: list[Any] = read_value({"segments": row}, "segments", list, path)
    values = dict(zip(("strategy", "from", "to"), cells, strict=False))
    return (
        read_value(values, "strategy", str, path),
        read_value(values, "from", int, path),
        read_optional(values, "to", int, path),
    )


def read_crops_metadata(folder: str | Path) -> CropsMetadata:
    """Return the subject and video of crops that `abaw crop` wrote.

    Raises:
        InputError: their table has no provenance that can be read.
    """
    path = Path(folder) / FACES_NAME
    return CropsMetadata.from_json(read_faces_provenance(path), path)


def is_own_crops(folder: str | Path) -> bool:
    """Tell whether a folder was written by `abaw crop`."""
    folder = Path(folder)
    return os.path.isfile(folder / FACES_NAME)  # false also if the name is too long


def is_crops(folder: str | Path) -> bool:
    """Tell whether a folder has the crops of one video, of `abaw crop` or official ones."""
    folder = Path(folder)
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries]
    except OSError:  # no permission
        return False
    return FACES_NAME in names or any(_NUMBERED.fullmatch(name) for name in names)


def is_only_crops(folder: str | Path) -> bool:
    """Tell whether a folder has only the crops of one video, of `abaw crop` or official ones.

    Other folders of pictures may have numbers as names, too; those of official crops have five
    digits.
    """
    folder = Path(folder)
    if is_own_crops(folder):
        return True
    try:
        names = [name for name in os.listdir(folder) if not name.startswith(".")]
    except OSError:  # no permission
        return False
    return bool(names) and all(re.fullmatch(r"\d{5}\.jpg", name) for name in names)


def _check_whole(folder: Path) -> None:
    """Check that an official folder is none within the crops of `abaw crop`.

    Raises:
        InputError: it is one.
    """
    if own := next(filter(is_own_crops, list(Path(os.path.abspath(folder)).parents)[:2]), None):
        raise InputError(f"{folder} is a part of the crops in {own}; give that folder")


def list_images(folder: str | Path) -> dict[int, Path]:
    """Return the images of an official folder by frame number, ascending.

    Raises:
        InputError: there is no image, a number is 0, two images have one number, or the folder is
            one within those of `abaw crop`.
    """
    folder = Path(folder)
    _check_whole(folder)
    return _list_numbered(folder)


def list_scale(folder: str | Path, scale: float) -> dict[int, Path]:
    """Return the images of one scale of the crops in a folder of `abaw crop`, by frame number.

    Raises:
        InputError: as `list_images`.
    """
    return _list_numbered(Path(folder) / str(scale))


def _list_numbered(folder: Path) -> dict[int, Path]:
    files: dict[int, Path] = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            if not (found := _NUMBERED.fullmatch(entry.name)):
                continue
            number = int(found[1])
            if number in files or number == 0:
                reason = "frames are counted from 1" if number == 0 else f"so is {files[number]}"
                raise InputError(f"{entry.path} is frame {number}; {reason}")
            files[number] = Path(entry.path)
    if not files:
        raise InputError(f"{folder} has no crops (00001.jpg and so on)")
    return dict(sorted(files.items()))


def find_scales(folder: str | Path) -> list[float]:
    """Return the scales of the crops in a folder of `abaw crop`, ascending."""
    folder = Path(folder)
    below = [folder, *(path for path in folder.glob("subject*") if path.is_dir())]
    names = {path.name for each in below for path in each.iterdir() if path.is_dir()}
    return sorted(float(name) for name in names if re.fullmatch(r"\d+(\.\d+)?", name))


def check_audio_from(folder: str | Path | None) -> None:
    """Refuse a folder of recordings that does not exist, once for all inputs.

    Raises:
        UsageError: the folder does not exist.
    """
    if folder is not None and not os.path.isdir(folder):
        raise UsageError(f"no such folder: {folder}; --audio-from is the folder of the videos")


def check_any_crops(audio_from: str | Path | None, inputs: Iterable[str | Path]) -> None:
    """Refuse a folder of recordings where all inputs are files, which have their own audio.

    Raises:
        UsageError: it is given, and all of them are files.
    """
    if audio_from is not None and all(map(os.path.isfile, inputs)):
        raise UsageError("--audio-from is for folders of crops; other inputs have their own audio")


def find_recording(folder: str | Path, name: str) -> Path | None:
    """Return the video of the crops `name`, or None.

    It has the same path below `folder`, or else below a subfolder of it (such as batch1/), apart
    from its suffix and from `_left` or `_right`.

    Raises:
        UsageError: the folder does not exist.
        InputError: there are two such videos.
    """
    folder = Path(folder)
    check_audio_from(folder)
    parent = folder / Path(name).parent
    there = parent.iterdir() if os.path.isdir(parent) else ()
    if found := _find_by_name(there, name):
        return found
    above = Path(name).parent.parts
    deeper = folder.rglob("*")
    return _find_by_name((p for p in deeper if p.parts[-1 - len(above) : -1] == above), name)


def _find_by_name(paths: Iterable[Path], name: str) -> Path | None:
    videos = [path for path in paths if path.suffix.lower() in VIDEO_SUFFIXES]
    wanted = compose_name(Path(name).name)
    for stem in (wanted, split_side(wanted)[0]):
        found = sorted(p for p in videos if stem in map(compose_name, (p.stem, p.name)))
        if len(found) > 1:
            raise InputError(f"{found[0]} and {found[1]} could both be the video of {name}")
        if found:
            return found[0]
    return None


def name_video(path: str | Path) -> str:
    """Return the name of a file without its suffix, or that of a folder, which may have dots."""
    path = Path(path)
    return path.name if os.path.isdir(path) else path.stem


def read_subject(folder: str | Path) -> str:
    """Return the subject of crops: as given to `abaw crop`, or the side in an official name."""
    folder = Path(folder)
    if not is_own_crops(folder):
        return split_side(folder.name)[1] or "main"
    return read_crops_metadata(folder).subject


def find_audio(folder: str | Path, audio_from: str | Path | None, name: str) -> Path | None:
    """Return the file with the audio of crops: in `audio_from`, or the video that was cropped.

    `name` is the video's name in tables. None: there is no such file.

    Raises:
        UsageError, InputError: as `find_recording`; or the folder is one within crops.
    """
    folder = Path(folder)
    audio_from = None if audio_from is None else Path(audio_from)
    is_own = is_own_crops(folder)
    if not is_own:
        _check_whole(folder)
    if audio_from:
        return find_recording(audio_from, name)
    if not is_own:
        return None
    return find_recorded(folder, read_crops_metadata(folder))


def find_recorded(folder: str | Path, metadata: CropsMetadata) -> Path | None:
    """Return the video that crops were made from, unchanged."""
    folder = Path(folder)
    found = (find_input(each, folder) for each in metadata.inputs)
    return next(filter(None, found), None)


def list_companions(folder: str | Path, audio: str | Path | None) -> list[Path]:
    """Return the files, beside the pictures, that the features of crops depend on."""
    folder = Path(folder)
    audio = None if audio is None else Path(audio)
    faces = [folder / FACES_NAME] if is_own_crops(folder) else []
    return [*faces, audio] if audio else faces
