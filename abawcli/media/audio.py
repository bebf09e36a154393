"""The audio of a media file on the same clock as its frames, by default as 16 kHz mono."""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from numpy.typing import NDArray

from abawcli.config import AUDIO_RATE_HZ, Media
from abawcli.errors import InputError
from abawcli.media.clock import count_back
from abawcli.media.streams import OpenMedia, decode_stream, open_streams, report_choice

LOG = logging.getLogger(__name__)
Samples = NDArray[np.float32]
GUESSED_CHANNELS = 8  # FFmpeg knows a usual layout for each number of channels up to it
LATE_FRAMES = 1024  # audio frames without a time before the first that has one, at most


@dataclass(frozen=True)
class Audio:
    """Audio samples on the container's clock: sample k has the time start_s + k / rate_hz."""

    samples: Samples  # (N,) mono, (N, 2) stereo; full scale 1.0
    start_s: float
    rate_hz: int = AUDIO_RATE_HZ

    @property
    def end_s(self) -> float:
        """Return the time of the sample after the last."""
        return self.start_s + len(self.samples) / self.rate_hz


def _make_resampler(rate_hz: int, layout: str) -> AudioResampler:
    # With rematrix_maxval, channels are averaged; otherwise their sum may exceed full scale.
    options = {"rematrix_maxval": "1.0"}
    return AudioResampler("flt", layout, rate_hz, options=options)


def _split_runs(natives: Iterator[av.AudioFrame]) -> Iterator[tuple[bool, float, av.AudioFrame]]:
    """Yield for each frame whether a new run begins with it, its time within the run, and itself.

    A run has one format and no jump in its times. A frame without a time continues the run.
    """
    due_s, form = None, None
    timed = ((native.time, native.samples / native.sample_rate, native) for native in natives)
    for known_s, length_s, native in count_back(timed, LATE_FRAMES):
        own_form = (native.format.name, native.layout.name, native.sample_rate)
        time_s = known_s if known_s is not None else due_s or 0.0
        jumps = due_s is None or abs(time_s - due_s) > Media.audio_gap_s
        begins, form = jumps or own_form != form, own_form
        at_s = time_s if jumps or due_s is None else due_s
        yield begins, at_s, native
        due_s = at_s + length_s


def _resample_runs(
    natives: Iterator[av.AudioFrame], rate_hz: int, layout: str
) -> Iterator[tuple[float | None, Samples]]:
    """Yield samples at a rate and layout; a run starts with its time and an empty block."""
    resampler = _make_resampler(rate_hz, layout)
    for begins, at_s, native in _split_runs(natives):
        if begins:
            yield from ((None, part) for part in _resample(resampler, None))
            resampler = _make_resampler(rate_hz, layout)
            yield at_s, np.empty(0, np.float32)
        yield from ((None, part) for part in _resample(resampler, native))
    yield from ((None, part) for part in _resample(resampler, None))


def _resample(resampler: AudioResampler, native: av.AudioFrame | None) -> list[Samples]:
    parts = resampler.resample(native)
    return [_shape(part.to_ndarray()[0], part.layout.nb_channels) for part in parts]


def _shape(interleaved: NDArray[np.floating], channels: int) -> Samples:
    samples = np.asarray(interleaved, np.float32)
    return samples if channels == 1 else samples.reshape(-1, channels)


def _drop_impossible(media: OpenMedia, natives: Iterator[av.AudioFrame]) -> Iterator[av.AudioFrame]:
    """Drop audio whose header states an impossible sampling rate, with one warning."""
    low, high = Media.audio_rates_hz
    wrong_hz: int | None = None
    for native in natives:
        if low <= native.sample_rate <= high:
            yield native
        else:
            wrong_hz = native.sample_rate
    if wrong_hz is not None:
        LOG.warning("%s: audio at %d Hz is not used: its header is damaged", media.path, wrong_hz)


def _clean(media: OpenMedia, natives: Iterator[av.AudioFrame]) -> Iterator[av.AudioFrame]:
    """Replace samples that are NaN, infinite or absurdly large by silence, with one warning.

    Otherwise a single one of them would make all features of the audio invalid.
    """
    silenced, first_s = 0, 0.0
    for native in natives:
        if native.format.name.startswith(("flt", "dbl")):
            samples = native.to_ndarray()
            bad = ~(np.abs(samples) <= Media.loudest)  # true of NaN
            if bad.any():
                first_s = first_s if silenced else native.time or 0.0
                silenced += int(bad.sum())
                good = np.where(bad, samples.dtype.type(0), samples)
                native = _replace_samples(native, good, native.format.name, native.layout.name)
        yield native
    if silenced:
        LOG.warning(
            "%s: its audio has samples that are no finite numbers (%d, the first at %.2f s); "
            "they are replaced by silence", media.path, silenced, first_s,
        )  # fmt: skip


def _replace_samples(
    native: av.AudioFrame, samples: NDArray[Any], form: str, layout: str
) -> av.AudioFrame:
    clean = av.AudioFrame.from_ndarray(samples, form, layout)
    clean.sample_rate, clean.pts = native.sample_rate, native.pts
    if native.time_base:
        clean.time_base = native.time_base
    return clean


def _average_channels(natives: Iterator[av.AudioFrame]) -> Iterator[av.AudioFrame]:
    """Average the channels of microphone arrays: FFmpeg has no layout for them, thus no mix."""
    for native in natives:
        count = native.layout.nb_channels
        if count <= GUESSED_CHANNELS or not native.layout.name.endswith(" channels"):
            yield native
            continue
        mean = _split_channels(native).mean(axis=0, keepdims=True)  # (1, N)
        yield _replace_samples(native, mean, "flt", "mono")


