"""Stage train face: a face encoder from labelled images; Stage I of arXiv 2603.12221."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import nn

from abawcli.config import (
    COMPACT_FACE,
    SELECTIONS,
    TEACHER_IMAGES,
    CompactFaceShape,
    EncoderTraining,
    default_training,
)
from abawcli.device import choose_device
from abawcli.errors import UsageError
from abawcli.formats.hashing import hash_file, hash_sizes
from abawcli.formats.json_values import JsonObject
from abawcli.formats.manifest import read_manifest
from abawcli.models.checkpoint import read_metadata
from abawcli.models.encoder import find_encoder, load_backbone
from abawcli.models.image_backbones import BACKBONES, Backbone, build_backbone, hash_pretrained
from abawcli.models.metadata import FaceEncoderMetadata
from abawcli.models.mobilenet import MobileNet, find_arrays, is_published, load_published_weights
from abawcli.models.precision import choose_training_precision
from abawcli.progress import Progress, ignore_progress
from abawcli.training.face_task import FaceNetwork, FaceTask
from abawcli.training.image_data import Batch
from abawcli.training.loop import TrainingLoop, start_accelerator
from abawcli.training.run_folder import History, locate_from
from abawcli.training.schedule import Schedule


def start_network(
    backbone: str, shape: CompactFaceShape | None, init: str | Path | None
) -> tuple[Backbone, nn.Linear | None]:
    """Return a backbone, and the classifier that belongs to it if both come from an encoder.

    Raises:
        CheckpointError: the backbone or the encoder cannot be loaded.
        UsageError: the shape is invalid, or the encoder has its own.
    """
    if init is None:
        return build_backbone(backbone, shape), None
    if is_published(init):
        network = build_backbone(backbone, shape)
        if not isinstance(network.network, MobileNet):
            raise UsageError(
                f"--init {init}: a json file has weights of mobilenet-96, -112, -176 and -224, "
                f"not of {backbone}; give one of these as --backbone"
            )
        load_published_weights(network.network, Path(init))
        return network, None
    if shape:
        raise UsageError("--stem, --widths and --blocks exclude --init, which has a shape")
    network, classifier, _ = load_backbone(init)
    return network, classifier


def _check_settings(config: EncoderTraining, fine_tuned: bool) -> None:
    """Check settings; `fine_tuned` tells whether training starts from an encoder.

    Raises:
        UsageError: they are invalid.
    """
    if config.epochs < 1 or config.batch_size < 2:
        raise UsageError("training needs at least 1 epoch and batches of at least 2 images")
    if config.select not in SELECTIONS:
        raise UsageError(f"unknown selection {config.select!r}; choose {' or '.join(SELECTIONS)}")
    if config.distillation.images not in TEACHER_IMAGES:
        raise UsageError(
            f"unknown images of teachers {config.distillation.images!r}; choose "
            f"{' or '.join(TEACHER_IMAGES)}"
        )
    if config.select == "moe" and config.moe is None:
        raise UsageError("epochs cannot be chosen by a mixture-of-experts head that is not there")
    if config.select == "last" and config.patience is not None:
        raise UsageError("--patience excludes --select last, which compares no epochs")
    if config.init_share and not fine_tuned:
        raise UsageError("--init-share needs --init with an encoder, whose weights are averaged")
    if config.init_share and config.lora_rank:
        raise UsageError("--init-share excludes --lora, whose adapters cannot be averaged")


def _describe_start(backbone: str, init: str | Path | None) -> JsonObject:
    """Return the hash of the initial weights, unless they are random."""
    if init:
        return {"init": hash_file(find_arrays(init) if is_published(init) else init)}
    return {} if backbone in BACKBONES else {"encoder": hash_pretrained(backbone)}


def _describe_run(
    out: Path, images: Path, manifest: Path, backbone: str, *, init: str | Path | None
) -> tuple[JsonObject, JsonObject]:
    """Return the settings of a run, and the data of its encoder."""
    start = _describe_start(backbone, init)
    settings = start | {"backbone": backbone, "images": locate_from(out, images)}
    settings["manifest"] = locate_from(out, manifest)
    data: JsonObject = {"manifest": manifest.name, "sha256": hash_file(manifest)}
    return settings, data | (start if init else {})


def train_face_encoder(
    images: str | Path,
    manifest: str | Path,
    out: str | Path,
    backbone: str = COMPACT_FACE,
    *,
    config: EncoderTraining | None = None,
    device: str = "auto",
    overwrite: bool = False,
    progress: Progress = ignore_progress,
    teachers: Sequence[str | Path] = (),
    init: str | Path | None = None,
) -> History:
    """Train a face encoder on labelled images; return the result of each epoch.

    `teachers` are encoders written by this function, or `compact-face`; their outputs are learned
    beside the labels, as `config.distillation` says. `init` is such an encoder: its backbone and
    classifier are trained further (fine-tuning), and `backbone` has no effect. Or it is
    `faceres.json`, the published weights of a `mobilenet-` backbone.

    Writes `encoder.safetensors` (the epoch with the best macro-F1 on the
    valid split, or the last one), `metrics.jsonl`,
    `config.json` and, to go on after an interruption, `last.safetensors`. An interrupted run
    that is started again gives the same weights as one that was not interrupted. Several GPUs:
    start with `accelerate launch`.

    Raises:
        InputError: the manifest or an image cannot be read.
        OutputError: the folder holds a run with other settings, or cannot be written.
        CheckpointError: the backbone, `init` or a teacher cannot be loaded.
        UsageError: the device is unknown, or settings are invalid.
    """
    images, manifest, out = Path(images), Path(manifest), Path(out)
    fine_tuned = init is not None and not is_published(init)
    if init and fine_tuned:
        init = find_encoder(init)
        backbone = read_metadata(init, FaceEncoderMetadata).backbone
    config = config or default_training(backbone)
    _check_settings(config, fine_tuned)
    teachers = [find_encoder(teacher) for teacher in teachers]
    chosen = choose_device(device)
    accelerator = start_accelerator(chosen)
    splits = read_manifest(manifest, images, soft=config.soft_labels)
    torch.manual_seed(config.seed)
    network, classifier = start_network(backbone, config.shape, init)
    precision = choose_training_precision(
        config.precision, network, network.run_probe, accelerator.device
    )
    config = replace(config, precision=precision)
    settings, data = _describe_run(out, images, manifest, backbone, init=init)
    settings["images_sha256"] = hash_sizes(file for own in splits.values() for file in own.files)
    task = FaceTask(
        network, splits, config, accelerator.device, settings=settings, data=data,
        classifier=classifier, teachers=teachers,
    )  # fmt: skip
    if teachers:
        settings["teachers"] = data["teachers"] = [hash_file(teacher) for teacher in teachers]
    return _make_loop(task, out, accelerator).run(overwrite, progress)


def _make_loop(
    task: FaceTask, out: Path, accelerator: Accelerator
) -> TrainingLoop[FaceNetwork, Batch]:
    """Return the training loop of an encoder; `out` is the folder of the run."""
    config = task.config
    return TrainingLoop(
        task, out, Schedule(config.epochs, config.warmup_steps), accelerator,
        seed=config.seed, ema_decay=config.ema_decay, clip_norm=config.clip_norm,
        patience=config.patience, keep_last=config.select == "last",
    )  # fmt: skip
