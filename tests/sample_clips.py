"""The sample clips with their labels, and commands on files: what whole systems are tested with."""

from fractions import Fraction
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from click.testing import CliRunner
from media_files import Sound, write_media

from abawcli.cli import main
from abawcli.formats.abaw import read_annotation, write_annotation
from abawcli.media.audio import read_audio
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
    The display matrix of a phone is applied.
    """
    source = SAMPLES / f"{name}.mp4"
    frames = list(read_frames(source))[::EVERY]
    audio = read_audio(source)
    assert audio is not None
    return write_media(
        Path(FOLDER.name) / source.name,
        [frame.rgb() for frame in frames],
        times=[round(frame.time_s * TICKS_HZ) for frame in frames],
        time_base=Fraction(1, TICKS_HZ),
        options={"preset": "ultrafast"},
        sound=Sound([(audio.start_s, audio.samples[None])], audio.rate_hz, "pcm_s16le"),
        container="matroska",  # which takes audio that is not compressed
    )


def copy_labels(folder: Path) -> None:
    """Write the annotations of the thinned clips into a new folder."""
    folder.mkdir()
    for clip in CLIPS:
        labels = np.asarray(read_annotation(SAMPLES / f"{clip}.txt"))
        write_annotation(labels[::EVERY], folder / f"{clip}.txt")
