"""Cells of a notebook, run in this process: its networks are loaded, and know the sample clips."""

import ast
import contextlib
import io
import logging
from collections.abc import Iterator
from typing import Any


def run_cell(source: str, names: dict[str, Any]) -> list[dict[str, Any]]:
    """Run a cell of code; return what a notebook shows below it: printed text, and a result."""
    *statements, last = ast.parse(source).body
    value = None
    with _capture() as said:
        if isinstance(last, ast.Expr):
            _execute(statements, names)
            value = eval(compile(ast.Expression(last.value), "cell", "eval"), names)
        else:
            _execute([*statements, last], names)
    outputs: list[dict[str, Any]] = [
        {"output_type": "stream", "name": name, "text": text.getvalue()}
        for name, text in said.items()
        if text.getvalue()
    ]
    if value is not None:
        outputs.append({"output_type": "execute_result", "data": _show(value)})
    return outputs


def _execute(statements: list[ast.stmt], names: dict[str, Any]) -> None:
    exec(compile(ast.Module(statements, []), "cell", "exec"), names)


def _show(value: Any) -> dict[str, str]:
    """Return the forms of a value that a notebook keeps."""
    html = {"text/html": value._repr_html_()} if hasattr(value, "_repr_html_") else {}
    return html | {"text/plain": repr(value)}


@contextlib.contextmanager
def _capture() -> Iterator[dict[str, io.StringIO]]:
    """Collect what is printed, and warnings of the package, which go to stderr."""
    said = {"stderr": io.StringIO(), "stdout": io.StringIO()}
    handler, log = logging.StreamHandler(said["stderr"]), logging.getLogger("abawcli")
    handler.setLevel(logging.WARNING)
    log.addHandler(handler)
    try:
        with contextlib.redirect_stdout(said["stdout"]), contextlib.redirect_stderr(said["stderr"]):
            yield said
    finally:
        log.removeHandler(handler)
