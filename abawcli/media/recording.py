"""An open media file, of which frames and audio blocks are read."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from abawcli.media.audio import Audio, read_audio_blocks, read_blocks
from abawcli.media.frame import Frame
from abawcli.media.pictures import identify_picture, read_pictures
from abawcli.media.streams import OpenMedia, open_streams
from abawcli.media.video import read_video


@dataclass(frozen=True)
class Recording:
    """A file that was opened and probed once; its frames and its audio can be read once each."""

    path: Path
    picture: str | None  # the format of a picture
    media: OpenMedia | None  # None: a picture

    @property
    def has_video(self) -> bool:
        """Tell whether there are frames that can be decoded."""
        return self.media is None or self.media.video is not None

    @property
    def has_audio(self) -> bool:
        """Tell whether there is audio that can be decoded."""
        return self.media is not None and self.media.audio is not None

    def is_unknown(self, kind: str) -> bool:
        """Tell whether there are streams of a kind ("video", "audio"), and none can be decoded."""
        return self.media is not None and self.media.is_unknown(kind)

    def explain_lack(self, kind: str) -> str:
        """Return the message that says why there is no `kind`."""
        if self.media is None:
            return f"{self.path} is a picture, without audio"
        return self.media.explain_lack(kind)

    def read_frames(self, rotate: int = 0) -> Iterator[Frame]:
        """Yield the frames as `video.read_frames`; before the recording is closed.

        Raises:
            InputError: as `video.read_frames`.
        """
        if self.media is None:
            return read_pictures(self.path, self.picture or "", rotate)
        return read_video(self.media, rotate)

    def read_audio(self) -> Iterator[Audio]:
        """Yield the audio in blocks as `audio.read_audio_blocks`.

        Beside frames, which are read at another place in the file, it has a container of its own:
        with one for both, what lies between the two places would have to be kept.
        """
        if self.media is None:
            return iter(())
        return read_audio_blocks(self.path) if self.has_video else read_blocks(self.media)


@contextmanager
def open_recording(path: str | Path) -> Iterator[Recording]:
    """Open a file and choose its streams.

    Raises:
        InputError: as `streams.open_media`.
    """
    path = Path(path)
    if kind := identify_picture(path):
        yield Recording(path, kind, None)
        return
    with open_streams(path) as media:
        yield Recording(path, None, media)
