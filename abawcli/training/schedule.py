"""The learning-rate schedule of a training run: a linear warm-up, then a cosine.

The published schedule (arXiv 2603.12221, section 4) is the cosine alone.
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """The length of a run and its learning rate over time."""

    epochs: int
    warmup_steps: int = 0  # steps in which the learning rate rises from 0
    warmup_share: float = 0.0  # likewise, as a share of all steps; added to `warmup_steps`
    last_share: float = 0.0  # last learning rate over the highest one

    def find_share(self, step: int, steps: int) -> float:
        """Return the learning rate of a step (from 0) of `steps`, as a share of the highest."""
        warmup = self.warmup_steps + round(self.warmup_share * steps)
        done = max(step - warmup, 0) / max(steps - warmup, 1)
        cosine = self.last_share + (1 - self.last_share) * 0.5 * (1 + math.cos(math.pi * done))
        return cosine * min((step + 1) / (warmup + 1), 1)
