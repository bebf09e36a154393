"""Stage agree: agreement between any number of coders, which are people or programs.

A coder is a file or a folder of labels in any form that `datasets.pairing` reads as annotations.
Videos are matched by name, frames by number. Frames with fewer than two labels are left out.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from abawcli.agreement import (
    Matrix,
    count_coincidences,
    count_matched_segments,
    count_pairs,
    find_alpha,
    find_class_agreement,
    find_kappa,
)
from abawcli.config import Media, Scores
from abawcli.datasets.intervals import Annotation, Intervals, Times, find_times, label_frames
from abawcli.datasets.pairing import gather_truth
from abawcli.datasets.source_videos import sum_sources
from abawcli.errors import InputError, UsageError
from abawcli.formats.abaw import Labels
from abawcli.formats.json_values import JsonObject
from abawcli.formats.names import find_names
from abawcli.formats.table_checks import MAX_FRAME, check_times
from abawcli.formats.tables import TABLE_SUFFIXES, load_columns
from abawcli.labels import CLASSES, IGNORE
from abawcli.metrics import resample_videos

Bounds = tuple[float, float] | None  # 95 % by video; None: there is one source video, or one class


@dataclass(frozen=True)
class PairAgreement:
    """The agreement of two coders."""

    coders: tuple[str, str]
    videos: int
    frames: int  # labelled by both
    agreement: float  # share of the same label
    kappa: float  # Cohen's
    kappa_interval: Bounds
    segments: float  # share of the segments of both that the other has too, at an IoU of 0.5
    confusion: NDArray[np.int64]  # (8, 8): row = first coder, column = second coder


@dataclass(frozen=True)
class Agreement:
    """The result of `agree_files`."""

    coders: tuple[str, ...]
    videos: int  # that two coders or more labelled
    frames: int  # likewise
    alpha: float  # Krippendorff's, nominal
    alpha_interval: Bounds
    classes: dict[str, float]  # specific agreement of each class; NaN: nobody gave it
    pairs: list[PairAgreement]
    single: dict[str, str]  # video that only one coder labelled -> the coder
    failed: dict[str, str]  # file or video -> why it is left out


def agree_files(coders: Mapping[str, Iterable[Path]], config: Scores | None = None) -> Agreement:
    """Compare coders, each with a name and its files.

    Files that cannot be read are named in `failed`. In a reliability study, often only some videos
    have a second coder: those with one coder are left out and named in `single`.

    Raises:
        InputError: no frame has labels of two coders, or the times of a table go back.
        UsageError: fewer than two coders.
    """
    if len(coders) < 2:
        raise UsageError("agreement needs two coders or more")
    config = config or Scores()
    failed: dict[str, str] = {}
    truth = {name: gather_truth(files, failed) for name, files in coders.items()}
    videos, single = _match_videos(truth, _gather_times(coders), failed)
    coincidences = {name: count_coincidences(each) for name, each in videos.items()}
    total = _add_up(coincidences)
    if not total.any():
        raise InputError(_explain_nothing(failed, single))
    names = tuple(coders)
    return Agreement(
        coders=names,
        videos=sum(bool(matrix.any()) for matrix in coincidences.values()),
        frames=sum(int(((each != IGNORE).sum(axis=0) >= 2).sum()) for each in videos.values()),
        alpha=find_alpha(total),
        alpha_interval=_find_interval(coincidences, find_alpha, config),
        classes=dict(zip(CLASSES, find_class_agreement(total).tolist(), strict=True)),
        pairs=[
            _compare(pair, {name: each[list(rows)] for name, each in videos.items()}, config)
            for rows, pair in zip(
                combinations(range(len(names)), 2), combinations(names, 2), strict=True
            )
        ],
        single=single,
        failed=failed,
    )


def _gather_times(coders: Mapping[str, Iterable[Path]]) -> dict[str, Times]:
    """Return the times of the frames of each video, from the tables that have them.

    Raises:
        InputError: the times of a table go back.
    """
    columns = ["video", "frame", "time_s"]
    times: dict[str, Times] = {}
    for path in (Path(path) for files in coders.values() for path in files):
        table = None
        with suppress(InputError):  # reported by the reader of its labels
            if path.suffix.lower() in TABLE_SUFFIXES:
                table = load_columns(path, columns, columns)
        if table is None or not set(columns) <= set(table):
            continue
        if table["frame"].between(1, MAX_FRAME).all():  # otherwise reported, too
            check_times(path, table.assign(subject=""))  # those of a frame's subjects are the same
            times |= find_times(table)
    return times


def _match_videos(
    truth: Mapping[str, Mapping[str, Annotation]],
    times: Mapping[str, Times],
    failed: dict[str, str],
) -> tuple[dict[str, Labels], dict[str, str]]:
    """Return the labels of all coders (C, T) of each video; -1 if a coder has none.

    The other result is the coder of each video that only one labelled.
    """
    videos: dict[str, dict[str, Annotation]] = {}
    for coder, own in truth.items():
        for name, each in own.items():
            known = find_names(name, videos)
            videos.setdefault(known[0] if known else name, {})[coder] = each
    _match_only_ones(videos, len(truth))
    single = {name: next(iter(own)) for name, own in videos.items() if len(own) == 1}
    matched = {}
    for name, by_coder in videos.items():
        if name in single:
            continue
        known = find_names(name, times)
        if len(times) == len(videos) == 1:  # whatever it is called
            known = list(times)
        try:
            labels = _label_all(by_coder, times[known[0]] if known else None, name)
        except InputError as error:
            failed[name] = str(error)
            continue
        count = max(map(len, labels.values()))
        rows = [labels.get(coder, np.zeros(0, np.int64)) for coder in truth]
        matched[name] = np.stack(
            [np.pad(row, (0, count - len(row)), constant_values=IGNORE) for row in rows]
        )
    return matched, single


def _label_all(
    by_coder: Mapping[str, Annotation], times_s: Times | None, name: str
) -> dict[str, Labels]:
    """Return each coder's labels by frame; frames are 25 a second if all have intervals only."""
    intervals = [each for each in by_coder.values() if isinstance(each, Intervals)]
    lengths = [len(each) for each in by_coder.values() if not isinstance(each, Intervals)]
    last = int(max((each.offset[-1] for each in intervals), default=0))
    if times_s is None and not lengths and not any(each.in_frames for each in intervals):
        times_s = np.arange(0, last + 1, 1 / Media.fallback_fps)
    frames = max(lengths, default=last) if times_s is None else len(times_s)
    return {
        coder: label_frames(each, times_s, frames, f"{name}, {coder}")
        for coder, each in by_coder.items()
    }


