"""Every tunable of abaw, once, with the reason for its value. Standard library only.

The command line reads its defaults here and the library uses the same objects, so that the
two never differ. "Published" refers to arXiv 2603.12221.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

# Which subjects a command processes; `faces.subjects` defines each choice.
SUBJECTS = ("main", "largest", "follow-largest", "left", "right", "top", "all")
STRATEGIES = (*SUBJECTS, "track N", "skip")  # per video: also a track number, or no subject
DETECTOR_NAMES = ("retinaface", "insightface")  # `faces.detect.DETECTORS`
EXPR = "expr"
TASK_NAMES = (EXPR, "va", "au")  # of the challenge; the latter two are in `tasks.TASKS`
SMOOTHING_METHODS = ("median", "mean", "gaussian", "vote")  # `smoothing.SMOOTHERS`
HEAD_NAMES = ("gated", "visual", "audio", "concat", "dual-branch", "tcn", "gru")
EXPORT_FORMATS = (  # `formats.exports.EXPORTERS`
    "elan", "textgrid", "vtt", "srt", "audacity", "boris", "bids", "labelstudio",
    "openface", "abaw", "wide", "long",
)  # fmt: skip
# Public data sets of labelled face images: `stages.manifest.READERS`.
IMAGE_SETS = ("affectnet", "raf-db", "ferplus", "expw", "folders", "aff-wild2")
VALID_SHARE = 0.1  # of images, or of videos, of a data set without splits
# Side of the crop around a face's box of a manifest, over the longer side of the box: the middle
# of the scales that are published for videos.
IMAGE_BOX_SCALE = 1.2
IMPORT_FORMATS = ("elan", "textgrid", "audacity", "boris", "labelstudio")  # `formats.imports`
SMOOTHING_SPACES = ("probabilities", "logits")
PRECISIONS = ("auto", "float32", "bfloat16")  # number formats to train in
# Roll of a head from which its crop is rotated by quarter turns. Unrotated and rotated crops are
# classified equally well at 45 to 50 degrees of roll; above, rotated crops are better (60 degrees:
# 84 % against 75 % correct, 90 degrees: 91 % against 59 %). Sitting and standing people lean less.
UPRIGHT_DEGREES = 60
AREA = "area"  # averages over areas to shrink, bicubic interpolation to enlarge
# How crops are resized: our own way, and Pillow's filters, which antialias.
RESAMPLINGS = (AREA, "nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
ROTATIONS = (0, 90, 180, 270)  # degrees clockwise by which frames can be rotated
# Largest relative change of a network's features at which a reduced number format is used.
# bfloat16 changes them by 1 to 2 %, a wrong convolution kernel by 30 % and more.
PRECISION_TOLERANCE = 0.05
# Difference of a probability between machines, batch sizes or thread counts that counts as an
# error. Rounding alone stays far below it.
PROBABILITY_TOLERANCE = 0.02
AUDIO_RATE_HZ = 16_000  # sampling rate that Wav2Vec 2.0, WavLM and compact-voice expect


def parse_track(strategy: str) -> int | None:
    """Return N of the strategy `track N`; None of any other."""
    found = re.fullmatch(r"track ([0-9]{1,9})", strategy)
    return int(found[1]) if found else None


def is_strategy(text: str) -> bool:
    """Tell whether `text` is one of STRATEGIES, with a number for N."""
    return (text in STRATEGIES and text != "track N") or parse_track(text) is not None


@dataclass(frozen=True)
class Detection:
    """Face detection in one picture."""

    long_side: int = 384  # pixels of the longer side; 320 misses most faces of a crowd at 1080p
    # Smaller pictures are enlarged to this longer side. Of 200 face images of 48 pixels, 98 % then
    # reach `Tracking.sure_score`, and 17 % otherwise; of scenes of 96 pixels, all and under half.
    small_side: int = 320  # pixels
    min_score: float = 0.6  # a head seen from behind scored 0.5 to 0.6
    nms_iou: float = 0.4  # of two boxes that overlap more, the one with the lower score is dropped


@dataclass(frozen=True)
class Tracking:
    """Tracking of faces over time."""

    stride: int = 5  # frames between detection steps while all tracks are certain
    stride_s: float = 0.25  # upper limit of the same: at low frame rates faces move far in 5 frames
    sure_score: float = 0.9  # starts a track; below it, faces are detected in every frame
    sure_iou: float = 0.6  # overlap of a face's boxes in two detection steps to interpolate between
    reach: float = 1.0  # largest distance between a face's centres in two steps, in box sides
    resize: float = 2.0  # largest ratio of a face's box sides in two steps
    confirm: int = 3  # consecutive detections that make a track a subject; fewer are dropped
    gap_s: float = 2.0  # a face that is missing for less is identified by its position
    # After a longer gap or a cut, a face is identified by similarity: that of its appearance
    # template, -1..1, and that of its colours, 0..1, must reach these values. The similarity of
    # 290 pairs of recordings of different people was at most 0.72; that of 6 of 204 pairs of parts
    # of one person's recording was below 0.75, and these become new subjects.
    same_appearance: float = 0.75
    same_colours: float = 0.9
    # ReID similarity of InsightFace's embeddings, -1..1. Usual are 0.3 to 0.5; a low value suits
    # one video, which has few people, whose similarity falls when they turn or laugh.
    same_embedding: float = 0.35
    cut: float = 0.12  # mean change of brightness between detection steps that is a cut, 0..1
    # Below a cut, a change from here on is larger than movement causes. A face in the same position
    # then needs `same_appearance`, too.
    shift: float = 0.03
    # Without such a change, a face in the same position with a lower similarity is another person.
    other_appearance: float = 0.5


QUALITY = ("sharpness", "yaw", "roll", "face_quality")  # columns about a face; `faces.quality`


@dataclass(frozen=True)
class FaceQuality:
    """Limits of face quality, from FER+ (grey, 48x48 pixels), which trained the face encoder."""

    side: int = 48  # pixels of the longer side; smaller faces are enlarged for the encoder
    sharpness: float = 0.46  # 99 of 100 FER+ faces are sharper (`benchmarks/face_quality.py`)
    poor_share: float = 0.5  # of rows with a face below either limit; a warning follows above it


@dataclass(frozen=True)
class Cropping:
    """Square crops written as files."""

    scales: tuple[float, ...] = (1.0,)  # side of the crop over the longer side of the face's box
    side: int | None = None  # pixels; None: as in the video
    quality: int = 95  # JPEG quality


@dataclass(frozen=True)
class ContactSheet:
    """A picture that shows the faces of each track over time."""

    columns: int = 14  # faces per track: with `side`, as wide as most screens
    rows: int = 12  # the longest tracks; more rows do not fit on a screen
    side: int = 92  # pixels of a face
    scale: float = 1.3  # side over the face's box: hair and chin help to tell people apart
    low_score: float = Tracking.sure_score  # faces with a lower score are marked
    quality: int = 90  # JPEG quality


@dataclass(frozen=True)
class Smoothing:
    """Smoothing of predictions over time. `window_frames` takes precedence over `window_s`."""

    method: str = "median"  # keeps sharp changes; removes what lasts less than half a window
    window_frames: int | None = None  # odd
    # Expressions last 0.5 to 4 s. A window in seconds is the same at any frame rate.
    window_s: float | None = 1.0
    # Or "logits": of tables without them, the centred logarithms of the probabilities, of which csv
    # has six digits.
    space: str = "probabilities"
    # Added to the logarithm of each class's smoothed probability (`balance`); None: 0.
    bias: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        """Keep only the window that is used, so that equal smoothings compare equal."""
        if self.window_frames is not None:
            object.__setattr__(self, "window_s", None)
        if self.bias is not None:
            object.__setattr__(self, "bias", tuple(map(float, self.bias)))  # JSON has lists

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON, without a bias where there is none, as in older files."""
        values = asdict(self) | ({"bias": list(self.bias)} if self.bias else {})
        return {key: value for key, value in values.items() if key != "bias" or value}


