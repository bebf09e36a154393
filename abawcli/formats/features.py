"""Feature files: the features of one subject of one video, with one row per decoded frame.

safetensors with the arrays of `Features`; the header's entry `abaw` is the JSON of its metadata:

    format, kind, abawcli   1, "features", and the version that wrote them
    video, subject          the video's name; the requested subject, or a track's number
    visual, audio           backbone, encoder (sha256 of the weights), dim and settings;
                            null if the modality was left out, and its width is 0
    source                  the input of the rows, and whether their times are known
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from abawcli import __version__
from abawcli.config import QUALITY
from abawcli.errors import InputError
from abawcli.formats.json_values import JsonObject
from abawcli.formats.metadata import MODALITIES, FeaturesMetadata
from abawcli.formats.provenance import Provenance, write_result
from abawcli.formats.tensors import METADATA_KEY, open_tensors, read_header, saving_tensors

FORMAT = 1  # raised when older versions would misread new files
KIND = "features"
FEATURES_SUFFIX = ".safetensors"
TYPES: dict[str, type[np.generic]] = {
    "frame": np.int64,
    "time_s": np.float64,
    "visual": np.float16,
    "audio": np.float16,
    "has_visual": np.bool_,
    "has_audio": np.bool_,
    "box": np.float32,
    "face_score": np.float32,
    "quality": np.float32,
}


def is_features(path: str | Path) -> bool:
    """Tell whether a path is of a feature file, by its suffix."""
    return Path(path).suffix.lower() == FEATURES_SUFFIX


@dataclass(frozen=True)
class Features:
    """Features of one subject of one video, with one row per decoded frame."""

    frame: NDArray[np.int64]  # (T,) from 1
    time_s: NDArray[np.float64]  # (T,) NaN where crops came without times
    visual: NDArray[np.float16]  # (T, Dv) 0 where not has_visual
    audio: NDArray[np.float16]  # (T, Da) 0 where not has_audio
    has_visual: NDArray[np.bool_]  # (T,)
    has_audio: NDArray[np.bool_]  # (T,)
    box: NDArray[np.float32]  # (T, 4) x, y, w, h in pixels; NaN where there is none
    face_score: NDArray[np.float32]  # (T,) NaN likewise
    quality: NDArray[np.float32]  # (T, 4) the columns of `config.QUALITY`; NaN likewise
    metadata: FeaturesMetadata


def round_features(features: NDArray[np.float32]) -> NDArray[np.float16]:
    """Round features (..., D) to half precision; values beyond its range become its largest."""
    largest = np.finfo(np.float16).max
    return np.clip(features, -largest, largest).astype(np.float16)


def write_features(features: Features, path: str | Path, provenance: Provenance) -> None:
    """Write features, completely or not at all, with their provenance beside them.

    Raises:
        InputError: features of a row that has them are not finite.
        OutputError: the output cannot be written.
    """
    path = Path(path)
    for name in MODALITIES:
        _check_finite(path, features, name, getattr(features, f"has_{name}"))
    header = {"format": FORMAT, "kind": KIND, "abawcli": __version__} | features.metadata.to_json()
    arrays = {
        name: np.ascontiguousarray(getattr(features, name), kind) for name, kind in TYPES.items()
    }
    with write_result(path, provenance) as temporary, saving_tensors(temporary) as target:
        save_file(arrays, target, {METADATA_KEY: json.dumps(header)})


def read_features(path: str | Path) -> Features:
    """Read and check a feature file.

    Raises:
        InputError: the file is missing, is not a feature file or has a newer format, arrays are
            missing or have different lengths, or features are not finite.
    """
    path = Path(path)
    with open_tensors(path, "np") as file:
        metadata = FeaturesMetadata.from_json(_read_header(path, file), path)
        arrays = {name: file.get_tensor(name) for name in TYPES if name in file.keys()}  # noqa: SIM118
    if "quality" not in arrays and "frame" in arrays:  # a file of an older version
        arrays["quality"] = np.full((len(arrays["frame"]), len(QUALITY)), np.nan, np.float32)
    _check_arrays(path, arrays)
    features = Features(**arrays, metadata=metadata)
    for name in MODALITIES:
        _check_modality(path, features, name)
    return features


def read_features_metadata(path: str | Path) -> tuple[FeaturesMetadata, int]:
    """Return the metadata of a feature file and its number of rows, without reading the rows.

    Raises:
        InputError: the file is missing, is not a feature file, or has a newer format.
    """
    path = Path(path)
    with open_tensors(path, "np") as file:
        metadata = FeaturesMetadata.from_json(_read_header(path, file), path)
        if "frame" not in file.keys():  # noqa: SIM118
            raise InputError(f"{path} has no array frame")
        return metadata, int(np.prod(file.get_slice("frame").get_shape()))


def _read_header(path: Path, file: Any) -> JsonObject:
    header = read_header(path, file) or {}
    if header.get("kind") != KIND:
        holds = f"holds {header['kind']!r}" if "kind" in header else "has no metadata of abaw"
        raise InputError(f"{path} {holds}; features come from `abaw extract`")
    if not isinstance(header.get("format"), int) or header["format"] > FORMAT:
        raise InputError(
            f"{path} is of format {header.get('format')!r}, this version reads up to {FORMAT}: "
            "upgrade abawcli"
        )
    return header


def _check_arrays(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    """Check that all arrays exist, have their type, and have one length."""
    for name, kind in TYPES.items():
        if name not in arrays:
            raise InputError(f"{path} has no array {name}")
        dimensions = 2 if name in (*MODALITIES, "box", "quality") else 1
        if arrays[name].dtype != kind or arrays[name].ndim != dimensions:
            raise InputError(
                f"{path}: {name} is {arrays[name].dtype} {arrays[name].shape}, "
                f"not {np.dtype(kind)} of {dimensions} dimensions"
            )
    rows = len(arrays["frame"])
    for name, array in arrays.items():
        if len(array) != rows:
            raise InputError(f"{path}: {name} has {len(array)} rows and frame {rows}")
    if rows == 0:
        raise InputError(f"{path} holds no rows")
    if arrays["box"].shape[1] != 4:
        raise InputError(f"{path}: box has {arrays['box'].shape[1]} columns, not x, y, w, h")
    if arrays["quality"].shape[1] != len(QUALITY):
        raise InputError(
            f"{path}: quality has {arrays['quality'].shape[1]} columns, not {', '.join(QUALITY)}"
        )
    later = np.diff(arrays["frame"]) > 0
    if arrays["frame"][0] < 1 or not later.all():
        raise InputError(f"{path}: frames must be numbers from 1 in ascending order")


def _check_modality(path: Path, features: Features, name: str) -> None:
    """Check a modality's features against its backbone and mask."""
    values: NDArray[np.float16] = getattr(features, name)
    backbone = features.metadata.backbones.get(name)
    dim = backbone.dim if backbone else 0
    if values.shape[1] != dim:
        raise InputError(f"{path}: {name} is {values.shape[1]} wide, in its metadata {dim}")
    _check_finite(path, features, name, np.ones(len(values), bool))


def _check_finite(path: Path, features: Features, name: str, rows: NDArray[np.bool_]) -> None:
    """Check that the features of a modality are finite in the rows of the mask (T,)."""
    bad = ~np.isfinite(getattr(features, name)).all(axis=1) & rows
    if bad.any():
        frame = features.frame[bad.argmax()]
        raise InputError(
            f"{path}: the {name} features of frame {frame} are no finite numbers "
            f"({int(bad.sum())} such rows); extract them again"
        )
