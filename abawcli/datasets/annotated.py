"""Features with their annotations: the training data of heads.

Files are matched by name, as in scoring: the `video` of the features and the relative path of an
annotation (`inputs.RelativePaths`). An annotation `x_left` matches features of that name, or of
the video `x` with that subject, or the only ones of `x`.
"""

import hashlib
import logging
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from abawcli.config import EXPR
from abawcli.datasets.intervals import Annotation, Intervals
from abawcli.datasets.pairing import read_truth
from abawcli.datasets.pseudo_labels import PseudoLabels
from abawcli.datasets.value_files import name_value_files, read_frame_values
from abawcli.errors import InputError
from abawcli.formats.abaw import (
    Labels,
    align_rows,
    explain_missing,
    match_tracks,
    read_annotation,
    split_side,
)
from abawcli.formats.feature_sets import (
    FeaturePaths,
    TrackKey,
    list_feature_paths,
    read_joined_features,
    read_joined_metadata,
)
from abawcli.formats.features import Features
from abawcli.formats.imports import detect_format
from abawcli.formats.inputs import check_exists, check_input, locate_inputs, warn_left_out
from abawcli.formats.json_values import JsonObject
from abawcli.formats.metadata import MODALITIES, Backbones, FeaturesMetadata
from abawcli.formats.names import compose_name, name_input
from abawcli.formats.tables import TABLE_SUFFIXES
from abawcli.labels import CLASSES, IGNORE, N_CLASSES
from abawcli.tasks import TASKS, Task

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class AnnotatedFeatures:
    """Features of V annotated videos in succession, with one row per decoded frame."""

    names: list[str]  # of the annotations, V
    starts: NDArray[np.int64]  # (V + 1,) first row of each video, and N
    time_s: NDArray[np.float64]  # (N,)
    visual: NDArray[np.float16]  # (N, Dv)
    audio: NDArray[np.float16]  # (N, Da)
    has_visual: NDArray[np.bool_]  # (N,)
    has_audio: NDArray[np.bool_]  # (N,)
    labels: Labels  # (N,) -1: not annotated; of a task with values, the strata of `Task`
    backbones: Backbones  # that made `visual` and `audio`
    paths: list[FeaturePaths] = field(default_factory=list)  # of the feature files, V
    hashes: list[str] = field(default_factory=list)  # sha256 of the features of each video, V
    # (N, K) of tasks with values, by their names; NaN: not annotated
    values: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    # (N,) where no label is annotated, -1 elsewhere; empty where there are none
    pseudo: Labels = field(default_factory=lambda: np.zeros(0, np.int64))
    pseudo_confidence: float | None = None  # that they have at least

    def videos(self) -> Iterator[tuple[str, slice]]:
        """Yield every video's name and rows."""
        for name, start, end in zip(self.names, self.starts, self.starts[1:], strict=False):
            yield name, slice(int(start), int(end))

    def find_annotated(self) -> NDArray[np.bool_]:
        """Return which rows have an annotation of any task, (N,)."""
        found: NDArray[np.bool_] = self.labels != IGNORE
        for values in self.values.values():
            found = found | ~np.isnan(values).all(axis=1)
        return found

    def everything(self) -> "VideoSet":
        """Return the set of all videos."""
        return VideoSet(self, frozenset(self.names))