@dataclass(frozen=True)
class Balancing:
    """The search for a bias of each class that raises the macro-F1."""

    # A factor of exp(b) on the odds: up to 20 either way. Finer steps change the score less than
    # other videos do.
    grid: tuple[float, ...] = tuple(k / 4 for k in range(-12, 13))
    rounds: int = 4  # over all classes; more hardly change anything


# Age of temporary files of other machines that are removed. A day: a run that is alive writes more
# often.
LEFTOVER_AGE_S = 86_400


JOB_MEGABYTES = 1000  # of one job: networks, frames and tables of an hour of video
PROGRESS_S = 0.2  # between two messages of a process about its progress
RAY_CORES = 2  # of an actor without a GPU: one decodes, one runs the networks
RAY_ATTEMPTS = 3  # on an input whose actor is lost; then it probably ends its actors itself
RAY_WAIT_S = 300.0  # for the first actor: a cluster that scales itself starts nodes in minutes
SHOWN_OUTPUTS = 50  # of a run, in the table of its summary; the manifest has all


@dataclass(frozen=True)
class Segmentation:
    """From one label per frame to segments of one label."""

    # Shorter segments become gaps. Shorter expressions are micro-expressions, which one label per
    # frame does not resolve.
    min_duration_s: float = 0.2
    # A segment bridges unlabelled time up to this: a slow blink, or a face missed in some frames.
    max_gap_s: float = 0.4