def _report_cancelling(
    media: OpenMedia, natives: Iterator[av.AudioFrame]
) -> Iterator[av.AudioFrame]:
    """Warn if the average of two channels is nearly silent, because one of them is inverted."""
    apart = mixed = 0.0  # energy of the channels, and of their average
    for native in natives:
        if native.layout.nb_channels == 2:
            left, right = _split_channels(native)
            middle = (left + right) / 2
            apart += float(left @ left + right @ right) / 2
            mixed += float(middle @ middle)
        yield native
    if mixed < Media.cancelled * apart:
        LOG.warning(
            "%s: its two channels cancel each other, so that their average has hardly any speech; "
            "keep one of them (ffmpeg -i IN -af 'pan=mono|c0=c0' OUT)", media.path,
        )  # fmt: skip


def _split_channels(native: av.AudioFrame) -> Samples:
    """Return the samples of each channel, (C, N), full scale 1.0."""
    samples = native.to_ndarray()  # (C, N) planar, (1, N * C) packed
    if not native.format.is_planar:
        samples = samples.reshape(-1, native.layout.nb_channels).T
    return _to_full_scale(samples)


def _to_full_scale(samples: NDArray[np.generic]) -> Samples:
    """Turn samples of any format into float samples of full scale 1.0."""
    if samples.dtype.kind == "f":
        return samples.astype(np.float32)
    scale = 2.0 ** (8 * samples.itemsize - 1)
    middle = scale if samples.dtype.kind == "u" else 0.0
    return ((samples.astype(np.float64) - middle) / scale).astype(np.float32)


def read_audio_blocks(
    path: str | Path, rate_hz: int = AUDIO_RATE_HZ, layout: str = "mono"
) -> Iterator[Audio]:
    """Yield the audio in blocks in order of time; no block if the file has no audio.

    Blocks never overlap: where times do, the first samples are used. A gap in the audio is a gap
    between blocks; every block begins a whole number of samples after the first one. Encoder delay
    is removed as in FFmpeg. A damaged tail ends the audio with a warning.

    Args:
        path: the media file.
        rate_hz: sampling rate of the result.
        layout: "mono" or "stereo".

    Raises:
        InputError: the file cannot be opened, or there is no decoder for its audio.
    """
    path = Path(path)
    with open_streams(path) as media:
        yield from read_blocks(media, rate_hz, layout)


def read_blocks(
    media: OpenMedia, rate_hz: int = AUDIO_RATE_HZ, layout: str = "mono"
) -> Iterator[Audio]:
    """Yield the audio of an open file as `read_audio_blocks`.

    Raises:
        InputError: there is no decoder for its audio.
    """
    if media.audio is None:
        if media.is_unknown("audio"):
            raise InputError(media.explain_lack("audio"))
        return
    report_choice(media, "audio")
    yield from decode_blocks(media, media.audio, rate_hz, layout)


def decode_blocks(
    media: OpenMedia, stream: AudioStream, rate_hz: int = AUDIO_RATE_HZ, layout: str = "mono"
) -> Iterator[Audio]:
    """Yield the audio of a stream as `read_audio_blocks` does."""
    start_s, passed, overlap = None, 0, 0
    natives = _clean(media, _drop_impossible(media, decode_stream(media, stream)))
    if layout == "mono":
        natives = _report_cancelling(media, natives)
    natives = _average_channels(natives)
    for at_s, samples in _resample_runs(natives, rate_hz, layout):
        if at_s is not None:
            start_s = at_s if start_s is None else start_s
            first = round((at_s - start_s) * rate_hz)
            overlap, passed = max(0, passed - first), max(passed, first)
        kept = samples[overlap:]
        overlap -= len(samples) - len(kept)
        if start_s is not None and len(kept):
            yield Audio(kept, start_s + passed / rate_hz, rate_hz)
            passed += len(kept)


def fill_gaps(blocks: Iterable[Audio], edge_s: float) -> Iterator[Audio]:
    """Yield the blocks, with gaps between them filled with silence.

    Of a gap longer than twice `edge_s`, only `edge_s` at either end are filled, so that a gap of
    hours costs no more than one of seconds.
    """
    edge = round(edge_s * AUDIO_RATE_HZ)
    before: Audio | None = None
    for block in blocks:
        gap = round((block.start_s - before.end_s) * AUDIO_RATE_HZ) if before else 0
        if before and 0 < gap <= 2 * edge:
            yield Audio(np.zeros(gap, np.float32), before.end_s)
        elif before and gap > 0:
            yield Audio(np.zeros(edge, np.float32), before.end_s)
            yield Audio(np.zeros(edge, np.float32), block.start_s - edge / AUDIO_RATE_HZ)
        yield block
        before = block


def read_audio(path: str | Path) -> Audio | None:
    """Return the whole audio, with silence in its gaps; None if the file has no audio.

    Raises:
        InputError: as `read_audio_blocks`.
    """
    path = Path(path)
    blocks = list(read_audio_blocks(path))
    if not blocks:
        return None
    start_s = blocks[0].start_s
    whole = np.zeros(round((blocks[-1].end_s - start_s) * AUDIO_RATE_HZ), np.float32)
    for block in blocks:
        first = round((block.start_s - start_s) * AUDIO_RATE_HZ)
        whole[first : first + len(block.samples)] = block.samples
    return Audio(whole, start_s)