@dataclass(frozen=True)
class VideoSet:
    """A subset of the videos, for training or validation."""

    data: AnnotatedFeatures
    names: frozenset[str]

    def slices(self) -> list[slice]:
        """Return the rows of each video."""
        return [rows for name, rows in self.data.videos() if name in self.names]

    def labels(self) -> Labels:
        """Return the labels (N,) of all rows, in the order of the videos."""
        return np.concatenate([self.data.labels[rows] for rows in self.slices()])

    def values(self, task: str) -> NDArray[np.float32]:
        """Return the values (N, K) of a task in all rows, in the order of the videos."""
        return np.concatenate([self.data.values[task][rows] for rows in self.slices()])

    def add_pseudo_labels(self) -> None:
        """Use the pseudo-labels of these videos as their labels, in place."""
        for rows in self.slices():
            new = self.data.pseudo[rows]
            self.data.labels[rows] = np.where(new != IGNORE, new, self.data.labels[rows])

    def _count_pseudo_labels(self) -> NDArray[np.int64]:
        """Return how many labels of each class are pseudo-labels, (8,)."""
        parts = [self.data.pseudo[rows] for rows in self.slices()]
        pseudo = np.concatenate(parts) if self.data.pseudo.size else np.zeros(0, np.int64)
        taken = (pseudo != IGNORE) & (self.labels()[: len(pseudo)] != IGNORE)
        return np.bincount(pseudo[taken], minlength=N_CLASSES)

    def _hash_features(self) -> str:
        own = zip(self.data.names, self.data.hashes, strict=True)
        hashes = sorted(digest for name, digest in own if name in self.names)
        return hashlib.sha256("\n".join(hashes).encode()).hexdigest()

    def describe(self) -> JsonObject:
        """Return the numbers of videos and frames, and hashes.

        `sha256` is of names, labels and masks, `features_sha256` of the features.
        """
        digest = hashlib.sha256("\n".join(sorted(self.names)).encode())
        for rows in self.slices():
            arrays = (self.data.labels, self.data.has_visual, self.data.has_audio)
            for array in (*arrays, *self.data.values.values()):
                digest.update(array[rows].tobytes())
        labels, pseudo = self.labels(), self._count_pseudo_labels()
        described: JsonObject = {
            "videos": len(self.names),
            "frames": len(labels),
            "annotated": int((labels != IGNORE).sum() - pseudo.sum()),
            "sha256": digest.hexdigest(),
            "features_sha256": self._hash_features(),
        }
        if pseudo.any():
            described["pseudo_labels"] = {
                "min_confidence": self.data.pseudo_confidence,
                "frames": int(pseudo.sum()),
                "classes": dict(zip(CLASSES, pseudo.tolist(), strict=True)),
            }
        return described


@dataclass(frozen=True)
class _FeatureFile:
    """The feature file of a track, or those of several backbones, not read yet."""

    paths: FeaturePaths
    metadata: FeaturesMetadata
    rows: int


def read_annotated(
    features: Iterable[str | Path | FeaturePaths],
    annotations: Iterable[str | Path],
    task: str = EXPR,
    auxiliary: Mapping[str, Iterable[str | Path]] | None = None,
    *,
    pseudo: PseudoLabels | None = None,
) -> AnnotatedFeatures:
    """Read feature files and their annotations into memory.

    Features without an annotation and annotations without features are left out, with a warning.
    Only the headers of the former are read. Each of the others is read once, into its own rows of
    the result: 2.6 million frames at full size take 8 GB.

    Args:
        features: feature files; for several backbones, those of each track together
            (`match_feature_sets`).
        annotations: annotation files of the task.
        task: one of `config.TASK_NAMES`.
        auxiliary: annotation files of other tasks with values, by task, for some of the videos.
        pseudo: predictions for `VideoSet.add_pseudo_labels`; features without an annotation are
            also read if there are pseudo-labels for them.

    Raises:
        InputError: a file cannot be read or has another task, two files have the same video and
            subject, features have different backbones or do not fit their annotation, or no
            annotated frame is left.
    """
    tracks = _list_tracks(features)
    own = TASKS.get(task)
    named = _name_annotations(annotations) if own is None else name_value_files(annotations)
    chosen = _choose_tracks(tracks, named, pseudo)
    others = {
        name: _match_auxiliary(TASKS[name], paths, chosen)
        for name, paths in (auxiliary or {}).items()
    }
    if own:
        others[task] = {name: path for name, path in named.items() if isinstance(path, Path)}
    files = [tracks[track] for track in chosen.values()]
    data = _allocate(list(chosen), files, others, pseudo)
    for (name, rows), file in zip(data.videos(), files, strict=True):
        found = read_joined_features(file.paths)
        for array in ("time_s", *MODALITIES, "has_visual", "has_audio"):
            getattr(data, array)[rows] = getattr(found, array)
        data.hashes.append(_hash_rows(data.visual[rows], data.audio[rows]))
        for other, paths in others.items():
            if name in paths:
                values = read_frame_values(name, paths[name], TASKS[other], found.frame)
                data.values[other][rows] = values
                if other == task:
                    data.labels[rows] = TASKS[task].find_strata(values)
        if own is None and name in named:
            data.labels[rows] = _label(name, named[name], found)
        if pseudo:
            labels = pseudo.label_rows(name, chosen[name], found.frame)
            data.pseudo[rows] = np.where(data.labels[rows] == IGNORE, labels, IGNORE)
    _check_annotated(data, len(files), own.ignore if own else IGNORE)
    return data


