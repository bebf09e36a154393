"""examples/study.ipynb runs, and its outputs are those that are checked in."""

import json
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[1] / "examples" / "study.ipynb"


def list_outputs(notebook: nbformat.NotebookNode) -> list[list[str]]:
    """Return the kinds of outputs of each cell of code."""
    return [
        [output.output_type for output in cell.outputs]
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


# What Jupyter warns of in its own parts.
@pytest.mark.filterwarnings("ignore")
def test_the_notebook_runs_and_shows_what_is_checked_in() -> None:
    kept = nbformat.read(NOTEBOOK, as_version=4)
    again = nbformat.from_dict(json.loads(json.dumps(kept)))
    NotebookClient(again, timeout=120, resources={"metadata": {"path": NOTEBOOK.parent}}).execute()
    assert list_outputs(again) == list_outputs(kept)
    assert any(list_outputs(kept))
    frames = [cell.outputs for cell in (kept.cells[3], again.cells[3])]
    assert frames[0][-1]["data"] == frames[1][-1]["data"]
