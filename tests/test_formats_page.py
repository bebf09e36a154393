"""docs/formats.md describes each column that is written, and no other."""

import re
from dataclasses import fields
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner
from sample_tables import make_table

from abawcli.cli import main
from abawcli.formats import faces, strategy
from abawcli.formats.features import Features
from abawcli.formats.table_schemas import LOGITS, SCHEMAS
from abawcli.formats.tables import write_table
from abawcli.labels import CLASSES
from abawcli.segments import COLUMNS as SEGMENT_COLUMNS
from abawcli.summary import summarize_table

PAGE = Path(__file__).parents[1] / "docs" / "formats.md"
TABLE = make_table([4] * 25 + [0] * 25)
WRITTEN = {
    "Prediction table": [
        *dict.fromkeys(name for schema in SCHEMAS.values() for name in schema.names),
        *LOGITS,
    ],
    "Segments": SEGMENT_COLUMNS,
    "Summary": list(summarize_table(TABLE)),
    "Crops": faces.SCHEMA.names,
    "Strategies": list(strategy.COLUMNS),
    "Features": [field.name for field in fields(Features) if field.name != "metadata"],
}


def read_section(heading: str) -> str:
    text = PAGE.read_text(encoding="utf-8")
    (section,) = re.findall(rf"^## {heading} .*?(?=^## |\Z)", text, re.M | re.S)
    return str(section)


def list_described(heading: str, columns: list[str]) -> list[str]:
    """Return the names in the first cells of a section's tables; `a` ... `c` are those between."""
    found: list[str] = []
    for cell in re.findall(r"^\| ([^|]*`[^|]*) \|", read_section(heading), re.M):
        names = [name for code in re.findall("`([^`]+)`", cell) for name in code.split(", ")]
        if " ... " in cell:
            names = columns[columns.index(names[0]) : columns.index(names[-1]) + 1]
        for name in names:
            found += [name.replace("<class>", one.lower()) for one in CLASSES][: 8 ** ("<" in name)]
    return found


@pytest.mark.parametrize("heading", WRITTEN)
def test_columns_are_those_that_are_described(heading: str) -> None:
    columns = WRITTEN[heading]
    assert sorted(list_described(heading, columns)) == sorted(columns)


@pytest.mark.parametrize("kind", ["wide", "long", "openface", "bids"])
def test_columns_of_exports_are_described(tmp_path: Path, kind: str) -> None:
    write_table(TABLE, tmp_path / "clip.csv", {})
    out = tmp_path / "out"
    call = ["export", str(tmp_path / "clip.csv"), "--format", kind, "-o", str(out)]
    assert CliRunner().invoke(main, call).exit_code == 0
    (file,) = [path for path in out.iterdir() if path.suffix in (".csv", ".tsv")]
    columns = list(pd.read_csv(file, sep="\t" if file.suffix == ".tsv" else ","))
    (row,) = re.findall(rf"^\| `{kind}` \| (.*) \|$", read_section("Exports"), re.M)
    assert re.findall("`([^`]+)`", row.split("`NA`")[0].split("`nan`")[0]) == [
        name for name in columns if name not in CLASSES
    ]
