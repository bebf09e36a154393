"""Error boundary: an error becomes one line on stderr and an exit status; -v adds the traceback."""

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
from abawcli.cli.signals import find_signal, report_stop
from abawcli.errors import AbawError, describe_error

CLOSED = 128 + 13  # the exit status that a shell shows after SIGPIPE
CLICKS_OWN = (click.ClickException, click.exceptions.Exit, click.Abort)


def report_error(error: Exception) -> None:
    """Report an error on stderr in one line; with -v after the traceback."""
    if is_verbose():
        say("".join(traceback.format_exception(error)).rstrip(), multiline=True)
    say(f"abaw: error: {describe_error(error)}")


def _drop_output() -> None:
    """Discard everything written to stdout from now on; flushing it at exit would fail again."""
    with suppress(OSError, ValueError):  # stdout has no file descriptor, as in tests
        descriptor = sys.stdout.fileno()
        os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)


def _end_stopped(context: click.Context, number: int) -> NoReturn:
    """Report what is kept after a signal, and exit with its status."""
    report_stop(number)
    context.exit(128 + number)


@contextmanager
def error_boundary(context: click.Context) -> Iterator[None]:
    """Turn an error in the block into a message of one line and an exit status."""
    try:
        yield
    except click.exceptions.NoArgsIsHelpError:  # the help, which has many lines
        raise
    except click.ClickException as error:
        error.message = show(error.message)  # type: ignore[misc]  # declared final, but click prints it
        raise
    except CLICKS_OWN:
        raise
    except BrokenPipeError:  # the reader has closed the pipe, as `head` does
        _drop_output()
        context.exit(CLOSED)
    except KeyboardInterrupt:
        _end_stopped(context, find_signal() or signal.SIGINT)
    except Exception as error:
        if number := find_signal():  # a library turned `Stopped` into its own error
            _end_stopped(context, number)
        report_error(error)
        _drop_output()  # stdout may be full
        context.exit(error.exit_code if isinstance(error, AbawError) else 1)
