"""Time of `abaw score` on a test set of ABAW's size, beside scikit-learn's macro-F1 alone.

Writes the predictions of 1,022,655 frames in 228 videos as one table (parquet, csv), as tables and
texts by video, and as a submission, with annotations by video; runs the command on each, as a
process of its own, with everything that it prints; and scikit-learn's `f1_score` on the same
labels, already in memory.

    python benchmarks/score.py [--rows 1022655] [--videos 228]
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import f1_score
from smoothing import make_predictions, make_table

from abawcli.formats.abaw import write_annotation
from abawcli.formats.submission import write_submission
from abawcli.formats.tables import write_table


def write_inputs(table: pd.DataFrame, folder: Path) -> None:
    """Write the predictions in every form; annotations that agree with most of them."""
    write_table(table, folder / "table.parquet", {})
    write_table(table, folder / "table.csv", {})
    answer = table.assign(label=np.maximum(table["label"], 0))
    write_submission(answer, folder / "submission.txt")
    random = np.random.default_rng(0)
    for name, rows in answer.groupby("video", sort=False):
        write_table(table.loc[rows.index], folder / "tables" / f"{name}.csv", {})
        labels = rows["label"].to_numpy()
        write_annotation(labels, folder / "texts" / f"{name}.txt")
        other = random.integers(-1, 8, len(labels))
        truth = np.where(random.random(len(labels)) < 0.5, labels, other)
        write_annotation(truth, folder / "truth" / f"{name}.txt")


def main() -> None:
    """Write, run, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=1_022_655)
    parser.add_argument("--videos", type=int, default=228)
    options = parser.parse_args()
    table = make_table(*make_predictions(options.rows), options.videos)
    print(f"{options.rows:,} rows, {options.videos} videos\n\n| input | seconds | over f1_score |")
    print("|---|---|---|")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_inputs(table, folder)
        y, p = np.random.default_rng(1).integers(0, 8, (2, options.rows))
        start = time.perf_counter()
        f1_score(y, p, average="macro")
        alone = time.perf_counter() - start
        print(f"| f1_score of arrays | {alone:.2f} | 1 |")
        for name in ("table.parquet", "table.csv", "tables", "texts", "submission.txt"):
            start = time.perf_counter()
            command = [sys.executable, "-m", "abawcli", "score", folder / name, folder / "truth"]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            seconds = time.perf_counter() - start
            print(f"| abaw score {name} | {seconds:.2f} | {seconds / alone:.1f} |", flush=True)


if __name__ == "__main__":
    main()
