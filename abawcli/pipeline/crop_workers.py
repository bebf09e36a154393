"""Crops that are decoded and resized in several processes, ahead of a network.

These processes import neither torch nor OpenCV before their first task, and have no device.
"""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from abawcli.cores import limit_threads
from abawcli.errors import AbawError
from abawcli.interrupts import hold_interrupts

T = TypeVar("T")
R = TypeVar("R")
K = TypeVar("K")
AHEAD = 4  # tasks a process: enough that none waits for the next


class CropWorkers:
    """Processes for any number of inputs; without processes, the caller's thread does the work.

    They start with the first task, by "spawn": a fork of a process with threads may hang.
    """

    def __init__(self, count: int = 1) -> None:
        """Set the number of processes; 1: none.

        A process of the local engine cannot start others, so it always has none.
        """
        self.count = 1 if multiprocessing.current_process().daemon else count
        self._pool: ProcessPoolExecutor | None = None

    def map(
        self, function: Callable[[T], R], tasks: Iterable[tuple[K, T]], name: object
    ) -> Generator[tuple[K, R]]:
        """Yield the result of each task with its key, in order.

        `function`, tasks and results are pickled. `name` is the input, for messages.

        Raises:
            AbawError: a process ended unexpectedly; the next input starts new ones.
        """
        if self.count == 1:
            for key, task in tasks:
                yield key, function(task)
            return
        ahead: deque[tuple[K, Future[R]]] = deque()
        try:
            for key, task in tasks:
                ahead.append((key, self._submit(function, task)))
                while len(ahead) > AHEAD * self.count:
                    yield _take(ahead)
            while ahead:
                yield _take(ahead)
        except BrokenProcessPool as error:
            self._pool = None
            raise AbawError(
                f"{name}: a process that prepared its crops was ended: probably, memory ran out; "
                "use fewer --workers"
            ) from error
        finally:
            for _, future in ahead:
                future.cancel()

    def _submit(self, function: Callable[[T], R], task: T) -> Future[R]:
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self.count, context, _start_process)
        with hold_interrupts():
            return self._pool.submit(function, task)


def _take(ahead: deque[tuple[K, Future[R]]]) -> tuple[K, R]:
    key, future = ahead.popleft()
    return key, future.result()


def _start_process() -> None:
    """Prepare a process: one thread, Ctrl-C ignored, and an end together with its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where `hold_interrupts` cannot
    os.environ |= limit_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
