"""Voices of unknown corpora: a linear classifier on features, with each corpus left out.

python benchmarks/corpora.py --audio DIR --manifest FILE [--encoder FILE | --init DIR --layers 2]
    [--cache FILE]

Each recording is described by the mean and the deviation over its audio frames with speech, of the
features of a voice encoder or of the untrained layers of a Whisper. A logistic regression learns
from the train speakers of all corpora but one, each class of each corpus with the same weight, and
predicts all recordings of that one; and from all train speakers, for the valid speakers. The
temperature is fitted on the other left-out corpora. Of an encoder that was trained on the corpus
that is left out, the features are not those of an unknown corpus.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from abawcli.config import AUDIO_RATE_HZ, COMPACT_VOICE, SPEECH_PRESENT, Scores
from abawcli.formats.manifest import LabelledRecordings, read_audio_manifest
from abawcli.labels import N_CLASSES
from abawcli.media.audio import read_audio
from abawcli.metrics import find_calibration_error, score_labels
from abawcli.models.pretrained_voice import PretrainedVoice, build_pretrained_voice
from abawcli.models.recipes import find_weights
from abawcli.models.voice import VoiceEncoder, load_voice_encoder
from abawcli.training.voice_task import fit_temperature

Floats = NDArray[np.float64]
CPU = torch.device("cpu")
COVERAGES = (0.25, 0.5, 0.75, 1.0)
C = 0.03  # inverse strength of the penalty
# The sentences of ASED that are said in all five emotions; the others are said in one each.
IN_ALL = ("-01-", "-02-")


@dataclass(frozen=True)
class Recordings:
    """All recordings of a manifest, with their features."""

    names: list[str]
    labels: NDArray[np.int64]  # (N,)
    corpora: NDArray[np.str_]  # (N,)
    is_train: NDArray[np.bool_]  # (N,)
    features: Floats  # (N, D)


class Describer:
    """The mean and the deviation of features over the audio frames with speech."""

    def __init__(self, encoder: VoiceEncoder, layers: PretrainedVoice | None) -> None:
        """`layers`: describe by the states of their last one instead of the encoder's features."""
        self.encoder, self.layers = encoder, layers

    @torch.inference_mode()
    def describe(self, file: Path) -> Floats:
        """Return the description (2 D,) of a recording."""
        audio = read_audio(file)
        if audio is None:
            raise SystemExit(f"{file} has no audio")
        frames = self.encoder.encode(audio.samples)
        speech = self.encoder.classifier.speech_probability(frames) >= SPEECH_PRESENT  # (S,)
        speech = speech if speech.any() else ~speech
        if self.layers is not None:
            frames = self._encode_layers(audio.samples, len(speech))
        chosen = frames[speech].double()
        out = torch.cat([chosen.mean(dim=0), chosen.std(dim=0, unbiased=False)])
        return np.asarray(out.numpy(), np.float64)

    def _encode_layers(self, samples: NDArray[np.float32], steps: int) -> Tensor:
        """Return the mean state (S, D) of each audio frame."""
        assert self.layers is not None
        padded = np.zeros(steps * round(self.layers.step_s * AUDIO_RATE_HZ), np.float32)
        padded[: len(samples)] = samples
        states: Tensor = self.layers.trunk(torch.from_numpy(padded)[None])[0]  # (4 S, D)
        return states.view(steps, -1, states.shape[1]).mean(dim=1)


def describe_all(parts: dict[str, LabelledRecordings], describer: Describer) -> Floats:
    """Return the descriptions (N, 2 D) of train and valid recordings."""
    files = [*parts["train"].files, *parts["valid"].files]
    return np.stack([describer.describe(file) for file in files])


def read_cached(parts: dict[str, LabelledRecordings], arguments: argparse.Namespace) -> Recordings:
    """Return the recordings; their features from the cache, which is written if missing."""
    if arguments.cache and arguments.cache.exists():
        features = np.load(arguments.cache)
    else:
        layers = None
        if arguments.init:
            layers = build_pretrained_voice(arguments.init, arguments.layers).eval()
        encoder = load_voice_encoder(arguments.encoder, CPU)[0]
        features = describe_all(parts, Describer(encoder, layers))
        if arguments.cache:
            np.save(arguments.cache, features)
    train, valid = parts["train"], parts["valid"]
    return Recordings(
        [file.name for file in (*train.files, *valid.files)],
        np.concatenate([train.labels, valid.labels]),
        np.concatenate([train.corpora, valid.corpora]),
        np.arange(len(features)) < len(train.labels),
        features,
    )


