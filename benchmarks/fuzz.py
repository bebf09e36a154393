"""Read damaged files of every kind for a while, in processes that may crash or hang.

A fault is a crash, a hang, an error without a message of abaw's own, or a file that is written.
Prints the seeds of faults, with which `tests/fuzzing.py` makes the same files again, and the first
and last seed that was read: none between them is left out.

    python benchmarks/fuzz.py [--seconds 60] [--files 10000] [--seed 1000] [--jobs 2]

It ends after the time or the number of files, whichever comes first: with the number, a faster
machine reads no other files than those that are known to be free of faults. A hang is told by the
CPU time of a file, which is the same on a busy machine (SIGXCPU ends the process), or by a very
long wait.
"""

import argparse
import logging
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from fuzzing import FuzzWork

from abawcli.engines import run
from abawcli.jobs import Job, Where

CPU_S = 30  # of one file; the slowest of 10,000 takes 1.0 s
WAIT_S = 300.0  # of one file, for one that waits without end: ten times that, on a busy machine


def main() -> None:
    """Read files until the time or their number is over; exit with 1 if there was a fault."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--files", type=int, default=10_000, help="at most")
    parser.add_argument("--seed", type=int, default=1000, help="the first seed")
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args()
    end, done, faults, last = time.monotonic() + given.seconds, 0, 0, given.seed
    where = Where(given.jobs, WAIT_S, log_level=logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        seeds = range(given.seed, given.seed + given.files)
        jobs = [Job(Path(folder), str(seed), seed, ()) for seed in seeds]
        with closing(run(jobs, FuzzWork(folder, CPU_S), where)) as outcomes:
            for outcome in outcomes:
                done, last = done + 1, max(last, outcome.job.task)
                if outcome.failure:
                    faults += 1
                    print(f"seed {outcome.job.name}: {outcome.failure.message}", flush=True)
                # A file that is still being read may be the one that hangs: wait for it.
                if time.monotonic() > end and done == last - given.seed + 1:
                    break
    print(f"seeds {given.seed} to {last}: {done} damaged files, {faults} faults")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
