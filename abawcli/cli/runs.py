"""Runs of a command over its inputs: progress, manifest, summary, failures, dry run."""

import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import click

from abawcli.cli.console import (
    Cell,
    RunProgress,
    print_json,
    print_table,
    progress_bar,
    say,
    shows_bars,
)
from abawcli.cli.options import is_verbose
from abawcli.cli.outputs import is_to_stdout
from abawcli.cli.scale import Scale
from abawcli.cli.signals import find_signal, note_kept
from abawcli.cli.summaries import Summaries
from abawcli.config import SHOWN_FAILURES
from abawcli.engines import run
from abawcli.errors import OutputError, describe_error
from abawcli.formats.inputs import check_input
from abawcli.formats.names import decode_name
from abawcli.formats.provenance import Plan, describe_input
from abawcli.formats.run_manifest import MANIFEST_NAME, add_line
from abawcli.jobs import Failure, Job, Outcome, Watch, Work

LOG = logging.getLogger(__name__)


@dataclass
class Run:
    """The jobs and the output of a run, and its outcomes so far."""

    jobs: Sequence[Job]
    relative: Mapping[Path, Path]  # of inputs, for the manifest
    output: Path  # the value of -o
    summaries: Summaries
    # Names without an input, which count as failed, with the reasons; they are reported already.
    missing: Mapping[str, str] = field(default_factory=dict)
    outcomes: list[Outcome] = field(default_factory=list)
    begun: float = math.inf  # when the first input was begun: the networks are loaded before

    @property
    def total(self) -> int:
        """The number of inputs, with the missing ones."""
        return len(self.jobs) + len(self.missing)

    @property
    def failures(self) -> dict[str, str]:
        """The reason of each failure."""
        reasons = {o.job.name: o.failure.message for o in self.outcomes if o.failure}
        return {**self.missing, **reasons}


def run_jobs(
    current: Run,
    work: Work,
    scale: Scale,
    *,
    title: str,
    as_json: bool,
    quiet: bool,
    note: Callable[[Outcome], None] = lambda outcome: None,
) -> None:
    """Do all jobs; report each failure on stderr, and exit with 1 if there was one.

    `note` receives each outcome without a failure. With `scale.dry_run`, only plans are printed.

    Raises:
        KeyboardInterrupt: a signal came, and a library turned it into an error of its own.
    """
    scale.check()
    if scale.dry_run:
        _print_plans(current, work, as_json)
        return
    if not current.jobs:
        _report_nothing(current, scale, as_json, quiet)
        return
    where = scale.choose_where(len(current.jobs))
    positions = {job.path: k for k, job in enumerate(current.jobs)}
    with (
        current.summaries.show_at_end(title, as_json, quiet),
        _show_progress(current, quiet) as (watch, finish),
        closing(run(current.jobs, work, where, watch)) as outcomes,
    ):
        for outcome in outcomes:
            if outcome.failure and find_signal():  # a library turned `Stopped` into its own error
                raise KeyboardInterrupt
            finish(outcome.job)
            current.begun = min(current.begun, time.perf_counter() - outcome.seconds)
            current.outcomes.append(outcome)
            if not outcome.failure:
                note(outcome)  # before the manifest, whose lines stay if a signal comes
            _write_line(current, outcome)
            note_kept(len(current.outcomes) - len(current.failures), current.total)
            for result in outcome.results:
                position = positions[outcome.job.path]
                current.summaries.add(result.name, result.output, result.summary, position)
            if outcome.failure:
                _report(outcome.failure)
                if scale.fail_fast or current.total == 1:
                    break
        _find_removed(current)
    _report_end(current, quiet)


def _report_nothing(current: Run, scale: Scale, as_json: bool, quiet: bool) -> None:
    """Report a run without inputs, as in a job array of more tasks than inputs."""
    with current.summaries.show_at_end("", as_json, quiet):
        pass
    if not quiet and not current.missing:
        shard = "--shard {}/{} has".format(*scale.shard) if scale.shard else "there is"
        say(f"abaw: {shard} no input; nothing is to be done")
    _report_end(current, quiet)


@contextmanager
def _show_progress(current: Run, quiet: bool) -> Iterator[tuple[Watch, Callable[[Job], None]]]:
    """Yield a function that shows the progress of jobs, and one that is called after each."""
    if current.total > 1:
        bar = RunProgress(len(current.jobs), quiet)
        try:
            yield (
                lambda job, *now: bar.update(job.name, *now),
                lambda job: bar.finish(job.name),
            )
        finally:
            bar.close()
        return
    from abawcli.media.estimate import estimate_frames

    for job in current.jobs:
        expected = estimate_frames(job.path) if shows_bars(quiet) else None
        with progress_bar(job.path.name, "frames", quiet, expected) as update:
            yield lambda _, *now: update(*now), lambda _: None


def _write_line(current: Run, outcome: Outcome) -> None:
    """Add the outcome to the manifest, if there are several outputs."""
    folder = current.output
    if is_to_stdout() or folder in outcome.job.outputs:
        return
    try:
        add_line(folder / MANIFEST_NAME, _describe(current, outcome))
    except OutputError as error:  # such as a full disk: the outputs matter more
        LOG.warning("%s; the manifest lacks %s", error, outcome.job.name)


