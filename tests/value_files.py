"""Features and annotations of tasks with values for tests: videos that features tell about."""

from pathlib import Path

import numpy as np
from sample_features import make_features

from abawcli.formats.features import write_features
from abawcli.tasks import Task, Values


def write_values(path: Path, task: Task, values: Values) -> None:
    """Write values (T, K) as text of one video, `ignore` where they are NaN."""
    path.parent.mkdir(exist_ok=True, parents=True)
    rows = np.where(np.isnan(values), task.ignore, values).tolist()
    lines = [",".join(f"{value:g}" for value in row) for row in rows]
    path.write_text("\n".join([task.header, *lines]) + "\n")


def make_values(task: Task, classes: np.ndarray) -> Values:
    """Return values (T, K) that depend on classes (T,) alone."""
    rng = np.random.default_rng(7)  # the same for all videos
    table = rng.uniform(-1, 1, (8, len(task.columns))).round(3)
    return ((table > 0).astype(float) if task.whole else table)[classes]


def save_value_videos(
    folder: Path, names: list[str], *tasks: Task, frames: int = 60, missing: float = 0.2
) -> tuple[Path, list[Path]]:
    """Write features and annotations of videos; return their folders, one a task."""
    for k, name in enumerate(names):
        rng = np.random.default_rng(k)
        classes = np.repeat(rng.permutation(8), -(-frames // 8))[:frames]
        features = make_features(classes, name, seed=k, missing=missing)
        write_features(features, folder / "features" / f"{name}.safetensors", {})
        for task in tasks:
            values = make_values(task, classes)
            values[rng.random(frames) < 0.1] = np.nan
            write_values(folder / task.name / f"{name}.txt", task, values)
    return folder / "features", [folder / task.name for task in tasks]
