import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import click
import numpy as np
import pytest
from click.testing import CliRunner
from media_files import write_media
from sample_tables import make_table

from abawcli import __version__
from abawcli.cli import COMMANDS, LazyGroup, main
from abawcli.cli.batch import run_each
from abawcli.cli.console import print_json, print_table, progress_bar
from abawcli.cli.options import verbosity_options
from abawcli.config import SHOWN_FAILURES, SHOWN_WARNINGS
from abawcli.errors import AbawError, CheckpointError, InputError, UsageError
from abawcli.formats.submission import HEADER
from abawcli.formats.tables import write_table


def invoke(command: click.Command, *arguments: str) -> tuple[int, str, str]:
    """Run a command behind the error boundary; return exit status, stdout and stderr."""

    class Group(LazyGroup):
        def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
            return command

    result = CliRunner().invoke(Group("abaw"), ["it", *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, result.stdout, result.stderr


def raising(error: AbawError) -> click.Command:
    @click.command()
    @verbosity_options
    def command(quiet: bool) -> None:
        raise error

    return command


def working(fails: set[str], paths: list[str]) -> click.Command:
    @click.command()
    @verbosity_options
    def command(quiet: bool) -> None:
        def work(path: Path) -> None:
            if str(path) in fails:
                raise InputError(f"{path} is broken")
            click.echo(f"{path} is done")

        run_each(map(Path, paths), work)

    return command


def test_of_many_warnings_of_one_kind_the_first_are_shown() -> None:
    @click.command()
    @verbosity_options
    def command(quiet: bool) -> None:
        for k in range(30):
            logging.getLogger("abawcli.formats").warning("%d.txt is odd", k)
        logging.getLogger("abawcli.media").warning("another one")

    lines = invoke(command)[2].splitlines()
    assert lines[:SHOWN_WARNINGS] == [
        f"abaw: warning: {k}.txt is odd" for k in range(SHOWN_WARNINGS)
    ]
    assert lines[SHOWN_WARNINGS:] == [
        "abaw: more warnings of this kind are not shown; -v shows them",
        "abaw: warning: another one",
    ]
    assert len(invoke(command, "-v")[2].splitlines()) == 31


@pytest.mark.parametrize("group", [[], ["train"]])
def test_a_group_without_a_command_shows_its_help(group: list[str]) -> None:
    shown = CliRunner().invoke(main, group)
    assert shown.exit_code == 2 and shown.stdout == ""
    assert shown.stderr == CliRunner().invoke(main, [*group, "--help"]).stdout


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_lists_every_command_without_importing_one(option: str) -> None:
    result = CliRunner().invoke(main, [option])
    assert result.exit_code == 0
    for name, text in COMMANDS.items():
        assert f"  {name} " in result.stdout
        assert text in " ".join(result.stdout.split())


def test_version() -> None:
    assert CliRunner().invoke(main, ["--version"]).stdout == f"abaw, version {__version__}\n"


@pytest.mark.parametrize("arguments", [["frobnicate"], ["--frobnicate"]])
def test_what_is_unknown_is_wrong_usage(arguments: list[str]) -> None:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert "frobnicate" in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InputError("a.mp4 is empty"), 1),
        (CheckpointError("head.safetensors is damaged"), 1),
        (UsageError("window must be odd"), 2),
    ],
)
def test_an_error_is_one_line_on_stderr(error: AbawError, status: int) -> None:
    assert invoke(raising(error)) == (status, "", f"abaw: error: {error}\n")


@pytest.mark.parametrize("option", ["-v", "--verbose"])
def test_verbose_shows_the_traceback_and_ends_alike(option: str) -> None:
    status, _, stderr = invoke(raising(UsageError("window must be odd")), option)
    assert status == 2
    assert stderr.startswith("Traceback")
    assert "in command" in stderr
    assert stderr.endswith("abaw: error: window must be odd\n")