def _describe(current: Run, outcome: Outcome) -> dict[str, object]:
    """Return an outcome's line of the manifest."""
    job, results = outcome.job, outcome.results
    input_now = describe_input(job.path)
    line: dict[str, object] = {"input": decode_name(current.relative[job.path].as_posix())}
    line |= {key: input_now[key] for key in ("size", "sha256")}
    outputs = [result.output.relative_to(current.output).as_posix() for result in results]
    line |= {"state": _find_state(outcome), "outputs": [decode_name(name) for name in outputs]}
    line |= _count(outcome)
    line |= {"seconds": round(outcome.seconds, 3), "warnings": list(outcome.warnings)}
    return line | {"error": outcome.failure.message if outcome.failure else None}


def _find_removed(current: Run) -> None:
    """Let inputs fail whose outputs were removed after they were written."""
    for k, outcome in enumerate(current.outcomes):
        gone = [result.output for result in outcome.results if not _is_there(result.output)]
        if gone:
            failure = Failure(f"{gone[0]} was removed while the run went on; run it again")
            current.outcomes[k] = replace(outcome, results=(), failure=failure)
            _write_line(current, current.outcomes[k])
            _report(failure)


def _is_there(output: Path) -> bool:
    """Tell whether an output is there: a file, or a folder of the files of several people."""
    return output.exists() or output.with_suffix("").is_dir()


def _find_state(outcome: Outcome) -> str:
    """Return done, kept or failed; an input is done if any of its outputs was made."""
    if outcome.failure:
        return "failed"
    return "done" if any(result.summary.made for result in outcome.results) else "kept"


def _count(outcome: Outcome) -> dict[str, object]:
    """Return the counts of an outcome's summaries: frames, faces and the share labelled."""
    summaries = [result.summary for result in outcome.results]
    if not summaries:
        return {"frames": None, "faces": None, "labelled": None}
    shares = [share for s in summaries if (share := s.share_labelled()) is not None]
    return {
        "frames": summaries[0].frames,
        "faces": sum(summary.count_faces() for summary in summaries),
        "labelled": round(sum(shares) / len(shares), 6) if shares else None,
    }


def _report(failure: Failure) -> None:
    if is_verbose() and failure.details:
        say(failure.details, multiline=True)
    say(f"abaw: error: {failure.message}")


def _report_end(current: Run, quiet: bool) -> None:
    """Count the inputs on stderr, name those that failed, and exit with 1 if any did."""
    failures, outcomes = current.failures, current.outcomes
    if current.total > 1 and not quiet:
        states = [_find_state(outcome) for outcome in outcomes]
        done, kept = states.count("done"), states.count("kept")
        left = current.total - done - kept - len(failures)
        rest = f", {left} not begun" if left else ""
        say(f"abaw: {current.total} inputs: {done} done, {kept} kept, {len(failures)} failed{rest}")
    if not quiet:
        _report_rate(current)
    if failures and current.total > 1:
        say(f"abaw: {len(failures)} of {current.total} inputs failed:")
        for name, reason in islice(failures.items(), SHOWN_FAILURES):
            say(f"abaw:   {name}: {reason}")
        if (more := len(failures) - SHOWN_FAILURES) > 0:
            where = current.output / MANIFEST_NAME
            say(
                f"abaw:   and {more} others"
                + (f"; {where} has all inputs" if os.path.exists(where) else "")
            )
    if failures:
        codes = [o.failure.exit_code for o in outcomes if o.failure]
        click.get_current_context().exit(codes[0] if current.total == len(codes) == 1 else 1)


def _report_rate(current: Run) -> None:
    """Print the number of frames that were read in this run, and the time that it took."""
    counts = [
        outcome.results[0].summary.frames
        for outcome in current.outcomes
        if _find_state(outcome) == "done"
    ]
    if sum(counts):
        seconds = max(time.perf_counter() - current.begun, 1e-3)
        frames = f"{sum(counts):,} frame{'' if sum(counts) == 1 else 's'} in {seconds:.1f} s"
        say(f"abaw: {frames} ({sum(counts) / seconds:.0f} per second)")


def _print_plans(current: Run, work: Work, as_json: bool) -> None:
    """Print what would be done with each input, and why."""
    worker = work.load()
    rows: list[dict[str, str]] = []
    logging.disable(logging.WARNING)  # of finished outputs, and of those that would be made anew
    try:
        for job in current.jobs:
            for plan in _plan_job(job, lambda job: worker.plan(job.path, job.task)):
                row = {"input": job.name, "output": str(plan.output)}
                rows.append(row | {"action": plan.action, "reason": plan.reason})
    finally:
        logging.disable(logging.NOTSET)
    if as_json:
        print_json(rows)
    else:
        cells: list[list[Cell]] = [list(row.values()) for row in rows]
        print_table("", ["input", "output", "action", "reason"], cells)


def _plan_job(job: Job, plan: Callable[[Job], list[Plan]]) -> list[Plan]:
    try:
        check_input(job.path)
        os.stat(job.path)
        return plan(job)
    except Exception as error:
        return [Plan(output, "fail", describe_error(error)) for output in job.outputs]
