"""Every tunable of abaw, once, with the reason for its value. Standard library only.

The command line reads its defaults here and the library uses the same objects, so that the
two never differ. "Published" refers to arXiv 2603.12221.
"""

import re
from dataclasses import dataclass

# Whom a command means; `faces.subjects` says how each is found.
SUBJECTS = ("main", "largest", "left", "right", "top", "all")
STRATEGIES = (*SUBJECTS, "track N", "skip")  # of one video: also a person's number, or nobody
DETECTOR_NAMES = ("retinaface", "insightface")  # `faces.detect.DETECTORS`
SMOOTHING_METHODS = ("median", "mean", "gaussian", "vote")  # `smoothing.SMOOTHERS`
HEAD_NAMES = ("gated", "visual", "audio", "concat", "dual-branch")  # `models.heads.HEADS`
EXPORT_FORMATS = (  # `formats.exports.EXPORTERS`
    "elan", "textgrid", "vtt", "srt", "audacity", "boris", "bids", "labelstudio",
    "openface", "abaw", "wide", "long",
)  # fmt: skip
IMPORT_FORMATS = ("elan", "textgrid", "audacity", "boris", "labelstudio")  # `formats.imports`
SMOOTHING_SPACES = ("probabilities", "logits")
PRECISIONS = ("auto", "float32", "bfloat16")  # number formats to train in
UPRIGHT_DEGREES = 60  # of a head's roll, from which on its crop is turned by quarters. A crop as it
# is and one turned by 90 give as many labels right at 45 to 50 degrees, then the turned one more
# (at 60: 84 % to 75 %, at 90: 91 % to 59 %); heads of people who sit or stand lean less.
ROTATIONS = (0, 90, 180, 270)  # degrees clockwise by which frames can be turned
PRECISION_TOLERANCE = 0.05  # change of a network's features, over their length, up to which it is
# computed in a reduced number format: bfloat16 has 1 to 2 %, a convolution gone wrong 30 % and more
PROBABILITY_TOLERANCE = 0.02  # difference of a probability between machines, batch sizes and
# numbers of threads from which on something is wrong; rounding alone stays far below
AUDIO_RATE_HZ = 16_000  # what Wav2Vec 2.0, WavLM and our own voice model expect


def parse_track(strategy: str) -> int | None:
    """Return N of the strategy `track N`; None of any other."""
    found = re.fullmatch(r"track ([0-9]{1,9})", strategy)
    return int(found[1]) if found else None


def is_strategy(text: str) -> bool:
    """Tell whether `text` is one of STRATEGIES, with a number for N."""
    return (text in STRATEGIES and text != "track N") or parse_track(text) is not None


@dataclass(frozen=True)
class Detection:
    """Faces in one picture."""

    long_side: int = 384  # pixels of the picture looked at; 320 loses most of a crowd at 1080p
    small_side: int = 320  # pixels to which one with a shorter long side is enlarged: of 200 faces
    # of 48 pixels 98 % are then sure, as stored 17 %; of those in scenes of 96 pixels all, not half
    min_score: float = 0.6  # weaker ones are no faces: a head from behind had 0.5 to 0.6
    nms_iou: float = 0.4  # of two boxes that overlap more, the better one stays


@dataclass(frozen=True)
class Tracking:
    """Faces over time."""

    stride: int = 5  # frames from one detection to the next while nothing is doubtful,
    stride_s: float = 0.25  # and at most this long: few frames a second move far between two
    sure_score: float = 0.9  # begins a track; a track below it is looked at in every frame
    sure_iou: float = 0.6  # of a face's boxes in two detections, to interpolate between them
    reach: float = 1.0  # centre's way from one box to the next, in sides; further is another face
    resize: float = 2.0  # likewise the ratio of their sides
    confirm: int = 3  # detections in a row that make a subject; fewer is a flicker
    gap_s: float = 2.0  # a face gone for less is the same one by its place
    # A face after longer, or beyond a cut, is the same one if its looks, -1..1, and its colours,
    # 0..1, are as much alike as this. Of 290 pairs of recordings of two people none looked more
    # alike than 0.72; of 204 pairs of parts of recordings of one person 6 looked less alike than
    # 0.75, and would be a new subject.
    same_look: float = 0.75
    same_colours: float = 0.9
    same_face: float = 0.35  # likewise of InsightFace's embeddings, -1..1: 0.3 to 0.5 is usual; the
    # people of one video are few, and a head that turns or laughs is less like itself
    cut: float = 0.12  # mean change of the picture's brightness from frame to frame, 0..1
    # In one room a cut changes less. From here on, which nobody who moves does from one frame to
    # the next, a face in the same place must also look the same.
    shift: float = 0.03
    other_look: float = 0.5  # without that, a face in the same place that looks less alike from
    # one frame to the next is somebody else's


