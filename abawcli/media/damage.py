"""Damage at the beginning of a media file, for which its decoders run in another process."""

import os
from itertools import islice
from pathlib import Path
from typing import Any

import av

from abawcli.config import Media
from abawcli.errors import InputError
from abawcli.media.limits import count_allowed
from abawcli.media.pictures import identify_picture
from abawcli.media.streams import OpenMedia, open_streams


def begins_damaged(path: str | Path) -> bool:
    """Tell whether a media file can be opened, but not decoded from its first packets on.

    A decoder may crash on such a file. A file that cannot be opened never reaches a decoder.
    Pictures are not checked.
    """
    if not os.path.isfile(path) or identify_picture(path):
        return False
    try:
        with open_streams(path) as media:
            return _fails_at_once(media)
    except InputError:
        return False


def _fails_at_once(media: OpenMedia) -> bool:
    """Tell whether any of the first packets cannot be decoded."""
    streams = [stream for stream in (media.video, media.audio) if stream is not None]
    if not streams:  # then `demux` would give the packets of all others
        return False
    if media.video and media.video.width * media.video.height > count_allowed():
        return False  # it is refused when it is read
    for stream in streams:
        stream.codec_context.thread_count = 1  # several would hold packets back
    try:
        packets = (packet for packet in media.container.demux(*streams) if packet.size)
        return any(_is_damaged(packet) for packet in islice(packets, Media.first_packets))
    except (av.error.FFmpegError, OSError):
        return True


def _is_damaged(packet: Any) -> bool:
    try:
        return packet.is_corrupt or any(frame.is_corrupt for frame in packet.decode())
    except (av.error.FFmpegError, OSError):
        return True
