"""Prediction tables for tests."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from abawcli.formats.table_schemas import COLUMNS, PROBABILITIES


def make_table(
    labels: list[int] | NDArray[np.int64], video: str = "clip", subject: str = "main"
) -> pd.DataFrame:
    """One row per label, sure to 0.65; -1 gives a row without face and prediction."""
    label = np.asarray(labels, np.int64)
    none = label == -1
    p = np.where(np.arange(8) == label[:, None], 0.65, 0.05)
    p[none] = np.nan
    frame = np.arange(1, len(label) + 1)
    face = np.where(none, np.nan, 100.25)
    columns = {
        "video": video,
        "frame": frame,
        "time_s": (frame - 1) * 0.04,
        "subject": subject,
        "found": ~none,
        "face_score": np.where(none, np.nan, 0.9),
        **dict.fromkeys("xywh", face),
        "source": np.where(none, "none", "visual"),
        "label": label,
        "confidence": np.where(none, np.nan, 0.65),
        **dict(zip(PROBABILITIES, p.T, strict=True)),
    }
    return pd.DataFrame({name: columns.get(name, np.nan) for name in COLUMNS})