QUALITY = ("sharpness", "yaw", "roll", "face_quality")  # columns about a face; `faces.quality`


@dataclass(frozen=True)
class FaceQuality:
    """What the embedded face encoder learned from: FER+, grey faces of 48x48 pixels."""

    side: int = 48  # pixels of a face's longer side; a smaller one has to be enlarged for it
    sharpness: float = 0.46  # 99 of 100 FER+ faces are sharper (`benchmarks/face_quality.py`)
    poor_share: float = 0.5  # of rows with a face that are below either, from which on it is said


@dataclass(frozen=True)
class Cropping:
    """Square crops written as files."""

    scales: tuple[float, ...] = (1.0,)  # side over the longer side of the detector's box
    side: int | None = None  # pixels; none: as in the video
    quality: int = 95  # of JPEG


@dataclass(frozen=True)
class ContactSheet:
    """A picture of who is in a video when."""

    columns: int = 14  # moments of each track: with `side`, as wide as most screens
    rows: int = 12  # tracks, those that are there longest; more make a picture to scroll through
    side: int = 92  # pixels of a face
    scale: float = 1.3  # of a face's square: hair and chin tell people apart
    low_score: float = Tracking.sure_score  # a face below it is marked
    quality: int = 90  # of JPEG


@dataclass(frozen=True)
class Smoothing:
    """Predictions over time. The window is in frames where these are given, else in seconds."""

    method: str = "median"  # keeps sharp changes; drops what lasts less than half a window
    window_frames: int | None = None  # odd
    window_s: float | None = 1.0  # expressions last half a second to four; the same at any rate
    space: str = "probabilities"  # what the statistic is of; logits: their centred logarithms. A
    # csv table has six digits of a probability, too few for the logarithms of small ones

    def __post_init__(self) -> None:
        """Keep one of the two windows, so that equal smoothings are equal."""
        if self.window_frames is not None:
            object.__setattr__(self, "window_s", None)


LEFTOVER_AGE_S = 86_400  # a day: no run is that long without writing, and a live one is spared


@dataclass(frozen=True)
class Segmentation:
    """From a label a frame to segments, stretches of one label."""

    min_duration_s: float = 0.2  # shorter ones become gaps: facial expressions that last less are
    # micro-expressions, which a label a frame does not resolve
    max_gap_s: float = 0.4  # unlabelled time that a segment bridges: as long as a slow blink, or a
    # face that is missed for some frames


@dataclass(frozen=True)
class Rendering:
    """A video with its labels drawn in."""

    max_fps: float = 60.0  # of the result: screens show no more
    short_intervals: float = 0.1  # share of a variable rate's intervals that may be shorter than
    # one of the result: frames that come in such a burst are left out, and no others
    same_time_s: float = 0.002  # by which a frame may be late and still be shown: containers that
    # count milliseconds round its time
    # Faces are hidden where any face is seen in a quarter of a second around: a detector that
    # misses one in some frames shows it to nobody. Weak ones count, too: a false one costs little.
    hidden_s: float = 0.25
    hidden_score: float = 0.3
    hidden_long_side: int = 640  # of the picture that is looked at: also faces of 20 pixels
    hidden_margin: float = 0.25  # of the box's sides, around it: hair and chin tell people apart
    hidden_blocks: int = 6  # along the longer side; with 10 and more, people know whom they know


@dataclass(frozen=True)
class Report:
    """Pictures and comparisons in a report."""

    pictures: int = 40  # of a subject, of the longest segments: 4 kB each, a screen of them
    side: int = 112  # of a picture, in pixels: a face is recognised, and a row holds ten
    scale: float = 1.6  # of a picture, over the face's box: hair and chin are seen
    quality: int = 80  # of JPEG
    max_groups: int = 12  # values of a column by which a reader may compare; with more, a column is
    # a number or a name


