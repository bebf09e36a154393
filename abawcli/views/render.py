"""Review videos: the frames with boxes, labels and probabilities, and a timeline below.

At each time of the result, the frame that is on screen at that time is shown with its own label,
whatever the rate of the video. Frames are drawn as they are decoded, and none is held in memory.
"""

import logging
import math
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, pairwise, takewhile
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from abawcli.config import Rendering
from abawcli.errors import InputError, OutputError, UsageError
from abawcli.faces.hide import Detections, detect_everywhere, hide_faces, load_sensitive_detector
from abawcli.formats.inputs import check_exists, check_input
from abawcli.formats.json_values import JsonObject
from abawcli.formats.provenance import (
    Provenance,
    describe_work,
    find_finished,
    read_provenance,
    write_result,
)
from abawcli.formats.summary import Summary, keep_warnings, note_summary, read_summary
from abawcli.formats.tables import read_table
from abawcli.media.encoding import check_video_name, write_audio, write_video
from abawcli.media.frame import Frame
from abawcli.media.pixels import Image
from abawcli.media.video import check_rotation, read_frames
from abawcli.progress import Progress, ignore_progress
from abawcli.views.frame_labels import FrameLabels
from abawcli.views.overlay import Person, Style, draw_people
from abawcli.views.strip import MAX_ROWS, Strip, draw_strip

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class RenderSettings:
    """The settings of a rendered video."""

    blur_faces: bool = False  # every face, also those without a row in the table
    rotate: int | None = None  # degrees clockwise; None: as the table was made
    from_s: float = -math.inf
    to_s: float = math.inf


@dataclass(frozen=True)
class RenderSummary(Summary):
    """The summary of a rendered video."""

    frames: int  # of the result
    fps: float
    subjects: int
    audio: bool  # whether the video has audio


def find_rotation(provenance: Provenance) -> int:
    """Return the degrees by which frames were rotated for a table, or for its inputs."""
    settings = provenance.get("settings")
    if isinstance(settings, dict) and settings.get("rotate"):
        return int(settings["rotate"])
    origins = provenance.get("made_from")
    found = (find_rotation(each) for each in origins) if isinstance(origins, list) else iter(())
    return next(filter(None, found), 0)


def render_video(
    video: str | Path,
    table: str | Path,
    output: str | Path,
    settings: RenderSettings | None = None,
    *,
    overwrite: bool = False,
    progress: Progress = ignore_progress,
) -> RenderSummary:
    """Write a video with the labels of its prediction table drawn in, and its audio.

    `output` ends in .mp4, .mov, .mkv or .webm. Finished work is kept. `progress` is called as
    frames are done.

    Raises:
        InputError: an input cannot be read, or the table belongs to another video.
        OutputError: the output exists and may not be replaced, cannot be written, or FFmpeg fails.
        UsageError: no video's suffix, no such rotation, or a span that ends before it begins.
    """
    video, table, output = Path(video), Path(table), Path(output)
    settings = settings or RenderSettings()
    _check_call(video, table, output, settings)
    origin = read_provenance(table)
    rotate = find_rotation(origin) if settings.rotate is None else settings.rotate
    work = describe_work("render", [video, table], _describe(settings, rotate), made_from=[origin])
    if finished := find_finished(output, work, overwrite):
        return read_summary(finished, RenderSummary, made=False)
    with keep_warnings(work), tempfile.TemporaryDirectory(prefix="abaw") as folder:
        labels = FrameLabels.of(read_table(table), video, table)
        film = _plan_film(labels, (str(video), str(table)), settings)
        audio = Path(folder) / "audio.mka"
        has_audio = _copy_audio(video, audio, film.span_s)
        if settings.blur_faces:
            film = replace(
                film, detections=_detect_faces(film, read_frames(video, rotate), progress)
            )
        summary = RenderSummary(film.count, film.fps, len(labels.timelines), has_audio)
        note_summary(work, summary)
        with write_result(output, work) as temporary:
            images = render_frames(film, read_frames(video, rotate), progress)
            try:
                write_video(temporary, images, film.fps, audio if has_audio else None)
            except OutputError as error:
                raise OutputError(f"cannot write {output}: {error}") from error
    return read_summary(work, RenderSummary, made=True)


def _check_call(video: Path, table: Path, output: Path, settings: RenderSettings) -> None:
    check_video_name(output)
    if not settings.from_s < settings.to_s:
        raise UsageError(f"the span {settings.from_s:g} s to {settings.to_s:g} s is empty")
    check_rotation(settings.rotate or 0)
    for path in (video, table):
        check_exists(path)
        check_input(path)
    if video.is_dir():
        raise InputError(f"{video} is a folder, not a media file")


def _describe(settings: RenderSettings, rotate: int) -> JsonObject:
    """Return the settings as JSON, which has no infinite numbers."""
    span = [None if math.isinf(edge) else edge for edge in (settings.from_s, settings.to_s)]
    return {"blur_faces": settings.blur_faces, "rotate": rotate, "span_s": span}


def _copy_audio(video: Path, path: Path, span_s: tuple[float, float]) -> bool:
    """Write the audio of a span; audio that cannot be decoded is left out with a warning."""
    try:
        return write_audio(video, path, *span_s)
    except InputError as error:
        LOG.warning("%s; the result is silent", error)
        return False


@dataclass(frozen=True)
class Film:
    """The frames of the result, with their times."""

    labels: FrameLabels
    names: tuple[str, str]  # of the video and of the table
    span_s: tuple[float, float]  # of the video's time
    fps: float  # of the result
    count: int  # likewise its frames
    detections: Detections | None = None  # of faces to be hidden

    def time_s(self, k: int) -> float:
        """Return the video's time that frame `k` of the result shows, from 0."""
        return self.span_s[0] + k / self.fps


