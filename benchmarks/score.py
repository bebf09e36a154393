"""Time of `abaw score` on a test set of ABAW's size, compared with pandas and scikit-learn.

Writes the predictions of 1,022,655 frames in 228 videos as one table (parquet, csv), as tables and
text files by video, and as a submission, with annotations by video. Runs the command on each, in a
separate process, with all its output. Compares with pandas (pyarrow reader) on the same files, and
with scikit-learn's `f1_score` on the same labels, both without checks and in a process that has
loaded them already. Prints the fastest of three runs.

    python benchmarks/score.py [--rows 1022655] [--videos 228]
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import f1_score
from smoothing import make_predictions, make_table

from abawcli.formats.abaw import write_annotation
from abawcli.formats.submission import write_submission
from abawcli.formats.tables import write_table

INPUTS = ("table.parquet", "table.csv", "tables", "texts", "submission.txt")


def write_inputs(table: pd.DataFrame, folder: Path) -> NDArray[np.int64]:
    """Write the predictions in every format; half of the annotations (N,) agree with them."""
    write_table(table, folder / "table.parquet", {})
    write_table(table, folder / "table.csv", {})
    answer = table.assign(label=np.maximum(table["label"], 0))
    write_submission(answer, folder / "submission.txt")
    random = np.random.default_rng(0)
    truths = []
    for name, rows in answer.groupby("video", sort=False):
        write_table(table.loc[rows.index], folder / "tables" / f"{name}.csv", {})
        labels = rows["label"].to_numpy()
        write_annotation(labels, folder / "texts" / f"{name}.txt")
        other = random.integers(-1, 8, len(labels))
        truth = np.where(random.random(len(labels)) < 0.5, labels, other)
        write_annotation(truth, folder / "truth" / f"{name}.txt")
        truths.append(truth)
    return np.concatenate(truths)


def read_alone(path: Path) -> None:
    """Read all files of one format with pandas."""
    for file in path.iterdir() if path.is_dir() else [path]:
        if file.suffix == ".parquet":
            pd.read_parquet(file)
        elif file.suffix in (".csv", ".txt"):
            skip = 1 if file.suffix == ".txt" else 0  # a header unlike the rows
            pd.read_csv(file, engine="pyarrow", header=None, skiprows=skip)


def run_score(path: Path) -> None:
    """Run the command in a separate process."""
    command = [sys.executable, "-m", "abawcli", "score", path, path.parent / "truth"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def measure(work: Callable[[], object]) -> float:
    """Return the seconds of the fastest of three runs."""
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def main() -> None:
    """Write, run, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=1_022_655)
    parser.add_argument("--videos", type=int, default=228)
    options = parser.parse_args()
    table = make_table(*make_predictions(options.rows), options.videos)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        y, p = write_inputs(table, folder), np.maximum(table["label"].to_numpy(), 0)
        alone = measure(lambda: f1_score(y[y >= 0], p[y >= 0], average="macro"))
        print(f"{options.rows:,} rows, {options.videos} videos; f1_score alone: {alone:.2f} s\n")
        print("| input | abaw score, s | rows/s | pandas reads, s | ratio to pandas + f1_score |")
        print("|---|---|---|---|---|")
        for name in INPUTS:
            seconds = measure(lambda name=name: run_score(folder / name))  # type: ignore[misc]
            reading = measure(lambda name=name: read_alone(folder / name))  # type: ignore[misc]
            ratio, rate = seconds / (reading + alone), options.rows / seconds
            row = f"| {name} | {seconds:.2f} | {rate:,.0f} | {reading:.2f} | {ratio:.1f} |"
            print(row, flush=True)


if __name__ == "__main__":
    main()
