"""Writers of the labels of one video in the formats of other programs: `EXPORTERS`.

Formats of annotation programs contain segments, tables contain frames. Each writer takes a
`VideoLabels` and returns the text of a file.
"""

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from abawcli import __version__
from abawcli.errors import InputError
from abawcli.formats.abaw import format_annotation
from abawcli.formats.elan import TimedText, format_elan
from abawcli.formats.textgrid import format_textgrid
from abawcli.labels import CLASSES, PROBABILITY_COLUMNS
from abawcli.segments import find_ends

DIGITS = 6  # decimals of seconds
MISSING = "NA"  # as in R
BIDS_MISSING = "n/a"


@dataclass(frozen=True)
class VideoLabels:
    """The labels of one video, with one row per frame and subject, and its segments."""

    video: str
    media: str  # path of the video file, relative to the output if it is known
    rows: pd.DataFrame  # of a prediction table, by subject and frame
    segments: pd.DataFrame  # of `segments.segment_table`

    @property
    def end_s(self) -> float:
        """Return the end of the last frame in seconds."""
        frame, time_s = self.rows["frame"].to_numpy(), self.rows["time_s"].to_numpy(np.float64)
        return float(find_ends(frame, time_s).max())

    @property
    def subjects(self) -> list[str]:
        """Return the subjects in the order of their rows."""
        names: list[str] = self.rows["subject"].unique().tolist()
        return names

    def name_tiers(self) -> dict[str, str]:
        """Return the tier's name of each subject; it contains the subject if there are several."""
        return name_tiers(self.subjects)

    def list_segments(self) -> Iterator[tuple[str, float, float, str]]:
        """Yield subject, start, end and label of each segment, ordered by start."""
        columns = ["subject", "start_s", "end_s", "label"]
        ordered = self.segments.sort_values(["start_s", "subject"], kind="stable")
        for subject, start, end, label in ordered[columns].itertuples(index=False):
            yield str(subject), float(start), float(end), str(label)


def name_tiers(subjects: Sequence[str]) -> dict[str, str]:
    """Return the tier's name of each subject; it contains the subject if there are several."""
    several = len(subjects) > 1
    return {name: f"expression {name}" if several else "expression" for name in subjects}


def _write_rows(rows: Iterator[list[Any]] | list[list[Any]], delimiter: str = "\t") -> str:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _seconds(value: float) -> str:
    return f"{value:.{DIGITS}f}"


def _lay_tiers(labels: VideoLabels) -> dict[str, list[TimedText]]:
    """Return the segments of each subject by the name of its tier, from 0 s on.

    ELAN counts from 0, and pympi reads -1 as 1 in a TextGrid.
    """
    names = labels.name_tiers()
    tiers: dict[str, list[TimedText]] = {name: [] for name in names.values()}
    for subject, start, end, label in labels.list_segments():
        if end > 0:
            tiers[names[subject]].append((max(start, 0.0), end, label))
    return tiers


def write_elan(labels: VideoLabels) -> str:
    """Return an ELAN document (.eaf) with one tier per subject."""
    return format_elan(_lay_tiers(labels), labels.media)


def write_textgrid(labels: VideoLabels) -> str:
    """Return a Praat TextGrid with one interval tier per subject."""
    return format_textgrid(_lay_tiers(labels), labels.end_s)


def _write_subtitles(labels: VideoLabels, kind: str) -> str:
    import pysubs2

    document = pysubs2.SSAFile()
    several = len(labels.subjects) > 1
    for subject, start, end, label in labels.list_segments():
        text = f"{subject}: {label}" if several else label
        event = pysubs2.SSAEvent(round(start * 1000), round(end * 1000), text)
        document.append(event)
    return document.to_string(kind)


def write_vtt(labels: VideoLabels) -> str:
    """Return WebVTT subtitles, for players in web pages."""
    return _write_subtitles(labels, "vtt")


def write_srt(labels: VideoLabels) -> str:
    """Return SubRip subtitles."""
    return _write_subtitles(labels, "srt")


def write_audacity(labels: VideoLabels) -> str:
    """Return an Audacity label track: start, end and label of each segment."""
    several = len(labels.subjects) > 1
    return _write_rows(
        [
            [_seconds(start), _seconds(end), f"{subject}: {label}" if several else label]
            for subject, start, end, label in labels.list_segments()
        ]
    )


def write_boris(labels: VideoLabels) -> str:
    """Return aggregated state events in BORIS's export format, tab-delimited."""
    header = [
        "Observation id", "Media file name", "Total length", "Subject", "Behavior",
        "Behavior type", "Start (s)", "Stop (s)", "Duration (s)",
    ]  # fmt: skip
    rows = [
        [
            labels.video, labels.media, _seconds(labels.end_s), subject, label, "STATE",
            _seconds(start), _seconds(end), _seconds(end - start),
        ]
        for subject, start, end, label in labels.list_segments()
    ]  # fmt: skip
    return _write_rows([header, *rows])


def write_bids(labels: VideoLabels) -> str:
    """Return a BIDS events file with onset, duration, trial_type and face (the subject)."""
    rows = [
        [_seconds(start), _seconds(end - start), label, subject or BIDS_MISSING]
        for subject, start, end, label in labels.list_segments()
    ]
    return _write_rows([["onset", "duration", "trial_type", "face"], *rows])


