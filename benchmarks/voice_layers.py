"""Layers of a speech encoder, frozen and fine-tuned, as descriptions of unknown voices.

python benchmarks/voice_layers.py --audio DIR --manifest FILE --init DIR [--clips 2400]
    [--cache FILE]

Each clip is described by the mean and the deviation over its audio frames with speech: of the
outputs of the convolutions and of the first layers of a Whisper that nobody fine-tuned (`conv`,
`1`, `2`, `3`), and of the layers and the features of a voice encoder (`tuned 1`, `tuned 2`,
`features`). A logistic regression learns from a sample of the train clips, each class of each
corpus with the same weight. It predicts the valid speakers and, with frozen layers, all clips of a
corpus that it did not learn from; the voice encoder has learned from all corpora. Then follow
the speakers of one corpus, each by all others, and classifiers of the encoder's features as
`predict` uses them: averages of the audio frames with speech within half a second of a moment.
On a computer with other work, OPENBLAS_NUM_THREADS=1 is several times faster.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from corpora import find_weights_of
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn import functional as F

from abawcli.config import COMPACT_VOICE, SPEECH_PRESENT, AudioFeatures, Scores
from abawcli.formats.manifest import LabelledRecordings, read_audio_manifest
from abawcli.labels import N_CLASSES
from abawcli.media.audio import read_audio
from abawcli.metrics import find_calibration_error, score_labels
from abawcli.models.log_mel import STEP_SAMPLES
from abawcli.models.pretrained_voice import PretrainedVoice, build_pretrained_voice
from abawcli.models.recipes import find_weights
from abawcli.models.voice import VoiceEncoder, average_around, load_voice_encoder
from abawcli.models.whisper import TOKEN_SAMPLES, WINDOW_EDGE, WINDOW_HOP, WhisperLayers
from abawcli.training.voice_task import mean_f1

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
LAYERS = 3  # frozen; deeper ones know words
SETS = ("conv", "1", "2", "3", "1 + 2 + 3", "tuned 1", "tuned 2", "tuned 2 + 2", "features")
C, WINDOW_CS = 0.003, (0.0003, 0.003, 0.03)  # inverse strength of the penalty
SHARES = {"nemo": 1 / 3, "ased": 0.5}  # of the train clips: about as many of each corpus
WINDOWS = 6  # of a train clip
DRAWS = 300  # bootstrap samples


@dataclass(frozen=True)
class Clips:
    """A sample of the recordings of a manifest, described."""

    labels: NDArray[np.int64]  # (N,)
    corpora: NDArray[np.str_]  # (N,)
    speakers: NDArray[np.str_]  # (N,)
    is_train: Mask  # (N,)
    described: dict[str, Floats]  # of each set: (N, 2 D) means and deviations
    windows: list[Floats]  # of each clip, (S, 2 D): features around each audio frame with speech


def draw_sample(parts: dict[str, LabelledRecordings], count: int) -> NDArray[np.int64]:
    """Return the numbers of the valid recordings and of a random sample of train recordings.

    Train recordings are those among the first `count` of a random order of both splits, in which
    only SHARES of the larger corpora take part.
    """
    corpora = np.concatenate([parts[name].corpora for name in ("train", "valid")])
    train = np.arange(len(corpora)) < len(parts["train"].files)
    rng = np.random.default_rng(0)
    share = np.array([SHARES.get(name, 1.0) for name in corpora.tolist()])
    late = train & (rng.random(len(corpora)) > share)
    order = np.lexsort((rng.random(len(corpora)), late))
    return np.concatenate([order[:count][train[order[:count]]], np.flatnonzero(~train)])


def find_states(layers: WhisperLayers, samples: Tensor) -> list[Tensor]:
    """Return the outputs (S, D) of the convolutions and of each layer, by audio frame."""
    seen: list[Tensor] = []
    modules = [layers.conv2, *layers.layers]
    hooks = [m.register_forward_hook(lambda _m, _x, y: seen.append(y)) for m in modules]
    tokens = layers(samples[None]).shape[1]
    for hook in hooks:
        hook.remove()
    middle = slice(WINDOW_EDGE, WINDOW_EDGE + WINDOW_HOP)
    middles = [*(y[:, middle] for y in seen[1:-1]), seen[-1]]  # the last layer computes no more
    blocks = [y.flatten(0, 1)[:tokens] for y in middles]
    per_frame = STEP_SAMPLES // TOKEN_SAMPLES
    return [x.reshape(-1, per_frame, x.shape[1]).mean(1) for x in (F.gelu(seen[0])[0].T, *blocks)]


@torch.inference_mode()
def describe(file: Path, frozen: PretrainedVoice, encoder: VoiceEncoder) -> dict[str, Floats]:
    """Return the descriptions (2 D,) of a recording by each set, and its `windows` (S, 2 D)."""
    audio = read_audio(file)
    assert audio and isinstance(encoder.backbone, PretrainedVoice)
    samples = F.pad(torch.from_numpy(audio.samples), (0, -len(audio.samples) % STEP_SAMPLES))
    found = dict(zip(("conv", "1", "2", "3"), find_states(frozen.trunk, samples), strict=True))
    tuned = find_states(encoder.backbone.trunk, samples)
    found |= {"tuned 1": tuned[1], "tuned 2": tuned[2], "features": encoder.encode(audio.samples)}
    speech = encoder.classifier.speech_probability(found["features"]) >= SPEECH_PRESENT
    speech = speech if speech.any() else ~speech
    moments = {name: (x[speech].mean(0), x[speech].std(0, False)) for name, x in found.items()}
    out = {name: torch.cat(both).double().numpy() for name, both in moments.items()}
    reach = int(AudioFeatures.window_s / encoder.step_s)
    mean, valid = average_around(found["features"], speech, reach)
    square = average_around(found["features"].square(), speech, reach)[0]
    deviation = (square - mean.square()).clamp_min(0).sqrt()
    return out | {"windows": torch.cat([mean, deviation], dim=1)[valid].double().numpy()}


def read_clips(arguments: argparse.Namespace) -> Clips:
    """Return the sample, described; from the cache if there is one, which is written else."""
    parts = read_audio_manifest(arguments.manifest, arguments.audio)
    chosen = draw_sample(parts, arguments.clips)
    both = (parts["train"], parts["valid"])
    files = [file for part in both for file in part.files]
    if arguments.cache and arguments.cache.exists():
        rows = list(np.load(arguments.cache, allow_pickle=True)["rows"])
        if len(rows) != len(chosen):
            raise SystemExit(f"{arguments.cache} is of another sample; delete it")
    else:
        frozen = build_pretrained_voice(arguments.init, LAYERS).eval()
        encoder = load_voice_encoder(arguments.encoder, torch.device("cpu"))[0]
        rows = [describe(files[k], frozen, encoder) for k in chosen]
        if arguments.cache:
            np.savez(arguments.cache, rows=np.array(rows, dtype=object))
    names = ("labels", "corpora", "speakers")
    columns = (np.concatenate([getattr(part, n) for part in both])[chosen] for n in names)
    sets = {name: np.stack([row[name] for row in rows]) for name in rows[0] if name != "windows"}
    for name in SETS:
        if " + " in name:
            sets[name] = np.concatenate([sets[part] for part in name.split(" + ")], axis=1)
    is_train = chosen < len(parts["train"].files)
    return Clips(*columns, is_train, sets, [row["windows"] for row in rows])


class Classifier:
    """A logistic regression on standardised descriptions."""

    def __init__(self, x: Floats, labels: NDArray[np.int64], weight: Floats, c: float) -> None:
        self.mean, self.deviation = x.mean(axis=0), x.std(axis=0) + 1e-6
        self.model = LogisticRegression(C=c, max_iter=300, tol=1e-3)
        scaled = ((x - self.mean) / self.deviation).astype(np.float32)  # twice as fast
        self.model.fit(scaled, labels, sample_weight=weight)

    def find_logits(self, x: Floats) -> Floats:
        """Return the logits (M, 8) of descriptions (M, D)."""
        logits = np.full((len(x), N_CLASSES), -30.0)  # of classes that were not learned
        scaled = (x - self.mean) / self.deviation
        logits[:, self.model.classes_] = self.model.decision_function(scaled)
        return logits


def predict(clips: Clips, name: str, learn: Mask, rows: Mask) -> NDArray[np.int64]:
    """Return the labels (M,) of `rows` by a classifier that learned from others."""
    x, labels = clips.described[name], clips.labels[learn]
    weight = find_weights_of(labels, clips.corpora[learn])
    return Classifier(x[learn], labels, weight, C).find_logits(x[rows]).argmax(axis=1)


def show(truth: NDArray[np.int64], predicted: NDArray[np.int64]) -> str:
    """Return the macro-F1 and its interval over clips."""
    rng = np.random.default_rng(0)
    draws = [rng.integers(len(truth), size=len(truth)) for _ in range(DRAWS)]
    drawn = [mean_f1(score_labels(truth[k], predicted[k])) for k in draws]
    low, high = np.quantile(drawn, (0.025, 0.975))
    return f"{mean_f1(score_labels(truth, predicted)):.3f} ({low:.3f} to {high:.3f})"


def print_sets(clips: Clips) -> None:
    """Print each set: valid speakers of each corpus, and, of frozen layers, corpora left out."""
    corpora = sorted(set(clips.corpora.tolist()))
    truth, corpus = clips.labels[~clips.is_train], clips.corpora[~clips.is_train]
    print(f"{'':12s}" + "".join(f"{name:25s}" for name in corpora) + "left out: the same corpora")
    for name in SETS:
        found = predict(clips, name, clips.is_train, ~clips.is_train)
        line = "".join(f"{show(truth[corpus == c], found[corpus == c]):25s}" for c in corpora)
        if "tuned" not in name and name != "features":
            for c in corpora:
                rows = clips.corpora == c
                found = predict(clips, name, clips.is_train & ~rows, rows)
                line += f"{show(clips.labels[rows], found):25s}"
        print(f"{name:12s}{line}", flush=True)


def print_speakers(clips: Clips, name: str, corpus: str) -> None:
    """Print each speaker of a corpus, by a classifier that learned from all others."""
    print(f"\nlayer {name}, each speaker of {corpus} by all others: macro-F1")
    for speaker in sorted(set(clips.speakers[clips.corpora == corpus].tolist())):
        rows = (clips.corpora == corpus) & (clips.speakers == speaker)
        found = predict(clips, name, ~rows, rows)
        print(f"{speaker:12s}{rows.sum():5d} clips  {show(clips.labels[rows], found)}", flush=True)


def print_windows(name: str, clips: Clips, logits: list[Floats]) -> None:
    """Print a classifier by its logits (S, 8) of the windows of each valid clip."""
    p = [torch.from_numpy(part).softmax(dim=1).numpy() for part in logits]
    found = np.array([part.mean(axis=0).argmax() for part in p])
    truth, corpus = clips.labels[~clips.is_train], clips.corpora[~clips.is_train]
    line = f"{name:32s}"
    for c in sorted(set(corpus.tolist())):
        rows = np.flatnonzero(corpus == c)
        frames = np.concatenate([p[k] for k in rows])
        right = frames.argmax(axis=1) == np.repeat(truth[rows], [len(p[k]) for k in rows])
        error = find_calibration_error(frames.max(axis=1), right, Scores().calibration_bins)
        line += f"{show(truth[rows], found[rows])} {error:.3f}  "
    print(line, flush=True)


def print_classifiers(clips: Clips, encoder: VoiceEncoder) -> None:
    """Print the encoder's own classifier and others that learn from windows of train clips."""
    print("\nclassifiers of the features around a moment: macro-F1, calibration error of frames")
    valid = [clips.windows[k] for k in np.flatnonzero(~clips.is_train)]
    dim, temperature = encoder.dim, encoder.classifier.temperature.double()
    linear = encoder.classifier.expression.double().requires_grad_(False)
    own = [linear(torch.from_numpy(part[:, :dim])) / temperature for part in valid]
    print_windows("the encoder's own", clips, [logits.numpy() for logits in own])
    rng = np.random.default_rng(0)
    rows = np.flatnonzero(clips.is_train).repeat(WINDOWS)
    drawn = np.stack([clips.windows[k][rng.integers(len(clips.windows[k]))] for k in rows])
    weights = find_weights_of(clips.labels[rows], clips.corpora[rows])
    for what, width in (("mean", dim), ("mean and deviation", 2 * dim)):
        for c in WINDOW_CS:
            classifier = Classifier(drawn[:, :width], clips.labels[rows], weights, c)
            found = [classifier.find_logits(part[:, :width]) for part in valid]
            print_windows(f"{what}, C = {c}", clips, found)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--audio", type=Path, required=True)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--init", type=Path, required=True, help="folder of a Whisper")
    parser.add_argument("--encoder", type=Path, default=find_weights(COMPACT_VOICE))
    parser.add_argument("--clips", type=int, default=2400)
    parser.add_argument("--cache", type=Path, help="npz file of the descriptions")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    clips = read_clips(arguments)
    print(f"clips: {clips.is_train.sum()} of train speakers, {(~clips.is_train).sum()} of valid")
    print_sets(clips)
    print_speakers(clips, "2", "nemo")
    print_classifiers(clips, load_voice_encoder(arguments.encoder, torch.device("cpu"))[0])


if __name__ == "__main__":
    main()