@dataclass(frozen=True)
class Rendering:
    """A video with its labels drawn in."""

    max_fps: float = 60.0  # of the result: most screens show no more
    # At a variable rate, the share of intervals that may be shorter than one of the result. Frames
    # of such bursts are left out, and no others.
    short_intervals: float = 0.1
    # A frame may be this late and still be shown: containers round times to milliseconds.
    same_time_s: float = 0.002
    # A face is hidden in all frames within this time of its detection, so that a miss in some
    # frames shows it nowhere. Low scores count, too: a false detection costs little.
    hidden_s: float = 0.25
    hidden_score: float = 0.3
    hidden_long_side: int = (
        960  # pixels of the picture for the detector: 640 misses faces of 26 pixels at 1080p
    )
    hidden_margin: float = 0.25  # around the box, in its sides: hair and chin identify people
    hidden_blocks: int = 6  # along the longer side; from 10 on, acquaintances recognise a person


@dataclass(frozen=True)
class Report:
    """Pictures and comparisons in a report."""

    pictures: int = 40  # per subject, of the longest segments: 4 kB each, one screen
    side: int = 112  # pixels of a picture: a face is recognised, and a row holds ten
    scale: float = 1.6  # side over the face's box: hair and chin are seen
    quality: int = 80  # JPEG quality
    # Values of a column that groups are compared by. A column with more holds numbers or names.
    max_groups: int = 12


FUSED_TIMES_S = 1e-3  # difference of a frame's times in tables that are fused: they are rounded


@dataclass(frozen=True)
class Submission:
    """Predictions as a challenge's submission."""

    # Share of a video's rows that take another frame's prediction, above which a warning names the
    # video. The sample's surplus rows are far fewer, so frames must be missing.
    many_borrowed: float = 0.05
    shown_differences: int = 10  # of a submission that is checked; the others are only counted


@dataclass(frozen=True)
class Scores:
    """What is reported beside the challenge's own score."""

    # Bootstrap samples of whole videos for the 95 % interval. Between seeds, its ends then vary by
    # 1/40 of its width.
    bootstrap_draws: int = 1000
    seed: int = 0
    calibration_bins: int = 15  # the usual number
    # Frames by which predictions are shifted: official annotations differ by up to two from videos.
    shifts: tuple[int, ...] = (-2, -1, 0, 1, 2)
    shown_videos: int = 10  # on the terminal, without -v
    # Gain in macro-F1 from which another shift is reported, if it is also positive in 97.5 % of the
    # bootstrap samples. Of 60 choices of 8 composed videos whose predictions are one frame off,
    # 0.003 finds all and 0.005 finds 7 in 10; without a shift, none is reported. Smoothing hides a
    # shift of one frame from either, and 7 % of pairs of smoothed videos are reported by chance.
    clear_gain: float = 0.003


