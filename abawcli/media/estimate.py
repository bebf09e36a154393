"""Estimated number of frames of a file, from its header: for progress only, never for results."""

import os
from pathlib import Path

import av

from abawcli.config import Media
from abawcli.errors import InputError
from abawcli.media.streams import choose_audio, choose_video, open_media, read_rate


def estimate_frames(path: str | Path) -> int | None:
    """Return the estimated rows of a media file; None if its header does not say or is unreadable.

    Headers may be wrong. Errors are reported when the file is read.
    """
    path = Path(path)
    if not os.path.isfile(path):
        return None
    try:
        with open_media(path) as container:
            video, seconds = choose_video(container), (container.duration or 0) / av.time_base
            if video and video.frames:
                return int(video.frames)
            rate = read_rate(video) if video else Media.fallback_fps
            stream = video or choose_audio(container)
            return round(seconds * rate) or None if stream else None
    except (InputError, av.error.FFmpegError):
        return None
