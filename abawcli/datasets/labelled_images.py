"""Labelled face images as readers of data sets find them, and what such readers share.

Rows that cannot be used are left out and counted by reason.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from PIL import Image

from abawcli.errors import InputError
from abawcli.formats.inputs import IMAGE_SUFFIXES
from abawcli.formats.lines import read_text
from abawcli.label_maps import map_label
from abawcli.labels import CLASSES, IGNORE

FaceBox = tuple[float, float, float, float]  # x, y, w, h in pixels
TRAIN, VALID, TEST = "train", "valid", "test"
NO_LABEL = ""  # of images whose votes have no majority
BAD_ROW = "rows cannot be read"
MISSING = "images are missing"
UNREADABLE = "images are empty or may not be read"
OUTSIDE = "boxes are outside of their images"
# Names of the folders of splits, in lower case.
SPLIT_FOLDERS = {TRAIN: TRAIN, "training": TRAIN, "train_set": TRAIN, TEST: TEST, "test_set": TEST}
SPLIT_FOLDERS |= dict.fromkeys(
    (VALID, "val", "validation", "val_set", "valid_set", "validation_set"), VALID
)


@dataclass(frozen=True)
class LabelledImage:
    """One face with its label."""

    file: Path
    label: str  # one of CLASSES, or NO_LABEL
    split: str = ""  # train, valid or test; empty: the data set has no splits
    box: FaceBox | None = None  # of the face; None: the image is the face
    votes: tuple[int, ...] | None = None  # of FERPLUS_VOTES
    group: str = ""  # images that must not be split, such as those of one video; empty: none


@dataclass
class ImageSet:
    """The images of a data set, and the names of omitted rows by reason."""

    images: list[LabelledImage] = field(default_factory=list)
    left_out: dict[str, list[str]] = field(default_factory=dict)

    def leave_out(self, reason: str, name: str | Path) -> None:
        """Count a row that is not used; `reason` is a phrase in the plural."""
        self.left_out.setdefault(reason, []).append(str(name))

    def add(
        self,
        file: str | Path | None,
        name: str,
        label: str,
        *,
        split: str = "",
        box: FaceBox | None = None,
        group: str = "",
    ) -> None:
        """Add an image by the name of its label, if the file exists and has an expression."""
        file = Path(file) if file else None
        number = map_label(label, {})
        if number is None or number == IGNORE:
            self.leave_out(f"faces are labelled {label!r}", name)
        elif file is None:
            self.leave_out(MISSING, name)
        else:
            self.add_image(LabelledImage(file, CLASSES[number], split, box, group=group), name)

    def add_image(self, image: LabelledImage, name: str | Path) -> None:
        """Add an image if its file can be read and has a pixel of its box."""
        if not os.path.isfile(image.file):
            self.leave_out(MISSING, name)
        elif not os.path.getsize(image.file) or not os.access(image.file, os.R_OK):
            self.leave_out(UNREADABLE, name)
        elif image.box and is_outside(image.box, image.file):
            self.leave_out(OUTSIDE, name)
        else:
            self.images.append(image)


def is_outside(box: FaceBox, file: str | Path) -> bool:
    """Tell whether a box has no pixel of the image; false if the image cannot be read."""
    try:
        with Image.open(file) as image:
            width, height = image.size
    except (OSError, ValueError, Image.DecompressionBombError):
        return False
    x, y, w, h = box
    return x >= width or y >= height or x + w <= 0 or y + h <= 0


@dataclass(frozen=True)
class ReadOptions:
    """Options of the readers."""

    label_map: Mapping[str, str] = field(default_factory=dict)  # of `folders`
    labels: Path | None = None  # of `aff-wild2`: folder of annotations; None: in the same folder
    every: int = 1  # of `aff-wild2`: take each k-th annotated frame of a video


def find_file(root: str | Path, *names: str) -> Path | None:
    """Return the file below `root` with the first of the names that there is.

    Raises:
        InputError: there are several with that name.
    """
    root = Path(root)
    for name in names:
        if found := sorted(root.rglob(name)):
            return _choose_only(found, name)
    return None


def _choose_only(found: Sequence[Path], name: str) -> Path:
    """Return the only path that was found by a name.

    Raises:
        InputError: there are several.
    """
    if len(found) > 1:
        raise InputError(
            f"{found[0]} and {found[1]} could both be {name}; give the folder of one data set"
        )
    return found[0]


def list_pictures(root: str | Path) -> Iterator[Path]:
    """Yield the image files below a folder, sorted, without hidden ones."""
    root = Path(root)
    for folder, below, names in os.walk(root):
        below[:] = sorted(name for name in below if not name.startswith("."))
        for name in sorted(names):
            if PurePath(name).suffix.lower() in IMAGE_SUFFIXES and not name.startswith("."):
                yield Path(folder, name)


class PictureIndex:
    """The image files below a folder, by the last parts of their paths."""

    def __init__(self, root: str | Path, parts: int) -> None:
        self._found: dict[tuple[str, ...], list[Path]] = {}
        for path in list_pictures(root):
            self._found.setdefault(path.parts[-parts:], []).append(path)

    def find(self, *name: str) -> Path | None:
        """Return the file of a name, None if there is none.

        Raises:
            InputError: there are several.
        """
        found = self._found.get(name)
        return _choose_only(found, "/".join(name)) if found else None


def read_rows(path: str | Path, what: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the words of each line of a text file that is not empty, with the line's name."""
    path = Path(path)
    for number, line in enumerate(read_text(path, what)[0].split("\n"), 1):
        if line.strip():
            yield f"{path}, line {number}", line.split()


Reader = Callable[[Path, ReadOptions], ImageSet]
