"""Options of commands that work on many inputs: which ones, where, and what a failure does."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from abawcli.cli.bundles import bundle_options
from abawcli.cli.options import FiniteRange
from abawcli.config import JOB_MEGABYTES, MAX_TIMEOUT_S, Media
from abawcli.cores import count_cores
from abawcli.jobs import ENGINES, Where

K = TypeVar("K")
V = TypeVar("V")
Shard = tuple[int, int]  # number from 1, of how many
# Variables of a job array, and of the tasks of one job, in SLURM.
_ARRAY = ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_MAX")


@dataclass(frozen=True)
class Scale:
    """The values of the options."""

    jobs: int | None  # 0: as many as there is room for; None: the engine's default
    timeout_s: float | None
    limit: int | None
    shard: Shard | None
    fail_fast: bool
    dry_run: bool
    max_megapixels: int = Media.frame_megapixels
    engine: str = ENGINES[0]
    ray_address: str | None = None

    def check(self) -> None:
        """Check that the options fit together.

        Raises:
            click.UsageError: there is the address of a Ray cluster that is not used.
        """
        if self.ray_address and self.engine != "ray":
            raise click.UsageError("--ray-address is only for --engine ray")

    def select(self, inputs: Mapping[K, V]) -> dict[K, V]:
        """Return the inputs of this shard, up to the limit."""
        number, count = self.shard or (1, 1)
        return dict(list(inputs.items())[number - 1 :: count][: self.limit])

    def choose_where(self, inputs: int) -> Where:
        """Return where so many inputs are processed."""
        jobs = self.jobs
        if self.engine == "local":
            fitting = min(count_cores(), _count_fitting())
            jobs = max(1, min(fitting if jobs == 0 else jobs or 1, inputs))
        return Where(jobs or 0, self.timeout_s, self.engine, self.ray_address)


def _count_fitting() -> int:
    """Return how many jobs fit into the available memory; very many if it is unknown."""
    try:
        with open("/proc/meminfo") as file:
            available_kb = int(next(line for line in file if "MemAvailable" in line).split()[1])
    except (OSError, StopIteration):
        return 1 << 16
    return available_kb // (JOB_MEGABYTES * 1000)


def _read_jobs(ctx: click.Context, option: click.Parameter, text: str | None) -> int | None:
    if text in (None, "auto"):
        return 0 if text else None
    if not re.fullmatch(r"[1-9]\d{0,3}", text):
        raise click.BadParameter(f"{text!r} is neither a number from 1 on nor auto")
    return int(text)


def _read_shard(ctx: click.Context, option: click.Parameter, text: str | None) -> Shard | None:
    if text is None:
        return None
    if text == "slurm":
        return _read_slurm(os.environ)
    found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise click.BadParameter(f"{text!r} is not I/N, with I from 1 to N, such as 3/10")
    return int(found[1]), int(found[2])


def _read_slurm(variables: Mapping[str, str]) -> Shard:
    """Return the shard of a task of a SLURM job array, or else of a SLURM job."""
    step = int(variables.get("SLURM_ARRAY_TASK_STEP", 1))
    if all(name in variables for name in _ARRAY):
        number, first, last = (int(variables[name]) for name in _ARRAY)
        count = (last - first) // step + 1
        if int(variables.get("SLURM_ARRAY_TASK_COUNT", count)) != count:
            raise click.BadParameter("this job array has gaps; use a range, or give I/N")
        return (number - first) // step + 1, count
    if "SLURM_PROCID" in variables and "SLURM_NTASKS" in variables:
        return int(variables["SLURM_PROCID"]) + 1, int(variables["SLURM_NTASKS"])
    raise click.BadParameter("this is no task of SLURM: give I/N, or run it by sbatch --array")


_OPTIONS: Sequence[Callable[[Any], Any]] = (
    click.option(
        "--jobs", callback=_read_jobs, metavar="N|auto", show_default="1; with Ray, auto",
        help="Inputs processed at a time, each in a process with its share of the cores. auto: one "
        "per core, if there is enough memory.",
    ),
    click.option(
        "--engine", type=click.Choice(ENGINES), default=ENGINES[0], show_default=True,
        help="Run on this machine, or on a Ray cluster whose nodes share the files.",
    ),
    click.option(
        "--ray-address", metavar="ADDRESS",
        help="Address of the Ray cluster, such as auto or ray://head:10001.  [default: one is "
        "started on this machine]",
    ),
    click.option(
        "--timeout", "timeout_s", metavar="SECONDS",
        type=FiniteRange(0, MAX_TIMEOUT_S, min_open=True),
        help="Time per input after which it counts as failed.  [default: unlimited]",
    ),
    click.option(
        "--limit", type=click.IntRange(min=1), metavar="N",
        help="Process only the first N inputs, to try a command.",
    ),
    click.option(
        "--shard", callback=_read_shard, metavar="I/N|slurm",
        help="Process part I of N of the inputs, for several machines: the I-th and every N-th "
        "after it. slurm: I and N are those of the task of a SLURM job array.",
    ),
    click.option(
        "--max-megapixels", type=click.IntRange(min=1), default=Media.frame_megapixels,
        show_default=True, metavar="N",
        help="Refuse files whose frames have more than N million pixels.",
    ),
    click.option("--fail-fast", is_flag=True, help="Stop at the first input that fails."),
    click.option(
        "--dry-run", is_flag=True,
        help="Print what would be done with each input, and why, and write nothing.",
    ),
)  # fmt: skip


scale_options = bundle_options("scale", Scale, _OPTIONS)
