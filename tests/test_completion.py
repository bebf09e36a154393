"""What shells complete: commands, options, files and names of recipes, without loading torch."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from abawcli.cli import COMMANDS, main
from abawcli.config import RECIPE_NAMES
from abawcli.models.recipes import RECIPES


def complete(*words: str) -> list[tuple[str, str]]:
    """Return kind and text of what the last word may become."""
    items = ShellComplete(main, {}, "abaw", "_ABAW_COMPLETE").get_completions(
        list(words[:-1]), words[-1]
    )
    return [(item.type, item.value) for item in items]


def test_commands() -> None:
    assert [value for _, value in complete("")] == list(COMMANDS)
    assert ("plain", "predict") in complete("pre")
    assert complete("train", "he") == [("plain", "head")]


def test_recipes_are_those_that_there_are() -> None:
    assert tuple(RECIPES) == RECIPE_NAMES
    assert complete("predict", "--recipe", "compact-") == [
        ("plain", "compact-dual-branch"),
        ("plain", "compact-face"),
    ]
    assert complete("predict", "--recipe", "run/") == [("file", "run/")]


@pytest.mark.parametrize("command", ["predict", "crop", "smooth", "score", "submit", "crossval"])
def test_files(command: str) -> None:
    assert complete(command, "vid") == [("file", "vid")]
    assert complete(command, "-o", "out") == [("file", "out")]


def test_options_and_choices() -> None:
    assert ("plain", "--recipe") in complete("predict", "--re")
    assert ("plain", "visual") in complete("predict", "--modality", "v")


def test_a_shell_is_answered_without_torch() -> None:
    code = (
        "import sys\nfrom abawcli.cli import main\n"
        "try: main(prog_name='abaw')\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'pandas', 'numpy', 'av', 'rich', 'transformers'} & set(sys.modules)\n"
        "print(sorted(heavy))"
    )
    words = {"COMP_WORDS": "abaw predict --recipe compact-f", "COMP_CWORD": "3"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env=os.environ | words | {"_ABAW_COMPLETE": "bash_complete"},
        cwd=Path(__file__).parents[1],
    )  # fmt: skip
    assert done.stdout.splitlines() == ["plain,compact-face", "[]"]
