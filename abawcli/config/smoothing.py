"""Smoothing of predictions over time, and the search for its settings."""

from dataclasses import asdict, dataclass
from typing import Any

SMOOTHING_METHODS = ("median", "mean", "gaussian", "vote")  # `smoothing.SMOOTHERS`
SMOOTHING_SPACES = ("probabilities", "logits")


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


@dataclass(frozen=True)
class Weighting:
    """The search for the weights of fused tables with the best score on annotated videos."""

    # Of the weight of one table to those of the others: up to 8 either way. Beyond, a table counts
    # only where the others have no prediction.
    ratios: tuple[float, ...] = tuple(2 ** (k / 2) for k in range(-6, 7))
    rounds: int = 4  # over all tables; more hardly change anything
    folds: int = 5  # each is scored with the weights of the others


@dataclass(frozen=True)
class Sweeping:
    """The search for the smoothing with the best score on annotated videos."""

    # Frames, from 0.2 s, within which no face changes, to 10 s, longer than most expressions.
    windows: tuple[int, ...] = (5, 11, 25, 51, 75, 101, 151, 201, 301)
    folds: int = 5  # each is scored with the best of the others, as in cross-validation of heads
