"""Stage extract: features of faces and sound, a row a decoded frame.

They come as a stream (`pipeline.feature_stream`). What is kept of a whole video is numbers: of each
face 56 bytes and its features, in half precision.
"""

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from abawcli.config import QUALITY, SUBJECTS, is_strategy
from abawcli.errors import InputError, UsageError
from abawcli.faces.crop import read_square
from abawcli.faces.subjects import explain_no_track, lay_rows
from abawcli.formats.abaw import ROW_TOLERANCE
from abawcli.formats.crops import (
    find_audio,
    find_scales,
    is_own_crops,
    list_companions,
    list_images,
    name_video,
    read_subject,
)
from abawcli.formats.faces import BOX, FACES_NAME, read_faces
from abawcli.formats.features import FEATURES_SUFFIX, Features, round_features, write_features
from abawcli.formats.folders import find_finished_folder, replace_folder
from abawcli.formats.metadata import FeaturesMetadata, FeatureSource
from abawcli.formats.names import decode_name
from abawcli.formats.provenance import Provenance, describe_work, find_finished
from abawcli.formats.summary import Summary, keep_warnings, note_summary, read_summary
from abawcli.media.video import read_frames
from abawcli.models.encoder import FeatureEncoder
from abawcli.pipeline.batching import Crops, Rows, encode_in_batches
from abawcli.pipeline.feature_stream import Extractor
from abawcli.progress import Progress, ignore_progress

LOG = logging.getLogger(__name__)
Floats = NDArray[np.float32]
Place = tuple[Floats, Floats, Floats]  # box (T, 4), score (T,), quality (T, 4)
Heard = tuple[NDArray[np.float16], NDArray[np.bool_]]  # (T, Da), (T,)


@dataclass(frozen=True)
class ExtractSummary(Summary):
    """What came of one input."""

    frames: int
    visual: int  # frames with visual features, of anybody who was asked for
    audio: int  # frames with features of sound
    subjects: int


@dataclass(frozen=True)
class CropRows:
    """One subject in a folder of crops: a row a frame."""

    subject: str
    frame: NDArray[np.int64]  # (T,)
    time_s: NDArray[np.float64]  # (T,)
    place: Place
    files: list[list[Path]]  # of each row, one a scale; [] where there is no face


def extract_video(
    extractor: Extractor,
    path: str | Path,
    subject: str = "main",
    progress: Progress = ignore_progress,
    video: str | None = None,
) -> list[Features]:
    """Return the features of each subject that is meant, of a video or a sound.

    They say that they are of `video`; by default the file's name without suffix.

    Raises:
        InputError: as `extract_frames`.
        UsageError: no such way to choose a subject.
    """
    path = Path(path)
    faces, clock, visual, audio = bytearray(), bytearray(), bytearray(), bytearray()
    for found in extractor.extract_frames(path):
        clock += np.array([found.frame, found.time_s, found.has_audio]).tobytes()
        audio += round_features(found.audio).tobytes()
        for face, row in zip(found.faces, found.visual, strict=True):
            who = [found.frame, face.subject, *face.box, face.score, *face.quality]
            faces += np.array(who, np.float64).tobytes()
            visual += round_features(row).tobytes()
        progress(found.frame, None, "")
    times = np.frombuffer(clock).reshape(-1, 3)
    people = np.frombuffer(faces).reshape(-1, 7 + len(QUALITY))
    wide, deep = extractor.widths
    if extractor.modality == "audio" and not times[:, 2].any():
        LOG.warning("%s: nothing that is listened for is heard in its sound", path)
    collected = _Collected(
        frame=times[:, 0].astype(np.int64),
        time_s=times[:, 1],
        audio=np.frombuffer(audio, np.float16).reshape(len(times), deep),
        has_audio=times[:, 2] > 0,
        people=people,
        visual=np.frombuffer(visual, np.float16).reshape(len(people), wide),
    )
    if problem := explain_no_track(subject, people[:, 1].astype(int)):
        raise InputError(f"{path} {problem}")
    source = FeatureSource("recording", decode_name(os.path.relpath(path)))
    metadata = _make_metadata(extractor, video or name_video(path), source)
    return [
        collected.lay_out(index, replace(metadata, subject=name))
        for name, index in _choose_people(collected.frame, people, subject)
    ]


