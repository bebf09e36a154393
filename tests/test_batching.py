"""Work made ahead, and batches of one size."""

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