def _hash_rows(visual: NDArray[np.float16], audio: NDArray[np.float16]) -> str:
    """Return the sha256 of the features (T, Dv) and (T, Da) of a video, in hexadecimal."""
    digest = hashlib.sha256(visual.data)
    digest.update(audio.data)
    return digest.hexdigest()


def _choose_tracks(
    tracks: Mapping[TrackKey, _FeatureFile],
    annotations: Collection[str],
    pseudo: PseudoLabels | None,
) -> dict[str, TrackKey]:
    """Return the tracks with annotations or pseudo-labels, by the names of these."""
    chosen = _match(tracks, annotations)
    if not chosen:
        raise InputError(
            f"none of {len(annotations)} annotations (such as {min(annotations)}) matches one of "
            f"{len(tracks)} feature files (such as {min(tracks)[0]}); both must have the names of "
            "their videos"
        )
    if pseudo:
        chosen |= _find_unannotated(tracks, chosen, pseudo)
    warn_left_out(
        "features have no annotation", [video for video, _ in set(tracks) - set(chosen.values())]
    )
    return chosen


def _check_annotated(data: AnnotatedFeatures, files: int, ignore: float) -> None:
    if not (data.labels != IGNORE).any():
        raise InputError(f"no frame is annotated (all rows of {files} annotations are {ignore})")


def _find_unannotated(
    tracks: Mapping[TrackKey, _FeatureFile], chosen: Mapping[str, TrackKey], pseudo: PseudoLabels
) -> dict[str, TrackKey]:
    """Return the tracks with pseudo-labels whose video has no annotation, by new names.

    A second track of an annotated video is left out, because the video may be in the validation
    set.
    """
    known = {split_side(video)[0] for video, _ in chosen.values()}
    free = [track for track in tracks if split_side(track[0])[0] not in known]
    several = Counter(video for video, _ in free)
    return {
        video if several[video] == 1 else f"{video}_{subject}": (video, subject)
        for video, subject in free
        if pseudo.find(video, (video, subject)) is not None
    }


def _match_auxiliary(
    task: Task, paths: Iterable[str | Path], chosen: Mapping[str, TrackKey]
) -> dict[str, Path]:
    """Return the annotation of another task of each annotated video that has one."""
    named = name_value_files(paths)
    found = {track: named[name] for name, track in _match(chosen.values(), named).items()}
    own = {name: found[track] for name, track in chosen.items() if track in found}
    if not own:
        raise InputError(
            f"no annotation of {task.title} (such as {min(named)}) is of a video with other "
            f"annotations (such as {min(chosen)})"
        )
    LOG.info("%d of %d annotated videos also have %s", len(own), len(chosen), task.title)
    return own