def extract_crops(
    extractor: Extractor,
    folder: str | Path,
    subject: str | None = None,
    sound: str | Path | None = None,
    progress: Progress = ignore_progress,
    video: str | None = None,
) -> list[Features]:
    """Return the features of each subject in a folder of crops, with the sound of a file.

    They say that they are of `video`; by default the folder's name.

    Raises:
        InputError: the folder lacks crops that are needed, or is about another subject.
        UsageError: a subject of official crops, or crops are to be rotated.
    """
    folder = Path(folder)
    sound = None if sound is None else Path(sound)
    if not is_own_crops(folder) and subject:
        raise UsageError(f"{folder} shows one person only; leave out the subject {subject!r}")
    if extractor.rotate:
        raise UsageError(f"{folder} holds crops; rotate the video when they are cut")
    if sound is None and extractor.sound:
        problem = f"{folder}: the video that has its sound is not found; give --audio-from DIR"
        if extractor.modality == "audio":
            raise InputError(problem)
        LOG.warning("%s", problem)
    if is_own_crops(folder):
        scales = _choose_scales(folder, extractor.encoder)
        people = read_people(folder, subject, scales)
    else:
        scales, people = None, [list_people(folder, sound)]
    kind = "official crops" if scales is None else "crops"
    source = FeatureSource(
        kind,
        decode_name(os.path.relpath(folder)),
        decode_name(os.path.relpath(sound)) if sound else None,
        None if scales is None else tuple(scales),
    )
    metadata = _make_metadata(extractor, video or name_video(folder), source)
    heard = _hear(extractor, people[0].time_s, sound)  # the same for everybody
    return [
        _encode_files(extractor, rows, replace(metadata, subject=rows.subject), heard, progress)
        for rows in people
    ]


def _choose_scales(folder: Path, encoder: FeatureEncoder | None) -> list[float]:
    """Return those of the backbone's scales of which there are crops."""
    wanted = encoder.preprocess.crop_scales if encoder else ()
    there = find_scales(folder)
    used = [scale for scale in wanted if scale in there]
    if len(used) < len(wanted):
        call = "abaw crop " + " ".join(f"--scale {scale:g}" for scale in wanted)
        have = ", ".join(f"{scale:g}" for scale in there) or "no scale"
        problem = f"{folder} has crops of {have}; the backbone looks at those of `{call}`"
        if there and not used:
            raise InputError(problem)
        if there:
            LOG.warning("%s", problem)
    return used


def _hear(extractor: Extractor, times_s: NDArray[np.float64], sound: Path | None) -> Heard:
    """Return the features of sound at times (T,) and where there is some."""
    audio = np.zeros((len(times_s), extractor.widths[1]), np.float16)
    there = np.zeros(len(times_s), bool)
    if sound and not np.isnan(times_s).any():
        aligner = extractor.listen(sound)
        for k, time_s in enumerate(times_s.tolist()):
            feature, there[k] = aligner.at(time_s)
            audio[k] = round_features(feature)
    return audio, there


def _encode_files(
    extractor: Extractor,
    rows: CropRows,
    metadata: FeaturesMetadata,
    heard: Heard,
    progress: Progress,
) -> Features:
    count = len(rows.frame)
    visual = np.zeros((count, extractor.widths[0]), np.float16)
    has_visual = np.zeros(count, bool)
    for k, seen in _encode_rows(extractor, rows):
        if seen:
            visual[k], has_visual[k] = round_features(np.mean(seen, axis=0)), True
        progress(k + 1, count, "")
    return Features(
        rows.frame, rows.time_s, visual, heard[0], has_visual, heard[1], *rows.place, metadata,
    )  # fmt: skip


def _encode_rows(extractor: Extractor, rows: CropRows) -> Iterator[tuple[int, list[Rows]]]:
    """Yield each row's index with the features of its crops, one a scale."""
    if extractor.encoder is None:
        return ((k, []) for k in range(len(rows.frame)))
    side = extractor.encoder.preprocess.resize

    def read() -> Iterator[tuple[int, list[Crops]]]:
        for k, files in enumerate(rows.files):
            images = [read_square(file, side) for file in files]
            yield k, [image[None] for image in images if image is not None]  # (1, S, S, 3)

    return encode_in_batches(read(), extractor.encode_crops, extractor.config)


def _make_metadata(extractor: Extractor, video: str, source: FeatureSource) -> FeaturesMetadata:
    """Return the metadata of features, but for whom they are of."""
    parts = {"visual": extractor.encoder, "audio": extractor.sound}
    computed = {
        name: str(part.dtype).removeprefix("torch.") for name, part in parts.items() if part
    }
    source = replace(source, computed_in=computed)
    return FeaturesMetadata(decode_name(video), "", extractor.backbones, source)


@dataclass(frozen=True)
class _Collected:
    """A whole video: a row a frame, and a row a face."""

    frame: NDArray[np.int64]  # (F,)
    time_s: NDArray[np.float64]  # (F,)
    audio: NDArray[np.float16]  # (F, Da)
    has_audio: NDArray[np.bool_]  # (F,)
    people: NDArray[np.float64]  # (N, 11) frame, track, x, y, w, h, score, quality
    visual: NDArray[np.float16]  # (N, Dv)

    def lay_out(self, index: NDArray[np.int64], metadata: FeaturesMetadata) -> Features:
        """Return the features of the faces `index` (F,), -1 where there is none."""
        there = index >= 0
        visual = np.zeros((len(index), self.visual.shape[1]), np.float16)
        visual[there] = self.visual[index[there]]
        return Features(
            self.frame, self.time_s, visual, self.audio, there, self.has_audio,
            *_lay_places(self.people, index), metadata,
        )  # fmt: skip


