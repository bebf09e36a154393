"""Sound of a media file: 16 kHz, mono, on the same clock as the frames."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer
from numpy.typing import NDArray

from abawcli.config import AUDIO_RATE_HZ, Media
from abawcli.errors import InputError
from abawcli.media.video import decode_stream, open_media

Samples = NDArray[np.float32]
BLOCK_SAMPLES = 10 * AUDIO_RATE_HZ  # of silence at once; sound comes in the codec's own blocks


@dataclass(frozen=True)
class Audio:
    """Sound from `start_s` on the container's clock: sample k is heard at start_s + k / 16000."""

    samples: Samples  # (N,), mono, full scale 1.0
    start_s: float


def find_audio(container: InputContainer, path: Path) -> AudioStream | None:
    """Return the first sound stream, None where there is none.

    Raises:
        InputError: there is no decoder for it.
    """
    for stream in container.streams.audio:
        if stream.codec_context is None:
            raise InputError(f"{path}: its sound is in a format that FFmpeg cannot decode")
        return stream
    return None


def _make_resampler() -> AudioResampler:
    # rematrix_maxval: channels are averaged. Without it they are summed, beyond full scale.
    options = {"rematrix_maxval": "1.0"}
    return AudioResampler("flt", "mono", AUDIO_RATE_HZ, options=options)


def _split_runs(natives: Iterator[av.AudioFrame]) -> Iterator[tuple[bool, float, av.AudioFrame]]:
    """Tell of each frame whether a new run begins with it, and the time that its run has then.

    A run has one format and no jump in its times. A frame without time goes on with the run.
    """
    due_s, form = None, None
    for native in natives:
        own_form = (native.format.name, native.layout.name, native.sample_rate)
        time_s = native.time if native.time is not None else due_s or 0.0
        jumps = due_s is None or abs(time_s - due_s) > Media.audio_gap_s
        begins, form = jumps or own_form != form, own_form
        at_s = time_s if jumps or due_s is None else due_s
        yield begins, at_s, native
        due_s = at_s + native.samples / native.sample_rate


def _resample_runs(natives: Iterator[av.AudioFrame]) -> Iterator[tuple[float | None, Samples]]:
    """Yield mono sound at 16 kHz; with the first block of a run the time at which it begins."""
    resampler = _make_resampler()
    for begins, at_s, native in _split_runs(natives):
        if begins:
            yield from ((None, part) for part in _resample(resampler, None))
            resampler = _make_resampler()
            yield at_s, np.empty(0, np.float32)
        yield from ((None, part) for part in _resample(resampler, native))
    yield from ((None, part) for part in _resample(resampler, None))


def _resample(resampler: AudioResampler, native: av.AudioFrame | None) -> list[Samples]:
    return [np.asarray(part.to_ndarray()[0], np.float32) for part in resampler.resample(native)]


def read_audio_blocks(path: Path) -> Iterator[Audio]:
    """Yield the sound in blocks that adjoin without gap or overlap; nothing where there is none.

    Gaps between the stream's times are silence, and where times overlap the first sound stays.
    Encoder delay is taken off as FFmpeg does. A damaged tail ends the sound with a warning.

    Raises:
        InputError: the file cannot be opened, or there is no decoder for its sound.
    """
    with open_media(path) as container:
        stream = find_audio(container, path)
        if stream is None:
            return
        start_s, written, overlap = None, 0, 0
        for at_s, samples in _resample_runs(decode_stream(container, stream, path)):
            if at_s is not None:
                start_s = at_s if start_s is None else start_s
                gap = round((at_s - start_s) * AUDIO_RATE_HZ) - written
                for first in range(0, gap, BLOCK_SAMPLES):
                    silence = np.zeros(min(BLOCK_SAMPLES, gap - first), np.float32)
                    yield Audio(silence, start_s + written / AUDIO_RATE_HZ)
                    written += len(silence)
                overlap = max(0, -gap)
            kept = samples[overlap:]
            overlap -= len(samples) - len(kept)
            if start_s is not None and len(kept):
                yield Audio(kept, start_s + written / AUDIO_RATE_HZ)
                written += len(kept)


def read_audio(path: Path) -> Audio | None:
    """Return the whole sound, None where the file has none.

    Raises:
        InputError: as `read_audio_blocks`.
    """
    blocks = list(read_audio_blocks(path))
    if not blocks:
        return None
    return Audio(np.concatenate([block.samples for block in blocks]), blocks[0].start_s)
