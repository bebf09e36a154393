"""Features of several backbones: one set of files per backbone, of the same tracks and frames.

Files are matched by video and subject, as their metadata name them. In each modality, features of
different backbones are concatenated in the order of the sets; audio features that several sets have
of one backbone are taken once. A row has a modality if every set with that modality has it, because
a head on several backbones needs the features of all of them. Times, boxes and quality are those of
the first set.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from abawcli.errors import InputError
from abawcli.formats.features import Features, read_features, read_features_metadata
from abawcli.formats.inputs import check_input
from abawcli.formats.metadata import (
    MODALITIES,
    AudioBackboneMetadata,
    Backbones,
    FeaturesMetadata,
    ImageBackboneMetadata,
)
from abawcli.formats.names import compose_name

LOG = logging.getLogger(__name__)
FeaturePaths = tuple[Path, ...]  # of one track: the file of each set
TrackKey = tuple[str, str]  # video, subject


def list_feature_paths(file: str | Path | Sequence[Path]) -> FeaturePaths:
    """Return the files of one track as a list, also if there is only one."""
    return (Path(file),) if isinstance(file, str | Path) else tuple(file)


def match_feature_sets(sets: Mapping[str, Iterable[Path]]) -> list[FeaturePaths]:
    """Return the files of each track, given sets by the names that the user gave.

    Tracks are in the order of the first set, files in that of the sets.

    Raises:
        InputError: a file cannot be read, a set has two files of a track or features of different
            backbones, two sets hold features of the same image backbone, or a track is missing in
            a set.
    """
    if len(sets) == 1:
        return [(path,) for paths in sets.values() for path in paths]
    tracks = {name: _index_tracks(paths) for name, paths in sets.items()}
    _check_visual(tracks)
    for name, there in tracks.items():
        for other, elsewhere in tracks.items():
            for track in elsewhere:
                if track not in there:
                    raise InputError(
                        f"{name} has no features of {track[0]}, subject {track[1]}, and {other} "
                        f"has: {elsewhere[track][0]}; extract them, or leave that file out"
                    )
    first = next(iter(tracks.values()))
    return [tuple(there[track][0] for there in tracks.values()) for track in first]


def _index_tracks(paths: Iterable[Path]) -> dict[TrackKey, tuple[Path, FeaturesMetadata]]:
    tracks: dict[TrackKey, tuple[Path, FeaturesMetadata]] = {}
    for path in paths:
        check_input(path)
        metadata, _ = read_features_metadata(path)
        track = compose_name(metadata.video), metadata.subject
        if track in tracks:
            raise InputError(
                f"{tracks[track][0]} and {path} are both features of {track[0]}, subject "
                f"{track[1]}; give those of each backbone by a --features of its own"
            )
        tracks[track] = path, metadata
    return tracks


def _check_visual(
    tracks: Mapping[str, Mapping[TrackKey, tuple[Path, FeaturesMetadata]]],
) -> None:
    """Refuse two sets of one image backbone, such as one folder that is given twice."""
    known: dict[Any, str] = {}
    for name, there in tracks.items():
        backbones = {m.backbones.visual.identity: m.backbones.visual
                     for _, m in there.values() if m.backbones.visual}  # fmt: skip
        for identity, backbone in backbones.items():
            if identity in known:
                raise InputError(
                    f"{known[identity]} and {name} both hold visual features of {backbone}; give "
                    "each backbone once"
                )
        known |= dict.fromkeys(backbones, name)


def join_metadata(parts: Sequence[FeaturesMetadata]) -> FeaturesMetadata:
    """Return the joint metadata of one track's features by several backbones."""
    if len(parts) == 1:
        return parts[0]
    visual = [part.backbones.visual for part in parts if part.backbones.visual]
    audio_once = {part.backbones.audio.identity: part.backbones.audio
                  for part in parts if part.backbones.audio}  # fmt: skip
    audio = list(audio_once.values())
    joined = Backbones(
        ImageBackboneMetadata.join(visual) if len(visual) > 1 else next(iter(visual), None),
        AudioBackboneMetadata.join(audio) if len(audio) > 1 else next(iter(audio), None),
    )
    return replace(parts[0], backbones=joined)


def read_joined_metadata(paths: Sequence[str | Path]) -> tuple[FeaturesMetadata, int]:
    """Return the metadata and the number of rows that the joined features of files would have.

    Raises:
        InputError: as `read_features_metadata`, or the files have different numbers of rows.
    """
    found = [read_features_metadata(path) for path in paths]
    for path, (_, rows) in zip(paths, found, strict=True):
        if rows != found[0][1]:
            raise InputError(
                f"{path} has {rows} frames and {paths[0]} has {found[0][1]}; extract both from "
                "the same video or crops"
            )
    return join_metadata([metadata for metadata, _ in found]), found[0][1]


def read_joined_features(paths: Sequence[str | Path]) -> Features:
    """Read the files of one track and join their features.

    Raises:
        InputError: as `read_features`, or the files have different frames.
    """
    parts = [read_features(path) for path in paths]
    if len(parts) == 1:
        return parts[0]
    for path, part in zip(paths, parts, strict=True):
        if not np.array_equal(part.frame, parts[0].frame):
            raise InputError(
                f"{path} and {paths[0]} have different frames; extract both from the same video "
                "or crops"
            )
    joined: dict[str, Any] = {}
    for modality in MODALITIES:
        members = _choose_members(parts, modality)
        joined |= _join_modality(members, modality, len(parts[0].frame), paths[0])
    metadata = join_metadata([part.metadata for part in parts])
    return replace(parts[0], metadata=metadata, **joined)


def _choose_members(parts: Sequence[Features], modality: str) -> list[Features]:
    """Return the features with a modality, the first of each backbone."""
    members: dict[Any, Features] = {}
    for part in parts:
        if backbone := part.metadata.backbones.get(modality):
            members.setdefault(backbone.identity, part)
    return list(members.values())


def _join_modality(
    members: Sequence[Features], modality: str, rows: int, path: str | Path
) -> dict[str, NDArray[Any]]:
    """Return the concatenated features (T, D) of a modality and their mask (T,)."""
    if not members:
        return {modality: np.zeros((rows, 0), np.float16), f"has_{modality}": np.zeros(rows, bool)}
    masks = np.stack([getattr(member, f"has_{modality}") for member in members])  # (K, T)
    has = np.asarray(masks.all(axis=0))
    if partial := int((masks.any(axis=0) & ~has).sum()):
        LOG.warning(
            "%s: %d frames have %s features of some backbones only, and are used without them",
            path, partial, modality,
        )  # fmt: skip
    values = np.concatenate([getattr(member, modality) for member in members], axis=1)
    values[~has] = 0
    return {modality: values, f"has_{modality}": has}
