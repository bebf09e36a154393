"""How the work on inputs runs: number formats, batches, processes, clusters."""

from dataclasses import dataclass

PRECISIONS = ("auto", "float32", "bfloat16")  # number formats to train in
# Largest relative change of a network's features at which a reduced number format is used.
# bfloat16 changes them by 1 to 2 %, a wrong convolution kernel by 30 % and more.
PRECISION_TOLERANCE = 0.05
# Difference of a probability between machines, batch sizes or thread counts that counts as an
# error. Rounding alone stays far below it.
PROBABILITY_TOLERANCE = 0.02


# Age of temporary files of other machines that are removed. A day: a run that is alive writes more
# often.
LEFTOVER_AGE_S = 86_400


# Processes that decode and resize crops for a network on a GPU. Each prepares about 200
# frames a second at three scales; the command itself takes up to 800 (`benchmarks/extract.py`).
CROP_WORKERS = 8
JOB_MEGABYTES = 1000  # of one job: networks, frames and tables of an hour of video
PROGRESS_S = 0.2  # between two progress messages of a process
RAY_CORES = 2  # of an actor without a GPU: one decodes, one runs the networks
RAY_ATTEMPTS = 3  # on an input whose actor is lost; then it probably ends its actors itself
MAX_TIMEOUT_S = 1e6  # of an input: 11 days; systems wait for at most 24 (2 ** 31 ms)
RAY_WAIT_S = 300.0  # for the first actor: a cluster that scales itself starts nodes in minutes
# Warnings of one kind on the terminal: those of 247 annotations would hide all others. The
# provenance of each output has its own.
SHOWN_WARNINGS = 20
SHOWN_FAILURES = 10  # named at the end of a run; each was reported when it failed, too
SHOWN_OUTPUTS = 50  # of a run, in the table of its summary; the manifest has all


# Faces. Batches are padded to one size, and hold the faces of at most `queue_frames` frames: larger
# ones would be computed for padding.
MAX_BATCH = 1024


@dataclass(frozen=True)
class Prediction:
    """Batch and queue sizes. Results depend on them by rounding only."""

    batch_size: int = 16  # faces; larger batches are hardly faster on a CPU
    queue_frames: int = 64  # largest number of frames tracked ahead of the network
    decoded_frames: int = 5  # largest number decoded ahead of tracking: one detection step
