"""The content of pages, as plain values for the template and for the script."""

import base64
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from abawcli.config import Segmentation
from abawcli.formats.json_values import JsonObject
from abawcli.formats.names import decode_name
from abawcli.labels import CLASSES
from abawcli.metrics import Score
from abawcli.sources import NONE, SOURCES
from abawcli.views.palette import CLASS_COLOURS, SOURCE_COLOURS, SOURCE_TEXTS
from abawcli.views.report.errors import NO_LABEL, rank_errors
from abawcli.views.report.recordings import ERROR, SEGMENT, Cut, SourceVideo
from abawcli.views.report.study import Study, Subject, Video
from abawcli.views.timeline import Timeline

UNITS_PER_S = 10_000  # of times for the script: 0.1 ms in 32 bits reach 119 hours
LEVELS = 250  # of probabilities for the script: steps of 0.4 %, finer than a pixel
UNKNOWN = 255
LISTED_GAPS = 5
DIGITS = 6  # after the point of measures in the index
LOOK = {
    "classes": CLASSES,
    "colours": CLASS_COLOURS,
    "sources": [
        {"text": SOURCE_TEXTS[name], "colour": None if name == NONE else SOURCE_COLOURS[name]}
        for name in SOURCES
    ],
    "units": UNITS_PER_S,
    "levels": LEVELS,
    "unknown": UNKNOWN,
}  # what the script needs beside the data of videos


def encode_timeline(timeline: Timeline, frame: NDArray[np.int64]) -> JsonObject:
    """Return the rows (T,) of a subject for the script: arrays as base64, little-endian.

    Times are in units of 0.1 ms from `zero_s`; `ends` are those of frames that do not last until
    the next one, by their index. Numbers of frames are left out where they are 1 to T.
    """
    is_plain = bool((frame == np.arange(1, len(frame) + 1)).all())
    zero_s = float(timeline.start_s[0])
    following = np.append(timeline.start_s[1:], -np.inf)
    breaks = np.flatnonzero(np.abs(timeline.end_s - following) > 0.5 / UNITS_PER_S)
    known = np.nan_to_num(timeline.probabilities, nan=0.0)
    p = np.where(np.isnan(timeline.probabilities), UNKNOWN, np.rint(known * LEVELS))
    source = pd.Categorical(timeline.source, SOURCES).codes
    return {
        "zero_s": zero_s,
        "start": _encode(np.rint((timeline.start_s - zero_s) * UNITS_PER_S), "<u4"),
        "ends": {int(k): round(float(timeline.end_s[k]) - zero_s, 4) for k in breaks},
        "label": _encode(timeline.label, "i1"),
        "frame": None if is_plain else _encode(frame, "<u4"),
        "source": _encode(source, "i1"),
        "p": _encode(p, "u1"),
        "annotation": None if timeline.annotation is None else _encode(timeline.annotation, "i1"),
    }


def _encode(values: NDArray[Any], kind: str) -> str:
    return base64.b64encode(values.astype(kind).tobytes()).decode()


def _clean(values: Mapping[str, Any]) -> JsonObject:
    """Return numbers as JSON has them: rounded, and None for those that are not finite."""
    numbers = {name: value for name, value in values.items() if isinstance(value, int | float)}
    return dict(values) | {
        name: round(float(value), DIGITS) if np.isfinite(value) else None
        for name, value in numbers.items()
    }


def describe_video(
    video: Video,
    recording: SourceVideo | None,
    cut: Cut | None,
    link: str,
    *,
    config: Segmentation,
    errors: int,
) -> JsonObject:
    """Return the content of a video's section; `link` is the file of its player.

    Of each subject, the worst `errors` wrong segments are listed.
    """
    first = video.subjects[0].timeline
    timelines = [
        {"name": each.name} | encode_timeline(each.timeline, each.rows["frame"].to_numpy(np.int64))
        for each in video.subjects
    ]
    return {
        "name": video.name,
        "file": decode_name(recording.path.name) if recording else "",
        "link": link,
        "size": cut.size if cut else None,
        "rotate": recording.rotate if recording else 0,
        "person": video.person,
        "frames": len(first.start_s),
        "start_s": float(first.start_s[0]),
        "end_s": float(first.end_s[-1]),
        "rate": describe_rate(first),
        "warnings": _list_warnings(video),
        "provenance": json.dumps(video.made_by, indent=1, ensure_ascii=False),
        "subjects": [_describe_subject(each, cut, errors) for each in video.subjects],
        "config": config,
        "data": {"video": video.name, "subjects": timelines},
    }


def _list_warnings(video: Video) -> list[str]:
    """Return the warnings of the runs that made a video's tables, each once."""
    return list(dict.fromkeys(w for made in video.made_by for w in made.get("warnings", [])))


def describe_rate(timeline: Timeline) -> str:
    """Return a description of the frame rate and its variation."""
    intervals = np.diff(timeline.start_s)
    if len(intervals) == 0 or np.median(intervals) <= 0:
        return "one frame"
    rate = len(intervals) / float(timeline.start_s[-1] - timeline.start_s[0])
    low, high = np.percentile(intervals, (1, 99)) * 1000  # ms
    if high - low > 2:  # of a clock in milliseconds, intervals differ by 1
        return f"{rate:.2f} frames a second on average, uneven: {low:.0f} to {high:.0f} ms"
    return f"{rate:.2f} frames a second"


