"""Recipes, features, classifiers, calibration and the speech mask."""

from collections.abc import Mapping
from dataclasses import dataclass, field

MODALITY_CHOICES = ("av", "visual", "audio")  # inputs that a command uses


LAYERS_FORM = r"(first|last)([1-9]\d*)"  # of the blocks of a transformer, such as last4


@dataclass(frozen=True)
class AudioFeatures:
    """How audio features are computed and aligned with video frames. Defaults: published."""

    chunk_s: float = 20.0  # length of the input of a backbone
    window_s: float = 0.5  # on both sides of a frame's time: its audio frames are averaged
    layers: str = "last4"  # layers of a transformer that are averaged; also first4 and the like


@dataclass(frozen=True)
class AudioClips:
    """The clips in which an audio classifier labels a recording. Defaults: own."""

    clip_s: float = 3.0  # as long as a usual clip of the corpora that they are trained on: 2 to 5 s
    # From one clip to the next: six audio frames of compact-voice, which detects the speech. A
    # frame then rests on two clips (`AudioFeatures.window_s`).
    step_s: float = 0.48
    batch_size: int = 8  # clips; of a Wav2Vec 2.0 large, they take 1 GB


@dataclass(frozen=True)
class Classifiers:
    """The labels, logits and input of pretrained classifiers: `hf:` models and ONNX files."""

    # Our class, or "none", of a label that `labels.SYNONYMS` does not have, in lower case. The
    # labels of an ONNX file are numbers from 0.
    label_map: Mapping[str, str] = field(default_factory=dict)
    # One for each recipe, whose logits are divided by it. Above 1: less confident.
    temperatures: tuple[float, ...] = ()
    onnx_input: str | None = None  # of ONNX_INPUTS, or `SIZE:MEAN,...:STD,...`; None: by the name


# Input of the ONNX models of EmotiEffLib: pixels of the side, mean and deviation of values in 0..1.
# The library tells them by these parts of the files' names, as is done here.
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
ONNX_INPUTS = {
    "enet_b0": (224, *_IMAGENET),
    "enet_b2": (260, *_IMAGENET),
    "mobilevit": (224, *_IMAGENET),
    "ddamfnet": (112, *_IMAGENET),
    "mbf": (112, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}


@dataclass(frozen=True)
class CalibrationFit:
    """How probabilities are calibrated on labelled examples."""

    folds: int = 5  # of the cross-validation that tells the calibration error
    bias_penalty: float = 5.0  # of squared biases, in examples: a class with fewer moves little
    largest_temperature: float = 10.0  # and the inverse of the smallest
    least_examples: int = 100  # ten for each of nine numbers


CALIBRATION = CalibrationFit()

# Frames with the highest probability of Neutral that `--baseline auto` takes as neutral: this share
# of a person's frames with a face, as few interviews show a neutral face for less, and a second.
BASELINE_SHARE = 0.1
BASELINE_FRAMES = 25
BIAS_CHOICES = ("auto", "yes", "no")  # a bias per class; auto: unless biases cost anything


RECIPE_NAMES = ("compact", "compact-dual-branch", "compact-face")  # `models.recipes` has them
COMPACT_FACE = "compact-face"  # the embedded backbone; other names are hub names or folders
MOBILENET = "mobilenet-"  # followed by the side to which it enlarges crops
COMPACT_VOICE = "compact-voice"  # likewise for audio


# The speech mask: an audio frame (80 ms) is speech if its probability of speech reaches
# SPEECH_PRESENT and, within SPEECH_REACH_FRAMES of it (half a second), the mean probability of a
# segment of SPEECH_SEGMENT_FRAMES reaches SPEECH_CERTAIN. Title music reaches 0.90 at most; speech
# reaches 0.98 in every second (benchmarks/speech.py).
SPEECH_PRESENT = 0.5
SPEECH_CERTAIN = 0.95
SPEECH_SEGMENT_FRAMES = 5
SPEECH_REACH_FRAMES = 6
