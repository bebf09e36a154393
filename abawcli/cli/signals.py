"""SIGINT, SIGTERM and SIGHUP end a run: unfinished files are removed, exit status 128 + signal."""

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from abawcli.cli.console import say
from abawcli.formats.atomic import remove_temporaries

DONE = "finished outputs are"
KEPT = "kept, and the same command continues from there"
PRINTED = "printed, and the same command begins again"  # to stdout, of which nothing is kept
GRACE_S = 1.0  # for the main thread to end by itself; running a network may take longer
SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


class Stopped(KeyboardInterrupt):
    """Raised in the main thread by one of `SIGNALS`, so that open resources are closed."""


class _Watch:
    """Signal handlers, and a thread that ends the process if the main thread does not."""

    def __init__(self) -> None:
        self.received: int | None = None
        self.done, self.outcome = DONE, KEPT
        self.reported = False
        # Not a pipe: in Windows, only Python 3.12 can make one non-blocking.
        self.source, self.sink = socket.socketpair()
        self.sink.setblocking(False)  # `set_wakeup_fd` wants it
        # An ignored signal (nohup, background jobs of a shell) stays ignored.
        handlers = {number: signal.getsignal(number) for number in SIGNALS}
        self.before = {k: old for k, old in handlers.items() if old != signal.SIG_IGN}

    def start(self) -> None:
        signal.set_wakeup_fd(self.sink.fileno(), warn_on_full_buffer=False)
        for number in self.before:
            signal.signal(number, self._handle)
        threading.Thread(target=self._wait, name="abaw-signals", daemon=True).start()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        """Run in the main thread, as soon as it executes Python code."""
        if self.received is None:  # a second signal must not interrupt the cleanup
            self.received = number
            raise Stopped(number)

    def _wait(self) -> None:
        """Run in a thread of its own, also while the main thread is in native code."""
        with self.source:
            read = self.source.recv(1)
            while read and read[0] not in self.before:
                read = self.source.recv(1)
        if read:
            time.sleep(GRACE_S)
            if not self.reported:  # `say` takes locks that the main thread may hold
                os.write(2, f"{_describe_stop(read[0], self.done, self.outcome)}\n".encode())
            remove_temporaries()
            os._exit(128 + read[0])

    def stop(self) -> None:
        """Restore the previous handlers, and end the thread."""
        self.restore()
        self.sink.close()

    def restore(self) -> None:
        signal.set_wakeup_fd(-1)
        for number, old in self.before.items():
            signal.signal(number, old)


_watches: list[_Watch] = []  # the active one, if any


def _restore_in_worker() -> None:
    """Restore the default handlers in a forked worker process."""
    if _watches and threading.current_thread() is threading.main_thread():
        _watches[-1].restore()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_restore_in_worker)


def _describe_stop(number: int, done: str, outcome: str) -> str:
    how = "interrupted" if number == signal.SIGINT else f"stopped by {signal.Signals(number).name}"
    return f"abaw: {how}; {done} {outcome}"


def find_signal() -> int | None:
    """Return the signal that was received, if any."""
    return _watches[-1].received if _watches else None


def note_kept(done: int, total: int) -> None:
    """Record the progress, for the message that a signal prints."""
    if _watches and total > 1:
        _watches[-1].done = f"{done} of {total} inputs are done and"


def note_stdout() -> None:
    """Record that outputs go to stdout, for the same message."""
    if _watches:
        _watches[-1].outcome = PRINTED


def report_stop(number: int) -> None:
    """Report the signal, and which outputs are kept."""
    done, outcome = DONE, KEPT
    if _watches:
        done, outcome, _watches[-1].reported = _watches[-1].done, _watches[-1].outcome, True
    say(_describe_stop(number, done, outcome))


@contextmanager
def stop_on_signals() -> Iterator[None]:
    """Raise `Stopped` in the block on a signal; the process ends when the block ends.

    The process does not wait for threads that run networks. It ends `GRACE_S` after the signal even
    if the block has not ended.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread can handle signals
        return
    watch = _Watch()
    _watches.append(watch)
    watch.start()
    try:
        yield
    finally:
        if watch.received is not None:
            for stream in (sys.stdout, sys.stderr):
                with suppress(OSError, ValueError):
                    stream.flush()
            os._exit(128 + watch.received)
        watch.stop()
        _watches.remove(watch)