def _match_only_ones(videos: dict[str, dict[str, Annotation]], coders: int) -> None:
    """Match the only videos of all coders, whatever their names."""
    if len(videos) == coders and all(len(own) == 1 for own in videos.values()):
        first, *others = list(videos)
        for name in others:
            videos[first] |= videos.pop(name)


def _explain_nothing(failed: Mapping[str, str], single: Mapping[str, str]) -> str:
    alone = [f"{name}: only {coder} labelled it" for name, coder in single.items()]
    reasons = "; ".join([*failed.values(), *alone][:3])
    return "no frame was labelled by two coders" + (f": {reasons}" if reasons else "")


def _add_up(matrices: Mapping[str, Matrix]) -> Matrix:
    total: Matrix = sum(matrices.values(), np.zeros((len(CLASSES), len(CLASSES))))
    return total


def _compare(
    coders: tuple[str, str], videos: Mapping[str, Labels], config: Scores
) -> PairAgreement:
    """Compare two coders by their labels (2, T) of each video."""
    counts = {name: count_pairs(*each) for name, each in videos.items()}
    confusion = _add_up(counts)
    frames = confusion.sum()
    segments = np.zeros(2)  # matched, all
    for one, other in videos.values():
        both = (one != IGNORE) & (other != IGNORE)
        one, other = np.where(both, one, IGNORE), np.where(both, other, IGNORE)
        segments += np.add(count_matched_segments(one, other), count_matched_segments(other, one))
    return PairAgreement(
        coders=coders,
        videos=sum(bool(matrix.any()) for matrix in counts.values()),
        frames=int(frames),
        agreement=float(np.trace(confusion) / frames) if frames else float("nan"),
        kappa=find_kappa(confusion),
        kappa_interval=_find_interval(counts, find_kappa, config),
        segments=float(segments[0] / segments[1]) if segments[1] else float("nan"),
        confusion=confusion.astype(np.int64),
    )


def _find_interval(matrices: Mapping[str, Matrix], find: Any, config: Scores) -> Bounds:
    """Return the 95 % bootstrap interval of a figure over source videos."""
    if len(matrices) < 2:
        return None
    # Ordered by name: the samples would depend on the order of the files.
    counts = sum_sources(list(matrices), np.stack(list(matrices.values())))
    if len(counts) < 2:
        return None
    resampled = resample_videos(counts, config.bootstrap_samples, config.seed)  # (samples, 8, 8)
    values = np.array([find(matrix) for matrix in resampled])
    if np.isnan(values).all():  # all labels are of one class
        return None
    low, high = np.nanpercentile(values, [2.5, 97.5]).tolist()
    return low, high


def describe_agreement(found: Agreement) -> JsonObject:
    """Return the agreement as JSON; undefined figures are null."""

    def clean(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: clean(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [clean(item) for item in value]
        if isinstance(value, np.ndarray):
            return value.tolist()
        return None if isinstance(value, float) and np.isnan(value) else value

    described: JsonObject = clean(asdict(found))
    return described