@dataclass(frozen=True)
class Sweeping:
    """The search for the smoothing with the best score on annotated videos."""

    # Frames, from 0.2 s, within which no face changes, to 10 s, longer than most expressions.
    windows: tuple[int, ...] = (5, 11, 25, 51, 75, 101, 151, 201, 301)
    folds: int = 5  # each is scored with the best of the others, as in cross-validation of heads


@dataclass(frozen=True)
class Prediction:
    """Batch and queue sizes. Results depend on them by rounding only."""

    batch_size: int = 16  # faces; larger batches are hardly faster on a CPU
    queue_frames: int = 64  # largest number of frames decoded ahead of the network


MODALITY_CHOICES = ("av", "visual", "audio")  # inputs that a command uses


@dataclass(frozen=True)
class AudioFeatures:
    """How audio features are computed and aligned with video frames. Defaults: published."""

    chunk_s: float = 20.0  # length of the input of a backbone
    window_s: float = 0.5  # on both sides of a frame's time: its audio frames are averaged
    layers: str = "last4"  # layers of a transformer that are averaged; also first4 and the like


@dataclass(frozen=True)
class VoiceClips:
    """How an audio classifier, which labels clips, labels moments. Defaults: own."""

    clip_s: float = 3.0  # as long as a usual clip of the corpora that they are trained on: 2 to 5 s
    # From one clip to the next: six audio frames of compact-voice, which detects the speech. A
    # frame then rests on two clips (`AudioFeatures.window_s`).
    step_s: float = 0.48
    batch_size: int = 8  # clips; of a Wav2Vec 2.0 large, they take 1 GB


@dataclass(frozen=True)
class Classifiers:
    """How classifiers of other people answer: `hf:` models and ONNX files."""

    # Our class, or "none", of a label that `labels.SYNONYMS` does not have, in lower case. The
    # labels of an ONNX file are numbers from 0.
    label_map: Mapping[str, str] = field(default_factory=dict)
    # Of one recipe after the other: their logits are divided by it. Above 1: less certain.
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
class Media:
    """Reading of video and audio."""

    # Frame rate of a stream without times or a rate, FFmpeg's own default, and of the rows of a
    # file without video.
    fallback_fps: int = 25
    # A header may state a duration that is this much too long: rounding, or the last frame.
    cut_tolerance_s: float = 0.5
    # A jump in audio times that is a real gap. Smaller ones are rounding to milliseconds, and half
    # an audio frame of Wav2Vec 2.0.
    audio_gap_s: float = 0.01
    # Largest frame: what the largest cameras make. Decoded, it takes about 2 GB.
    frame_megapixels: int = 200
    # Difference of a pixel's width from its height that is ignored: encoders round the ratio.
    square_pixels: float = 0.01
    widest_pixels: int = 4  # larger ratios of width and height, or the inverse, are damage
    constant_rate_s: float = 0.002  # largest difference of intervals at a constant frame rate
    # A stream's clock that goes back by this much restarts. Less is jitter of recorders, which is
    # evened out.
    restart_s: float = 0.5
    # A clock that goes ahead by this much is reset. A shorter gap is a pause of the recording and
    # keeps its length.
    jump_s: float = 3600.0
    stray_s: float = 0.1  # a stray packet is ahead of the others by more than this
    stray_first: int = 8  # stray packets before the first valid one, at most
    skew_s: float = 5.0  # largest difference between streams where parts of a file are joined
    # Packets read ahead to tell a stray from a jump: two seconds, more than the audio packets that
    # share one time stamp in a transport stream. The bytes are limited as well.
    lookahead_packets: int = 100
    lookahead_bytes: int = 32 << 20
    held_frames: int = 16  # frames held back to wait for a time: H.264 reorders as many
    # Larger sample values are damage: full scale is 1.0, or 2 ** 31 where floats were never scaled.
    loudest: float = 1e10
    # Consecutive audio packets; if more than half of them cannot be decoded, the others are noise.
    garbage_packets: int = 64


