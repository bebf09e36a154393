"""The voice encoder on the same clips after lossy codecs, and in the band of a telephone.

python benchmarks/codecs.py --audio DIR --manifest FILE [--encoder FILE ...] [--clips 100]

Takes clips of the valid speakers of each corpus, the same number of each where there are so many,
encodes them anew and reads them back. Prints the macro-F1 of clips over the classes of each corpus,
as in benchmarks/voice.py, the accuracy of all clips less that of the clips as they are, with a 95 %
bootstrap interval over clips, and the share of audio frames in which speech is detected. `as they
are` is what the manifest lists, which may have been compressed before.
"""

import argparse
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import av
import numpy as np
import torch
from fusion import DRAWS
from numpy.typing import NDArray
from scipy.signal import butter, sosfiltfilt
from voice import Samples, load_samples, read_clip

from abawcli.config import AUDIO_RATE_HZ, COMPACT_VOICE
from abawcli.formats.manifest import LabelledRecordings, read_audio_manifest
from abawcli.metrics import score_labels
from abawcli.models.recipes import find_weights
from abawcli.models.voice import VoiceEncoder, load_voice_encoder

OPUS_RATE_HZ = 48_000  # the encoder takes no other that is near
TELEPHONE_HZ = (300, 3400)
# name, encoder, file type, sampling rate in Hz, bit/s
CODECS = (
    ("mp3, 32 kbit/s", "libmp3lame", ".mp3", AUDIO_RATE_HZ, 32_000),
    ("mp3, 8 kbit/s", "libmp3lame", ".mp3", AUDIO_RATE_HZ, 8_000),
    ("aac, 24 kbit/s", "aac", ".m4a", AUDIO_RATE_HZ, 24_000),
    ("aac, 12 kbit/s", "aac", ".m4a", AUDIO_RATE_HZ, 12_000),
    ("opus, 16 kbit/s", "libopus", ".ogg", OPUS_RATE_HZ, 16_000),
    ("opus, 6 kbit/s", "libopus", ".ogg", OPUS_RATE_HZ, 6_000),
)


def recode(samples: Samples, codec: str, suffix: str, rate: int, bit_rate: int) -> Samples:
    """Return samples (N,) after a codec; the padding of the codec may lengthen them."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"clip{suffix}"
        with av.open(str(path), "w") as container:
            stream = container.add_stream(codec, rate=rate, layout="mono")
            stream.bit_rate = bit_rate
            resampler = av.AudioResampler(
                stream.format, stream.layout, rate, stream.codec_context.frame_size or None
            )
            whole = np.clip(samples * 32767, -32768, 32767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(whole[None], format="s16", layout="mono")
            frame.sample_rate = AUDIO_RATE_HZ
            for part in (frame, None):
                for piece in resampler.resample(part):
                    container.mux(stream.encode(piece))
            container.mux(stream.encode(None))
        return load_samples(path)


def limit_band(samples: Samples) -> Samples:
    """Return samples (N,) in the band of a telephone."""
    filters = butter(4, TELEPHONE_HZ, "bandpass", fs=AUDIO_RATE_HZ, output="sos")
    return np.asarray(sosfiltfilt(filters, samples), np.float32)


def list_channels() -> dict[str, Callable[[Samples], Samples]]:
    """Return what is done to the clips, by name."""
    channels: dict[str, Callable[[Samples], Samples]] = {"as they are": lambda samples: samples}
    for name, codec, suffix, rate, bits in CODECS:
        channels[name] = partial(recode, codec=codec, suffix=suffix, rate=rate, bit_rate=bits)
    low, high = TELEPHONE_HZ
    channels[f"{low} to {high} Hz"] = limit_band
    return channels


def choose_clips(valid: LabelledRecordings, count: int) -> LabelledRecordings:
    """Return `count` clips of each corpus, or all that there are."""
    random = np.random.default_rng(0)
    rows = np.concatenate(
        [
            random.permutation(np.flatnonzero(valid.corpora == name))[:count]
            for name in sorted(set(valid.corpora.tolist()))
        ]
    )
    files = [valid.files[k] for k in rows]
    return LabelledRecordings(files, valid.labels[rows], valid.speakers[rows], valid.corpora[rows])


@dataclass(frozen=True)
class Answers:
    """What an encoder makes of clips."""

    labels: NDArray[np.int64]  # (N,)
    speech_share: float  # mean over the clips


def label_clips(encoder: VoiceEncoder, voices: Sequence[Samples]) -> Answers:
    """Return the label of each clip, by the mean of its frames' probabilities."""
    clips = [read_clip(encoder, samples) for samples in voices]
    labels = np.array([clip.calibrated.mean(axis=0).argmax() for clip in clips], np.int64)
    return Answers(labels, float(np.mean([clip.speech_share for clip in clips])))


def describe_difference(right: NDArray[np.bool_], before: NDArray[np.bool_]) -> str:
    """Return the difference of the accuracies of the same clips (N,), with its interval."""
    change = right.astype(float) - before
    drawn = np.random.default_rng(0).integers(len(change), size=(DRAWS, len(change)))
    low, high = np.percentile(change[drawn].mean(axis=1), [2.5, 97.5])
    return f"{change.mean():+.3f} ({low:+.3f} to {high:+.3f})"


def tabulate(encoder: VoiceEncoder, clips: LabelledRecordings) -> None:
    """Print a row per channel, in Markdown."""
    voices = [load_samples(file) for file in clips.files]
    names = sorted(set(clips.corpora.tolist()))
    print(f"| clips | {' | '.join(names)} | accuracy less that of the first row | speech |")
    print("|---" * (len(names) + 3) + "|")
    before = None
    for name, channel in list_channels().items():
        found = label_clips(encoder, [channel(samples) for samples in voices])
        right = found.labels == clips.labels
        before = right if before is None else before
        cells = []
        for corpus in names:
            rows = clips.corpora == corpus
            score = score_labels(clips.labels[rows], found.labels[rows])
            cells.append(f"{score.f1[score.support > 0].mean():.3f}")
        cells += [describe_difference(right, before), f"{found.speech_share:.3f}"]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Print one table per encoder, in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--audio", type=Path, required=True)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--encoder", type=Path, nargs="+", default=[find_weights(COMPACT_VOICE)])
    parser.add_argument("--clips", type=int, default=100, help="of each corpus")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    encoders = [load_voice_encoder(path, torch.device("cpu"))[0] for path in arguments.encoder]
    valid = read_audio_manifest(arguments.manifest, arguments.audio)["valid"]
    clips = choose_clips(valid, arguments.clips)
    for path, encoder in zip(arguments.encoder, encoders, strict=True):
        print(f"\n{path.name}: {len(clips.files)} clips\n")
        tabulate(encoder, clips)


if __name__ == "__main__":
    main()