def _describe_subject(subject: Subject, cut: Cut | None, errors: int) -> JsonObject:
    pictures = cut.pictures if cut else {}
    listed = [
        vars(error) | {"seconds": error.seconds, "picture": pictures.get((ERROR, subject.name, k))}
        for k, error in enumerate(subject.errors[:errors])
    ]
    segments = [
        {str(name): value for name, value in row.items()}
        | {"picture": pictures.get((SEGMENT, subject.name, k))}
        for k, row in enumerate(subject.segments.to_dict("records"))
    ]
    measures = _clean(subject.measures)
    return {
        "name": subject.name,
        "measures": measures,
        "shares": {name: measures[f"share_{name.lower()}"] for name in CLASSES},
        "counts": {name: int(measures[f"segments_{name.lower()}"]) for name in CLASSES},
        "segments": segments,
        "sources": subject.sources,
        "gaps": subject.gaps,
        "listed_gaps": subject.gaps.longest[:LISTED_GAPS],
        "score": subject.score and describe_score(subject.score),
        "errors": listed,
        "error_count": len(subject.errors),
    }


def describe_score(score: Score) -> JsonObject:
    """Return a score with the classes that occur, annotated or predicted, and their mean."""
    occurs = (score.support > 0) | (score.confusion.sum(axis=0) > 0)  # (8,)
    rows = [
        {
            "class": name,
            "f1": float(score.f1[k]),
            "precision": float(score.precision[k]),
            "recall": float(score.recall[k]),
            "support": int(score.support[k]),
        }
        for k, name in enumerate(CLASSES)
        if occurs[k]
    ]
    return {
        "macro_f1": score.macro_f1,
        "own_f1": float(score.f1[occurs].mean()),
        "accuracy": score.accuracy,
        "frames": score.frames,
        "rows": rows,
        "confusion": describe_confusion(score),
    }


def describe_confusion(score: Score) -> JsonObject:
    """Return the frames of each annotated class by predicted label, or without one.

    Only classes that occur have a row or a column.
    """
    missed = score.support - score.confusion.sum(axis=1)  # (8,)
    rows = np.flatnonzero(score.support)
    columns = np.flatnonzero(score.confusion.sum(axis=0))
    heads = [CLASSES[k] for k in columns] + ([NO_LABEL] if missed.any() else [])
    counts = [
        [int(score.confusion[row, k]) for k in columns]
        + ([int(missed[row])] if missed.any() else [])
        for row in rows
    ]
    return {
        "heads": heads,
        "rows": [
            {"class": CLASSES[row], "cells": list(zip(heads, cells, strict=True)),
             "support": int(score.support[row])}
            for row, cells in zip(rows, counts, strict=True)
        ],
    }  # fmt: skip


def describe_index(
    study: Study, links: Mapping[str, str], max_groups: int | None, errors: int
) -> JsonObject:
    """Return the table of all videos, one row per subject, and the groups to compare by.

    A column with more than `max_groups` values is not one of the groups; None: no limit. The worst
    `errors` wrong segments of all videos are listed.
    """
    rows = [
        _describe_row(video, subject, links) for video in study.videos for subject in video.subjects
    ]
    values = {
        name: sorted({video.person[name] for video in study.videos if video.person.get(name)})
        for name in study.columns
    }
    named = any(subject.name != "main" for subject in study.subjects)
    heads = ["video", *(["subject"] if named else []), *study.columns]
    heads += ["length", "face", "labelled", "confidence"]
    heads += ["macro-F1"] if study.score else []
    return {
        "videos": len(study.videos),
        "rows": rows,
        "heads": [*heads, "warnings", *CLASSES],
        "columns": study.columns,
        "groups": {
            name: known
            for name, known in values.items()
            if max_groups is None or 1 < len(known) <= max_groups
        },
        "named": named,
        "score": study.score and describe_score(study.score),
        "errors": _list_errors(study, links, errors),
        "seconds": sum(row["seconds"] or 0 for row in rows),
        "data": [{"shares": row["shares"], "person": row["person"]} for row in rows],
    }


def _list_errors(study: Study, links: Mapping[str, str], most: int) -> list[JsonObject]:
    """Return the worst wrong segments of all videos, each with a link to its time."""
    owners = {
        id(error): video.name
        for video in study.videos
        for subject in video.subjects
        for error in subject.errors
    }
    worst = rank_errors([error for subject in study.subjects for error in subject.errors])[:most]
    return [
        vars(error)
        | {"video": owners[id(error)], "seconds": error.seconds}
        | {"link": link_time(links[owners[id(error)]], error.start_s)}
        for error in worst
    ]


def link_time(link: str, time_s: float) -> str:
    """Return the link to a time of a video, from that to its section or page."""
    return f"{link if '#' in link else f'{link}#video-1'}@{time_s:.4f}"


def _describe_row(video: Video, subject: Subject, links: Mapping[str, str]) -> JsonObject:
    measures = _clean(subject.measures)
    return {
        "video": video.name,
        "subject": subject.name,
        "link": links[video.name],
        "person": video.person,
        "seconds": measures["seconds"],
        "share_with_face": measures["share_with_face"],
        "share_labelled": measures["share_labelled"],
        "mean_confidence": measures["mean_confidence"],
        "shares": [measures[f"share_{name.lower()}"] for name in CLASSES],
        "warnings": len(_list_warnings(video)),
        "score": subject.score and subject.score.macro_f1,
    }
