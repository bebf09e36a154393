"""The CPU cores that a process may use. Standard library only: nothing that starts threads."""

import os

# The number of cores of a process that shares a machine with others; set for workers.
CORES_VARIABLE = "ABAW_CORES"


def count_cores() -> int:
    """Return the number of CPU cores that this process may use."""
    if (given := os.environ.get(CORES_VARIABLE, "")).isdecimal():
        return max(1, int(given))
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def share_cores() -> int:
    """Return this process's share of the cores, at least one, among the processes of torchrun.

    torchrun sets OMP_NUM_THREADS to one: that limits each process's threads, not its helpers.
    """
    return max(1, count_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", 1)))


def limit_threads(cores: int) -> dict[str, str]:
    """Return the environment of a process that uses so many cores, for the libraries it loads."""
    variables = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    return dict.fromkeys((CORES_VARIABLE, *variables, "OPENCV_FOR_THREADS_NUM"), str(cores))
