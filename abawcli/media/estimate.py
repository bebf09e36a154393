"""About how many frames a file has, from its header: for progress, and never for results."""

import os
from pathlib import Path

import av

from abawcli.config import Media
from abawcli.errors import InputError
from abawcli.media.streams import choose_audio, choose_video, open_media, read_rate


def estimate_frames(path: str | Path) -> int | None:
    """Return the rows that a video or sound seems to give; None where its header does not say.

    Headers may be wrong, and what cannot be read is left to the reader to report.
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
            sound = video or choose_audio(container)
            return round(seconds * rate) or None if sound else None
    except (InputError, av.error.FFmpegError):
        return None
