"""Work made ahead, and batches of one size."""

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from abawcli.config import Prediction
from abawcli.errors import InputError
from abawcli.pipeline.batching import encode_in_batches, run_ahead


def test_work_ahead_is_bounded() -> None:
    made = 0

    def numbers() -> Iterator[int]:
        nonlocal made
        while True:
            made += 1
            yield made

    for taken, _ in enumerate(run_ahead(numbers(), 8), 1):
        assert made - taken <= 8 + 2  # one in each hand
        if taken == 500:
            break


def test_errors_of_the_thread_come_after_the_items_before_them() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise InputError("broken off")

    stream = run_ahead(broken(), 4)
    assert next(stream) == 1
    with pytest.raises(InputError, match="broken off"):
        next(stream)


def test_a_thread_whose_start_is_interrupted_ends_before_its_source_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A decoder whose file is closed meanwhile crashes the process."""
    monkeypatch.setenv("ABAW_CORES", "2")
    begun, in_use = threading.Event(), False
    start = threading.Thread.start

    def frames() -> Iterator[int]:
        nonlocal in_use
        in_use = True
        begun.set()
        time.sleep(0.1)  # a frame is being decoded
        in_use = False
        yield 1

    def interrupt(thread: threading.Thread) -> None:
        start(thread)
        begun.wait()
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupt)
    with pytest.raises(KeyboardInterrupt):
        next(run_ahead(frames(), 4))
    assert not in_use


def test_one_core_has_no_thread_for_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ABAW_CORES", "1")
    names = run_ahead((threading.current_thread().name for _ in range(2)), 4)
    assert set(names) == {threading.current_thread().name}


@pytest.mark.parametrize("config", [Prediction(1, 1), Prediction(4, 3), Prediction(16, 64)])
def test_items_come_in_order_with_their_rows(config: Prediction) -> None:
    sizes: set[int] = set()

    def encode(crops: np.ndarray) -> np.ndarray:
        sizes.add(len(crops))
        return crops[:, 0, 0, 0, :1].astype(np.float32)

    counts = [2, 0, 0, 5, 1, 0, 3, 0]
    items = [(k, [np.full((1, 2, 2, 3), 10 * k + j, np.uint8) for j in range(n)])
             for k, n in enumerate(counts)]  # fmt: skip
    found = [(k, [int(row[0]) for row in rows]) for k, rows in
             encode_in_batches(iter(items), encode, config)]  # fmt: skip
    assert found == [(k, [10 * k + j for j in range(n)]) for k, n in enumerate(counts)]
    assert sizes == {config.batch_size}