FUSED_TIMES_S = 1e-3  # by which a frame's times may differ in tables to be fused: their rounding


@dataclass(frozen=True)
class Submission:
    """Predictions as a challenge's submission."""

    many_borrowed: float = 0.05  # share of a video's rows that take another frame's prediction,
    # above which it is named: the sample's surplus rows are far fewer, so frames are missing
    shown_differences: int = 10  # of a submission that is checked; the rest is counted


@dataclass(frozen=True)
class Scores:
    """What is said about predictions beside the challenge's own figure."""

    draws: int = 1000  # of whole videos, for the 95 % interval; from seed to seed its ends then
    # vary by a fortieth of its width
    seed: int = 0
    calibration_bins: int = 15  # the usual number
    shifts: tuple[int, ...] = (-2, -1, 0, 1, 2)  # frames by which predictions may be off: as many
    # as official annotations differ from their videos
    shown_videos: int = 10  # on the terminal, without -v; a screen has room for them
    clear_gain: float = 0.003  # in macro-F1, from which on another shift is worth a warning, if it
    # is also above 0 in 97.5 % of the draws. Of 60 choices of 8 composed videos with predictions a
    # frame off, it tells all, and 0.005 would tell 7 in 10; with those in their places, none.
    # Smoothing hides a frame from either, and 7 % of pairs of smoothed videos are told by chance.


@dataclass(frozen=True)
class Sweeping:
    """The search for the smoothing that scores best on annotated videos."""

    windows: tuple[int, ...] = (5, 11, 25, 51, 75, 101, 151, 201, 301)  # frames: a fifth of a
    # second, below which nobody's face changes, to ten; wider ones outlast most expressions
    folds: int = 5  # each is scored with what wins on the others; as in cross-validating heads


@dataclass(frozen=True)
class Prediction:
    """How work is cut into pieces; no result depends on it beyond the last digits."""

    batch_size: int = 16  # faces; larger ones are hardly faster on a CPU
    queue_frames: int = 64  # decoded ahead of the network, at most


MODALITIES = ("av", "visual", "audio")


@dataclass(frozen=True)
class AudioFeatures:
    """How features of sound are made and brought to the frames. Defaults: published."""

    chunk_s: float = 20.0  # what a backbone hears at once
    window_s: float = 0.5  # to both sides of a frame's time: its steps are averaged
    layers: str = "last4"  # of a transformer, whose mean is the feature; or first4 and the like


@dataclass(frozen=True)
class Media:
    """Reading video and sound."""

    fallback_fps: int = 25  # of a stream without times or a rate, FFmpeg's own choice; and of
    # the rows of a sound that has no video
    cut_tolerance_s: float = 0.5  # by which a header may state more than there is: rounding,
    # a last frame counted long
    audio_gap_s: float = 0.01  # a jump in the sound's times that is real; less is the rounding
    # of containers that count milliseconds, and half a step of Wav2Vec 2.0
    picture_megapixels: int = 200  # of a still picture: what the largest cameras make; decoded,
    # it takes about 2 GB
    square_pixels: float = 0.01  # by which a pixel's width may differ from its height and pass for
    # it: a ratio that an encoder rounded, which nobody sees
    widest_pixels: int = 4  # times; beyond, in either direction, no recording is: damage
    constant_rate_s: float = 0.002  # by which intervals of a constant frame rate may differ
    restart_s: float = 0.5  # by which a stream's clock goes back where it restarts; less is the
    # jitter of recorders, and is bent
    jump_s: float = 3600.0  # by which it goes ahead where it is set anew; a shorter gap is a break
    # of the recording, whose length is true
    stray_s: float = 0.1  # by which a packet is ahead of the others if it is a stray
    stray_first: int = 8  # packets that may be strays before the first good one
    skew_s: float = 5.0  # by which streams are apart in a file, at most, where parts are joined
    look_ahead: int = 100  # packets that are looked at to tell a stray from a jump: two seconds;
    # the packets of sound that share one stamp of a transport stream last less
    look_ahead_bytes: int = 32 << 20  # and no more than this much of them
    held_frames: int = 16  # that wait for a time: as many as H.264 shows late
    loudest: float = 1e10  # a sample beyond it is no sound: full scale is 1.0, and 2 ** 31 in
    # floating point that was never scaled
    garbage_packets: int = 64  # of sound in a row: where more than half cannot be decoded, what
    # comes from the rest is not sound either


