"""Stage train voice: a voice encoder from recordings of speech with one label each."""

from pathlib import Path

import torch

from abawcli.config import COMPACT_VOICE, VOICE_LAYERS, VoiceTraining, default_voice_training
from abawcli.device import choose_device
from abawcli.errors import InputError, UsageError
from abawcli.formats.hashing import hash_file
from abawcli.formats.json_values import JsonObject
from abawcli.formats.manifest import read_audio_manifest
from abawcli.labels import CLASSES
from abawcli.models.image_backbones import hash_pretrained
from abawcli.models.pretrained_voice import build_pretrained_voice
from abawcli.progress import Progress, ignore_progress
from abawcli.training.loop import TrainingLoop, start_accelerator
from abawcli.training.run_folder import History, locate_from
from abawcli.training.schedule import Schedule
from abawcli.training.voice_task import VoiceTask


def _check_settings(config: VoiceTraining) -> None:
    if config.epochs < 1 or config.batch_size < 2:
        raise UsageError("training needs at least 1 epoch and batches of at least 2 recordings")


def _check_classes(labels: list[int], manifest: Path) -> None:
    """Check that there is something to tell apart."""
    if len(set(labels)) < 2:
        name = CLASSES[labels[0]]
        raise InputError(f"{manifest}: all of split 'train' is {name}; two classes are needed")


def _describe_init(init: str | Path | None) -> JsonObject:
    """Return the name and the hash of the Whisper that training starts from, if any."""
    if init is None:
        return {}
    return {"init": Path(init).name, "init_sha256": hash_pretrained(str(init))}


def train_voice_encoder(
    audio: str | Path,
    manifest: str | Path,
    out: str | Path,
    config: VoiceTraining | None = None,
    *,
    device: str = "auto",
    overwrite: bool = False,
    progress: Progress = ignore_progress,
    init: str | Path | None = None,
    layers: int = VOICE_LAYERS,
) -> History:
    """Train a voice encoder on labelled recordings; return the result of each epoch.

    Writes `encoder.safetensors` (the epoch of the best macro-F1 on the valid split, over the
    classes that each corpus has, the mean of the corpora), `metrics.jsonl`, `config.json` and, to
    go on after an interruption, `last.safetensors`. An interrupted run that is started again
    gives the same weights as one that was not interrupted.

    Args:
        audio: folder of the recordings.
        manifest: csv of their labels, speakers and splits.
        out: folder of the run.
        config: settings of the training; None: the defaults of `init`.
        device: `auto`, `cpu`, `cuda` or `mps`.
        overwrite: start again if the folder has a run.
        progress: called as batches are done.
        init: folder of a Whisper whose first layers the encoder starts from; None: compact-voice
            from random weights.
        layers: of `init`.

    Raises:
        CheckpointError: `init` has no Whisper, or fewer layers.
        InputError: the manifest or a recording cannot be read, or all are of one class.
        OutputError: the folder holds a run with other settings, or cannot be written.
        UsageError: the device is unknown, or settings are invalid.
    """
    audio, manifest, out = Path(audio), Path(manifest), Path(out)
    config = config or default_voice_training(init is not None)
    _check_settings(config)
    accelerator = start_accelerator(choose_device(device))
    if accelerator.num_processes > 1:
        raise UsageError("a voice encoder trains in one process; start it without a launcher")
    splits = read_audio_manifest(manifest, audio)
    _check_classes(splits["train"].labels.tolist(), manifest)
    start = _describe_init(init)
    settings = start | {"backbone": COMPACT_VOICE, "audio": locate_from(out, audio)}
    settings["manifest"] = locate_from(out, manifest)
    settings |= {} if init is None else {"layers": layers}
    torch.manual_seed(config.seed)
    backbone = None if init is None else build_pretrained_voice(init, layers)
    data = {"manifest": manifest.name, "sha256": hash_file(manifest)} | start
    task = VoiceTask(
        splits, config, accelerator.device, backbone=backbone, settings=settings, data=data
    )
    loop = TrainingLoop(
        task, out, Schedule(config.epochs, config.warmup_steps), accelerator,
        seed=config.seed, ema_decay=config.ema_decay, clip_norm=config.clip_norm,
    )  # fmt: skip
    return loop.run(overwrite, progress)
