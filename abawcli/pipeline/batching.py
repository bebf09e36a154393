"""Networks on streams: items prepared in a thread, and crops gathered to batches of one size."""

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from abawcli.config import Prediction
from abawcli.cores import count_cores

T = TypeVar("T")
Crops = NDArray[np.uint8]
CropFeatures = NDArray[np.float32]
Encode = Callable[[Crops], CropFeatures]


def run_ahead(items: Iterator[T], depth: int) -> Generator[T]:
    """Yield `items` while a thread prepares up to `depth` of the next ones.

    On one core there is no thread: items are prepared when they are needed. An error in the thread
    is raised here, after the items before it. The thread ends when the caller stops early.
    """
    ready: queue.Queue[tuple[bool, Any]] = queue.Queue(depth)
    stopped = threading.Event()
    in_use = threading.Lock()  # held by the thread as long as it uses `items`
    if count_cores() == 1:
        yield from items
        return

    def put(is_item: bool, value: Any) -> None:
        while not stopped.is_set():
            try:
                return ready.put((is_item, value), timeout=0.1)
            except queue.Full:
                continue

    def work() -> None:
        error: BaseException | None = None
        with in_use:
            try:
                for item in () if stopped.is_set() else items:
                    put(True, item)
                    if stopped.is_set():
                        break
            except BaseException as caught:  # of any kind: it is raised in the caller
                error = caught
        put(False, error)

    thread = threading.Thread(target=work, name="abaw-frames", daemon=True)
    try:
        thread.start()  # a signal may interrupt it, before or after the thread runs
        while (entry := ready.get())[0]:
            yield entry[1]
        if entry[1] is not None:
            raise entry[1]
    finally:
        stopped.set()
        with in_use:  # the caller may close what `items` reads from only after this
            pass
        if thread.is_alive():  # its work is done
            thread.join()


def encode_in_batches(
    items: Iterator[tuple[T, list[Crops]]], encode: Encode, config: Prediction
) -> Iterator[tuple[T, list[CropFeatures]]]:
    """Yield each item with a row for each of its crops (K, S, S, 3), in order.

    The items are prepared in a thread. All batches have one size, padded with zeros, so that every
    crop is computed in the same way.
    """
    waiting: deque[tuple[T, int]] = deque()
    crops: list[Crops] = []
    rows: deque[CropFeatures] = deque()  # of the crops before `crops`
    size = config.batch_size

    def encode_some() -> None:
        taken = min(size, len(crops))
        fill = [np.zeros_like(crops[0])] * (size - taken)
        rows.extend(encode(np.stack(crops[:taken] + fill))[:taken])
        del crops[:taken]

    def release() -> Iterator[tuple[T, list[CropFeatures]]]:
        while waiting and waiting[0][1] <= len(rows):
            item, count = waiting.popleft()
            yield item, [rows.popleft() for _ in range(count)]

    # Closed whatever happens: the thread must not outlive what it reads from.
    with closing(run_ahead(items, config.queue_frames)) as ahead:
        for item, own in ahead:
            waiting.append((item, len(own)))
            crops += own
            while len(crops) >= size or (crops and len(waiting) >= config.queue_frames):
                encode_some()
            yield from release()
    while crops:
        encode_some()
    yield from release()
