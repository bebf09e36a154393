"""The summary of `abaw extract` for each input."""

from dataclasses import dataclass

from abawcli.formats.summary import VideoSummary


@dataclass(frozen=True)
class ExtractSummary(VideoSummary):
    """The summary of one input."""

    visual: int  # frames with visual features of a requested subject
    audio: int  # frames with features of audio
    subjects: int

    def count_faces(self) -> int:
        """Return the number of frames with visual features."""
        return self.visual
