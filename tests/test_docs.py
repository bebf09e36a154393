"""The documentation names only what exists, and docs/cli.md is what the commands say."""

import inspect
import re
import runpy
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from abawcli.cli import COMMANDS, main
from abawcli.labels import CLASSES

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "sample_videos" / "README.md"]
PAGES += sorted((ROOT / "docs").glob("*.md"))
FOLDERS = "abawcli|benchmarks|docs|examples|sample_videos|tests"
MAKE_CLI = runpy.run_path(str(ROOT / "docs" / "make_cli.py"))


def read_code(text: str) -> Iterator[str]:
    """Yield the lines of code blocks, continued lines joined, and the code within sentences."""
    for k, part in enumerate(re.split(r"^```.*$", text, flags=re.M)):
        if k % 2:
            yield from part.replace("\\\n", " ").splitlines()
        else:
            yield from (code.replace("\n", " ") for code in re.findall(r"`([^`]+)`", part))


def judge_call(words: list[str]) -> str | None:
    """Say what is wrong with a call of abaw, given without its first word."""
    command: click.Command = main
    while words and isinstance(command, click.Group) and re.fullmatch(r"[a-z][a-z-]*", words[0]):
        below = command.get_command(click.Context(command), words[0])
        if below is None:
            return f"no command {words[0]}"
        command, words = below, words[1:]
    known = {o for p in command.get_params(click.Context(command)) for o in p.opts}
    known |= {o for p in command.params for o in p.secondary_opts} | {"-h", "--help"}
    unknown = [w for w in words if re.match(r"--?[a-z]", w) and w.split("=")[0] not in known]
    return f"no option {unknown[0]}" if unknown else None


def find_faults(page: Path, text: str) -> list[str]:
    """Return commands, options, files that do not exist but are named, and what is missing."""
    faults = []
    for code in read_code(text):
        for call in re.findall(r"(?:^|[\s(/])abaw ([^|;&>#()]+)", code):
            faults += [fault] if (fault := judge_call(call.split())) else []
    links = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", text)
    faults += [f"no file {link}" for link in links if not (page.parent / link).exists()]
    paths = re.findall(rf"(?<![\w/.-])(?:{FOLDERS})/[\w./-]++(?![<*{{])", text)
    faults += [f"no file {p}" for p in paths if not (ROOT / p.rstrip(".")).exists()]
    # What is still to be written stands there as an upper-case word in a line of its own.
    faults += [f"placeholder {word}" for word in re.findall(r"^\s*([A-Z][A-Z_]+)\s*$", text, re.M)]
    return list(dict.fromkeys(faults))


def test_the_page_of_commands_is_up_to_date() -> None:
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert page == MAKE_CLI["describe_commands"](), "run python docs/make_cli.py"


def list_names() -> list[str]:
    """Return the full names of all commands, and of those below them."""
    context = click.Context(main)
    commands = {name: main.get_command(context, name) for name in main.list_commands(context)}
    found = (MAKE_CLI["find_commands"](command, name) for name, command in commands.items())
    return [name for names in found for name, _ in names]


@pytest.mark.parametrize("name", list_names())
def test_every_command_is_documented_and_helps(name: str) -> None:
    headings = re.findall("^#+ (.*)$", (ROOT / "docs" / "cli.md").read_text(encoding="utf-8"), re.M)
    assert headings.count(f"abaw {name}") == 1
    result = CliRunner().invoke(main, [*name.split(), "--help"], prog_name="abaw")
    assert result.exit_code == 0
    assert result.output.startswith(f"Usage: abaw {name} [OPTIONS]")


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_and_their_help_agree(name: str) -> None:
    help_text = CliRunner().invoke(main, [name, "--help"]).output.split("\n\n")[1]
    assert help_text.split()[0] == COMMANDS[name].split()[0]  # both say what it does: the verb


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_name_only_what_exists(page: Path) -> None:
    assert find_faults(page, page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("Run `abaw conquer x.mp4`.", "no command conquer"),
        ("```sh\n.venv/bin/abaw conquer\n```", "no command conquer"),
        ("`abaw train decoder`", "no command decoder"),
        ("`abaw doctor --shiny`", "no option --shiny"),
        ("```\nabaw doctor \\\n  --shiny\n```", "no option --shiny"),
        ("[text](docs/nothing.md)", "no file docs/nothing.md"),
        ("see abawcli/nothing.py.", "no file abawcli/nothing.py."),
        ("Some text.\n\nFIGURES\n\nMore text.", "placeholder FIGURES"),
        ("DEMO", "placeholder DEMO"),
    ],
)
def test_each_fault_is_found(text: str, fault: str) -> None:
    assert find_faults(ROOT / "README.md", text) == [fault]


@pytest.mark.parametrize(
    "text",
    [
        "the abaw people say; `abaw COMMAND --help`, `abaw doctor --json`, `abaw --version`",
        "```text\nabaw: error: no such file\n```\n[1](https://example.org) [2](#limits)",
        "INPUT is a file.\nA FILE\n| FILE |\nOPTIONS:\n",
        "tests/test_<module>.py, abawcli/errors.py. And [docs](docs/make_cli.py#top)",
    ],
)
def test_what_exists_passes(text: str) -> None:
    assert find_faults(ROOT / "README.md", text) == []


def find_leaf(name: str) -> click.Command:
    command: click.Command | None = main
    for word in name.split():
        assert isinstance(command, click.Group)
        command = command.get_command(click.Context(command), word)
    assert command is not None
    return command


@pytest.mark.parametrize("name", [name for name in list_names() if name != "train"])
def test_every_help_has_an_example_that_can_be_called(name: str) -> None:
    command = find_leaf(name)
    paragraphs = inspect.cleandoc(command.help or "").split("\n\n")
    example = re.fullmatch(rf"Example: abaw {name}( .*)?", paragraphs[-1])
    assert example, paragraphs[-1]
    command.make_context(name, shlex.split(example[1] or ""))  # parses and checks, runs nothing


def test_the_help_of_predict_names_the_classes() -> None:
    text = CliRunner().invoke(main, ["predict", "--help"]).output
    assert all(name in text for name in CLASSES)


def test_every_element_of_the_published_systems_is_held_by_a_test() -> None:
    lines = (ROOT / "docs" / "systems.md").read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if line.startswith("| ") and "module" not in line]
    assert len(rows) > 25
    for row in rows:
        element, _, _, modules, test = (cell.strip() for cell in row.strip("|").split("|"))
        assert all((ROOT / path).is_file() for path in re.findall(r"`([^`]+)`", modules)), element
        path, name = test.strip("`").split("::")
        assert f"\ndef {name}(" in (ROOT / path).read_text(encoding="utf-8"), element
