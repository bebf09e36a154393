"""A recipe's networks: from a video to predictions, as a stream of frames."""

import itertools
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property, reduce
from pathlib import Path

import numpy as np
import torch

from abawcli.config import (
    ENCODER,
    EXPR,
    MODALITY_CHOICES,
    AudioFeatures,
    Classifiers,
    Prediction,
    Smoothing,
)
from abawcli.device import choose_device
from abawcli.errors import CheckpointError, UsageError
from abawcli.formats.feature_sets import FeaturePaths
from abawcli.formats.json_values import JsonObject
from abawcli.formats.metadata import MODALITIES, Backbones
from abawcli.media.video import TimedImage, check_rotation
from abawcli.models.checkpoint import read_metadata
from abawcli.models.classifiers import LoadedBackbones, load_classifiers
from abawcli.models.encoder import find_encoder, load_classifier
from abawcli.models.ensemble import Ensemble
from abawcli.models.heads import TrainedHead, check_features, load_head
from abawcli.models.metadata import FaceEncoderMetadata, HeadMetadata
from abawcli.models.recipes import Recipe, join_recipes
from abawcli.models.voice_reliability import VoiceReliability, load_reliability
from abawcli.pipeline.baseline import Baseline
from abawcli.pipeline.feature_stream import Extractor, FrameFeatures
from abawcli.pipeline.subject_stream import FramePrediction, SubjectStream

LOG = logging.getLogger(__name__)


def _check_classifiers(recipe: Recipe, classifiers: Classifiers) -> None:
    """Refuse settings of pretrained classifiers for a recipe without one."""
    if not recipe.classifiers and classifiers != Classifiers():
        raise UsageError(
            f"{recipe.name} has its own labels and input; --label-map, --temperatures and "
            "--onnx-input are for hf: and .onnx recipes"
        )


