"""Refit the linear classifier of a voice encoder, as the last step of `abaw train voice` does.

python benchmarks/refit_voice.py --encoder FILE --audio DIR --manifest FILE --out DIR
    [--refit C] [--temperature T] [--reliable P] [--heads FILE ...]

Writes the encoder into --out, and --heads that read it: with its hash, and its classifier where
they have it. The encoder's features, its speech detection and the heads' networks do not change.
--temperature and --reliable are from benchmarks/voice_left_out.py; without them, the temperature
fits the valid speakers, and no confidence is reliable.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from update_heads import update_head

from abawcli.config import PRETRAINED_VOICE_TRAINING, AudioAugmentation, VoiceTraining
from abawcli.formats.manifest import read_audio_manifest
from abawcli.models.checkpoint import load_checkpoint, save_checkpoint
from abawcli.models.metadata import VoiceEncoderMetadata
from abawcli.models.training_metadata import EpochResult
from abawcli.models.voice import load_voice_network
from abawcli.progress import ignore_progress
from abawcli.training.voice_task import ENCODER_NAME, VoiceTask

CPU = torch.device("cpu")


def refit(options: argparse.Namespace) -> Path:
    """Write the encoder with another classifier; return its file."""
    network, metadata = load_voice_network(options.encoder)
    training = metadata.training
    assert training and isinstance(training.result, EpochResult)
    values = training.config | {"precision": "float32", "refit": options.refit}
    values["augmentation"] = AudioAugmentation(**values["augmentation"])
    splits = read_audio_manifest(options.manifest, options.audio)
    task = VoiceTask(
        splits, VoiceTraining(**values), CPU, network=network, settings={},
        data=training.data,
    )  # fmt: skip
    task.load_data(ignore_progress)
    validation = task.validate(network.float())
    if options.temperature:
        validation = replace(validation, temperature=options.temperature)
        with torch.inference_mode():  # it was made in this mode
            task.final.temperature.fill_(options.temperature)
    print(f"macro-F1 {validation.macro_f1:.3f}, {validation.corpora}")
    task.save(network, options.out, replace(training.result, validation=validation))
    out = Path(options.out / ENCODER_NAME)
    if options.reliable:
        tensors, metadata = load_checkpoint(out, VoiceEncoderMetadata)
        save_checkpoint(out, tensors, replace(metadata, reliable_confidence=options.reliable))
    return out


def main() -> None:
    """Refit an encoder, and write heads for it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name in ("encoder", "audio", "manifest", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--refit", type=float, default=PRETRAINED_VOICE_TRAINING.refit)
    parser.add_argument("--temperature", type=float)
    parser.add_argument("--reliable", type=float)
    parser.add_argument("--heads", type=Path, nargs="*", default=[])
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    voice = refit(options)
    for head in options.heads:
        update_head(head, options.out / head.name, voice=voice)


if __name__ == "__main__":
    main()
