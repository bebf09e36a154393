"""Whose outputs `predict` and `extract` make of each input, and where they are written."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from abawcli.config import SUBJECTS
from abawcli.errors import UsageError

if TYPE_CHECKING:
    from abawcli.formats.strategy import SubjectSegments
    from abawcli.jobs import Job

LOG = logging.getLogger(__name__)


def plan_people(
    names: Mapping[Path, str], strategy: Path | None, subject: str | None
) -> dict[str, dict[str, SubjectSegments]]:
    """Return the outputs of each video: their names, and the subjects of each.

    Raises:
        UsageError: a strategy is given for crops or features, which have their subjects.
        InputError: the strategy file cannot be read.
    """
    from abawcli.formats.inputs import warn_left_out
    from abawcli.formats.strategy import find_video_of, plan_folders, read_strategy

    videos = list(names.values())
    rows = read_strategy(strategy, videos) if strategy else {}
    plan = plan_folders(videos, rows, subject or SUBJECTS[0])
    made = [path for path in names if _is_made(path)]
    if strategy and made:
        raise UsageError(f"the subject of {made[0]} is already chosen; leave out --strategy")
    unknown = [name for name in rows if not find_video_of(name, plan)]
    warn_left_out(f"rows of {strategy} match no input", unknown)
    return plan


def warn_without_faces(modality: str, subject: str | None) -> None:
    """Warn that without faces `subject` chooses nobody."""
    if modality == "audio" and subject not in (None, SUBJECTS[0]):
        LOG.warning(
            "with --modality audio no face is detected: --subject %s only names the rows, and "
            "the speech of all people is used",
            subject,
        )


def name_targets(
    names: Mapping[Path, str],
    plan: Mapping[str, Mapping[str, SubjectSegments]],
    outputs: Mapping[Path, Path],
    given: Path,
) -> dict[tuple[Path, str], Path]:
    """Return the path of each output of each input; those of one input are in the same folder.

    `given` is the path that -o names.

    Raises:
        OutputError: an output cannot be written.
        UsageError: several outputs would go to one file.
    """
    from abawcli.formats.outputs import check_writable

    targets = {}
    for path, output in outputs.items():
        own_names = plan[names[path]]
        to_file = output == given
        if to_file and len(own_names) > 1:
            several = " and ".join(own_names)
            raise UsageError(f"{output} cannot hold the outputs of {several}; give a folder as -o")
        for name in own_names:
            own = f"{Path(name).name}{output.suffix}"
            targets[path, name] = output if to_file else output.with_name(own)
    check_writable(targets.values())
    return targets


def describe_jobs(
    names: Mapping[Path, str],
    plan: Mapping[str, Mapping[str, SubjectSegments]],
    targets: Mapping[tuple[Path, str], Path],
    subject: str | None,
) -> list[Job]:
    """Return the job of each input: its outputs, and the subjects of each."""
    from abawcli.formats.names import decode_name
    from abawcli.jobs import Job

    jobs = []
    for path, name in names.items():
        outputs = {each: targets[path, each] for each in plan[name]}
        people = subject if _is_made(path) else plan[name]
        jobs.append(Job(path, decode_name(name), (outputs, people), tuple(outputs.values())))
    return jobs


def _is_made(path: Path) -> bool:
    """Tell whether an input is crops or features, whose subject is chosen already."""
    from abawcli.formats.features import is_features

    return os.path.isdir(path) or is_features(path)
