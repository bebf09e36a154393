"""Smooth a prediction table over time, and fill frames that have no prediction of their own.

Each row becomes a statistic of the rows within half a window before and after it, of the same
video and subject. Frames without a prediction of their own (source `none`, or `filled` by an
earlier smoothing) take no part in any window, but receive one and become `filled`; those with
no prediction within their window are `none`. At both ends of a video the window is cut off:
nothing is made up beyond it.
"""

import logging

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from abawcli.config import Smoothing
from abawcli.formats.tables import PROBABILITIES, set_probabilities
from abawcli.smoothing import find_window, smooth_probabilities

LOG = logging.getLogger(__name__)
Mask = NDArray[np.bool_]


def smooth_table(
    table: pd.DataFrame, config: Smoothing, evidence: Mask | None = None
) -> pd.DataFrame:
    """Smooth a prediction table, every video and subject for itself; rows keep their order.

    Probabilities, label and confidence are made anew, also of rows that were `filled` before;
    rows that are filled have the source `filled`. Says in a warning how many rows stay without
    a label. `evidence` (N,) says which rows take part in windows; by default those that were
    predicted from their own frame.

    Raises:
        UsageError: an unknown method, or a window that is none.
    """
    p = table[PROBABILITIES].to_numpy(np.float64)  # (N, 8)
    had = evidence
    if had is None:
        had = ~table["source"].isin(["filled", "none"]).to_numpy()
    out = np.empty_like(p)
    when = table[["video", "subject", "frame", "time_s"]].reset_index(drop=True)
    for (video, subject), group in when.groupby(["video", "subject"], sort=False):
        group = group.sort_values("frame")
        rows = group.index.to_numpy()
        window = find_window(group["time_s"].to_numpy(), config)
        out[rows] = smooth_probabilities(p[rows], had[rows], config.method, window, config.space)
        bare = int(np.isnan(out[rows, 0]).sum())
        if bare == len(rows):
            LOG.warning("%s, subject %s: no frame has a label", video, subject)
        elif bare:
            LOG.warning(
                "%s, subject %s: %d of %d frames stay without a label: none within %d frames",
                video, subject, bare, len(rows), window // 2,
            )  # fmt: skip
    filled = np.where(np.isnan(out[:, 0]), "none", "filled")
    return set_probabilities(table, out, np.where(had, table["source"], filled))
