"""Heads: from visual and audio features to probabilities, frame by frame."""

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from abawcli.config import ENCODER, EXPR, HEAD, DualBranchHead, GatedHead, SequenceHead
from abawcli.errors import CheckpointError, InputError, UsageError
from abawcli.formats.metadata import MODALITIES, Backbones
from abawcli.labels import N_CLASSES
from abawcli.models.calibration import calibrate_linear
from abawcli.models.checkpoint import (
    halve_matrices,
    load_checkpoint,
    load_network,
    save_checkpoint,
)
from abawcli.models.classifier import AveragedClassifiers, EncoderClassifier, SpeechClassifier
from abawcli.models.dualbranch import DualBranch
from abawcli.models.gated import AudioOnly, Concatenation, GatedFusion, VisualOnly
from abawcli.models.metadata import HeadMetadata
from abawcli.models.output_forms import OUTPUT_FORMS
from abawcli.models.temporal import Gru, Tcn
from abawcli.models.voice import VoiceClassifier
from abawcli.models.windows import SoftVoting
from abawcli.sources import name_sources

# A module that maps features (B, T, Dv), (B, T, Da) and their masks (B, T) to logits (B, T, K), NaN
# where nothing is known; K is 8 of expressions. `uses` names the modalities it reads, each of which
# has a `ModalityNorm` at `<modality>.norm`, `settings` is the class of its configuration, and it is
# given at most `window` frames at once, a window every `stride` frames.
Head = GatedFusion | VisualOnly | AudioOnly | Concatenation | DualBranch | Tcn | Gru
HeadSettings = GatedHead | DualBranchHead | SequenceHead
HEADS: dict[str, type[Head]] = {
    "gated": GatedFusion,
    "visual": VisualOnly,
    "audio": AudioOnly,
    "concat": Concatenation,
    "dual-branch": DualBranch,
    "tcn": Tcn,
    "gru": Gru,
}
CHUNK_FRAMES = 4096  # that a head is given at once


def build_head(
    name: str, backbones: Backbones, settings: HeadSettings, logits: int = N_CLASSES
) -> Head:
    """Return a new head with random weights for features of these backbones.

    Raises:
        InputError: the head reads a modality that the features lack.
        UsageError: the settings belong to another head, or are contradictory.
    """
    if not isinstance(settings, HEADS[name].settings):
        raise UsageError(
            f"the head {name!r} has settings of its own, {HEADS[name].settings.__name__}; "
            f"these are {type(settings).__name__}"
        )
    dims = {
        key: backbone.dim if backbone else 0
        for key in MODALITIES
        for backbone in [backbones.get(key)]
    }
    missing = [key for key in HEADS[name].uses if not dims[key]]
    if missing:
        raise InputError(
            f"the head {name!r} needs {missing[0]} features and these have none; "
            "extract them, or choose another --head"
        )
    return HEADS[name](dims["visual"], dims["audio"], settings, logits)  # type: ignore[arg-type]


class WithEncoders(nn.Module):
    """A head of both modalities, with the encoders' classifiers for frames of one modality.

    A frame with a face and no speech gets the logits of the image encoder's classifier, bit for
    bit. A frame with speech and no face gets the log-probabilities of the audio encoder's
    classifier, if there is one. All other frames get the logits of the head. Encoders are trained
    on many more faces and voices than heads, so they are better in frames of one modality.
    """

    def __init__(
        self,
        head: Head,
        classifier: EncoderClassifier | None,
        speech_classifier: SpeechClassifier | None = None,
    ) -> None:
        super().__init__()
        self.head, self.classifier, self.speech_classifier = head, classifier, speech_classifier
        self.uses, self.window, self.stride = head.uses, head.window, head.stride

    def width(self, modality: str) -> int:
        """Return the width of the features of a modality that is used."""
        return self.head.width(modality)

    def forward(
        self, visual: Tensor, audio: Tensor, has_visual: Tensor, has_audio: Tensor
    ) -> Tensor:
        """Map features (..., Dv), (..., Da) and masks (...) to logits (..., 8)."""
        logits: Tensor = self.head(visual, audio, has_visual, has_audio)
        faces, speech = has_visual & ~has_audio, has_audio & ~has_visual
        for alone, classifier in ((faces, self.classifier), (speech, self.speech_classifier)):
            if classifier is not None:
                own: Tensor = classifier(visual, audio, alone, alone)
                logits = torch.where(alone.unsqueeze(-1), own, logits)
        return logits


