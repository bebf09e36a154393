"""Csv files whose cells are kept as text."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from abawcli.errors import InputError, explain_os_error
from abawcli.formats.table_checks import check_width
from abawcli.formats.text_form import check_commas, explain_bytes


def read_text_columns(path: str | Path, required: Sequence[str]) -> pd.DataFrame:
    """Return all columns of a csv as text; an empty cell is an empty text.

    Raises:
        InputError: the file cannot be read or is not separated by commas, or a column is missing.
    """
    path = Path(path)
    check_commas(path)
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        check_width(table)
    except OSError as error:
        raise InputError(explain_os_error(path, error)) from error
    except UnicodeDecodeError as error:
        raise InputError(f"cannot read {path}: {explain_bytes(path.read_bytes())}") from error
    except ValueError as error:
        raise InputError(f"cannot read {path}: {error}") from error
    if missing := [name for name in required if name not in table]:
        raise InputError(f"{path} has no column {', '.join(missing)}")
    return table
