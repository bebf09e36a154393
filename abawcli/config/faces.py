"""Finding, following and cropping of faces, and the choice of subjects."""

import re
from dataclasses import dataclass

# Which subjects a command processes; `faces.subjects` defines each choice.
FOLLOW_LARGEST = "follow-largest"
SUBJECTS = ("main", "largest", FOLLOW_LARGEST, "left", "right", "top", "all")
STRATEGIES = (*SUBJECTS, "track N", "skip")  # per video: also a track number, or no subject
DETECTOR_NAMES = ("retinaface", "insightface")  # `faces.detect.DETECTORS`
# Roll of a head from which its crop is rotated by quarter turns. Unrotated and rotated crops are
# classified equally well at 45 to 50 degrees of roll; above, rotated crops are better (60 degrees:
# 84 % against 75 % correct, 90 degrees: 91 % against 59 %). Sitting and standing people lean less.
UPRIGHT_DEGREES = 60
AREA = "area"  # averages over areas to shrink, bicubic interpolation to enlarge
# How crops are resized: our own way, and Pillow's filters, which antialias.
RESAMPLINGS = (AREA, "nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")


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


@dataclass(frozen=True)
class Following:
    """Following of the largest face, as in arXiv 2603.12221.

    The limit of a weak similarity is not published: here it is that of one person's faces in
    `Tracking`. The least overlap is not published either; without one, a person nearby is followed
    in place of one who leaves.
    """

    keep: float = 0.90  # share of the running mean of identities that remains after a further frame
    iou: float = 0.3  # least overlap with the last followed face; usual in tracking (SORT)


QUALITY = ("sharpness", "yaw", "roll", "face_quality")  # columns of face quality; `faces.quality`


@dataclass(frozen=True)
class FaceQuality:
    """Limits of face quality, from FER+ (grey, 48x48 pixels), which trained the face encoder."""

    side: int = 48  # pixels of the longer side; smaller faces are enlarged for the encoder
    sharpness: float = 0.46  # 99 of 100 FER+ faces are sharper (`benchmarks/face_quality.py`)
    poor_share: float = 0.5  # of rows with a face below either limit; a warning follows above it


MAX_CROP_SIDE = 4096  # pixels; larger crops take more than 50 MB each, and no network reads them
# Side of a crop over that of the face's box: 10 shows a whole person who stands. The memory of a
# crop that is not resized grows with the square of it.
MAX_CROP_SCALE = 10.0


@dataclass(frozen=True)
class Cropping:
    """Square crops written as files."""

    scales: tuple[float, ...] = (1.0,)  # side of the crop over the longer side of the face's box
    side: int | None = None  # pixels; None: as in the video
    quality: int = 95  # JPEG quality