class FramePredictor:
    """The networks of a recipe, loaded once for any number of inputs."""

    def __init__(
        self,
        recipe: str | Sequence[str] = "compact",
        device: str = "auto",
        config: Prediction | None = None,
        modality: str = "av",
        *,
        rotate: int = 0,
        backbones: bool = True,
        classifiers: Classifiers | None = None,
        baseline: Baseline | None = None,
        label_all: bool = False,
        more_features: Mapping[Path, FeaturePaths] | None = None,
    ) -> None:
        """Load the networks; of several recipes, the heads' probabilities are averaged.

        Args:
            recipe: a name or checkpoint, or several.
            device: device of the networks.
            config: batch and queue sizes.
            modality: one of `config.MODALITY_CHOICES`.
            rotate: clockwise rotation of frames in degrees (0, 90, 180, 270).
            backbones: load them now; False: load them for the first input that is not features.
                Feature files need only the head.
            classifiers: settings of pretrained classifiers; only for their recipes.
            baseline: the neutral frames of each subject, whose offset of the logits is subtracted
                from tables of whole videos.
            label_all: also label frames without a face whose audio is below the voice encoder's
                reliable confidence, as with `modality="audio"`.
            more_features: by feature file, those of the head's other backbones, in their order.

        Raises:
            UsageError: unknown recipe, device, rotation or modality, or a modality that the recipe
                does not use; or several recipes with different features; or a baseline, and the
                recipe records no output for neutral faces.
            CheckpointError: weights are missing, do not fit, or are not those that the recipe's
                head was trained with.
        """
        self.recipe = join_recipes([recipe] if isinstance(recipe, str) else recipe)
        check_rotation(rotate)
        self.classifiers = classifiers or Classifiers()
        _check_classifiers(self.recipe, self.classifiers)
        self._loaded: LoadedBackbones | None = None  # with classifiers, for the extractor
        loaded = self._load_heads(choose_device(device))
        self.head = Ensemble([head for head, _ in loaded.values()])
        self.metadata = {name: metadata for name, (_, metadata) in loaded.items()}
        self.modality = self._choose_modality(modality)
        self.rotate = rotate
        self._device, self._config = device, config
        self.baseline, self.label_all = baseline, label_all
        self.more_features = more_features or {}
        if baseline:
            self._check_baseline(baseline)
        if backbones:
            _ = self.extractor
        self._loaded = None

    @cached_property
    def extractor(self) -> Extractor:
        """The backbones of the recipe."""
        visual, audio = (
            self.recipe.find_backbone(key) if self.uses(key) else "" for key in MODALITIES
        )
        trained = self.recipe.backbones  # those that the heads were trained with
        layers = (trained.audio and trained.audio.layers) or AudioFeatures.layers
        preprocess = trained.visual.preprocess if trained.visual else None
        extractor = Extractor(
            visual,
            audio,
            self.modality,
            layers,
            device=self._device,
            config=self._config,
            rotate=self.rotate,
            onnx_input=self.classifiers.onnx_input if self.recipe.classifiers else preprocess,
            flip=bool(preprocess and preprocess.flip),
            loaded=self._loaded,
        )
        for name, metadata in self.metadata.items():
            check_features(metadata, extractor.backbones, f"recipe {name}")
        return extractor

    @cached_property
    def neutral(self) -> tuple[float, ...]:
        """Return the mean log-probabilities (8,) of neutral faces; for several heads, their mean.

        A head that leaves faces without speech to its encoder's classifier has the encoder's.

        Raises:
            UsageError: a checkpoint records none.
            CheckpointError: the encoder is missing.
        """
        outputs = []
        for name, metadata in self.metadata.items():
            output = metadata.neutral
            if output is None and metadata.face_only == ENCODER:
                path = find_encoder(self.recipe.find_backbone("visual"))
                output = read_metadata(path, FaceEncoderMetadata).neutral
            if output is None:
                raise UsageError(
                    f"the recipe {name} does not record its mean output for neutral faces, which "
                    "--baseline needs; `abaw calibrate` adds it to a head or an encoder"
                )
            outputs.append(output)
        return tuple(np.mean(outputs, axis=0).tolist())

    @cached_property
    def reliability(self) -> VoiceReliability | None:
        """The reliability of labels from audio alone; None: all of them are used."""
        audio = self.recipe.backbones.audio
        if self.label_all or self.modality != "av" or audio is None or not audio.may_classify:
            return None
        try:
            return load_reliability(self.recipe.find_backbone("audio"), audio.sha256)
        except CheckpointError as error:  # features are predicted without it
            LOG.warning("all frames with speech are labelled, reliable or not: %s", error)
            return None

    def uses(self, modality: str) -> bool:
        """Tell whether `visual` or `audio` is used."""
        return self.modality in (modality, "av")

    def _load_heads(self, device: torch.device) -> dict[str, tuple[TrainedHead, HeadMetadata]]:
        """Return the heads and their metadata by name; without heads, those of classifiers."""
        recipe = self.recipe
        if recipe.classifiers:
            head, metadata, self._loaded = load_classifiers(
                recipe.classifiers, self.classifiers, device
            )
            return {recipe.name: (head, metadata)}
        if not recipe.heads:
            return {recipe.name: load_classifier(recipe.find_backbone("visual"), device)}
        return {name: load_head(path, device) for name, path in recipe.heads.items()}

    def _choose_modality(self, modality: str) -> str:
        """Return the requested modality, limited to what the recipe uses."""
        if modality not in MODALITY_CHOICES:
            raise UsageError(f"unknown modality {modality!r}; choose {', '.join(MODALITY_CHOICES)}")
        known = "av" if len(self.head.uses) == 2 else self.head.uses[0]
        if modality not in (known, "av") and known != "av":
            raise UsageError(f"the recipe {self.recipe.name} is {known} only, not {modality}")
        return known if modality == "av" else modality

    def _check_baseline(self, baseline: Baseline) -> None:
        """Refuse a baseline of another recipe, or one that the recipe cannot subtract."""
        if self.recipe.task != EXPR:
            raise UsageError(
                f"--baseline is for expressions; {self.recipe.name} is of --task {self.recipe.task}"
            )
        _ = self.neutral  # raises an error if a head does not record it
        baseline.check_recipe(self.recipe.describe())

    def describe(
        self, subject: str, smoothing: Smoothing | None, kind: str = "video"
    ) -> JsonObject:
        """Return the settings that results depend on, for a `video`, `crops` or `features`.

        They are for the provenance. Without smoothing, that of the recipe is recorded as the
        default of `smooth`.
        """
        settings = self.recipe.describe()
        if self.recipe.classifiers:
            settings["classifiers"] = asdict(self.classifiers)
        if kind == "features":
            trained = reduce(Backbones.join, (each.backbones for each in self.metadata.values()))
            settings |= trained.select(list(filter(self.uses, MODALITIES))).to_settings()
        else:
            settings |= self.extractor.describe(subject, kind == "crops")
        if self.label_all:
            settings["label_all"] = True
        if self.baseline:
            settings["baseline"] = self.baseline.describe()
        own = settings | {"smoothing": smoothing and smoothing.to_json()}
        return own if smoothing else own | {"to_smooth": settings["smoothing"]}

    def predict_frames(
        self, source: str | Path | Iterable[TimedImage], starts: Sequence[int] = ()
    ) -> Iterator[FramePrediction]:
        """Yield every frame of a video with all its faces, unsmoothed, in order.

        `source` is a file, or RGB images (H, W, 3) with their times in seconds, as of a camera.
        `starts` are those of `Extractor.extract_frames`.

        With a head that reads windows of frames, each frame is yielded a window later.

        Raises:
            InputError: the file cannot be read or has no frame; or as `video.wrap_images`.
        """
        frames = self.extractor.extract_frames(source, starts)
        stream = SubjectStream(self.head, self.extractor.widths[0])
        while chunk := list(itertools.islice(frames, self.extractor.config.queue_frames)):
            yield from stream.push(self._judge(chunk))
        yield from stream.finish()

    def _judge(self, chunk: list[FrameFeatures]) -> list[FrameFeatures]:
        """Return the frames with the reliability of their audio."""
        if not self.reliability:
            return chunk
        reliable = self.reliability.judge(np.stack([frame.audio for frame in chunk])).tolist()
        return [replace(frame, reliable=r) for frame, r in zip(chunk, reliable, strict=True)]
