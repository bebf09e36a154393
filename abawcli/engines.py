"""Where work on inputs runs: in this process, in several processes, or on a Ray cluster.

A job is one input. An input that fails does not stop the others. Networks are loaded once per
process. Results do not depend on where the work runs.
"""

import logging
from collections.abc import Generator, Sequence

from abawcli.jobs import Job, Outcome, Watch, Where, Work, Worker, ignore_job, perform

LOG = logging.getLogger("abawcli")


def run(
    jobs: Sequence[Job], work: Work, where: Where, watch: Watch = ignore_job
) -> Generator[Outcome]:
    """Yield the outcome of each job as it ends. Closing the iterator ends all unfinished jobs.

    Raises:
        AbawError: the networks cannot be loaded, or processes cannot be started.
    """
    if where.engine == "ray":
        from abawcli.cluster import run_on_ray

        return run_on_ray(jobs, work, where)
    if where.separate:
        from abawcli.processes import run_in_processes

        return run_in_processes(jobs, work, where, watch)
    return _run_here(jobs, work, where, watch)


def _run_here(jobs: Sequence[Job], work: Work, where: Where, watch: Watch) -> Generator[Outcome]:
    """Run the jobs one after the other in this process.

    Files with a damaged beginning come last, in a second process: their decoder may crash.
    """
    from abawcli.formats.features import is_features
    from abawcli.media.damage import begins_damaged

    worker: Worker | None = None
    damaged = []
    for job in jobs:
        is_media = not is_features(job.path)  # which may begin as raw H.263 does
        if is_media and begins_damaged(job.path):
            damaged.append(job)
            continue
        worker = worker or work.load()
        yield perform(worker, job, lambda *now, job=job: watch(job, *now))
    worker = None  # the second process needs the memory
    if damaged:
        from abawcli.processes import run_in_processes

        LOG.info("damaged, so read in another process: %s", ", ".join(j.name for j in damaged))
        yield from run_in_processes(damaged, work, where, watch)
