"""Stage train voice: a voice encoder from recordings of speech with one label each."""

from pathlib import Path

import torch

from abawcli.config import COMPACT_VOICE, VOICE_LAYERS, VoiceTraining, default_voice_training
from abawcli.device import choose_device
from abawcli.errors import CheckpointError, InputError, UsageError
from abawcli.formats.hashing import hash_file, hash_sizes
from abawcli.formats.json_values import JsonObject
from abawcli.formats.manifest import read_audio_manifest
from abawcli.labels import CLASSES
from abawcli.models.image_backbones import hash_pretrained
from abawcli.models.pretrained_voice import build_pretrained_voice
from abawcli.models.recipes import find_weights
from abawcli.models.voice import VoiceNetwork, load_voice_network
from abawcli.progress import Progress, ignore_progress
from abawcli.training.loop import TrainingLoop, start_accelerator
from abawcli.training.run_folder import History, locate_from
from abawcli.training.schedule import Schedule
from abawcli.training.voice_task import VoiceTask


def _check_settings(config: VoiceTraining, init: str | Path | None) -> None:
    if config.epochs < 1 or config.batch_size < 2:
        raise UsageError("training needs at least 1 epoch and batches of at least 2 recordings")
    if init is None and config.backbone_lr == 0:
        raise UsageError("--backbone-lr 0 needs --init: random weights would not be trained")


def _check_classes(labels: list[int], manifest: Path) -> None:
    """Check that there is something to tell apart."""
    if len(set(labels)) < 2:
        name = CLASSES[labels[0]]
        raise InputError(f"{manifest}: all of split 'train' is {name}; two classes are needed")


def _start_network(
    init: str | Path | None, layers: int | None
) -> tuple[VoiceNetwork | None, JsonObject]:
    """Return the network that training starts from, and its description; None: a new one.

    It has layers of a Whisper, or is a voice encoder.
    """
    if init is None:
        return None, {}
    path = find_weights(COMPACT_VOICE) if str(init) == COMPACT_VOICE else Path(init)
    if not path.exists():
        raise CheckpointError(
            f"--init {init} does not exist; give the folder of a Whisper, {COMPACT_VOICE}, or "
            "encoder.safetensors of `abaw train voice`"
        )
    if path.is_dir():
        layers = layers or VOICE_LAYERS
        network = VoiceNetwork(build_pretrained_voice(path, layers))
        hashed = hash_pretrained(str(path))
        return network, {"init": path.name, "init_sha256": hashed, "layers": layers}
    if layers is not None:
        raise UsageError(f"--layers is for the folder of a Whisper; {init} keeps its own layers")
    return load_voice_network(path)[0], {"init": path.name, "init_sha256": hash_file(path)}


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
    layers: int | None = None,
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
        init: folder of a Whisper whose first layers the encoder starts from, or a voice encoder
            (`compact-voice`, or a file of this function), which is trained further; None: a small
            encoder from random weights.
        layers: of a Whisper; None: `VOICE_LAYERS`.

    Raises:
        CheckpointError: `init` has no Whisper, or fewer layers, or is no voice encoder.
        InputError: the manifest or a recording cannot be read, or all are of one class.
        OutputError: the folder holds a run with other settings, or cannot be written.
        UsageError: the device is unknown, or settings are invalid.
    """
    audio, manifest, out = Path(audio), Path(manifest), Path(out)
    config = config or default_voice_training(init is not None)
    _check_settings(config, init)
    accelerator = start_accelerator(choose_device(device))
    if accelerator.num_processes > 1:
        raise UsageError("a voice encoder trains in one process; start it without a launcher")
    splits = read_audio_manifest(manifest, audio)
    _check_classes(splits["train"].labels.tolist(), manifest)
    torch.manual_seed(config.seed)
    network, start = _start_network(init, layers)
    settings = start | {"backbone": COMPACT_VOICE, "audio": locate_from(out, audio)}
    settings["manifest"] = locate_from(out, manifest)
    settings["recordings_sha256"] = hash_sizes(f for own in splits.values() for f in own.files)
    data = {"manifest": manifest.name, "sha256": hash_file(manifest)} | start
    task = VoiceTask(
        splits, config, accelerator.device, network=network, settings=settings, data=data
    )
    loop = TrainingLoop(
        task, out, Schedule(config.epochs, config.warmup_steps), accelerator,
        seed=config.seed, ema_decay=config.ema_decay, clip_norm=config.clip_norm,
    )  # fmt: skip
    return loop.run(overwrite, progress)
