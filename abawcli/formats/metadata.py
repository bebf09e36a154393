"""Metadata in the headers of files, as records: backbones, and features of a video.

`to_json` converts a record to JSON, and `from_json` converts it back: it checks the values that are
used and ignores other keys. Keys keep their first names, so that older files can be read; the
fields of a record may have other names.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from abawcli.config import AREA, RESAMPLINGS
from abawcli.errors import InputError
from abawcli.formats.json_values import JsonObject, read_numbers, read_optional, read_value

MODALITIES = ("visual", "audio")
HUB_PREFIX = "hf:"  # of a classifier of the Hugging Face hub, in names of recipes and backbones


@dataclass(frozen=True)
class Preprocess:
    """The preprocessing of a face crop for a backbone; a property of its weights.

    `resize` is the side to which the crop is resized, `size` the side of the centre that is then
    cropped, both in pixels. `mean` and `std` are of values in 0..1; a single one means grey input.
    `resample` is one of `config.RESAMPLINGS`. With `flip`, features are the mean of those of the
    crop and of its mirror image.
    """

    resize: int
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop_scales: tuple[float, ...] = (1.0,)  # side of the crop / larger side of the face box
    resample: str = AREA
    flip: bool = False

    @property
    def channels(self) -> int:
        """Return 1 for grey input, 3 for RGB."""
        return len(self.mean)

    def to_json(self) -> JsonObject:
        """Return it as JSON, without newer fields that have their defaults, as in older files."""
        newer = {"resample": AREA, "flip": False}
        return {k: v for k, v in asdict(self).items() if k not in newer or v != newer[k]}

    @classmethod
    def from_json(cls, values: JsonObject, path: str | Path) -> Self:
        """Return the record from the JSON of the file `path`.

        Raises:
            InputError: a value is missing or has another type.
        """
        return cls(
            resize=read_value(values, "resize", int, path),
            size=read_value(values, "size", int, path),
            mean=read_numbers(values, "mean", path),
            std=read_numbers(values, "std", path),
            crop_scales=read_numbers(values, "crop_scales", path),
            resample=_read_resampling(values, path),
            flip=read_optional(values, "flip", bool, path) or False,
        )


def _read_resampling(values: JsonObject, path: str | Path) -> str:
    resample = read_optional(values, "resample", str, path) or AREA
    if resample not in RESAMPLINGS:
        raise InputError(f"{path}: unknown resampling {resample!r}; upgrade abawcli")
    return resample


@dataclass(frozen=True)
class BackboneMetadata:
    """The backbone that makes features of a modality, and how they are made."""

    name: str  # JSON: backbone
    dim: int
    sha256: str | None = None  # of the weights, where it is known; JSON: encoder
    path: str | None = None  # to load it from: our own name, a hub's, or a path; JSON: place
    # Of features that several backbones made, which are concatenated in this order: each of them.
    parts: tuple[Self, ...] = field(default=(), kw_only=True)

    @classmethod
    def join(cls, parts: Sequence[Self]) -> Self:
        """Return the metadata of features of several backbones, concatenated in their order."""
        name = " + ".join(part.name for part in parts)
        return cls(name, sum(part.dim for part in parts), parts=tuple(parts))

    @property
    def identity(self) -> tuple[Any, ...]:
        """Return the values that must be equal for features of two backbones to be compatible.

        A backbone is identified by the sha256 of its weights, and by its name only if the hash is
        unknown. The number format is not among the values: a head's probabilities differ by less
        than 0.02 between formats (docs/models.md), which a check at load ensures. A classifier of
        the hub has other features than the backbone in it. Of several backbones, each must be
        equal, in order.
        """
        if self.parts:
            return tuple(part.identity for part in self.parts)
        return self.sha256 or self.name, self.dim, self.name.startswith(HUB_PREFIX)

    def __str__(self) -> str:
        """Return it for a message."""
        if self.parts:
            return " + ".join(map(str, self.parts))
        return f"{self.name} ({self.dim} wide, {(self.sha256 or 'no encoder')[:12]})"

    def to_json(self) -> JsonObject:
        """Return it as JSON; without `parts` where there are none, as in older files."""
        values: JsonObject = {
            "backbone": self.name,
            "encoder": self.sha256,
            "place": self.path,
            "dim": self.dim,
        }
        if self.parts:
            values["parts"] = [part.to_json() for part in self.parts]
        return values

    def to_settings(self) -> JsonObject:
        """Return JSON that does not depend on the folder of the weights."""
        if self.parts:
            return {"dim": self.dim, "parts": [part.to_settings() for part in self.parts]}
        own_path = self.path is not None and os.path.isabs(self.path.removeprefix(HUB_PREFIX))
        return drop_location(self.to_json()) if own_path else self.to_json()

    @classmethod
    def _read(cls, values: JsonObject, path: str | Path) -> JsonObject:
        return {
            "name": read_value(values, "backbone", str, path),
            "dim": read_value(values, "dim", int, path),
            "sha256": read_optional(values, "encoder", str, path),
            "path": read_optional(values, "place", str, path),
        }


@dataclass(frozen=True)
class ImageBackboneMetadata(BackboneMetadata):
    """An image backbone with its preprocessing."""

    preprocess: Preprocess | None = None

    def to_json(self) -> JsonObject:
        """Return it as JSON."""
        return super().to_json() | {"preprocess": self.preprocess and self.preprocess.to_json()}

    @classmethod
    def from_json(cls, values: JsonObject, path: str | Path) -> Self:
        """Return the record from the JSON of the file `path`.

        Raises:
            InputError: a value is missing or has another type.
        """
        how = read_optional(values, "preprocess", dict, path)
        return cls(
            **cls._read(values, path),
            parts=tuple(cls.from_json(part, path) for part in _list_parts(values, path)),
            preprocess=None if how is None else Preprocess.from_json(how, path),
        )


@dataclass(frozen=True)
class AudioBackboneMetadata(BackboneMetadata):
    """An audio backbone, and the alignment of its features with the frames."""

    layers: str | None = None  # of a transformer: last4, first4 and the like
    normalise: bool | None = None  # of a transformer: audio of mean 0 and deviation 1
    window_s: float | None = None
    chunk_s: float | None = None

    @property
    def identity(self) -> tuple[Any, ...]:
        """Return the values that must be equal: also the layers."""
        return *super().identity, self.layers

    @property
    def may_classify(self) -> bool:
        """Tell whether it can be an encoder of `abaw train voice`, which has a classifier.

        It is none if it is a transformer, a classifier of the hub, or several backbones.
        """
        return not (self.parts or self.layers or self.name.startswith(HUB_PREFIX))

    def __str__(self) -> str:
        """Return it for a message."""
        if self.parts:
            return super().__str__()
        layers = f", layers {self.layers})" if self.layers else ")"
        return super().__str__().removesuffix(")") + layers

    def to_json(self) -> JsonObject:
        """Return it as JSON."""
        values = super().to_json() | {"layers": self.layers}
        if self.normalise is not None:
            values["normalise"] = self.normalise
        return values | {"window_s": self.window_s, "chunk_s": self.chunk_s}

    @classmethod
    def from_json(cls, values: JsonObject, path: str | Path) -> Self:
        """Return the record from the JSON of the file `path`.

        Raises:
            InputError: a value is missing or has another type.
        """
        return cls(
            **cls._read(values, path),
            parts=tuple(cls.from_json(part, path) for part in _list_parts(values, path)),
            layers=read_optional(values, "layers", str, path),
            normalise=read_optional(values, "normalise", bool, path),
            window_s=read_optional(values, "window_s", float, path),
            chunk_s=read_optional(values, "chunk_s", float, path),
        )


def _list_parts(values: JsonObject, path: str | Path) -> list[JsonObject]:
    parts = read_optional(values, "parts", list, path) or []
    if not all(isinstance(part, dict) for part in parts):
        raise InputError(f"{path}: its metadata lists backbones that are no objects")
    return parts


def drop_location(values: JsonObject) -> JsonObject:
    """Return a backbone's JSON without its name and path, if it has its sha256.

    The rest tells whether work was done with the same backbone, wherever its folder was.
    """
    parts = values.get("parts")
    names = ("backbone", "place") if values.get("encoder") or parts else ()
    kept = {key: value for key, value in values.items() if key not in names}
    return kept | {"parts": list(map(drop_location, parts))} if parts else kept


@dataclass(frozen=True)
class Backbones:
    """The backbones of a video's features; None for a modality that is left out."""

    visual: ImageBackboneMetadata | None = None
    audio: AudioBackboneMetadata | None = None

    def get(self, modality: str) -> BackboneMetadata | None:
        """Return the backbone of `visual` or `audio`."""
        return {"visual": self.visual, "audio": self.audio}[modality]

    def name(self, modality: str) -> str:
        """Return a modality's backbone for a message."""
        return str(self.get(modality) or "none")

    def select(self, modalities: Sequence[str]) -> "Backbones":
        """Return those of some modalities."""
        return Backbones(
            self.visual if "visual" in modalities else None,
            self.audio if "audio" in modalities else None,
        )

    def join(self, other: "Backbones") -> "Backbones":
        """Return the backbones of both; for a modality that both have, those of the other."""
        return Backbones(other.visual or self.visual, other.audio or self.audio)

    def find_difference(
        self, other: "Backbones", modalities: Sequence[str] = MODALITIES
    ) -> str | None:
        """Return the first of some modalities in which the features of two are incompatible."""
        for modality in modalities:
            one, two = self.get(modality), other.get(modality)
            if (one and one.identity) != (two and two.identity):
                return modality
        return None

    def to_settings(self) -> JsonObject:
        """Return JSON that does not depend on the folders of the weights."""
        return {
            "visual": self.visual and self.visual.to_settings(),
            "audio": self.audio and self.audio.to_settings(),
        }

    def to_json(self) -> JsonObject:
        """Return them as JSON."""
        return {
            "visual": self.visual and self.visual.to_json(),
            "audio": self.audio and self.audio.to_json(),
        }

    @classmethod
    def from_json(cls, values: JsonObject, path: str | Path) -> Self:
        """Return the record from the JSON of the file `path`.

        Raises:
            InputError: a value is missing or has another type.
        """
        visual, audio = (read_optional(values, key, dict, path) for key in MODALITIES)
        return cls(
            None if visual is None else ImageBackboneMetadata.from_json(visual, path),
            None if audio is None else AudioBackboneMetadata.from_json(audio, path),
        )


