"""The outputs of the commands on the sample videos stay what they are."""

import numpy as np
import pandas as pd
import pytest
import torch
from golden_set import GOLDEN, read_outputs, run_commands

from abawcli.device import inference_dtype
from abawcli.formats.table_schemas import PROBABILITIES

PROBABILITY = 0.02  # CPUs of other kinds round otherwise, and sums of rounded numbers differ
LABELS = 0.005  # share of the rows
PIXELS = 0.5
OTHER = 0.02  # of columns whose numbers are about 1
# Of features on a fixed direction, whose numbers are about 1. The golden set is of float32.
IN_FLOAT32 = inference_dtype(torch.device("cpu"), small=True) == torch.float32
FEATURES = OTHER if IN_FLOAT32 else 0.1


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pd.DataFrame]:
    folder = tmp_path_factory.mktemp("golden")
    run_commands(folder)
    return read_outputs(folder)


@pytest.mark.parametrize("name", sorted(path.stem for path in GOLDEN.glob("*.parquet")))
def test_outputs_are_as_before(outputs: dict[str, pd.DataFrame], name: str) -> None:
    before, now = pd.read_parquet(GOLDEN / f"{name}.parquet"), outputs[name]
    assert list(now.columns) == list(before.columns) and len(now) == len(before)
    clear = find_clear(before)
    for column in before.columns:
        rows = clear if column == "label" else slice(None)
        compare_column(column, before[column][rows], now[column][rows])


def find_clear(table: pd.DataFrame) -> pd.Series:
    """Return the rows whose label does not depend on what CPUs round; all without probabilities."""
    if not set(PROBABILITIES) <= set(table.columns):
        return pd.Series(True, table.index)
    highest = np.sort(table[list(PROBABILITIES)].to_numpy(), axis=1)[:, -2:]  # (N, 2)
    tied = highest[:, 1] - highest[:, 0] <= 2 * PROBABILITY
    assert tied.mean() < 0.05, "labels of too many rows are not compared"
    return pd.Series(~tied, table.index)


def compare_column(name: str, before: pd.Series, now: pd.Series) -> None:
    """Compare a column, as exactly as CPUs of all kinds allow."""
    if name in ("label", "line", "source"):
        assert (before != now).mean() <= LABELS, name
    elif pd.api.types.is_float_dtype(before.dtype):
        limit = PROBABILITY if name in PROBABILITIES else OTHER
        limit = FEATURES if name in "abc" else limit
        limit = PIXELS if name in ("x", "y", "w", "h") or name[:1] in "xy" else limit
        # Where a label changes, so may what rests on it.
        a, b = before.to_numpy(np.float64), now.to_numpy(np.float64)
        far = ~np.isclose(a, b, rtol=OTHER if name in "abc" else 0, atol=limit, equal_nan=True)
        assert far.mean() <= LABELS, name
    else:
        pd.testing.assert_series_equal(before, now)