def test_all_inputs_are_done() -> None:
    assert invoke(working(set(), ["a", "b"])) == (0, "a is done\nb is done\n", "")


def test_a_failure_is_said_and_the_others_go_on() -> None:
    status, stdout, stderr = invoke(working({"a", "c"}, ["a", "b", "c"]))
    assert status == 1
    assert stdout == "b is done\n"
    assert stderr.splitlines() == [
        "abaw: error: a is broken",
        "abaw: error: c is broken",
        "abaw: 2 of 3 inputs failed: a, c",
    ]


def test_of_many_failures_the_first_are_named_and_the_others_counted() -> None:
    names = [f"{k:02}" for k in range(30)]
    _, _, stderr = invoke(working(set(names[1:]), names))
    *each, end = stderr.splitlines()
    assert len(each) == 29
    named = ", ".join(names[1 : 1 + SHOWN_FAILURES])
    assert end == f"abaw: 29 of 30 inputs failed: {named} and {29 - SHOWN_FAILURES} others"


def test_the_only_input_fails_in_one_line() -> None:
    assert invoke(working({"a"}, ["a"])) == (1, "", "abaw: error: a is broken\n")


def test_verbose_shows_tracebacks_of_several_inputs() -> None:
    _, _, stderr = invoke(working({"a", "b"}, ["a", "b"]), "-v")
    assert stderr.count("Traceback") == 2


@pytest.mark.parametrize(
    ("option", "said"),
    [(None, ["warning"]), ("-v", ["debug", "info", "warning"]), ("-q", [])],
)
def test_messages_of_the_library_follow_the_options(option: str | None, said: list[str]) -> None:
    @click.command()
    @verbosity_options
    def command(quiet: bool) -> None:
        log = logging.getLogger("abawcli.formats.anything")
        for level in ("debug", "info", "warning"):
            getattr(log, level)("%d frames", 7)

    status, stdout, stderr = invoke(command, *([option] if option else []))
    assert (status, stdout) == (0, "")
    assert stderr.splitlines() == [f"abaw: {level}: 7 frames" for level in said]


def test_tables_and_json_go_to_stdout_and_summaries_to_stderr(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_table("frames", ["class", "n"], [["Anger", "3"]])
    print_json({"n": 3})
    print_table("summary", ["class", "n"], [["Fear", "4"]], stderr=True)
    out, err = capsys.readouterr()
    assert "frames" in out and "Anger" in out and '{\n  "n": 3\n}' in out
    assert "Fear" in err and "Fear" not in out


def test_no_progress_bar_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("predict", "frame") as update:
        update(3, 10, "clip.mp4")
    assert capsys.readouterr() == ("", "")


def failing(error: Exception, paths: list[str]) -> click.Command:
    @click.command()
    @verbosity_options
    def command(quiet: bool) -> None:
        def work(path: Path) -> None:
            if path.name == "a":
                raise error
            click.echo(f"{path} is done")

        run_each(map(Path, paths), work)

    return command


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (KeyError("video"), "internal error: KeyError: 'video'; run with -v and report it"),
        (RecursionError("too\ndeep"), "internal error: RecursionError: too deep; run with -v"),
        (OSError(28, "No space left on device", "x.csv"), "x.csv: No space left on device"),
        (MemoryError(), "not enough memory"),
    ],
)
def test_an_error_that_nobody_expected_is_a_line_too(error: Exception, said: str) -> None:
    status, stdout, stderr = invoke(failing(error, ["a", "b"]))
    assert (status, stdout) == (1, "b is done\n")
    assert stderr.splitlines()[0].startswith(f"abaw: error: {said}")
    assert stderr.splitlines()[1:] == ["abaw: 1 of 2 inputs failed: a"]
    status, _, stderr = invoke(failing(error, ["a"]))
    assert (status, len(stderr.splitlines())) == (1, 1)
    status, _, stderr = invoke(failing(error, ["a"]), "-v")
    assert status == 1 and stderr.startswith("Traceback")


