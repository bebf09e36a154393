"""The data of a report: labels over time, measures, quality and score of each video."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from abawcli.config import Segmentation
from abawcli.datasets.pairing import Pair, gather_files, gather_truth, lay_tracks, pair_tracks
from abawcli.errors import InputError
from abawcli.formats.names import compose_name
from abawcli.formats.participants import Groups, read_groups
from abawcli.formats.provenance import Provenance, read_provenance
from abawcli.formats.tables import read_each_table
from abawcli.labels import IGNORE
from abawcli.metrics import Score, score_labels
from abawcli.segments import explain_untimed, segment_table, split_people
from abawcli.sources import SOURCES
from abawcli.summary import KEYS, summarize_table
from abawcli.views.report.errors import WrongSegment, find_errors
from abawcli.views.timeline import Timeline, find_spans, split_timelines

Labels = NDArray[np.int64]
Person = tuple[str, str]  # video, subject


@dataclass(frozen=True)
class Gaps:
    """Time without a label."""

    count: int
    total_s: float
    longest: list[tuple[float, float]]  # start and end in seconds, the longest first


@dataclass(frozen=True)
class Subject:
    """One person of a video."""

    name: str
    timeline: Timeline
    rows: pd.DataFrame  # of the table, in the order of frames
    segments: pd.DataFrame
    measures: dict[str, Any]  # of `summary.summarize_table`
    sources: dict[str, float]  # share of the time by source of the label
    gaps: Gaps
    score: Score | None  # None: not annotated
    errors: list[WrongSegment]  # the worst first


@dataclass(frozen=True)
class Video:
    """One video with its subjects."""

    name: str
    tables: list[Path]
    made_by: list[Provenance]  # of the tables; without those that have none
    subjects: list[Subject]
    person: dict[str, str]  # columns of the participants file


@dataclass(frozen=True)
class Study:
    """All videos of a report."""

    videos: list[Video]
    columns: list[str]  # of the participants file
    score: Score | None  # of all annotated frames together

    @property
    def subjects(self) -> list[Subject]:
        """Return the subjects of all videos."""
        return [subject for video in self.videos for subject in video.subjects]


def read_study(
    tables: Sequence[str | Path],
    labels: Iterable[str | Path],
    groups: Groups | None,
    *,
    failed: dict[str, str],
    config: Segmentation,
) -> Study:
    """Read prediction tables, annotations and participants; failures are named in `failed`.

    Raises:
        InputError: no table can be read, none has times, or the participants file is none.
    """
    read = read_each_table(tables, failed)
    frame = _keep_timed(pd.concat(read.values(), ignore_index=True), failed)
    pairs = _pair_labels(read, labels, failed) if labels else {}
    people = pd.DataFrame()
    if groups:
        people = read_groups(groups, frame["video"].unique().tolist(), failed)
    segments = segment_table(frame, config)
    summary: list[Any] = summarize_table(frame, segments=segments).to_dict("records")
    measures = {(row["video"], row["subject"]): row for row in summary}
    own = {key: part.reset_index(drop=True) for key, part in segments.groupby(KEYS)}
    sources: dict[str, list[Path]] = {}
    for path, table in read.items():
        for name in table["video"].unique().tolist():
            sources.setdefault(name, []).append(path)
    videos = []
    for key, rows in frame.groupby("video", sort=True):
        name = str(key)
        made_by = [made for path in sources[name] if (made := read_provenance(path))]
        subjects = [
            _describe_subject(
                part, own.get((name, subject), segments[:0]), measures[name, subject], pairs
            )
            for subject, part in rows.groupby("subject", sort=False)
        ]
        person: Any = people.loc[name].fillna("").to_dict() if name in people.index else {}
        videos.append(
            Video(
                name=name, tables=sources[name], made_by=made_by, subjects=subjects, person=person
            )
        )
    return Study(videos, list(people.columns), _score(pairs.values()))


def _keep_timed(table: pd.DataFrame, failed: dict[str, str]) -> pd.DataFrame:
    """Leave out the videos with frames that have no times, and name them."""
    frame, time_s = table["frame"].to_numpy(), table["time_s"].to_numpy(np.float64)
    untimed: dict[str, str] = {}
    for person, rows in split_people(table):
        if wrong := explain_untimed(frame[rows], time_s[rows], *person):
            untimed.setdefault(person[0], wrong)
    failed |= untimed
    kept = table[~table["video"].isin(list(untimed))]
    if kept.empty:
        raise InputError("; ".join(failed.values()))
    return kept


def _pair_labels(
    tables: Mapping[Path, pd.DataFrame], labels: Iterable[str | Path], failed: dict[str, str]
) -> dict[Person, Pair]:
    """Return the annotation of each person who has one."""
    truth = gather_truth(labels, failed)
    tracks = gather_files(list(tables), lambda path, _: lay_tracks(tables[path]), failed)
    owners = {id(track): person for person, track in tracks.items()}
    pairs = pair_tracks(truth, tracks, failed)  # by names of annotations, of the same tracks
    return {owners[id(pair.track)]: pair for pair in pairs.values()}


def _describe_subject(
    rows: pd.DataFrame,
    segments: pd.DataFrame,
    measures: dict[str, Any],
    pairs: Mapping[Person, Pair],
) -> Subject:
    """Describe one subject of one video by its rows of the table."""
    rows = rows.sort_values("frame")
    video, name = str(rows["video"].iloc[0]), str(rows["subject"].iloc[0])
    pair = pairs.get((compose_name(video), name))
    annotations = {} if pair is None else {video: _lay_by_frame(pair)}
    (timeline,) = split_timelines(rows, annotations)
    return Subject(
        name=name,
        timeline=timeline,
        rows=rows,
        segments=segments,
        measures=measures,
        sources=_share_sources(timeline),
        gaps=_find_gaps(timeline),
        score=_score([pair] if pair else []),
        errors=find_errors(
            timeline, rows["frame"].to_numpy(np.int64), rows["found"].to_numpy(bool)
        ),
    )


def _lay_by_frame(pair: Pair) -> Labels:
    """Return an annotation (T,) by frame: rows beyond the last frame do not replace its own."""
    labels = np.full(len(pair.track.labels), IGNORE, np.int64)
    labels[pair.rows[::-1]] = pair.annotation[::-1]
    return labels


def _score(pairs: Any) -> Score | None:
    """Score annotations together; None if no frame is annotated."""
    pairs = list(pairs)
    truth = np.concatenate([[], *(pair.annotation for pair in pairs)]).astype(np.int64)
    predicted = np.concatenate([[], *(pair.track.labels[pair.rows] for pair in pairs)])
    if not (truth != IGNORE).any():
        return None
    return score_labels(truth, predicted.astype(np.int64))


def _share_sources(timeline: Timeline) -> dict[str, float]:
    """Return each source's share of the time, or of the rows if they have no duration."""
    lasts = timeline.end_s - timeline.start_s  # (T,)
    weights = lasts if lasts.sum() > 0 else np.ones(len(lasts))
    shares = {
        name: float(weights[timeline.source == name].sum() / weights.sum()) for name in SOURCES
    }
    return {name: share for name, share in shares.items() if share > 0}


def _find_gaps(timeline: Timeline) -> Gaps:
    spans = find_spans(timeline.label == IGNORE, timeline.start_s, timeline.end_s)
    gaps = [(float(start), float(end)) for empty, start, end in spans if empty]
    longest = sorted(gaps, key=lambda gap: gap[0] - gap[1])
    return Gaps(len(gaps), sum(end - start for start, end in gaps), longest)