@dataclass(frozen=True)
class ImageAugmentation:
    """Augmentation of training images. Defaults: published."""

    crop_scale: tuple[float, float] = (0.8, 1.0)  # share of the image's area; above 1: reflected
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)  # width / height
    crop_shift: float = 0.0  # of the crop beyond the image's edge, as a share of the side
    rotate_degrees: float = 0.0
    flip_p: float = 0.5
    # Largest changes of brightness, contrast, saturation and hue.
    jitter: tuple[float, float, float, float] = (0.25, 0.25, 0.15, 0.02)
    jitter_p: float = 0.8
    gamma: float = 1.0  # largest gamma, and the inverse of the smallest; of jittered images
    grey_p: float = 0.1
    blur_sigma: tuple[float, float] = (0.1, 1.5)  # pixels, kernel 3
    blur_p: float = 0.1
    sharpen_p: float = 0.0
    # Side of shrunk images, as a share: of 48 pixels, 16 to 38, as of small faces in a video.
    low_resolution: tuple[float, float] = (0.33, 0.8)
    low_resolution_p: float = 0.0
    noise: float = 0.06  # largest deviation, of 0..1: of a dark recording
    noise_p: float = 0.0
    jpeg_quality: tuple[float, float] = (15.0, 70.0)
    jpeg_p: float = 0.0
    padaug_p: float = 0.6
    erase_p: float = 0.25
    erase_scale: tuple[float, float] = (0.02, 0.12)  # share of the image's area
    erase_any_level: bool = False  # whether rectangles are filled with any grey, not with the mean


NO_IMAGE_AUGMENTATION = ImageAugmentation(
    crop_scale=(1.0, 1.0),
    crop_ratio=(1.0, 1.0),
    flip_p=0.0,
    jitter_p=0.0,
    grey_p=0.0,
    blur_p=0.0,
    padaug_p=0.0,
    erase_p=0.0,
)


SELECTIONS = ("linear", "moe")  # heads of Stage I


@dataclass(frozen=True)
class MoEHead:
    """The mixture-of-experts training head. Defaults: published."""

    experts: int = 4
    router_hidden: int = 256
    blocks: int = 3
    hidden_ratio: int = 2
    dropout: float = 0.6
    drop_path: float = 0.10  # of the last block; rises linearly from 0


@dataclass(frozen=True)
class CompactFaceShape:
    """The size of compact-face. Defaults: 2.5 ms per crop on one core, 6 MB in half precision."""

    stem: int = 16  # channels of the first convolution
    widths: tuple[int, ...] = (64, 128, 256)  # channels of each stage
    blocks: tuple[int, ...] = (2, 2, 2)  # residual blocks of each stage


@dataclass(frozen=True)
class Distillation:
    """Training on the outputs of teachers beside the annotations. Defaults: own.

    Votes are soft labels already, so a low temperature suffices.
    """

    temperature: float = 2.0
    weight: float = 0.7  # of the divergence from the teachers; the labels' loss has the rest
    # Weight of the difference of features from those of the only teacher: features of the student
    # then stand for those of the teacher.
    feature_weight: float = 0.0


@dataclass(frozen=True)
class EncoderTraining:
    """Stage I. Defaults: published, for a pretrained ViT-L/14."""

    epochs: int = 12
    batch_size: int = 64
    backbone_lr: float = 1e-5
    head_lr: float = 3e-4
    layer_decay: float = 0.85  # learning rate of a block over that of the next deeper block
    frozen_blocks: int = 8  # the first blocks, together with the patch embedding
    weight_decay: float = 0.05  # 0 on biases and norms
    clip_norm: float = 1.0
    mixup_alpha: float = 0.2
    label_smoothing: float = 0.1
    class_weight_power: float = 1.0  # w_c = (N / (8 n_c)) ** power, over its mean; 0: no weights
    # Power of the inverse class frequency by which images are drawn; 0: each once per epoch.
    sampling_power: float = 0.0
    # Factor of the log class frequencies that are added to the logits in training, so that the
    # network itself assumes equal frequencies (arXiv 2007.07314); 0: none.
    logit_adjustment: float = 0.0
    soft_labels: bool = True  # the distribution of the votes where the manifest has votes
    distillation: Distillation = Distillation()  # where teachers are given
    shape: CompactFaceShape | None = None  # of compact-face; None: the default
    moe: MoEHead | None = MoEHead()
    # Whether the loss of the linear classifier trains the backbone, too. It always does without the
    # MoE head.
    joint_classifier: bool = False
    # One of SELECTIONS, by whose macro-F1 the best epoch is chosen. The linear classifier is what
    # is saved.
    select: str = "linear"
    patience: int | None = None  # epochs without a better one after which training ends
    warmup_steps: int = 0  # batches in which the learning rates rise from 0
    ema_decay: float = 0.0  # decay of the EMA of the weights, which is saved; 0: no EMA
    precision: str = "auto"  # one of PRECISIONS
    augmentation: ImageAugmentation = ImageAugmentation()
    seed: int = 0


