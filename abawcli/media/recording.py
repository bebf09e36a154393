"""An open media file, of which frames and audio blocks are read."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from abawcli.media.audio import Audio, read_audio_blocks, read_blocks
from abawcli.media.frame import Frame
from abawcli.media.pictures import identify_picture, read_pictures
from abawcli.media.streams import OpenMedia, open_streams
from abawcli.media.video import TimedImage, read_video, wrap_images


@dataclass(frozen=True)
class Recording:
    """A source of frames and audio, opened and probed once; each can be read once."""

    path: Path | None  # None: images of the caller's
    media: OpenMedia | None  # None: pictures, which have no audio
    read: Callable[[int], Iterator[Frame]]  # the frames, rotated

    @property
    def has_video(self) -> bool:
        """Tell whether there are frames that can be decoded."""
        return self.media is None or self.media.video is not None

    @property
    def has_audio(self) -> bool:
        """Tell whether there is audio that can be decoded."""
        return self.media is not None and self.media.audio is not None

    def is_unknown(self, kind: str) -> bool:
        """Tell whether there are streams of a kind, "video" or "audio", but none is decodable."""
        return self.media is not None and self.media.is_unknown(kind)

    def explain_lack(self, kind: str) -> str:
        """Return the message that says why no stream of a kind is read."""
        if self.media:
            return self.media.explain_lack(kind)
        return f"{self.path} is a picture, without audio" if self.path else "images have no audio"

    def read_frames(self, rotate: int = 0) -> Iterator[Frame]:
        """Yield the frames as `video.read_frames`, while the recording is open.

        Raises:
            InputError: as `video.read_frames` or `video.wrap_images`.
        """
        return self.read(rotate)

    def read_audio(self) -> Iterator[Audio]:
        """Yield the audio in blocks as `audio.read_audio_blocks`.

        Beside frames, which are read at another position in the file, it has a container of its
        own: with one for both, all packets between the two positions would have to be kept.
        """
        if self.media is None:
            return iter(())
        return read_audio_blocks(self.media.path) if self.has_video else read_blocks(self.media)


@contextmanager
def open_recording(source: str | Path | Iterable[TimedImage]) -> Iterator[Recording]:
    """Open a file and choose its streams; or take images, with their times in seconds.

    Raises:
        InputError: as `streams.open_media`.
    """
    if not isinstance(source, str | Path):
        yield Recording(None, None, partial(wrap_images, source))
        return
    path = Path(source)
    if kind := identify_picture(path):
        yield Recording(path, None, partial(read_pictures, path, kind))
        return
    with open_streams(path) as media:
        yield Recording(path, media, partial(read_video, media))
