"""Pictures, videos and reports that show results."""

from dataclasses import dataclass

from abawcli.config.faces import Tracking


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
    # Of the picture for the detector, in pixels: 640 misses faces of 26 pixels at 1080p.
    hidden_long_side: int = 960
    hidden_margin: float = 0.25  # around the box, in its sides: hair and chin identify people
    hidden_blocks: int = 6  # along the longer side; from 10 on, acquaintances recognise a person


@dataclass(frozen=True)
class Report:
    """Pictures and comparisons in a report."""

    pictures: int = 40  # per subject, of the longest segments: 4 kB each, one screen
    errors: int = 20  # worst segments that are listed, of each subject and of all videos
    side: int = 112  # pixels of a picture: a face is recognised, and a row holds ten
    scale: float = 1.6  # side over the face's box: hair and chin are seen
    quality: int = 80  # JPEG quality
    # Values of a column that groups are compared by. A column with more holds numbers or names.
    max_groups: int = 12
