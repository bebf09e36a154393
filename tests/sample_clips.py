"""The sample clips with their labels, and commands on files: what whole systems are tested with."""

from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from click.testing import CliRunner
from media_files import TURNS, AudioTrack, write_media

from abawcli.cli import main
from abawcli.config import AUDIO_RATE_HZ
from abawcli.formats.abaw import read_annotation, write_annotation
from abawcli.media.audio import read_audio
from abawcli.media.frame import Frame
from abawcli.media.video import read_frames

SAMPLES = Path(__file__).parents[1] / "sample_videos"
CLIPS = ("expressions", "leaves_and_returns_vfr", "rotated_phone")
EVERY = 5  # the step between the frames of a thinned clip
TICKS_HZ = 10_000
FOLDER = TemporaryDirectory(prefix="abaw-clips-")  # removed when the process ends


def abaw(*arguments: object) -> str:
    """Run a command that has to succeed and return what it prints."""
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


@cache
def thin_clip(name: str) -> Path:
    """Return a sample clip with one of EVERY frames, each at its own time, and all its audio.

    The whole story in fewer frames: what a face and an encoder cost is a cost of each frame.
    What a phone filmed upright is stored on its side, with a display matrix, as in the sample.
    """
    source = SAMPLES / f"{name}.mp4"
    return write_thinned(list(read_frames(source)), source, Path(FOLDER.name) / source.name)


def write_thinned(frames: Sequence[Frame], source: Path, output: Path) -> Path:
    """Write one of EVERY frames, each at its own time, and all audio of their source."""
    frames, audio = frames[::EVERY], read_audio(source)
    assert audio is not None
    degrees = frames[0].orientation.degrees
    return write_media(
        output,
        [np.rot90(frame.rgb(), -degrees // 90) for frame in frames],
        times=[round(frame.time_s * TICKS_HZ) for frame in frames],
        time_base=Fraction(1, TICKS_HZ),
        options={"preset": "ultrafast"},
        matrix=TURNS[degrees, False] if degrees else None,
        audio=AudioTrack([(audio.start_s, audio.samples[None])], audio.rate_hz, "pcm_s16le"),
        container="mov",  # which takes audio that is not compressed
    )


def cut_clip(path: Path, count: int = 12) -> Path:
    """Write some frames of a sample clip in which somebody speaks, with their audio."""
    source, first = SAMPLES / "expressions.mp4", 200
    frames = islice(read_frames(source), first, first + count)
    audio = read_audio(source)
    assert audio is not None
    begin, end = (frame * AUDIO_RATE_HZ // 25 for frame in (first, first + count))
    part = AudioTrack([(0.0, audio.samples[None, begin:end])], AUDIO_RATE_HZ, "pcm_s16le")
    return write_media(path, [frame.rgb() for frame in frames], audio=part)


def copy_labels(folder: Path) -> None:
    """Write the annotations of the thinned clips into a new folder."""
    folder.mkdir()
    for clip in CLIPS:
        labels = np.asarray(read_annotation(SAMPLES / f"{clip}.txt"))
        write_annotation(labels[::EVERY], folder / f"{clip}.txt")
