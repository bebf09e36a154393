"""Voice encoders of corpora that they were not trained on, and other classifiers of their features.

python benchmarks/voice_left_out.py --audio DIR --manifest FILE --init DIR --runs DIR
    [--epochs N] [--epoch-batches N] [--batch-size N] [--crop SECONDS] [--warmup-steps N]

For each corpus, an encoder is trained on the train speakers of the others, in a folder of --runs,
where an interrupted training goes on. The settings are those of `abaw train voice --init` unless
given; a fourth of the recordings of valid speakers chooses the epoch. Its own classifier, logistic
regressions on its features, and averages of both are scored on a sample of the left-out corpus and
of the valid speakers of the others: macro-F1 of clips by the mean of their frames' probabilities,
calibration error of frames, and accuracy of the surest frames, at the temperature T that fits the
other left-out corpora. The last table is at a multiple of the temperature of the valid speakers.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from left_out_tables import Clips, LeftOut, print_differences, print_reliable, print_scores
from torch import nn
from voice import load_samples

from abawcli.config import PRETRAINED_VOICE_TRAINING, VoiceTraining
from abawcli.formats.manifest import LabelledRecordings, read_audio_manifest
from abawcli.labels import N_CLASSES
from abawcli.models.voice import average_speech, load_voice_encoder
from abawcli.stages.train_voice import train_voice_encoder
from abawcli.training.audio_data import balance
from abawcli.training.voice_classifier import MOMENTS, LabelledMoments, fit_linear

VALID_STEP = 4
CLIPS = 300  # of a corpus in each part, at most
STRENGTHS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
UNSEEN = PRETRAINED_VOICE_TRAINING.label_smoothing / N_CLASSES
TRAINED = "as trained"


def train_without(corpus: str, options: argparse.Namespace, config: VoiceTraining) -> Path:
    """Train an encoder on all corpora but one, or go on with it; return its file."""
    table = pd.read_csv(options.manifest, dtype=str, keep_default_na=False)
    table = table[table["corpus"] != corpus]
    train, valid = (table[table["split"] == name] for name in ("train", "valid"))
    run = options.runs / f"without_{corpus}"
    manifest = run.with_suffix(".csv")
    pd.concat([train, valid[::VALID_STEP]]).to_csv(manifest, index=False)

    def report(done: int, total: int | None, what: str) -> None:
        if what.startswith("epoch") and done % 10 == 0:
            print(f"without {corpus}: {done} of {total}, {what}", flush=True)

    train_voice_encoder(
        options.audio, manifest, run, config, device="cpu", init=options.init, progress=report
    )
    return run / "encoder.safetensors"


@torch.inference_mode()
def read_clips(
    file: Path, recordings: LabelledRecordings, corpora: list[str], cache: Path
) -> Clips:
    """Return a sample of the recordings of corpora as an encoder describes them; it is kept."""
    rng = np.random.default_rng(0)
    rows = [rng.permutation(np.flatnonzero(recordings.corpora == c))[:CLIPS] for c in corpora]
    chosen = np.sort(np.concatenate(rows))
    if cache.exists():
        means = torch.load(cache)
    else:
        encoder = load_voice_encoder(file, torch.device("cpu"))[0]
        features = (encoder.encode(load_samples(recordings.files[k])) for k in chosen)
        means = [average_speech(each, encoder.classifier) for each in features]
        torch.save(means, cache)
    return Clips(recordings.labels[chosen], recordings.corpora[chosen], means)


def join(parts: dict[str, LabelledRecordings]) -> LabelledRecordings:
    """Return the recordings of both splits."""
    both = [parts["train"], parts["valid"]]
    names = ("labels", "speakers", "corpora")
    columns = (np.concatenate([getattr(part, name) for part in both]) for name in names)
    return LabelledRecordings([file for part in both for file in part.files], *columns)


def read_left_out(file: Path, corpus: str, options: argparse.Namespace) -> LeftOut:
    """Return an encoder's classifiers and clips."""
    parts = read_audio_manifest(options.manifest, options.audio)
    others = sorted(set(parts["train"].corpora.tolist()) - {corpus})
    left, train, valid = (
        read_clips(file, recordings, corpora, file.with_name(f"{name}.pt"))
        for name, recordings, corpora in (
            ("left", join(parts), [corpus]),
            ("train", parts["train"], others),
            ("valid", parts["valid"], others),
        )
    )
    own = load_voice_encoder(file, torch.device("cpu"))[0].classifier.expression
    return LeftOut(find_classifiers(own, train), left, valid)


def find_classifiers(own: nn.Linear, train: Clips) -> dict[str, nn.Linear]:
    """Return classifiers by name: as trained, refitted, and averages of both."""
    rng = np.random.default_rng(0)
    drawn = [mean[torch.from_numpy(rng.integers(len(mean), size=MOMENTS))] for mean in train.means]
    moments = LabelledMoments(
        torch.cat(drawn).double().numpy(),
        train.labels.repeat(MOMENTS),
        balance(train.labels, train.corpora).repeat(MOMENTS),
    )
    out = {TRAINED: own}
    for strength in STRENGTHS:
        fitted = fit_linear(moments, strength, UNSEEN)
        half = nn.Linear(own.in_features, N_CLASSES)
        with torch.no_grad():
            for target, *both in zip(*(x.parameters() for x in (half, own, fitted)), strict=True):
                target.copy_((both[0] + both[1]) / 2)
        out |= {f"refitted, {strength:g}": fitted, f"average, {strength:g}": half}
    return out


def read_options() -> argparse.Namespace:
    """Return the options of the command line."""
    usual = PRETRAINED_VOICE_TRAINING
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name in ("audio", "manifest", "init", "runs"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=usual.epochs)
    parser.add_argument("--epoch-batches", type=int, default=usual.epoch_batches)
    parser.add_argument("--batch-size", type=int, default=usual.batch_size)
    parser.add_argument("--crop", type=float, dest="crop_s", default=usual.crop_s, help="seconds")
    parser.add_argument("--warmup-steps", type=int, default=usual.warmup_steps)
    return parser.parse_args()


def main() -> None:
    """Train what is not trained yet, and print the tables."""
    options = read_options()
    torch.set_num_threads(1)
    names = ("epochs", "epoch_batches", "batch_size", "crop_s", "warmup_steps")
    config = replace(PRETRAINED_VOICE_TRAINING, **{n: getattr(options, n) for n in names}, refit=0)
    options.runs.mkdir(parents=True, exist_ok=True)
    train = read_audio_manifest(options.manifest, options.audio)["train"]
    runs = {}
    for corpus in sorted(set(train.corpora.tolist())):
        runs[corpus] = read_left_out(train_without(corpus, options, config), corpus, options)
    print_scores(runs)
    print_differences(runs)
    print_reliable(runs)


if __name__ == "__main__":
    main()
