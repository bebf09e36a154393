"""Stage extract: features of faces and audio as files, a row a decoded frame."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from abawcli.config import SUBJECTS, Media, Prediction, is_strategy
from abawcli.device import leave_one_core
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
from abawcli.formats.summary import (
    Result,
    VideoSummary,
    keep_warnings,
    note_summary,
    read_summary,
)
from abawcli.media.limits import limit_frames
from abawcli.pipeline.feature_stream import Extractor
from abawcli.pipeline.video_features import extract_crops, extract_video
from abawcli.progress import Progress, ignore_progress


@dataclass(frozen=True)
class ExtractSummary(VideoSummary):
    """What came of one input."""

    visual: int  # frames with visual features, of anybody who was asked for
    audio: int  # frames with features of audio
    subjects: int

    def count_faces(self) -> int:
        """Return the number of frames with visual features."""
        return self.visual


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

    With the subject `all` they are files `subject0.safetensors` and so on in a folder called
    like `output` without suffix. What is finished is not made again.

    Args:
        path: video, audio file (with the modality audio), our crops, or official ones.
        output: `<name>.safetensors`.
        extractor: the backbones.
        subject: one of SUBJECTS, or `track N`; None: the main one, or those that crops were made
            for.
        audio_from: folder with the videos that crops were made from.
        video: what the features are of, by which annotations go, and videos in `audio_from`; by
            default the name of the file, without suffix, or of the folder.

    Raises:
        InputError: the input cannot be read, or lacks what was asked for.
        OutputError: something else is in the way, or the output cannot be written.
        UsageError: no such subject or folder, or crops are to be rotated.
    """
    path = Path(path)
    output = Path(output)
    audio_from = None if audio_from is None else Path(audio_from)
    crops = os.path.isdir(path)
    audio_file = find_audio(path, audio_from, video or name_video(path)) if crops else None
    meant = _choose_subject(path, subject)
    work = _describe_input(
        path, audio_file, extractor, meant, decode_name(video or name_video(path))
    )
    target, find = _find_target(output, meant)
    if finished := find(target, work, overwrite):
        return read_summary(finished, ExtractSummary, made=False)
    with keep_warnings(work):
        if crops:
            made = extract_crops(
                extractor, path, subject, audio_file, progress=progress, video=video
            )
        else:
            made = extract_video(extractor, path, meant, progress=progress, video=video)
        note_summary(work, _summarise(made))
        if meant != "all":
            write_features(made[0], output, work)
        else:
            with replace_folder(target, work) as folder:
                for one in made:
                    name = f"subject{one.metadata.subject}{FEATURES_SUFFIX}"
                    write_features(one, folder / name, work)
    return read_summary(work, ExtractSummary, made=True)


def _choose_subject(path: Path, subject: str | None) -> str:
    """Return whose features are extracted: who was asked for, or the default of the input."""
    crops = os.path.isdir(path)
    meant = subject or (read_subject(path) if crops else SUBJECTS[0])
    if not crops and (not is_strategy(meant) or meant == "skip"):
        raise UsageError(f"unknown subject {meant!r}; choose one of {', '.join(SUBJECTS)}")
    return meant


def _find_target(output: Path, subject: str) -> tuple[Path, Find]:
    """Return the file or folder that is written, and how it is judged whether it is finished."""
    if subject == "all":
        return output.with_suffix(""), find_finished_folder
    return output, find_finished


@dataclass(frozen=True)
class ExtractWork:
    """The settings of features of any number of inputs, for `engines.run`."""

    visual: str
    audio: str
    modality: str
    layers: str
    device: str
    batch_size: int
    rotate: int = 0
    subject: str | None = None
    audio_from: Path | None = None
    overwrite: bool = False
    max_megapixels: int = Media.frame_megapixels
    onnx_input: str | None = None
    flip: bool = False

    def load(self) -> "ExtractWorker":
        """Load the backbones."""
        return ExtractWorker(self)


ExtractTask = tuple[str, Path]  # name of the video, and output


class ExtractWorker:
    """The backbones, for any number of inputs. A task is the name of the video and the output."""

    def __init__(self, work: ExtractWork) -> None:
        """Load the backbones.

        Raises:
            UsageError, CheckpointError: as `Extractor`.
        """
        leave_one_core()
        limit_frames(work.max_megapixels)
        self.work = work
        self.extractor = Extractor(
            work.visual, work.audio, work.modality, work.layers, device=work.device,
            config=Prediction(work.batch_size), rotate=work.rotate, onnx_input=work.onnx_input,
            flip=work.flip,
        )  # fmt: skip

    def do(self, path: str | Path, task: ExtractTask, progress: Progress) -> list[Result]:
        """Write the features of one input."""
        name, output = task
        done = extract_features(
            path, output, self.extractor, subject=self.work.subject, video=name,
            audio_from=self.work.audio_from, overwrite=self.work.overwrite, progress=progress,
        )  # fmt: skip
        return [Result(name, output, done)]

    def plan(self, path: str | Path, task: ExtractTask) -> list[Plan]:
        """Return what would be done."""
        path, (name, output) = Path(path), task
        audio_from = self.work.audio_from
        audio_file = find_audio(path, audio_from, name) if os.path.isdir(path) else None
        meant = _choose_subject(path, self.work.subject)
        work = _describe_input(path, audio_file, self.extractor, meant, decode_name(name))
        target, find = _find_target(output, meant)
        return [plan_output(target, work, self.work.overwrite, find)]


def _summarise(made: Sequence[Features]) -> ExtractSummary:
    return ExtractSummary(
        frames=len(made[0].frame),
        visual=int(np.any([one.has_visual for one in made], axis=0).sum()),
        audio=int(made[0].has_audio.sum()),
        subjects=sum(bool(one.has_visual.any()) for one in made),
    )


def _describe_input(
    path: Path, audio_file: Path | None, extractor: Extractor, subject: str, video: str
) -> Provenance:
    """Return the provenance of an input's features."""
    settings = extractor.describe(subject, crops=os.path.isdir(path)) | {"video": video}
    if not os.path.isdir(path):
        return describe_work("extract", [path], settings)
    # The recording is no input of its own: features stay good when it is gone.
    return describe_work("extract", [path], settings, companions=list_companions(path, audio_file))