@dataclass(frozen=True)
class Augmentation:
    """Random changes of a training image. Defaults: published."""

    crop_scale: tuple[float, float] = (0.8, 1.0)  # share of the image's area
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)  # width / height
    rotate_degrees: float = 0.0
    flip_p: float = 0.5
    jitter: tuple[float, float, float, float] = (0.25, 0.25, 0.15, 0.02)  # b, c, s, hue
    jitter_p: float = 0.8
    grey_p: float = 0.1
    blur_sigma: tuple[float, float] = (0.1, 1.5)  # pixels, kernel 3
    blur_p: float = 0.1
    padaug_p: float = 0.6
    erase_p: float = 0.25
    erase_scale: tuple[float, float] = (0.02, 0.12)  # share of the image's area


NO_AUGMENTATION = Augmentation(
    crop_scale=(1.0, 1.0),
    crop_ratio=(1.0, 1.0),
    flip_p=0.0,
    jitter_p=0.0,
    grey_p=0.0,
    blur_p=0.0,
    padaug_p=0.0,
    erase_p=0.0,
)


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
class EncoderTraining:
    """Stage I. Defaults: published, for a pretrained ViT-L/14."""

    epochs: int = 12
    batch_size: int = 64
    backbone_lr: float = 1e-5
    head_lr: float = 3e-4
    layer_decay: float = 0.85  # learning rate ratio of one block to the next deeper one
    frozen_blocks: int = 8  # with the patch embedding
    weight_decay: float = 0.05  # 0 on biases and norms
    clip_norm: float = 1.0
    mixup_alpha: float = 0.2
    label_smoothing: float = 0.1
    class_weight_power: float = 1.0  # w_c = (N / (8 n_c)) ** power, over its mean; 0: no weights
    soft_labels: bool = True  # the votes' distribution where the manifest has votes
    moe: MoEHead | None = MoEHead()
    joint_classifier: bool = False  # whether the backbone also learns through the linear
    # classifier that stays; without the MoE head it always does
    warmup_steps: int = 0  # batches in which the learning rates rise from 0
    ema_decay: float = 0.0  # of the EMA of the weights that is kept; 0: the last weights
    precision: str = "auto"  # one of PRECISIONS
    augmentation: Augmentation = Augmentation()
    seed: int = 0


# From scratch on small grey crops: nothing to freeze or to spare, a rate that moves random
# weights, and milder regularisation than a 300 M-weight network needs, whose features are there
# before the training begins: with the published changes a small one underfits. Votes are smooth
# labels already. Rotation: our crops are not aligned, heads tilt. A joint classifier: features that
# only the MoE head can read are of no use once it is gone.
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
    augmentation=Augmentation(
        rotate_degrees=10.0, jitter_p=0.3, blur_p=0.05, padaug_p=0.2, erase_p=0.1
    ),
)


RECIPE_NAMES = ("compact", "compact-dual-branch", "compact-face")  # `models.recipes` has them
COMPACT_FACE = "compact-face"  # our own backbone; every other name is a hub name or a folder
COMPACT_VOICE = "compact-voice"  # likewise for sound


def default_training(backbone: str) -> EncoderTraining:
    """Return the training defaults for a backbone: ours for our own, else the published."""
    return COMPACT_ENCODER_TRAINING if backbone == COMPACT_FACE else EncoderTraining()


@dataclass(frozen=True)
class SoundAugmentation:
    """Random changes of a training sound. All ours."""

    pitch: float = 0.18  # by which pitch and resonances are lowered or raised at most: as if by
    # other speakers, of whom there are few
    tempo: float = 0.18  # likewise the tempo
    gain_db: tuple[float, float] = (-25.0, 10.0)
    noise_p: float = 0.5
    snr_db: tuple[float, float] = (0.0, 40.0)
    filter_db: float = 4.0  # deviation of a random filter's points
    band_limit_p: float = 0.3  # of losing the lowest bands, and of losing the highest
    masks: int = 2  # of SpecAugment, over bands and as many over time
    mask_bands: int = 12  # of 64, at most
    mask_frames: int = 25  # of 10 ms, at most


