"""Where errors end: in one line on stderr, with -v after the traceback, and an exit status."""

import os
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

import click

from abawcli.cli.console import say, show
from abawcli.cli.options import is_verbose
from abawcli.cli.signals import find_signal, tell_stop
from abawcli.errors import AbawError

CLOSED = 128 + 13  # what a shell shows for a program that SIGPIPE ended
CLICKS_OWN = (click.ClickException, click.exceptions.Exit, click.Abort)


def describe_error(error: Exception) -> str:
    """Return what to say of an error: of one that nobody expected, that it is ours."""
    if isinstance(error, AbawError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)
    if isinstance(error, MemoryError):
        return "not enough memory for this"
    what = " ".join(f"{type(error).__name__}: {error}".split())
    return f"internal error: {what}; run with -v and report it"


def report_error(error: Exception) -> None:
    """Say on stderr what went wrong, in one line; with -v after the traceback."""
    if is_verbose():
        say("".join(traceback.format_exception(error)).rstrip(), multiline=True)
    say(f"abaw: error: {describe_error(error)}")


def _drop_output() -> None:
    """Let nothing be written to stdout any more: what waits there would fail again at the end."""
    with suppress(OSError, ValueError):  # no file, as in tests
        place = sys.stdout.fileno()
        os.dup2(os.open(os.devnull, os.O_WRONLY), place)


def _end_stopped(context: click.Context, number: int) -> NoReturn:
    """Say what a signal leaves, and end with its status."""
    tell_stop(number)
    context.exit(128 + number)


@contextmanager
def error_boundary(context: click.Context) -> Iterator[None]:
    """Turn errors of the block into a line and an exit status."""
    try:
        yield
    except click.ClickException as error:
        error.message = show(error.message)  # type: ignore[misc]  # final: but click shows it
        raise
    except CLICKS_OWN:
        raise
    except BrokenPipeError:  # the reader has had enough, as `head`
        _drop_output()
        context.exit(CLOSED)
    except KeyboardInterrupt:
        _end_stopped(context, find_signal() or signal.SIGINT)
    except Exception as error:
        if number := find_signal():  # it is what became of `Stopped` in a library
            _end_stopped(context, number)
        report_error(error)
        _drop_output()  # it may be what is full
        context.exit(error.exit_code if isinstance(error, AbawError) else 1)