def test_an_interrupted_batch_says_what_is_kept() -> None:
    status, stdout, stderr = invoke(failing(KeyboardInterrupt(), ["b", "c", "a", "d"]))  # type: ignore[arg-type]
    assert (status, stdout) == (130, "b is done\nc is done\n")
    assert stderr == (
        "abaw: interrupted; 2 of 4 inputs are done and kept, and the same command continues from "
        "there\n"
    )


@pytest.mark.parametrize(("typed", "meant"), [("predikt", "predict"), ("scores", "score")])
def test_a_mistyped_command_is_told_what_is_like_it(typed: str, meant: str) -> None:
    result = CliRunner().invoke(main, [typed])
    assert result.exit_code == 2
    assert f"No such command {typed!r}. Did you mean {meant!r}?" in result.stderr
    assert "Did you mean" not in CliRunner().invoke(main, ["xyzzy"]).stderr


def test_a_mistyped_option_is_told_what_is_like_it() -> None:
    result = CliRunner().invoke(main, ["probe", "--jso", "x"])
    assert result.exit_code == 2 and "--json" in result.stderr


TABLES = {
    "score": ["score", "p.csv", "truth.csv"],
    "probe": ["probe", "a.mp4"],
    "models": ["models"],
    "submit": ["submit", "--check", "s.txt", "--template", "s.txt"],
    "json": ["models", "--json"],
    "help": ["predict", "--help"],
    "version": ["--version"],
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("place")
    for name in ("p.csv", "truth.csv"):
        write_table(make_table([0, 1, 2]), folder / name, {})
    (folder / "s.txt").write_text(f"{HEADER}\na/00001.jpg,0\n")
    return write_media(folder / "a.mp4", [np.zeros((48, 64, 3), np.uint8)] * 2).parent


@pytest.fixture(params=["full", "closed"])
def stdout(request: pytest.FixtureRequest) -> Iterator[tuple[str, TextIO]]:
    """Yield a stdout that takes nothing."""
    source, sink = os.pipe()
    os.close(source)
    with Path("/dev/full").open("w") as full, os.fdopen(sink, "w") as closed:
        yield request.param, full if request.param == "full" else closed


def check_end(stdout: str, status: int, stderr: str) -> None:
    if stdout == "closed":  # as other programs end before `head`
        assert (status, stderr) == (141, "")
    else:
        assert status == 1 and len(stderr.splitlines()) == 1
        assert stderr.startswith("abaw: error: ") and "No space left on device" in stderr


@pytest.mark.parametrize("call", TABLES)
def test_a_stdout_that_takes_nothing(
    call: str,
    place: Path,
    stdout: tuple[str, TextIO],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setattr(sys, "stdout", stdout[1])
    with pytest.raises(SystemExit) as ended:
        main(TABLES[call], prog_name="abaw")
    assert isinstance(ended.value.code, int)
    check_end(stdout[0], ended.value.code, capsys.readouterr().err)


def test_a_stdout_that_takes_nothing_is_not_tried_again_at_the_end(
    place: Path, stdout: tuple[str, TextIO]
) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "abawcli", "probe", "a.mp4"],
        cwd=place, stdout=stdout[1], stderr=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
    )  # fmt: skip
    check_end(stdout[0], run.returncode, run.stderr)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["predict", "", "-o", "x"], "the argument after predict"),
        (["predict", "v.mp4", "-o", ""], "the argument after -o"),
        (["predict", "v.mp4", "--output="], "--output"),
        (["report", "p.csv", "-o", "r.html", "--labels", ""], "the argument after --labels"),
        (["score", "p.csv", ""], "the argument after p.csv"),
    ],
)
def test_an_empty_argument_is_wrong_usage(arguments: list[str], named: str) -> None:
    """It would be the working folder, or an option that is not given."""
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert f"{named} is empty; is it a shell variable that is not set?" in result.stderr