def add_encoders(
    head: Head,
    classifier: EncoderClassifier | None,
    speech_classifier: SpeechClassifier | None = None,
) -> Head | WithEncoders:
    """Return a head, wrapped in `WithEncoders` if classifiers are given.

    Raises:
        UsageError: the head does not use both modalities; or it reads windows and a classifier of
            speech is given: the faces before and after are better evidence than the speech.
    """
    if classifier is None and speech_classifier is None:
        return head
    if len(head.uses) < 2:
        option = "--speech-only" if classifier is None else "--face-only"
        raise UsageError(
            f"a head of {head.uses[0]} features alone cannot leave frames of one modality to the "
            f"encoder's classifier; use {option} {HEAD}"
        )
    if speech_classifier is not None and head.window > 1:
        raise UsageError(
            f"a head that reads windows labels speech without a face by the faces around it; use "
            f"--speech-only {HEAD}"
        )
    return WithEncoders(head, classifier, speech_classifier)


def narrow_head(head: Head, logits: int) -> Head:
    """Return a copy of a head with only its first logits, those of the task itself."""
    narrow = deepcopy(head)
    linear = narrow.classifier.linear
    linear.weight, linear.bias = (
        nn.Parameter(weights.detach()[:logits].clone()) for weights in (linear.weight, linear.bias)
    )
    linear.out_features = logits
    return narrow


def save_head(path: str | Path, head: Head | WithEncoders, metadata: HeadMetadata) -> None:
    """Write a head, in half precision except for the classifiers of encoders beside it.

    Raises:
        OutputError: the path cannot be written.
    """
    tensors = halve_matrices(head.state_dict())
    if isinstance(head, WithEncoders):
        own = head.state_dict().items()
        tensors |= {k: v for k, v in own if not k.startswith("head.")}
    save_checkpoint(path, tensors, metadata)