def _allocate(
    names: list[str],
    files: Sequence[_FeatureFile],
    tasks: Iterable[str],
    pseudo: PseudoLabels | None,
) -> AnnotatedFeatures:
    """Return arrays for the rows of files, for the values of tasks, and for pseudo-labels."""
    backbones = files[0].metadata.backbones
    starts = np.cumsum([0, *(file.rows for file in files)])
    count = int(starts[-1])
    dims = [backbone.dim if backbone else 0 for backbone in map(backbones.get, MODALITIES)]
    visual, audio = (np.zeros((count, dim), np.float16) for dim in dims)
    return AnnotatedFeatures(
        names=names,
        starts=starts,
        time_s=np.zeros(count),
        visual=visual,
        audio=audio,
        has_visual=np.zeros(count, bool),
        has_audio=np.zeros(count, bool),
        labels=np.full(count, IGNORE, np.int64),
        backbones=backbones,
        paths=[file.paths for file in files],
        values={
            task: np.full((count, len(TASKS[task].columns)), np.nan, np.float32) for task in tasks
        },
        pseudo=np.full(count if pseudo else 0, IGNORE, np.int64),
        pseudo_confidence=pseudo.min_confidence if pseudo else None,
    )


def _list_tracks(
    files: Iterable[str | Path | FeaturePaths],
) -> dict[TrackKey, _FeatureFile]:
    """Return feature files by video and subject."""
    tracks: dict[TrackKey, _FeatureFile] = {}
    for paths in map(list_feature_paths, files):
        for path in paths:
            check_input(path)
        metadata, rows = read_joined_metadata(paths)
        name = " + ".join(map(str, paths))
        if tracks:
            first = next(iter(tracks.values())).metadata
            check_alike(first.backbones, metadata.backbones, name)
        track = compose_name(metadata.video), metadata.subject
        if track in tracks:
            raise InputError(f"{name}: another file has features of {track[0]}, {track[1]}, too")
        tracks[track] = _FeatureFile(paths, metadata, rows)
    return tracks


def check_alike(first: Backbones, second: Backbones, name: str) -> None:
    """Check that the features called `name` have the backbones of the first ones.

    Raises:
        InputError: their backbones, weights or widths differ.
    """
    if modality := first.find_difference(second):
        raise InputError(
            f"{name}: {modality} features of {second.name(modality)}, and the others are of "
            f"{first.name(modality)}; extract all with the same backbones"
        )


def _name_annotations(paths: Iterable[str | Path]) -> dict[str, Annotation | Path]:
    """Return annotations by name: content of tables and other programs, or paths of text files."""
    named: dict[str, Annotation | Path] = {}
    origin: dict[str, Path] = {}
    for path, relative in locate_inputs(paths).items():
        check_exists(path)
        found: Mapping[str, Annotation | Path] = {compose_name(name_input(relative)): path}
        if path.suffix.lower() in TABLE_SUFFIXES or detect_format(path):
            found = read_truth(path, relative)
        for name, annotation in found.items():
            if name in named:
                raise InputError(f"{origin[name]} and {path} are annotations of the same name")
            named[name], origin[name] = annotation, path
    return named


def _match(tracks: Collection[TrackKey], annotations: Iterable[str]) -> dict[str, TrackKey]:
    """Return the track of each annotation that has features."""
    found, failed = match_tracks(annotations, tracks, "features")
    missing = [name for name in failed if failed[name] == explain_missing(name, "features")]
    for name in failed.keys() - missing:
        LOG.warning("%s; it is left out", failed[name])
    warn_left_out("annotations have no features", missing)
    return found


def _label(name: str, annotation: Annotation | Path, features: Features) -> Labels:
    """Return the label of every row of the features, (T,)."""
    if isinstance(annotation, Path):
        annotation = read_annotation(annotation)
    if isinstance(annotation, Intervals):
        frames = int(features.frame[-1])
        times_s = np.full(frames, np.nan)
        times_s[features.frame - 1] = features.time_s
        return annotation.label_frames(times_s, frames, name)[features.frame - 1]
    index = features.frame - 1
    align_rows(annotation, int(features.frame[-1]), name)
    labels = np.full(len(index), IGNORE, np.int64)
    inside = index < len(annotation)
    labels[inside] = annotation[index[inside]]
    return labels