def _lay_places(people: NDArray[np.float64], index: NDArray[np.int64]) -> Place:
    """Return where the faces `index` (T,) are and how good, NaN where it is -1."""
    place = np.full((len(index), people.shape[1] - 2), np.nan, np.float32)
    place[index >= 0] = people[index[index >= 0], 2:]
    return place[:, :4], place[:, 4], place[:, 5:]


def _choose_people(
    frames: NDArray[np.int64], people: NDArray[np.float64], subject: str
) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """Yield the name and the faces (F,), -1 for none, of each subject that is meant."""
    numbers, who = people[:, 0].astype(int), people[:, 1].astype(int)
    _, row_subject, index = lay_rows(frames, numbers, who, people[:, 2:6], subject)
    if subject != "all":
        yield subject, index
        return
    for one in np.unique(row_subject):
        yield str(one), index[row_subject == one]


def read_people(folder: str | Path, subject: str | None, scales: list[float]) -> list[CropRows]:
    """Return the rows of a folder of our own crops for each subject that is meant.

    Raises:
        InputError: the crops are of another subject, or pictures of faces are missing.
    """
    folder = Path(folder)
    table, _ = read_faces(folder / FACES_NAME)
    made_for = read_subject(folder)
    if subject not in (None, made_for) and made_for != "all":
        raise InputError(
            f"{folder} has crops of subject {made_for!r}, not {subject!r}; "
            f"crop again with --subject {subject}"
        )
    found = table[table["found"]]
    people = found[["frame", "subject", *BOX, "score", *QUALITY]].to_numpy(np.float64)
    frames, first = np.unique(table["frame"].to_numpy(), return_index=True)
    time_s = table["time_s"].to_numpy()[first]
    if made_for == "all":
        chosen = list(_choose_people(frames, people, subject or "all"))
    else:
        index = np.full(len(frames), -1)
        index[np.searchsorted(frames, people[:, 0].astype(int))] = np.arange(len(people))
        chosen = [(made_for, index)]
    return [
        _lay_crops(folder, name, frames, time_s, people, index, scales, made_for == "all")
        for name, index in chosen
    ]


def _lay_crops(
    folder: Path,
    subject: str,
    frames: NDArray[np.int64],
    time_s: NDArray[np.float64],
    people: NDArray[np.float64],
    index: NDArray[np.int64],
    scales: list[float],
    by_subject: bool,
) -> CropRows:
    files: list[list[Path]] = []
    for frame, k in zip(frames, index, strict=True):
        where = folder / f"subject{people[k, 1]:.0f}" if by_subject and k >= 0 else folder
        files.append([where / str(scale) / f"{frame:05d}.jpg" for scale in scales if k >= 0])
    _check_complete(folder, files)
    return CropRows(subject, frames, time_s, _lay_places(people, index), files)


def _check_complete(folder: Path, files: Sequence[Sequence[Path]]) -> None:
    """Refuse crops of which some are gone: a face that was found would become one that was not."""
    wanted = [file for row in files for file in row]
    missing = [file for file in wanted if not file.is_file()]
    if missing:
        raise InputError(
            f"{folder}: {len(missing)} of {len(wanted)} pictures of faces in its {FACES_NAME} are "
            f"missing, the first is {missing[0].relative_to(folder)}; crop the video again"
        )


def list_people(folder: str | Path, video: str | Path | None) -> CropRows:
    """Return the rows of a folder of official crops: row k is frame k.

    With the video there is a row for each of its frames, with its time; up to two crops more
    than it has frames take the last time, as annotations do. Without, rows go to the last crop.

    Raises:
        InputError: there is no crop, or the crops go further beyond the video.
    """
    folder = Path(folder)
    video = None if video is None else Path(video)
    images = list_images(folder)
    last = max(images)
    times = [frame.time_s for frame in read_frames(video)] if video else []
    if video and last > len(times) + ROW_TOLERANCE:
        raise InputError(f"{folder} goes to frame {last}, {video} has only {len(times)}")
    if video is None:
        LOG.warning("%s: without its video the times of its frames are unknown", folder)
    rows = max(last, len(times))
    time_s = np.full(rows, times[-1] if times else np.nan)
    time_s[: len(times)] = times
    frame = np.arange(1, rows + 1)
    files = [[images[k]] if k in images else [] for k in frame.tolist()]
    nobody = _lay_places(np.empty((0, 7 + len(QUALITY))), np.full(rows, -1))
    return CropRows(read_subject(folder), frame, time_s, nobody, files)


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
    return describe_work("extract", [path], settings, list_companions(path, sound))
