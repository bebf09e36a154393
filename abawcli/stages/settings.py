"""The settings of predict, extract and crop for many inputs, without the libraries of the stages.

With several processes, or a Ray cluster, the process of the command only sends these.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from abawcli.config import Classifiers, Cropping, Media, Prediction, Tracking

if TYPE_CHECKING:
    from abawcli.formats.feature_sets import FeaturePaths
    from abawcli.pipeline.baseline import Baseline


@dataclass(frozen=True)
class PredictSettings:
    """The settings of predictions of any number of inputs."""

    recipes: tuple[str, ...]
    device: str = "auto"
    batch_size: int = Prediction.batch_size
    modality: str = "av"
    rotate: int = 0
    # Fields of the recipe's smoothing that are replaced; None: no smoothing.
    smoothing: Mapping[str, Any] | None = field(default_factory=dict)
    audio_from: Path | None = None
    overwrite: bool = False
    max_megapixels: int = Media.frame_megapixels
    logits: bool = False
    backbones: bool = True  # False: all inputs are feature files
    classifiers: Classifiers = field(default_factory=Classifiers)
    baseline: Baseline | None = None
    label_all: bool = False
    # Of each feature file, those of the head's other backbones, in their order.
    more_features: Mapping[Path, FeaturePaths] = field(default_factory=dict)


@dataclass(frozen=True)
class ExtractSettings:
    """The settings of features of any number of inputs."""

    visual: str
    audio: str
    modality: str
    layers: str
    device: str
    batch_size: int
    rotate: int = 0
    audio_from: Path | None = None
    overwrite: bool = False
    max_megapixels: int = Media.frame_megapixels
    onnx_input: str | None = None
    flip: bool = False
    workers: int | None = None  # processes that prepare crops; None: by the device


@dataclass(frozen=True)
class CropSettings:
    """The settings of crops of any number of videos."""

    device: ClassVar[str] = "cpu"  # the detector runs there only
    detector: str
    tracking: Tracking
    cropping: Cropping
    rotate: int = 0
    overwrite: bool = False
    max_megapixels: int = Media.frame_megapixels