# Training from scratch on small grey crops: no frozen blocks, one learning rate that suits random
# weights, and milder regularisation than a pretrained network of 300 M weights needs. With the
# published augmentation a small network underfits. Label smoothing is off: votes are soft labels
# already. Rotation and shifts are on: crops are not aligned. Images are changed as video changes
# faces: by resolution, coding, noise, light and objects in front of them. The classifier is joint:
# features that only the MoE head can use are worthless once that head is dropped.
COMPACT_ENCODER_TRAINING = EncoderTraining(
    epochs=24,
    backbone_lr=2e-3,
    head_lr=2e-3,
    layer_decay=1.0,
    frozen_blocks=0,
    mixup_alpha=0.0,
    label_smoothing=0.0,
    class_weight_power=0.3,
    moe=MoEHead(dropout=0.2, drop_path=0.05),
    joint_classifier=True,
    warmup_steps=300,
    ema_decay=0.998,
    augmentation=ImageAugmentation(
        crop_scale=(0.7, 1.25),
        crop_shift=0.03,
        rotate_degrees=20.0,
        jitter=(0.4, 0.4, 0.15, 0.02),
        jitter_p=0.5,
        gamma=1.6,
        blur_p=0.1,
        sharpen_p=0.1,
        low_resolution_p=0.2,
        noise_p=0.1,
        jpeg_p=0.2,
        padaug_p=0.2,
        erase_p=0.25,
        erase_scale=(0.02, 0.2),
        erase_any_level=True,
    ),
)

# The same from weights that know faces: fewer epochs, a lower learning rate, no mixture of experts.
MOBILENET_TRAINING = replace(
    COMPACT_ENCODER_TRAINING,
    epochs=15,
    batch_size=256,
    backbone_lr=3e-4,
    head_lr=1e-3,
    moe=None,
    warmup_steps=200,
    ema_decay=0.995,
)


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


def default_training(backbone: str) -> EncoderTraining:
    """Return the training defaults of a face backbone: published, or own for small networks."""
    if backbone.startswith(MOBILENET):
        return MOBILENET_TRAINING
    return COMPACT_ENCODER_TRAINING if backbone == COMPACT_FACE else EncoderTraining()


@dataclass(frozen=True)
class AudioAugmentation:
    """Augmentation of training audio. Defaults: own."""

    # Largest relative change of pitch and formants: it simulates more speakers than corpora have.
    pitch: float = 0.18
    tempo: float = 0.18  # largest relative change of tempo
    gain_db: tuple[float, float] = (-25.0, 10.0)
    noise_p: float = 0.5
    snr_db: tuple[float, float] = (0.0, 40.0)
    filter_db: float = 4.0  # standard deviation of the gain at the points of a random filter
    band_limit_p: float = 0.3  # of cutting the lowest bands, and separately the highest
    masks: int = 2  # SpecAugment masks over bands, and as many over time
    mask_bands: int = 12  # largest mask, of 64 bands
    mask_frames: int = 25  # largest mask, in frames of 10 ms
    babble_p: float = 0.0  # share of the noise that is other people's speech
    room_p: float = 0.0  # of reverberation
    room_s: tuple[float, float] = (0.15, 0.9)  # in which it decays by 60 dB
    room_db: tuple[float, float] = (-12.0, 3.0)  # its energy over that of the direct signal
    clip_p: float = 0.0  # of clipped samples
    codec_p: float = 0.0  # of bands removed as by a codec of a low bit rate


NO_AUDIO_AUGMENTATION = AudioAugmentation(
    pitch=0.0,
    tempo=0.0,
    gain_db=(0.0, 0.0),
    noise_p=0.0,
    filter_db=0.0,
    band_limit_p=0.0,
    masks=0,
)


