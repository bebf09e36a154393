"""The sentences for a paper: methods, settings and citations."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from abawcli import __version__
from abawcli.config import Segmentation
from abawcli.formats.hashing import hash_file
from abawcli.formats.provenance import Provenance, read_provenance
from abawcli.labels import CLASSES
from abawcli.views.report.recordings import walk_origins
from abawcli.views.report.study import Subject, Video

TITLE = "abawcli: Frame-level facial expression annotation of videos, audio and vision together"
AUTHORS = "abawcli contributors"
CITATION = f"{AUTHORS}. {TITLE} (version {__version__}) [Computer software]."
SUBJECT_TEXTS = {
    "main": "the person on screen longest and largest",
    "largest": "the largest face of each frame",
    "follow-largest": "the first largest face, followed by identity and overlap",
    "left": "the leftmost face of each frame",
    "right": "the rightmost face of each frame",
    "top": "the topmost face of each frame",
    "all": "every person",
}


def write_methods(videos: Sequence[Video], config: Segmentation) -> str:
    """Return the paragraph for a methods section, from the provenance of tables."""
    origins = dict.fromkeys(_describe_origin(video) for video in videos)
    subjects = [subject for video in videos for subject in video.subjects]
    frames = sum(len(subject.rows) for subject in subjects)
    seconds = sum(float(subject.measures["seconds"]) for subject in subjects)
    faces = _weigh(subjects, "share_with_face")
    count = "one video" if len(videos) == 1 else f"{len(videos)} videos"
    if len(subjects) > len(videos):  # frames and minutes are a sum over them
        count = f"{len(subjects)} subjects of {count}"
    return " ".join(
        [
            *origins,
            *_describe_edits(videos),
            f"Each frame has one of the eight classes {', '.join(CLASSES)}, or no label.",
            f"The labels cover {frames:,} frames ({seconds / 60:,.1f} minutes) of {count}; "
            f"a face was found in {faces:.1%} of that time.",
            "Shares are of the labelled time with a face.",
            "Segments are consecutive frames of one label, joined over gaps of up to "
            f"{config.max_gap_s:g} s; "
            f"those shorter than {config.min_duration_s:g} s were left out.",
        ]
    )


def _describe_edits(videos: Sequence[Video]) -> Iterator[str]:
    """Yield a sentence on the tables that are no longer as they were written, if there are any."""
    tables = {path: read_provenance(path) for video in videos for path in video.tables}
    edited = sum(
        "output" in made and made["output"] != hash_file(path) for path, made in tables.items()
    )
    if edited:
        which = "The table" if len(tables) == 1 else f"{edited} of {len(tables)} tables"
        yield f"{which} {'was' if edited == 1 else 'were'} edited after that."


def _weigh(subjects: Sequence[Subject], measure: str) -> float:
    """Return the mean of a measure over the time of subjects."""
    weights = [float(subject.measures["seconds"]) for subject in subjects]
    values = [float(subject.measures[measure]) for subject in subjects]
    return float(np.average(values, weights=weights if sum(weights) > 0 else None))


def _describe_origin(video: Video) -> str:
    """Return one or two sentences on the origin of the labels."""
    steps = list(walk_origins(video.made_by))
    predicted = [step for step in steps if step.get("command") == "predict"]
    if not predicted:
        return "The labels come from tables whose making is not recorded."
    settings = predicted[0].get("settings", {})
    whose = _describe_people(settings.get("subject"), video.subjects)
    tools = ", ".join(_list_tools(settings, len(predicted)))
    sentences = [
        f"The facial expression of {whose} was annotated frame by frame with abawcli "
        f"{predicted[0].get('abawcli')} ({tools})."
    ]
    later = (_describe_correction(step) or _describe_smoothing(step) for step in reversed(steps))
    sentences += filter(None, later)
    return " ".join(dict.fromkeys(sentences))


def _describe_people(chosen: object, subjects: Sequence[Subject]) -> str:
    """Return whose faces were labelled; crops and features record it by the subjects' names."""
    names = {str(chosen)} if chosen else {subject.name for subject in subjects}
    if len(names) > 1 or any(name.lstrip("-").isdigit() for name in names):  # numbers of tracks
        return SUBJECT_TEXTS["all"]
    (name,) = names
    return SUBJECT_TEXTS.get(name, "a person who was chosen by hand")  # a track, or a strategy


def _list_tools(settings: Mapping[str, Any], tables: int) -> Iterator[str]:
    yield f"recipe {settings.get('recipe')}" + (" and others, fused" if tables > 1 else "")
    backbones = [settings.get(name) for name in ("visual", "audio")]
    names = [str(each.get("backbone")) for each in backbones if isinstance(each, Mapping)]
    if names:
        yield f"features of {' and '.join(names)}"
    if isinstance(detector := settings.get("detector"), Mapping):
        yield f"faces found by {detector.get('name')}"


def _describe_correction(step: Provenance) -> str:
    """Return that a step replaced labels by those of another program, empty if it did not."""
    if step.get("command") != "import":
        return ""
    kind = step.get("settings", {}).get("format")
    return f"Labels were corrected in another program (a file of the format {kind})."


def _describe_smoothing(step: Provenance) -> str:
    """Return a description of a step's smoothing, empty without one."""
    settings = step.get("settings", {})
    smoothing = settings if step.get("command") == "smooth" else settings.get("smoothing")
    if not isinstance(smoothing, Mapping) or "method" not in smoothing:
        return ""
    frames = smoothing.get("window_frames")
    window = f"{smoothing.get('window_s'):g} s" if frames is None else f"{frames} frames"
    return (
        f"Probabilities were smoothed over time ({smoothing['method']} of "
        f"{smoothing.get('space')} over {window})."
    )
