"""What a run said is said again where its work is finished."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from sample_tables import make_table

from abawcli.cli import main
from abawcli.errors import OutputError
from abawcli.formats.provenance import (
    Provenance,
    describe_work,
    find_finished,
    read_provenance,
    write_provenance,
    write_result,
)
from abawcli.formats.summary import Summary, keep_warnings, note_summary, read_summary
from abawcli.formats.tables import write_table

LOG = logging.getLogger("abawcli.tests")


@dataclass(frozen=True)
class Counted(Summary):
    rows: int


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("a.txt").write_text("input")
    return tmp_path


def count(source: Path) -> Counted:
    """Do what stages do."""
    work = describe_work("count", [source], {})
    if finished := find_finished(Path("out.txt"), work, False):
        return read_summary(finished, Counted, made=False)
    with keep_warnings(work):
        for _ in range(2):
            LOG.warning("%s: its tail is damaged", source)
        LOG.info("all is well")
        note_summary(work, Counted(3))
        with write_result(Path("out.txt"), work) as temporary:
            temporary.touch()
    return read_summary(work, Counted, made=True)


def test_finished_work_says_again_what_it_said(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = count(folder / "a.txt")
    assert first == Counted(3, made=True, warnings=("a.txt: its tail is damaged",))
    caplog.clear()
    assert count(Path("a.txt")) == Counted(3, made=False, warnings=first.warnings)
    assert caplog.messages == list(first.warnings)
    provenance = read_provenance(Path("out.txt"))
    assert (provenance["summary"], provenance["warnings"]) == ({"rows": 3}, list(first.warnings))
    assert str(folder) not in json.dumps(provenance)


@pytest.mark.parametrize("summary", [{}, {"rows": 3, "columns": 4}, None])
def test_provenance_without_the_summary_is_one_line(summary: object) -> None:
    count(Path("a.txt"))
    write_provenance(Path("out.txt"), read_provenance(Path("out.txt")) | {"summary": summary})
    with pytest.raises(OutputError, match="has no valid summary; repeat it with --overwrite"):
        count(Path("a.txt"))


def test_warnings_of_others_are_not_kept() -> None:
    work: Provenance = describe_work("count", [], {})
    LOG.warning("before")
    with pytest.raises(KeyboardInterrupt), keep_warnings(work):
        raise KeyboardInterrupt
    LOG.warning("after")
    assert work["warnings"] == []


def abaw(*arguments: str) -> tuple[object, str]:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout), result.stderr


@pytest.mark.parametrize("quiet", [(), ("-q",)])
def test_smooth_and_fuse_print_summaries_as_json(quiet: tuple[str, ...]) -> None:
    labels = np.repeat([0, 3, -1], [30, 30, 40])
    for name in ("a", "b"):
        write_table(make_table(labels), Path(name, "clip.csv"), {})
    smooth = ("smooth", "a/clip.csv", "-o", "s.csv", "--window", "5", "--json", *quiet)
    told, said = abaw(*smooth)
    (warning,) = told[0].pop("warnings")
    assert told == [
        {"input": "a/clip.csv", "output": "s.csv", "made": True, "rows": 100, "labelled": 62,
         "filled": 2, "runs": 2, "removed_runs": 0}
    ]  # fmt: skip
    assert "38 of 100 frames have no label" in warning
    assert (warning in said) == (not quiet)
    again, said_again = abaw(*smooth)
    assert again == [{**told[0], "made": False, "warnings": [warning]}]
    assert said_again == said
    told, _ = abaw("fuse", "a", "b", "-o", "fused", "--json", *quiet)
    assert told == [
        {"input": "clip.csv", "output": "fused/clip.csv", "made": True, "warnings": [],
         "rows": 100, "labelled": 60}
    ]  # fmt: skip
