"""Features of a whole video, audio file or folder of crops, for each requested subject."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from abawcli.errors import InputError, UsageError
from abawcli.faces.crop import read_squares
from abawcli.formats.crops import is_own_crops, name_video
from abawcli.formats.features import Features, round_features
from abawcli.formats.inputs import relate_path
from abawcli.formats.metadata import FeaturesMetadata, FeatureSource
from abawcli.formats.names import decode_name
from abawcli.formats.strategy import SubjectSegments, describe_choice, find_starts
from abawcli.media.recording import open_recording
from abawcli.pipeline.batching import CropFeatures, Crops, encode_in_batches
from abawcli.pipeline.crop_rows import (
    CropRows,
    choose_scales,
    read_official_rows,
    read_own_rows,
)
from abawcli.pipeline.feature_stream import Extractor, FrameFeatures
from abawcli.pipeline.video_columns import Selection, VideoColumns
from abawcli.progress import Progress, ignore_progress

LOG = logging.getLogger(__name__)
AudioRows = tuple[NDArray[np.float16], NDArray[np.bool_]]  # (T, Da), and where there are some (T,)


def extract_video(
    extractor: Extractor,
    path: str | Path,
    people: Mapping[str, SubjectSegments],
    *,
    progress: Progress = ignore_progress,
) -> dict[str, list[Features]]:
    """Return the features of each requested subject of a video or an audio file.

    `people` are the segments of a strategy by name of the output; the video is read once.

    Raises:
        InputError: as `Extractor.extract_frames`; or a requested track or frame does not exist.
        UsageError: the strategy is unknown.
    """
    path = Path(path)
    visual_dim, audio_dim = extractor.widths
    starts = find_starts(people.values())
    columns: VideoColumns[FrameFeatures] = VideoColumns(
        [("has_audio", "?"), ("audio", "f2", (audio_dim,))],
        [("visual", "f2", (visual_dim,))],
        starts,
    )
    columns.collect(extractor.extract_frames(path, starts), progress)
    if extractor.modality == "audio" and not columns.frames["has_audio"].any():
        LOG.warning("%s: no speech detected in the audio", path)
    source = FeatureSource("recording", decode_name(relate_path(path)))
    made = {}
    for video, segments in people.items():
        rows = columns.select(segments, path)
        subject = describe_choice(segments)["subject"]
        metadata = _make_metadata(extractor, video, source)
        subjects = rows.split_subjects() if subject == "all" else [(subject, rows)]
        made[video] = [
            _take_features(own, replace(metadata, subject=str(name))) for name, own in subjects
        ]
    return made


def _take_features(rows: Selection, metadata: FeaturesMetadata) -> Features:
    return Features(
        frame=rows.frame,
        time_s=rows.of_frames("time_s"),
        visual=rows.of_faces("visual", missing=0),
        audio=rows.of_frames("audio"),
        has_visual=rows.found,
        has_audio=rows.of_frames("has_audio"),
        **rows.describe_faces(),
        metadata=metadata,
    )


def extract_crops(
    extractor: Extractor,
    folder: str | Path,
    subject: str | None = None,
    audio_file: str | Path | None = None,
    *,
    progress: Progress = ignore_progress,
    video: str | None = None,
) -> list[Features]:
    """Return the features of each subject in a folder of crops, with the audio of a file.

    `video` is the name of the video in their metadata, by default the folder's name.

    Raises:
        InputError: the folder lacks crops, or shows another subject.
        UsageError: a subject is given for official crops, or crops would be rotated.
    """
    folder = Path(folder)
    if not is_own_crops(folder) and subject:
        raise UsageError(f"{folder} shows one person only; leave out the subject {subject!r}")
    if extractor.rotate:
        raise UsageError(f"{folder} holds crops; rotate the video when they are cut")
    if audio_file is None and extractor.audio_encoder:
        problem = f"{folder}: the video with its audio is not found; give --audio-from DIR"
        if extractor.modality == "audio":
            raise InputError(problem)
        LOG.warning("%s", problem)
    if is_own_crops(folder):
        wanted = extractor.encoder.preprocess.crop_scales if extractor.encoder else ()
        kind, scales = "crops", choose_scales(folder, wanted)
        people = read_own_rows(folder, subject, scales)
    else:
        kind, scales, people = "official crops", None, [read_official_rows(folder, audio_file)]
    source = FeatureSource(
        kind,
        decode_name(relate_path(folder)),
        decode_name(relate_path(audio_file)) if audio_file else None,
        None if scales is None else tuple(scales),
    )
    metadata = _make_metadata(extractor, video or name_video(folder), source)
    times_s = people[0].rows.of_frames("time_s")
    audio = _encode_audio(extractor, times_s, audio_file)  # the same for everybody
    return [
        _encode_crops(
            extractor, crops, replace(metadata, subject=crops.subject), audio, progress=progress
        )
        for crops in people
    ]


def _encode_audio(
    extractor: Extractor, times_s: NDArray[np.float64], audio_file: str | Path | None
) -> AudioRows:
    """Return the features of audio at times (T,)."""
    audio = np.zeros((len(times_s), extractor.widths[1]), np.float16)
    there = np.zeros(len(times_s), bool)
    if audio_file and not np.isnan(times_s).any():
        with open_recording(audio_file) as recording:
            aligner = extractor.encode_audio(recording)
            for k, time_s in enumerate(times_s.tolist()):
                audio[k], there[k] = aligner.at(time_s)
    return audio, there


def _encode_crops(
    extractor: Extractor,
    crops: CropRows,
    metadata: FeaturesMetadata,
    audio: AudioRows,
    *,
    progress: Progress,
) -> Features:
    """Return the features of one subject's crops; those of several scales are averaged."""
    rows, count = crops.rows, len(crops.files)
    visual = np.zeros((count, extractor.widths[0]), np.float16)
    has_visual = np.zeros(count, bool)
    for k, encoded in _encode_files(extractor, crops.files, metadata.video):
        if encoded:
            visual[k], has_visual[k] = round_features(np.mean(encoded, axis=0)), True
        progress(k + 1, count, "")
    return Features(
        frame=rows.frame,
        time_s=rows.of_frames("time_s"),
        visual=visual,
        audio=audio[0],
        has_visual=has_visual,
        has_audio=audio[1],
        **rows.describe_faces(),
        metadata=metadata,
    )


def _encode_files(
    extractor: Extractor, files: list[list[Path]], name: str
) -> Iterator[tuple[int, list[CropFeatures]]]:
    """Yield each row's index with the features of its crops, one per scale."""
    if extractor.encoder is None:
        return ((k, []) for k in range(len(files)))
    how = extractor.encoder.preprocess
    read = partial(read_squares, side=how.resize, resample=how.resample)

    def take_read() -> Iterator[tuple[int, list[Crops]]]:
        for k, images in extractor.workers.map(read, enumerate(files), name):
            for file, image in zip(files[k], images, strict=True):
                if image is None:
                    LOG.warning("%s cannot be read; its frame has no face", file)
            yield k, [image[None] for image in images if image is not None]  # (1, S, S, 3)

    return encode_in_batches(take_read(), extractor.encode_crops, extractor.config)


def _make_metadata(extractor: Extractor, video: str, source: FeatureSource) -> FeaturesMetadata:
    """Return the metadata of features, without their video and subject."""
    parts = {"visual": extractor.encoder, "audio": extractor.audio_encoder}
    computed = {
        name: str(part.dtype).removeprefix("torch.") for name, part in parts.items() if part
    }
    source = replace(source, computed_in=computed)
    return FeaturesMetadata(decode_name(video), "", extractor.backbones, source)