class TrainedHead:
    """A head in inference form, on one device."""

    def __init__(
        self,
        head: Head | WithEncoders | EncoderClassifier | AveragedClassifiers,
        device: torch.device,
        task: str = EXPR,
    ) -> None:
        self.device, self.form = device, OUTPUT_FORMS[task]
        self.head = head.eval().to(device)

    def open_stream(self) -> SoftVoting:
        """Return a classifier of a stream of frames.

        It takes visual (n, Dv), audio (n, Da) and their masks (n,), and returns outputs (m, M)
        (`output_forms`) of frames as soon as they are final, NaN for frames without a prediction.
        """
        head, form = self.head, self.form
        return SoftVoting(head.window, head.stride, self._classify_windows, form.outputs)

    def classify(
        self,
        visual: NDArray[np.float16],
        audio: NDArray[np.float16],
        has_visual: NDArray[np.bool_],
        has_audio: NDArray[np.bool_],
    ) -> tuple[NDArray[np.float32], NDArray[np.str_]]:
        """Turn one video's features (T, Dv), (T, Da) and masks (T,) into probabilities (T, 8).

        Also returns the source of each row, (T,). A modality that no row has may be of any width.
        A modality that is not finite in a row is missing there.
        """
        outputs, source = self.find_outputs(visual, audio, has_visual, has_audio)
        return outputs[:, :N_CLASSES], source

    def find_outputs(
        self,
        visual: NDArray[np.float16],
        audio: NDArray[np.float16],
        has_visual: NDArray[np.bool_],
        has_audio: NDArray[np.bool_],
    ) -> tuple[NDArray[np.float32], NDArray[np.str_]]:
        """As `classify`, with outputs (T, M) in place of probabilities."""
        arrays, stream = (visual, audio, has_visual, has_audio), self.open_stream()
        final = []
        for start in range(0, len(has_visual), CHUNK_FRAMES):
            final.append(stream.push(*(array[start : start + CHUNK_FRAMES] for array in arrays)))
        outputs = np.concatenate([*final, stream.finish()])
        there = find_finite(visual, has_visual), find_finite(audio, has_audio)
        return outputs, name_output_sources(self.head.uses, *there, outputs)

    @torch.inference_mode()
    def _classify_windows(self, arrays: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        """Map features (W, T, Dv), (W, T, Da) and masks (W, T) to outputs (W, T, M)."""
        values = dict(zip(("visual", "audio", "has_visual", "has_audio"), arrays, strict=True))
        for name in MODALITIES:
            there = find_finite(values[name], values[f"has_{name}"])
            values[f"has_{name}"] = there
            values[name] = np.where(
                there[..., None], values[name], np.zeros((), values[name].dtype)
            )
        for name in self.head.uses:
            dim = self.head.width(name)
            if values[name].shape[-1] != dim and not values[f"has_{name}"].any():
                values[name] = np.zeros((*values[name].shape[:-1], dim), np.float16)
        v, a, has_v, has_a = (torch.from_numpy(x).to(self.device) for x in values.values())
        logits: Tensor = self.head(v.float(), a.float(), has_v, has_a)  # (W, T, K)
        return np.asarray(self.form.activate(logits).cpu().numpy(), np.float32)


def find_finite(values: NDArray[Any], has: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the mask (...,) of features (..., D), without vectors that are not finite."""
    return np.asarray(has & np.isfinite(values).all(axis=-1))


def name_output_sources(
    uses: Sequence[str],
    has_visual: NDArray[np.bool_],
    has_audio: NDArray[np.bool_],
    outputs: NDArray[np.float32],
) -> NDArray[np.str_]:
    """Return the source (T,) of each row of outputs (T, M), by the modalities in `uses`."""
    visual, audio = (
        has & (key in uses) for key, has in (("visual", has_visual), ("audio", has_audio))
    )
    return name_sources(visual, audio, ~np.isnan(outputs[:, 0]))


def find_head(metadata: HeadMetadata, path: str | Path) -> type[Head]:
    """Return the class of the head that the metadata of a checkpoint name.

    Raises:
        CheckpointError: the head is unknown, or the metadata lack a backbone that it needs.
    """
    if metadata.head not in HEADS:
        raise CheckpointError(f"{path} describes no head known here: {metadata.head!r}")
    kind = HEADS[metadata.head]
    if missing := [each for each in kind.uses if metadata.backbones.get(each) is None]:
        raise CheckpointError(
            f"{path} names no {' or '.join(missing)} backbone, which its head {metadata.head!r} "
            "needs; train it again"
        )
    return kind


def load_head(path: str | Path, device: torch.device) -> tuple[TrainedHead, HeadMetadata]:
    """Load a head that `abaw train head` wrote, and its metadata.

    The head's logits are calibrated if the metadata have a calibration. Those of the encoders'
    classifiers in the same file are not.

    Raises:
        CheckpointError: the file is missing or damaged, was made for other classes, or its
            weights do not fit the head that it names, or are not finite.
    """
    path = Path(path)
    tensors, metadata = load_checkpoint(path, HeadMetadata)
    kind = find_head(metadata, path)
    if wrong := [name for name, weights in tensors.items() if not weights.isfinite().all()]:
        raise CheckpointError(
            f"{path}: weights of the head are no finite numbers ({wrong[0]}): the file is damaged, "
            "or its training diverged; train it again, with a lower --lr"
        )

    def build() -> Head | WithEncoders:
        settings = kind.settings(**metadata.network)
        count = OUTPUT_FORMS[metadata.task].logits
        head = build_head(metadata.head, metadata.backbones, settings, count)
        own, speech = None, None
        if metadata.face_only == ENCODER:
            own = EncoderClassifier(nn.Linear(head.width("visual"), N_CLASSES))
        if metadata.speech_only == ENCODER:
            speech = SpeechClassifier(VoiceClassifier(head.width("audio")))
        return add_encoders(head, own, speech)

    head = load_network(path, tensors, metadata.network, build, what=f"head {metadata.head!r}")
    if metadata.calibration:
        own = head.head if isinstance(head, WithEncoders) else head
        calibrate_linear(own.classifier.linear, metadata.calibration)
    return TrainedHead(head, device, metadata.task), metadata


def check_features(head: HeadMetadata, features: Backbones, name: str) -> None:
    """Check that features come from the backbones that a head was trained with.

    Features may lack one of the head's two modalities.

    Raises:
        CheckpointError: they come from others, which the message names; or the features have no
            modality that the head uses.
    """
    uses = HEADS[head.head].uses
    there = [modality for modality in uses if features.get(modality)]
    if not there:
        needed = " or ".join(f"{each} features of {head.backbones.name(each)}" for each in uses)
        raise CheckpointError(f"{name} has none of what the head needs: {needed}; extract them")
    if modality := head.backbones.find_difference(features, there):
        _check_order(head, features, modality, name)
        raise CheckpointError(
            f"{name}: {modality} features of {features.name(modality)}, but the head was trained "
            f"on those of {head.backbones.name(modality)}; extract them with that "
            "backbone, or train a head on these"
        )


def _check_order(head: HeadMetadata, features: Backbones, modality: str, name: str) -> None:
    """Name the first of several backbones whose features are missing or out of order.

    Raises:
        CheckpointError: the head was trained on features of several backbones.
    """
    wanted = (trained := head.backbones.get(modality)) and trained.parts
    if not wanted:
        return
    given = (made := features.get(modality)) and (made.parts or (made,)) or ()
    for k, backbone in enumerate(wanted):
        if k >= len(given) or given[k].identity != backbone.identity:
            raise CheckpointError(
                f"{name}: the head was trained on {modality} features of {len(wanted)} backbones, "
                f"{trained}; number {k + 1} is to be of {backbone}, and "
                f"{f'is of {given[k]}' if k < len(given) else 'is missing'}. Give the "
                "features of the first as inputs, and those of each further one by --features, in "
                "this order"
            )
