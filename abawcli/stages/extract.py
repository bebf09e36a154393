"""Stage extract: features of faces and audio as files, with one row per decoded frame."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from abawcli.config import SUBJECTS, Prediction, is_strategy
from abawcli.device import choose_device, choose_workers, leave_one_core
from abawcli.errors import UsageError
from abawcli.formats.crops import find_audio, list_companions, name_video, read_subject
from abawcli.formats.features import FEATURES_SUFFIX, Features, write_features
from abawcli.formats.folders import find_finished_folder, replace_folder
from abawcli.formats.names import decode_name
from abawcli.formats.provenance import (
    Find,
    Plan,
    Provenance,
    describe_work,
    find_finished,
    plan_output,
)
from abawcli.formats.strategy import SubjectSegment, SubjectSegments, describe_choice
from abawcli.formats.summary import (
    Result,
    keep_warnings,
    note_summary,
    read_summary,
)
from abawcli.media.limits import limit_frames
from abawcli.pipeline.feature_stream import Extractor
from abawcli.pipeline.video_features import extract_crops, extract_video
from abawcli.progress import Progress, ignore_progress
from abawcli.stages.extract_summary import ExtractSummary
from abawcli.stages.settings import ExtractSettings

# Whose features: of each name the segments of a strategy file; or a subject; None: the default.
People = str | Mapping[str, SubjectSegments] | None


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
    """Write the features of a video, an audio file or a folder of crops to the file `output`.

    With the subject `all`, the files are `subject0.safetensors` and so on, in a folder with the
    name of `output` without suffix. Finished work is kept.

    Args:
        path: video, audio file (with the modality audio), our crops, or official ones.
        output: `<name>.safetensors`.
        extractor: the backbones.
        subject: one of SUBJECTS, or `track N`; None: `main`, or the subject of the crops.
        audio_from: folder with the videos that crops were made from.
        video: name of the video, by which annotations and the files in `audio_from` are matched;
            by default the name of the file, without suffix, or of the folder.

    Raises:
        InputError: the input cannot be read, or lacks a requested modality or track.
        OutputError: the output exists and may not be replaced, or cannot be written.
        UsageError: the subject or folder is unknown, or crops would be rotated.
    """
    name = video or name_video(path)
    return extract_files(
        path, {name: Path(output)}, extractor, subject,
        audio_from=audio_from, overwrite=overwrite, progress=progress,
    )[name]  # fmt: skip


def extract_files(
    path: str | Path,
    outputs: Mapping[str, Path],
    extractor: Extractor,
    people: People = None,
    *,
    audio_from: str | Path | None = None,
    overwrite: bool = False,
    progress: Progress = ignore_progress,
) -> dict[str, ExtractSummary]:
    """Write several feature files of one input as `extract_features` does.

    A video is read once, and its crops are held in memory only.

    Args:
        path: as `extract_features` takes it.
        outputs: file by name of the video in the metadata; several only for a video.
        extractor: the backbones.
        people: segments of a strategy by the same names; or a subject, as in `extract_features`.
        audio_from: folder with the videos that crops were made from.
        overwrite: also replace outputs that were edited or come from elsewhere.
        progress: called as frames are done.

    Raises:
        InputError: also if the video lacks the track or frames of a segment.
        OutputError, UsageError: as `extract_features`.
    """
    path = Path(path)
    audio_from = None if audio_from is None else Path(audio_from)
    works = {
        name: _describe_input(path, name, extractor, people, audio_from=audio_from)
        for name in outputs
    }
    targets = {name: _find_target(outputs[name], work) for name, work in works.items()}
    finished = {
        name: find(target, works[name], overwrite) for name, (target, find) in targets.items()
    }
    todo = {name: work for name, work in works.items() if not finished[name]}
    if todo:
        with keep_warnings(*todo.values()):
            made = _extract(
                path, list(todo), extractor, people, audio_from=audio_from, progress=progress
            )
            for name, features in made.items():
                note_summary(todo[name], _summarise(features))
                _write(features, targets[name][0], todo[name])
    return {
        name: read_summary(finished[name] or work, ExtractSummary, made=name in todo)
        for name, work in works.items()
    }


def _extract(
    path: Path,
    names: Sequence[str],
    extractor: Extractor,
    people: People,
    *,
    audio_from: Path | None,
    progress: Progress,
) -> dict[str, list[Features]]:
    """Return the features of each requested subject, by name of the output."""
    if not os.path.isdir(path):
        chosen = {name: _choose_people(people, name) for name in names}
        return extract_video(extractor, path, chosen, progress=progress)
    (name,), subject = names, _name_subject(people, path)
    audio_file = find_audio(path, audio_from, name)
    return {
        name: extract_crops(extractor, path, subject, audio_file, progress=progress, video=name)
    }


def _choose_people(people: People, name: str) -> SubjectSegments:
    """Return the subjects of a video whose features are extracted.

    Raises:
        UsageError: the subject is unknown.
    """
    if isinstance(people, Mapping):
        return people[name]
    subject = people or SUBJECTS[0]
    if not is_strategy(subject) or subject == "skip":
        raise UsageError(f"unknown subject {subject!r}; choose one of {', '.join(SUBJECTS)}")
    return (SubjectSegment(subject),)


def _name_subject(people: People, folder: Path) -> str | None:
    """Return the requested subject of crops.

    Raises:
        UsageError: segments of a strategy file were given.
    """
    if isinstance(people, Mapping):
        raise UsageError(f"the subject of {folder} is already chosen; leave out the strategy")
    return people


def _write(made: Sequence[Features], target: Path, work: Provenance) -> None:
    """Write features to their file, or those of all subjects to their folder."""
    if work["settings"]["subject"] != "all":
        write_features(made[0], target, work)
        return
    with replace_folder(target, work) as folder:
        for one in made:
            write_features(one, folder / f"subject{one.metadata.subject}{FEATURES_SUFFIX}", work)


def _find_target(output: Path, work: Provenance) -> tuple[Path, Find]:
    """Return the file or folder to write, and the function that checks whether it is finished."""
    if work["settings"]["subject"] == "all":
        return output.with_suffix(""), find_finished_folder
    return output, find_finished


ExtractTask = tuple[Mapping[str, Path], People]  # outputs by name, and subjects


class ExtractWorker:
    """The backbones, for any number of inputs. A task is outputs, by name, and subjects."""

    def __init__(self, settings: ExtractSettings) -> None:
        """Load the backbones.

        Raises:
            UsageError, CheckpointError: as `Extractor`.
        """
        leave_one_core()
        limit_frames(settings.max_megapixels)
        self.settings = settings
        self.extractor = Extractor(
            settings.visual, settings.audio, settings.modality, settings.layers,
            device=settings.device, config=Prediction(settings.batch_size), rotate=settings.rotate,
            onnx_input=settings.onnx_input, flip=settings.flip,
            workers=settings.workers or choose_workers(choose_device(settings.device)),
        )  # fmt: skip

    def do(self, path: str | Path, task: ExtractTask, progress: Progress) -> list[Result]:
        """Write the features of one input."""
        outputs, people = task
        done = extract_files(
            path, outputs, self.extractor, people,
            audio_from=self.settings.audio_from, overwrite=self.settings.overwrite,
            progress=progress,
        )  # fmt: skip
        return [Result(name, outputs[name], done[name]) for name in done]

    def plan(self, path: str | Path, task: ExtractTask) -> list[Plan]:
        """Return the plan for each output."""
        (outputs, people), plans = task, list[Plan]()
        audio_from = self.settings.audio_from
        for name, output in outputs.items():
            work = _describe_input(Path(path), name, self.extractor, people, audio_from=audio_from)
            target, find = _find_target(output, work)
            plans.append(plan_output(target, work, self.settings.overwrite, find))
        return plans


def _summarise(made: Sequence[Features]) -> ExtractSummary:
    return ExtractSummary(
        frames=len(made[0].frame),
        visual=int(np.any([one.has_visual for one in made], axis=0).sum()),
        audio=int(made[0].has_audio.sum()),
        subjects=sum(bool(one.has_visual.any()) for one in made),
    )


def _describe_input(
    path: Path, name: str, extractor: Extractor, people: People, *, audio_from: Path | None
) -> Provenance:
    """Return the provenance of features before they are extracted."""
    if not os.path.isdir(path):
        settings = extractor.describe("") | describe_choice(_choose_people(people, name))
        settings["video"] = decode_name(name)
        return describe_work("extract", [path], settings)
    subject = _name_subject(people, path) or read_subject(path)
    settings = extractor.describe(subject, crops=True) | {"video": decode_name(name)}
    # The recording is no input of its own: features stay good when it is gone.
    companions = list_companions(path, find_audio(path, audio_from, name))
    return describe_work("extract", [path], settings, companions=companions)