@dataclass(frozen=True)
class VoiceTraining:
    """Training of the voice encoder, from scratch on minutes to hours of speech. Defaults: own."""

    epochs: int = 16
    epoch_batches: int = 200  # batches per epoch; corpora and their classes are drawn equally often
    batch_size: int = 32
    crop_s: float = 2.56  # of a recording; a whole number of audio frames of 80 ms
    # Share of samples whose label is learned from `AudioFeatures.window_s` around one moment, as
    # the encoder is used, and not from the whole crop.
    local_p: float = 0.5
    non_speech: float = 0.125  # non-speech samples per recording of a batch
    speech_weight: float = 0.3  # of the loss of speech detection
    backbone_lr: float = 2e-3  # of the backbone
    head_lr: float = 2e-3  # of the classifiers, and the projection of a pretrained backbone
    weight_decay: float = 0.05  # 0 on biases and norms
    warmup_steps: int = 100
    clip_norm: float = 5.0
    ema_decay: float = 0.99  # decay of the EMA of the weights, which is validated and saved
    dropout: float = 0.3
    label_smoothing: float = 0.1
    mixup_alpha: float = 0.0
    contrast: float = 0.0  # weight of the contrastive loss between corpora
    precision: str = "auto"  # one of PRECISIONS
    augmentation: AudioAugmentation = AudioAugmentation()
    seed: int = 0


# From a pretrained speech encoder: rates that keep most of what it knows, batches large enough for
# their noise, and augmentation against channels, since pretrained layers overfit to those of few
# corpora before they overfit to voices. Pitch, tempo, rate and contrast are the best of four
# settings by macro-F1 with each of three corpora left out.
PRETRAINED_VOICE_TRAINING = VoiceTraining(
    epochs=5,
    epoch_batches=300,
    batch_size=48,
    backbone_lr=1e-4,
    head_lr=1e-3,
    clip_norm=1.0,
    ema_decay=0.998,
    dropout=0.3,
    contrast=0.3,
    augmentation=AudioAugmentation(
        pitch=0.22,
        tempo=0.2,
        noise_p=0.6,
        snr_db=(0.0, 30.0),
        babble_p=0.25,
        room_p=0.3,
        clip_p=0.1,
        codec_p=0.3,
    ),
)


# Layers of a speech encoder: the deeper they are, the more they know of words and the less of how
# they are said.
VOICE_LAYERS = 2


def default_voice_training(pretrained: bool) -> VoiceTraining:
    """Return the training defaults of a voice encoder, from pretrained or from random weights."""
    return PRETRAINED_VOICE_TRAINING if pretrained else VoiceTraining()


# The speech mask: an audio frame (80 ms) is speech if its probability of speech reaches
# SPEECH_PRESENT and, within SPEECH_REACH_FRAMES of it (half a second), the mean probability of a
# segment of SPEECH_SEGMENT_FRAMES reaches SPEECH_CERTAIN. Title music reaches 0.85 at most; speech
# reaches 0.99 in every second.
SPEECH_PRESENT = 0.5
SPEECH_CERTAIN = 0.9
SPEECH_SEGMENT_FRAMES = 5
SPEECH_REACH_FRAMES = 6


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


# What classifies a frame with a face and without speech.
HEAD, ENCODER = FACE_ONLY_CHOICES = ("head", "encoder")


@dataclass(frozen=True)
class HeadTraining:
    """Stage II. Defaults: published."""

    epochs: int = 20
    batch_frames: int = 4096  # annotated or not, in whole windows
    lr: float = 1e-4
    last_lr: float = 1e-5  # of the last step, at the end of a cosine
    warmup: float = 0.0  # share of all steps in which the learning rate rises from 0
    weight_decay: float = 1e-4
    class_weight_power: float = 1.0  # w_c = (N / (8 n_c)) ** power, over its mean; 0: no weights
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
    face_only: str = HEAD  # as published; `encoder`: the classifier of the image encoder instead
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


def default_head_training(head: str) -> HeadTraining:
    """Return the training defaults of a head."""
    return TEMPORAL_TRAINING.get(head, HeadTraining())
