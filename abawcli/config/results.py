"""Tasks, scores, submissions, segments, and the formats of other programs."""

from dataclasses import dataclass

EXPR = "expr"
TASK_NAMES = (EXPR, "va", "au")  # of the challenge; the latter two are in `tasks.TASKS`
# Probability from which an action unit is active. Training gives active and inactive frames of a
# unit the same weight in total, so that at 0.5 neither is favoured, however rare the unit is.
UNIT_THRESHOLD = 0.5
EXPORT_FORMATS = (  # `formats.exports.EXPORTERS`
    "elan", "textgrid", "vtt", "srt", "audacity", "boris", "bids", "labelstudio",
    "openface", "abaw", "wide", "long",
)  # fmt: skip
IMPORT_FORMATS = ("elan", "textgrid", "audacity", "boris", "labelstudio")  # `formats.imports`


@dataclass(frozen=True)
class Segmentation:
    """From one label per frame to segments of one label."""

    # Shorter segments become gaps. Shorter expressions are micro-expressions, which one label per
    # frame does not resolve.
    min_duration_s: float = 0.2
    # A segment bridges unlabelled time up to this: a slow blink, or a face missed in some frames.
    max_gap_s: float = 0.4


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
    bootstrap_samples: int = 1000
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