@dataclass(frozen=True)
class FeatureSource:
    """The input of features; for people to read, nothing depends on it."""

    kind: str | None  # recording, crops or official crops
    name: str | None = None  # relative to where the command ran
    audio: str | None = None  # the file with the audio of crops, likewise
    scales: tuple[float, ...] | None = None  # of crops of our own
    computed_in: Mapping[str, str] = field(default_factory=dict)  # modality -> number format

    def to_json(self) -> JsonObject:
        """Return it as JSON."""
        return {
            "kind": self.kind,
            "audio": self.audio,
            "scales": self.scales,
            "name": self.name,
            "computed_in": dict(self.computed_in),
        }

    @classmethod
    def from_json(cls, values: JsonObject, path: str | Path) -> Self:
        """Return the record from the JSON of the file `path`.

        Raises:
            InputError: a value has another type.
        """
        return cls(
            kind=read_optional(values, "kind", str, path),
            name=read_optional(values, "name", str, path),
            audio=read_optional(values, "audio" if "audio" in values else "sound", str, path),
            scales=read_numbers(values, "scales", path) if values.get("scales") else None,
            computed_in=read_optional(values, "computed_in", dict, path) or {},
        )


@dataclass(frozen=True)
class FeaturesMetadata:
    """The video and subject of features, and their backbones."""

    video: str
    subject: str  # what was asked for, or a track's number
    backbones: Backbones
    source: FeatureSource | None = None

    def to_json(self) -> JsonObject:
        """Return it as JSON."""
        return {
            "video": self.video,
            **self.backbones.to_json(),
            "source": self.source and self.source.to_json(),
            "subject": self.subject,
        }

    @classmethod
    def from_json(cls, values: JsonObject, path: str | Path) -> Self:
        """Return the record from the JSON of the file `path`.

        Raises:
            InputError: a value is missing or has another type.
        """
        source = read_optional(values, "source", dict, path)
        return cls(
            video=read_value(values, "video", str, path),
            subject=read_value(values, "subject", str, path),
            backbones=Backbones.from_json(values, path),
            source=None if source is None else FeatureSource.from_json(source, path),
        )