def describe_bids(labels: VideoLabels) -> str:
    """Return the JSON sidecar of a BIDS events file, which describes its columns."""
    columns = {
        "onset": {"Description": "start of the segment from the video's start", "Units": "s"},
        "duration": {"Description": "duration of the segment", "Units": "s"},
        "trial_type": {
            "LongName": "facial expression",
            "Description": "expression class of the ABAW EXPR challenge",
            "Levels": {name: f"the face is labelled {name}" for name in CLASSES},
        },
        "face": {"Description": "which person in the video"},
        "StimulusPresentation": {"SoftwareName": "abawcli", "SoftwareVersion": __version__},
    }
    return json.dumps(columns, indent=2) + "\n"


def write_labelstudio(labels: VideoLabels) -> str:
    """Return a Label Studio task with predictions: TimelineLabels, frames counted from 1.

    The labelling configuration needs `<Video name="video" .../>` and `<TimelineLabels
    name="expression" toName="video">` with the eight class names.
    """
    result: list[dict[str, Any]] = []
    for subject, start, end, label in labels.list_segments():
        rows = labels.rows[labels.rows["subject"] == subject]
        inside = (rows["time_s"] >= start) & (rows["time_s"] <= end)
        # The next frame begins at its end, and others may share a time with its first or last one.
        frames = rows.loc[inside & (rows["label"] == CLASSES.index(label)), "frame"]
        span = {"start": int(frames.min()), "end": int(frames.max())}
        result.append(
            {
                "id": f"{len(result) + 1}",
                "from_name": "expression",
                "to_name": "video",
                "type": "timelinelabels",
                "value": {"ranges": [span], "timelinelabels": [label]},
                "meta": {"text": [subject]},
            }
        )
    task = {
        "data": {"video": labels.media},
        "predictions": [{"model_version": f"abawcli {__version__}", "result": result}],
    }
    return json.dumps([task], indent=2, ensure_ascii=False) + "\n"


def write_openface(labels: VideoLabels) -> str:
    """Return a table like OpenFace's: frame, face_id, timestamp, confidence, success, classes."""
    rows, several = labels.rows, len(labels.subjects) > 1
    face_ids = {subject: k for k, subject in enumerate(labels.subjects)}
    table = pd.DataFrame(
        {
            "frame": rows["frame"],
            "face_id": rows["subject"].map(face_ids) if several else 0,
            "timestamp": rows["time_s"].round(DIGITS),
            "confidence": rows["face_score"].fillna(0.0).round(3),
            "success": rows["found"].astype(int),
            **{
                name: rows[column].round(DIGITS)
                for name, column in zip(CLASSES, PROBABILITY_COLUMNS, strict=True)
            },
        }
    )
    return str(table.sort_values(["frame", "face_id"]).to_csv(index=False, na_rep="nan"))


def write_abaw(labels: VideoLabels) -> str:
    """Return an ABAW annotation: a header and a class number for each frame from 1 on.

    Raises:
        InputError: there are several subjects; a file has the labels of one.
    """
    if len(labels.subjects) > 1:
        raise InputError(
            f"{labels.video} has {len(labels.subjects)} subjects; an ABAW file has one. "
            "Predict with --subject main, left or right"
        )
    return format_annotation(labels.rows["label"].to_numpy(), labels.rows["frame"].to_numpy())


def write_wide(labels: VideoLabels) -> str:
    """Return a csv with one row per frame; labels are names, or NA if there is none."""
    rows = labels.rows
    names = np.array([*CLASSES, MISSING], dtype=object)  # index -1 is the last one
    table = rows[["video", "subject", "frame", "time_s", "found", "source"]].assign(
        label=names[rows["label"]], confidence=rows["confidence"]
    )
    table = table.assign(**{n: rows[c] for n, c in zip(CLASSES, PROBABILITY_COLUMNS, strict=True)})
    return str(table.round(DIGITS).to_csv(index=False, na_rep=MISSING))


def write_long(labels: VideoLabels) -> str:
    """Return a csv with the probability of each class and frame, or NA if there is none."""
    keys = ["video", "subject", "frame", "time_s"]
    table = labels.rows[[*keys, *PROBABILITY_COLUMNS]].set_axis([*keys, *CLASSES], axis=1)
    long = table.melt(keys, var_name="class", value_name="probability", ignore_index=False)
    long = long.sort_index(kind="stable")
    return str(long.round(DIGITS).to_csv(index=False, na_rep=MISSING))


@dataclass(frozen=True)
class Exporter:
    """The writer of a format, and the suffix of its files."""

    write: Callable[[VideoLabels], str]
    suffix: str
    sidecar: Callable[[VideoLabels], str] | None = None  # a .json file beside each
    is_played: bool = False  # its times are those of a player


EXPORTERS: dict[str, Exporter] = {
    "elan": Exporter(write_elan, ".eaf", is_played=True),
    "textgrid": Exporter(write_textgrid, ".TextGrid", is_played=True),
    "vtt": Exporter(write_vtt, ".vtt", is_played=True),
    "srt": Exporter(write_srt, ".srt", is_played=True),
    "audacity": Exporter(write_audacity, ".audacity.txt", is_played=True),
    "boris": Exporter(write_boris, ".boris.tsv", is_played=True),
    "bids": Exporter(write_bids, "_events.tsv", describe_bids, is_played=True),
    "labelstudio": Exporter(write_labelstudio, ".labelstudio.json"),
    "openface": Exporter(write_openface, ".openface.csv"),
    "abaw": Exporter(write_abaw, ".txt"),
    "wide": Exporter(write_wide, ".wide.csv"),
    "long": Exporter(write_long, ".long.csv"),
}