def _plan_film(labels: FrameLabels, names: tuple[str, str], settings: RenderSettings) -> Film:
    """Choose the times of the result.

    Raises:
        InputError: no frame of the table is in the span.
    """
    fps = labels.choose_rate()
    first_s, end_s = float(labels.time_s[0]), labels.end_s
    start_s, stop_s = max(settings.from_s, first_s), min(settings.to_s, end_s)
    if first_s == end_s:  # a picture
        stop_s = end_s = first_s + 1 / fps
    if start_s >= stop_s:
        raise InputError(
            f"{names[0]} has no frame in the span; it goes from {first_s:.2f} s to {end_s:.2f} s"
        )
    if len(labels.timelines) > MAX_ROWS:
        LOG.warning(
            "%s: the timeline shows the %d of %d people who have labels longest; all have boxes",
            names[1], MAX_ROWS, len(labels.timelines),
        )  # fmt: skip
    count = max(1, math.ceil((stop_s - start_s) * fps - 1e-3))
    return Film(labels=labels, names=names, span_s=(start_s, stop_s), fps=fps, count=count)


def _detect_faces(film: Film, frames: Iterator[Frame], progress: Progress) -> Detections:
    """Detect the faces in all shown frames, and shortly before and after."""
    start_s, stop_s = film.span_s[0] - Rendering.hidden_s, film.span_s[1] + Rendering.hidden_s
    last = int(film.labels.frames[-1])
    until = takewhile(lambda frame: frame.time_s <= stop_s, frames)
    near = (frame for frame, next_s in _show_until(until) if next_s > start_s)
    return detect_everywhere(near, load_sensitive_detector(), last, progress)


def render_frames(film: Film, frames: Iterable[Frame], progress: Progress) -> Iterator[Image]:
    """Yield the pictures (H, W, 3) of the result, all of one size, in order.

    Raises:
        InputError: the frames are not those of the table.
    """
    k, painter = 0, None
    for frame, next_s in _show_until(film.labels.check(frames, film.names)):
        drawn: Image | None = None
        while k < film.count and film.time_s(k) + Rendering.same_time_s < next_s:
            painter = painter or Painter.for_size(frame.size, film)
            if drawn is None:
                drawn = painter.draw_frame(frame)
            yield painter.add_strip(drawn, film.time_s(k))
            k += 1
            progress(k, film.count, "")
        if k == film.count and next_s < math.inf:
            return  # of the rest, nothing is shown


def _show_until(frames: Iterable[Frame]) -> Iterator[tuple[Frame, float]]:
    """Yield frames with the time of the next one, which is infinite after the last one."""
    ends: Iterable[Frame | None] = chain(frames, [None])
    for frame, following in pairwise(ends):
        if frame is not None:
            yield frame, math.inf if following is None else following.time_s


@dataclass(frozen=True)
class Painter:
    """Draws the pictures of the result, with layout and timeline prepared once."""

    film: Film
    size: tuple[int, int]  # of the video within the result
    style: Style
    strip: Strip

    @classmethod
    def for_size(cls, size: tuple[int, int], film: Film) -> "Painter":
        """Prepare for frames of this width and height; H.264 requires even ones in the result."""
        style = Style.for_size(*size)
        width = size[0] + size[0] % 2
        return cls(film, size, style, draw_strip(film.labels.timelines, width, film.span_s, style))

    def draw_frame(self, frame: Frame) -> Image:
        """Return a frame (H, W, 3) with its people drawn in."""
        picture, people = frame.rgb(), self.film.labels.list_people(frame.frame)
        if self.film.detections is not None:
            picture = hide_faces(picture, self._find_hidden(frame, people))
        picture, people = fit_picture(picture, people, self.size)
        return draw_people(picture, people, self.style)

    def _find_hidden(self, frame: Frame, people: list[Person]) -> NDArray[np.float64]:
        """Return the boxes (N, 4) of all faces near a frame, from detections and from the table."""
        assert self.film.detections is not None
        own = np.array([p.box for p in people if p.box]).reshape(-1, 4)
        seen = self.film.detections.find_around(frame.time_s, Rendering.hidden_s)
        return np.concatenate([own, seen])

    def add_strip(self, picture: Image, time_s: float) -> Image:
        """Return a picture (H, W, 3) with the timeline below it, and the cursor at a time."""
        strip = self.strip.draw_cursor(time_s)
        height, width = picture.shape[0] + strip.shape[0], strip.shape[1]
        whole = np.zeros((height + height % 2, width, 3), np.uint8)
        whole[: picture.shape[0], : picture.shape[1]] = picture
        whole[picture.shape[0] : height] = strip
        return whole


def fit_picture(
    picture: Image, people: list[Person], size: tuple[int, int]
) -> tuple[Image, list[Person]]:
    """Return a picture (H, W, 3) of another size, scaled to fit into `size`.

    Some videos change their size."""
    height, width = picture.shape[:2]
    if (width, height) == size:
        return picture, people
    scale = min(size[0] / width, size[1] / height)
    small = max(1, round(width * scale)), max(1, round(height * scale))
    x, y = (size[0] - small[0]) // 2, (size[1] - small[1]) // 2
    whole = np.zeros((size[1], size[0], 3), np.uint8)
    whole[y : y + small[1], x : x + small[0]] = cv2.resize(picture, small)
    moved = [
        replace(p, box=p.box and (
            x + scale * p.box[0], y + scale * p.box[1], scale * p.box[2], scale * p.box[3]
        ))
        for p in people
    ]  # fmt: skip
    return whole, moved