def find_weights_of(labels: NDArray[np.int64], corpora: NDArray[np.str_]) -> Floats:
    """Return weights (N,) by which each class of each corpus counts the same."""
    groups = np.char.add(corpora, labels.astype(np.str_))
    names, group, counts = np.unique(groups, return_inverse=True, return_counts=True)
    return np.asarray(len(labels) / (len(names) * counts[group]), np.float64)


def predict(recordings: Recordings, learn: NDArray[np.bool_], rows: NDArray[np.bool_]) -> Floats:
    """Return logits (M, 8) of `rows`, of a classifier that learned from others."""
    x = recordings.features
    x = (x - x[learn].mean(axis=0)) / (x[learn].std(axis=0) + 1e-6)
    labels, corpora = recordings.labels[learn], recordings.corpora[learn]
    model = LogisticRegression(C=C, max_iter=300)
    model.fit(x[learn], labels, sample_weight=find_weights_of(labels, corpora))
    logits = np.full((int(rows.sum()), N_CLASSES), -30.0)  # of classes that were not learned
    logits[:, model.classes_] = model.decision_function(x[rows])
    return logits


def print_row(name: str, logits: Floats, labels: NDArray[np.int64], temperature: float) -> None:
    """Print macro-F1, calibration error and the accuracy of the surest recordings."""
    p = torch.from_numpy(logits / temperature).softmax(dim=1).numpy()
    confidence, right = p.max(axis=1), p.argmax(axis=1) == labels
    score = score_labels(labels, p.argmax(axis=1))
    error = find_calibration_error(confidence, right, Scores().calibration_bins)
    order = np.argsort(-confidence)
    sure = [right[order[: max(1, round(len(order) * share))]].mean() for share in COVERAGES]
    print(
        f"{name:30s}{len(labels):7d}{score.f1[score.support > 0].mean():10.3f}{temperature:8.2f}"
        f"{error:8.3f}  " + "".join(f"{value:7.3f}" for value in sure),
        flush=True,
    )


def print_left_out(recordings: Recordings) -> None:
    """Print each corpus as an unknown one; of ASED, sentences of one emotion and of all apart."""
    corpora = sorted(set(recordings.corpora.tolist()))
    rows = {name: recordings.corpora == name for name in corpora}
    logits = {n: predict(recordings, recordings.is_train & ~rows[n], rows[n]) for n in corpora}
    for name in corpora:
        others = [other for other in corpora if other != name]
        known = torch.from_numpy(np.concatenate([logits[other] for other in others]))
        truth = np.concatenate([recordings.labels[rows[other]] for other in others])
        temperature = fit_temperature(known, torch.from_numpy(truth))
        labels = recordings.labels[rows[name]]
        print_row(name, logits[name], labels, temperature)
        if name == "ased":
            files = [n for n, there in zip(recordings.names, rows[name], strict=True) if there]
            in_all = np.array([any(part in file[:12] for part in IN_ALL) for file in files])
            for what, chosen in (("in one emotion", ~in_all), ("in all", in_all)):
                print_row(f"  said {what}", logits[name][chosen], labels[chosen], temperature)


def print_valid(recordings: Recordings) -> None:
    """Print the valid speakers of each corpus."""
    for name in sorted(set(recordings.corpora.tolist())):
        rows = ~recordings.is_train & (recordings.corpora == name)
        logits = predict(recordings, recordings.is_train, rows)
        print_row(f"{name}, valid speakers", logits, recordings.labels[rows], 1.0)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--audio", type=Path, required=True)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--encoder", type=Path, default=find_weights(COMPACT_VOICE))
    parser.add_argument("--init", type=Path, help="folder of a Whisper")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--cache", type=Path, help="npy file of the features")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    recordings = read_cached(read_audio_manifest(arguments.manifest, arguments.audio), arguments)
    print(f"{'':30s}{'clips':>7s}{'macro-F1':>10s}{'T':>8s}{'error':>8s}   accuracy of the surest")
    print(" " * 65 + "".join(f"{share:7.0%}" for share in COVERAGES))
    print_left_out(recordings)
    print_valid(recordings)


if __name__ == "__main__":
    main()
