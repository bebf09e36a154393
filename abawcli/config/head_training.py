"""Heads and their training."""

from dataclasses import dataclass, replace
from typing import Any

from abawcli.config.results import EXPR
from abawcli.config.smoothing import Smoothing

HEAD_NAMES = ("gated", "visual", "audio", "concat", "dual-branch", "tcn", "gru")


# Of predictions that serve as labels, as in FixMatch (arXiv 2001.07685): few labels that are right
# are better than many.
PSEUDO_CONFIDENCE = 0.95


@dataclass(frozen=True)
class GatedHead:
    """Gated fusion and its baselines. Defaults: published."""

    hidden: int = 512
    dropout: float = 0.2  # of the fused vector; not published: also within the gate
    visual_dropout: float = 0.20  # of features, in training
    audio_dropout: float = 0.25


@dataclass(frozen=True)
class DualBranchHead:
    """The dual-branch Transformer. Width and depth as in arXiv 2603.08034; other defaults: own."""

    hidden: int = 256
    layers: int = 3
    heads: int = 8  # attention heads
    feed_ratio: int = 4  # width of the feed-forward layer over `hidden`
    dropout: float = 0.1
    window_frames: int = 64  # frames of one input; two to three seconds of most videos
    stride_frames: int = 32  # from one window to the next


@dataclass(frozen=True)
class SequenceHead:
    """A temporal convolutional network or a bidirectional GRU. Not published: own defaults.

    Width, windows and dropout are near those of the dual branch, so that heads can be compared.
    """

    hidden: int = 256
    layers: int = 5  # of a TCN: 63 frames in reach of each, as many as a window has
    dropout: float = 0.2
    window_frames: int = 64
    stride_frames: int = 32


# What classifies frames of one modality: a face without speech, or speech without a face.
HEAD, ENCODER = SINGLE_CHOICES = ("head", "encoder")


@dataclass(frozen=True)
class HeadTraining:
    """Stage II. Defaults: published."""

    epochs: int = 20
    batch_frames: int = 4096  # annotated or not, in whole windows
    lr: float = 1e-4
    last_lr: float = 1e-5  # of the last step, at the end of a cosine
    warmup: float = 0.0  # share of all steps in which the learning rate rises from 0
    weight_decay: float = 1e-4
    # w_c = (N / (8 n_c)) ** power, over its mean; 0: no weights. Of action units, the weight of
    # active frames is (inactive / active) ** power.
    class_weight_power: float = 1.0
    effective_beta: float | None = None  # weights by the effective number of samples instead
    focal_gamma: float = 0.0  # 0: cross-entropy
    modality_dropout: float = 0.0  # share of samples that lose one of their two modalities
    # Share of samples that get the audio of another one. Where the audio backbone was trained on
    # the same speakers, its features are better in training than in use.
    audio_swap: float = 0.0
    ema_decay: float = 0.0  # decay of the EMA of the weights, which is saved; 0: no EMA
    patience: int | None = None  # epochs without a better one after which training ends
    folds: int = 5  # one of which is held out where no validation videos are given
    network: GatedHead | DualBranchHead | SequenceHead = GatedHead()
    # Of the head's predictions, as published for videos of 30 frames a second.
    smoothing: Smoothing = Smoothing("median", 101, None, "logits")
    # What classifies frames that have only a face, or only speech. As published, the head does;
    # `encoder`: the classifier of the image encoder, or of the audio encoder, instead.
    face_only: str = HEAD
    speech_only: str = HEAD
    precision: str = "auto"  # one of PRECISIONS
    # Of the losses of the other tasks of a multi-task training, together, beside the loss of the
    # task. Below 1, so that the task leads the trunk that all of them share.
    auxiliary_weight: float = 0.5
    task: str = EXPR  # of TASK_NAMES
    seed: int = 0


# Epochs, modality dropout, focal loss, and smoothing by voting and a median as in arXiv 2603.08034;
# values that it does not give are own ones. Frames of one video are strongly dependent, so a class
# gains little beyond 10 000 frames (1 / (1 - beta)). The EMA spans some hundred steps, less than an
# epoch of a usual data set.
DUAL_BRANCH_TRAINING = HeadTraining(
    epochs=30,
    batch_frames=2048,
    last_lr=0.0,
    warmup=0.1,
    weight_decay=1e-2,
    effective_beta=0.9999,
    focal_gamma=2.0,
    modality_dropout=0.1,
    ema_decay=0.99,
    network=DualBranchHead(),
    smoothing=Smoothing(),
)


# By head. TCN and GRU are trained as the dual branch is; two layers are usual for a GRU.
TEMPORAL_TRAINING = {
    "dual-branch": DUAL_BRANCH_TRAINING,
    "tcn": replace(DUAL_BRANCH_TRAINING, network=SequenceHead()),
    "gru": replace(DUAL_BRANCH_TRAINING, network=SequenceHead(layers=2)),
}


# Settings that the loss of a task does not have: CCC has neither class weights nor a focus, action
# units have weights of active frames, but no focus.
TASK_TRAINING: dict[str, dict[str, Any]] = {
    EXPR: {},
    "va": {"class_weight_power": 0.0, "effective_beta": None, "focal_gamma": 0.0},
    "au": {"focal_gamma": 0.0},
}


def default_head_training(head: str, task: str = EXPR) -> HeadTraining:
    """Return the training defaults of a head of a task."""
    config = TEMPORAL_TRAINING.get(head, HeadTraining())
    if own := TASK_TRAINING[task]:  # values are smoothed as they are
        smoothing = replace(config.smoothing, space=Smoothing.space)
        config = replace(config, task=task, smoothing=smoothing, **own)
    return config
