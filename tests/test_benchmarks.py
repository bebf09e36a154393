"""Scripts that tests do not run import only what the package has."""

import ast
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted(
    path for folder in ("benchmarks", "docs", "examples") for path in (ROOT / folder).glob("*.py")
)


def has_name(module: str, name: str) -> bool:
    """Tell whether a name can be imported from a module of the package."""
    try:
        return hasattr(import_module(module), name) or bool(import_module(f"{module}.{name}"))
    except ModuleNotFoundError:
        return False


def find_missing(source: str) -> list[str]:
    """Return what a script imports from the package and cannot have."""
    return [
        f"{node.module}.{each.name}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "abawcli"
        for each in node.names
        if not has_name(node.module or "", each.name)
    ]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_imports_what_is_there(path: Path) -> None:
    assert find_missing(path.read_text(encoding="utf-8")) == []


def test_what_is_not_there_is_found() -> None:
    source = "from abawcli.metrics import predict_labels, score_labels\nfrom abawcli.gone import x"
    assert find_missing(source) == ["abawcli.metrics.predict_labels", "abawcli.gone.x"]