NO_SOUND_AUGMENTATION = SoundAugmentation(
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
    """The voice encoder, from scratch on minutes to hours of speech. All ours."""

    epochs: int = 16
    epoch_batches: int = 200  # an epoch is so many, drawn alike from each corpus and its classes
    batch_size: int = 32
    crop_s: float = 2.56  # of a sound; a whole number of steps of 80 ms
    local_p: float = 0.5  # of learning from the half second to both sides of a moment, as the
    # encoder is used, and not from the whole crop
    non_speech: float = 0.125  # sounds without speech for each recording of a batch
    speech_weight: float = 0.3  # of the loss of speech detection
    backbone_lr: float = 2e-3  # of the whole network
    weight_decay: float = 0.05  # 0 on biases and norms
    warmup_steps: int = 100
    clip_norm: float = 5.0
    ema_decay: float = 0.99  # of the EMA of the weights that is evaluated and kept
    dropout: float = 0.3
    label_smoothing: float = 0.1
    mixup_alpha: float = 0.0
    precision: str = "auto"  # one of PRECISIONS
    augmentation: SoundAugmentation = SoundAugmentation()
    seed: int = 0


VOICE_PRESENT = 0.5  # probability of a voice from which on a step counts,
VOICE_CERTAIN = 0.9  # if near it there is a stretch whose mean is this: music of a title card has
VOICE_STRETCH = 5  # steps of 80 ms with at most 0.85, talkers have 0.99 somewhere in each second
VOICE_REACH = 6  # steps to either side of it: half a second


@dataclass(frozen=True)
class GatedHead:
    """Gated fusion, and the baselines beside it. Defaults: published."""

    hidden: int = 512
    dropout: float = 0.2  # of the fused vector; ours: within the gate too
    visual_dropout: float = 0.20  # of features, in training
    audio_dropout: float = 0.25


@dataclass(frozen=True)
class DualBranchHead:
    """The dual-branch Transformer. Width and depth as in arXiv 2603.08034; ours: the rest."""

    hidden: int = 256
    layers: int = 3
    heads: int = 8  # of attention
    feed_ratio: int = 4  # width of the feed-forward over `hidden`
    dropout: float = 0.1
    window_frames: int = 64  # looked at together; two to three seconds of most videos
    stride_frames: int = 32  # from one window to the next


@dataclass(frozen=True)
class HeadTraining:
    """Stage II. Defaults: published."""

    epochs: int = 20
    batch_frames: int = 4096  # annotated or not, in whole windows
    lr: float = 1e-4
    last_lr: float = 1e-5  # of the last step; a cosine leads there
    warmup: float = 0.0  # share of all steps in which the rate rises from 0
    weight_decay: float = 1e-4
    class_weight_power: float = 1.0  # w_c = (N / (8 n_c)) ** power, over its mean; 0: no weights
    effective_beta: float | None = None  # weights from the effective number of samples instead
    focal_gamma: float = 0.0  # 0: cross-entropy
    modality_dropout: float = 0.0  # share of samples that lose one of their two modalities
    audio_swap: float = 0.0  # share of samples that get another's audio: where the audio backbone
    # learned from the same voices, its features are better than they will ever be again
    ema_decay: float = 0.0  # of the EMA of the weights that is kept; 0: the last weights
    folds: int = 5  # one of which is held out where no other videos are given
    network: GatedHead | DualBranchHead = GatedHead()
    smoothing: Smoothing = Smoothing("median", 101, None, "logits")  # of what the head predicts, as
    # published for videos of 30 frames a second
    seed: int = 0


# Epochs, modality dropout, focal loss and smoothing by voting and a median as in arXiv 2603.08034,
# the numbers ours where it gives none. Frames of a video are far from independent: beyond 10 000 of
# a class (1 / (1 - beta)) more of them count for nothing. The running mean is of some hundred
# steps, less than an epoch of a data set worth training on.
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


def default_head_training(head: str) -> HeadTraining:
    """Return the training defaults for a head."""
    return DUAL_BRANCH_TRAINING if head == "dual-branch" else HeadTraining()
