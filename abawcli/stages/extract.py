"""Stage extract: features of faces and audio as files, a row a decoded frame."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from abawcli.config import SUBJECTS, is_strategy
from abawcli.errors import UsageError
from abawcli.formats.crops import find_audio, list_companions, name_video, read_subject
from abawcli.formats.features import FEATURES_SUFFIX, Features, write_features
from abawcli.formats.folders import find_finished_folder, replace_folder
from abawcli.formats.names import decode_name
from abawcli.formats.provenance import Provenance, describe_work, find_finished
from abawcli.formats.summary import Summary, keep_warnings, note_summary, read_summary
from abawcli.pipeline.feature_stream import Extractor
from abawcli.pipeline.video_features import extract_crops, extract_video
from abawcli.progress import Progress, ignore_progress


@dataclass(frozen=True)
class ExtractSummary(Summary):
    """What came of one input."""

    frames: int
    visual: int  # frames with visual features, of anybody who was asked for
    audio: int  # frames with features of audio
    subjects: int


def extract_features(
    path: str | Path,
    output: str | Path,
    extractor: Extractor,
    *,
    subject: str | None = None,
    audio_from: str | Path | None = None,
    video: str | None = None,
    overwrite: bool = False,
    progress: Progress = ignore_progress,
) -> ExtractSummary:
    """Write the features of a video, a sound or a folder of crops to the file `output`.

    With the subject `all` they are files `subject0.safetensors` and so on in a folder called
    like `output` without suffix. What is finished is not made again.

    Args:
        path: video, sound (with the modality audio), our crops, or official ones.
        output: `<name>.safetensors`.
        extractor: the backbones.
        subject: one of SUBJECTS, or `track N`; None: the main one, or those that crops were made
            for.
        audio_from: folder with the videos that crops were made from.
        video: what the features are of, by which annotations go, and videos in `audio_from`; by
            default the name of the file, without suffix, or of the folder.

    Raises:
        InputError: the input cannot be read, or lacks what was asked for.
        OutputError: something else is in the way, or the place cannot be written.
        UsageError: no such subject or folder, or crops are to be rotated.
    """
    path = Path(path)
    output = Path(output)
    audio_from = None if audio_from is None else Path(audio_from)
    crops = os.path.isdir(path)
    sound = find_audio(path, audio_from, video or name_video(path)) if crops else None
    meant = subject or (read_subject(path) if crops else SUBJECTS[0])
    if not crops and (not is_strategy(meant) or meant == "skip"):
        raise UsageError(f"unknown subject {meant!r}; choose one of {', '.join(SUBJECTS)}")
    named = decode_name(video or name_video(path))
    work = _describe_input(path, sound, extractor, meant, named)
    target = output.with_suffix("") if meant == "all" else output
    find = find_finished_folder if meant == "all" else find_finished
    if finished := find(target, work, overwrite):
        return read_summary(finished, ExtractSummary, made=False)
    with keep_warnings(work):
        if crops:
            made = extract_crops(extractor, path, subject, sound, progress, video)
        else:
            made = extract_video(extractor, path, meant, progress, video)
        note_summary(work, _summarise(made))
        if meant != "all":
            write_features(made[0], output, work)
        else:
            with replace_folder(target, work) as folder:
                for one in made:
                    name = f"subject{one.metadata.subject}{FEATURES_SUFFIX}"
                    write_features(one, folder / name, work)
    return read_summary(work, ExtractSummary, made=True)


def _summarise(made: Sequence[Features]) -> ExtractSummary:
    return ExtractSummary(
        frames=len(made[0].frame),
        visual=int(np.any([one.has_visual for one in made], axis=0).sum()),
        audio=int(made[0].has_audio.sum()),
        subjects=sum(bool(one.has_visual.any()) for one in made),
    )


def _describe_input(
    path: Path, sound: Path | None, extractor: Extractor, subject: str, video: str
) -> Provenance:
    """Return the provenance of an input's features."""
    settings = extractor.describe(subject, crops=os.path.isdir(path)) | {"video": video}
    if not os.path.isdir(path):
        return describe_work("extract", [path], settings)
    # The recording is no input of its own: features stay good when it is gone.
    return describe_work("extract", [path], settings, companions=list_companions(path, sound))
