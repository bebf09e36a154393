"""The rules of the architecture, held by reading every module; each can be seen to fail."""

import ast
import builtins
import itertools
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

import abawcli

ROOT = Path(abawcli.__file__).parent
# As in the table of CONTRIBUTING.md.
LAYERS = (
    {"__version__", "errors", "config", "labels", "label_maps", "sources", "progress", "cores"}
    | {"interrupts"},
    {"metrics", "task_metrics", "tasks", "reliability", "agreement", "logits", "balance"}
    | {"smoothing", "fusion", "segments", "summary"},
    {"device", "formats", "media", "faces"},
    {"models", "datasets"},
    {"training", "pipeline"},
    {"stages"},
    {"views"},
    {"jobs", "engines", "processes", "worker", "cluster"},
    {"api", "__init__"},
    {"cli", "__main__"},
)
LEVEL = {part: level for level, parts in enumerate(LAYERS) for part in parts}
USES_TORCH = {
    "device",
    "models",
    "training",
    "pipeline",
    "stages.crossval",
    "stages.doctor",
    "stages.train_face",
    "stages.train_voice",
    "stages.predict",
}
# What a stage shares with the process of its command, which has no networks.
NO_STAGES = {"settings", "extract_summary", "predict_summary"}
FORBIDDEN_NAMES = {"utils", "helpers", "common", "base"}
FORBIDDEN_CALLS = {"torch.save", "torch.load"}
# OpenCV ends the process, without an error, when a path is not UTF-8.
TAKES_A_PATH = {"imread", "imreadmulti", "imreadanimation", "imcount", "haveImageReader"}
TAKES_A_PATH |= {"imwrite", "imwritemulti", "imwriteanimation", "haveImageWriter"}
TAKES_A_PATH |= {"VideoCapture", "VideoWriter", "FileStorage"}
MODULE_LINES, FUNCTION_LINES = 400, 60  # of a function: without the text of its docstring
POSITIONAL = 4  # arguments; further ones are given by name


def imported_names(module: str, nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Yield every import as a full dotted name, `from a import b` as `a.b`."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = module.split(".")[: -node.level] if node.level else []
            source = ".".join([*package, *([node.module] if node.module else [])])
            yield from (f"{source}.{alias.name}" for alias in node.names)


def judge_own_import(module: str, name: str) -> str | None:
    """Say what is wrong with a module of abawcli importing another one of it."""
    own, other = module.split(".")[1:], name.split(".")[1:]
    if other[0] not in LEVEL:
        return f"{name} has no layer"
    difference = LEVEL[own[0]] - LEVEL[other[0]]
    same_folder = own[0] == other[0] or len(own) == len(other[:-1]) == 1
    if difference < 0 or (difference == 0 and not same_folder):
        return f"imports {name} from its own or a higher layer"
    is_predict = own == ["stages", "predict"]
    is_other = own[0] == other[0] == "stages" and other[1] not in {own[1], *NO_STAGES}
    if is_other and not is_predict:
        return f"stage imports stage {name}"
    return None


def judge_foreign_import(module: str, name: str) -> str | None:
    """Say what is wrong with a module of abawcli importing something else."""
    own, top = module.split(".")[1:], name.split(".")[0]
    if top in {"click", "rich", "tqdm"} and own[0] != "cli":
        return f"{top} below cli"
    if top in {"rich", "tqdm"} and own != ["cli", "console"]:
        return f"{top} outside cli.console"
    if top == "torch" and not {own[0], ".".join(own)} & USES_TORCH:
        return "torch outside the modules that run a network"
    if top in {"pickle", "shelve"} or name in FORBIDDEN_CALLS:
        return f"{name} reads or writes pickles"
    return None


def find_path_calls(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Say which functions of OpenCV that open files are named."""
    for node in nodes:
        named = [node.attr] if isinstance(node, ast.Attribute) else []
        if isinstance(node, ast.ImportFrom) and node.module == "cv2":
            named = [alias.name for alias in node.names]
        yield from (f"cv2.{name} is given a path" for name in named if name in TAKES_A_PATH)


def judge_names(module: str, nodes: list[ast.AST]) -> Iterator[str]:
    """Say which names and calls in a module, whose root is the first node, break a rule."""
    stem = module.split(".")[-1]
    if stem in FORBIDDEN_NAMES:
        yield f"a module named {stem}"
    for node in ast.iter_child_nodes(nodes[0]):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == stem:
            yield f"function {stem} is named like its module"
    yield from find_path_calls(nodes)
    for node in nodes:
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            name = f"{node.value.id}.{node.attr}"
            if name in FORBIDDEN_CALLS:
                yield f"{name} reads or writes pickles"
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            yield "allow_pickle reads or writes pickles"


def judge_sizes(nodes: Iterable[ast.AST], source: str) -> Iterator[str]:
    """Say which parts of a module are too long, or take too many arguments by position."""
    if source.count("\n") > MODULE_LINES:
        yield "the module is too long"
    for node in nodes:
        if isinstance(node, ast.Call) and len(node.args) > POSITIONAL:
            name = node.func.id if isinstance(node.func, ast.Name) else ""
            if name and name not in vars(builtins):
                yield f"{name} is given too many arguments by position"
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        assert node.end_lineno is not None
        text = (ast.get_docstring(node) or "").count("\n")
        if node.end_lineno - node.lineno - text >= FUNCTION_LINES:
            yield f"{node.name} is too long"
        names = [arg.arg for arg in (*node.args.posonlyargs, *node.args.args)]
        is_command = any("option" in ast.unparse(each) for each in node.decorator_list)
        if len(names) - (names[:1] in (["self"], ["cls"])) > POSITIONAL and not is_command:
            yield f"{node.name} takes too many arguments by position"


def judge_docstrings(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Say which public functions raise errors that their docstrings do not name.

    The docstring of a command is its help, and an abstract method raises nothing when it is used.
    """
    parts = (each.body for each in nodes if isinstance(each, ast.Module | ast.ClassDef))
    for node in itertools.chain(*parts):
        if not isinstance(node, ast.FunctionDef) or node.name.startswith("_"):
            continue
        if any("command" in ast.unparse(each) for each in node.decorator_list):
            continue
        called = [
            each.exc.func
            for each in ast.walk(node)
            if isinstance(each, ast.Raise) and isinstance(each.exc, ast.Call)
        ]
        names = {ast.unparse(name).split(".")[-1] for name in called}
        text = ast.get_docstring(node) or ""
        yield from (f"{node.name} does not say that it raises {n}" for n in names if n not in text)


def find_faults(module: str, source: str) -> list[str]:
    """Return every breach of the rules in a module, given by dotted name and source."""
    nodes = list(ast.walk(ast.parse(source)))
    faults = [*judge_names(module, nodes), *judge_sizes(nodes, source), *judge_docstrings(nodes)]
    for name in imported_names(module, nodes):
        judge = judge_own_import if name.startswith("abawcli.") else judge_foreign_import
        fault = judge(module, name)
        faults += [fault] if fault else []
    return faults


MODULES = {
    ".".join(["abawcli", *path.relative_to(ROOT).with_suffix("").parts]): path
    for path in sorted(ROOT.rglob("*.py"))
}


def test_every_module_keeps_the_rules() -> None:
    assert len(MODULES) > 200
    faults = {
        module: find_faults(module, path.read_text(encoding="utf-8"))
        for module, path in MODULES.items()
    }
    assert {module: found for module, found in faults.items() if found} == {}


def find_circle(imports: dict[str, set[str]]) -> list[str]:
    """Return the modules of circles of imports, also in functions, and those that import them."""
    left = {module: set(names) for module, names in imports.items()}
    while free := [module for module, names in left.items() if not names & left.keys()]:
        left = {module: names for module, names in left.items() if module not in free}
    return sorted(left)


def test_no_modules_import_each_other_in_a_circle() -> None:
    imports: dict[str, set[str]] = {}
    for module, path in MODULES.items():
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        names = set(imported_names(module, nodes))
        imports[module] = (names | {name.rpartition(".")[0] for name in names}) & MODULES.keys()
    assert find_circle(imports) == []
    assert find_circle({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == ["a", "b", "c"]


def test_no_two_public_classes_have_one_name() -> None:
    owners: dict[str, list[str]] = defaultdict(list)
    for module, path in MODULES.items():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                owners[node.name].append(module)
    assert len(owners) > 100
    assert {name: found for name, found in owners.items() if len(found) > 1} == {}


def test_the_page_for_contributors_has_the_same_layers() -> None:
    table: dict[str, int] = {}
    for line in (ROOT.parent / "CONTRIBUTING.md").read_text(encoding="utf-8").splitlines():
        if row := re.fullmatch(r"\| (\d+) \| ([^|]+) \|.*", line):
            table |= dict.fromkeys(re.findall(r"`(\w+)/?`", row[2]), int(row[1]) - 1)
    assert table == {part: level for part, level in LEVEL.items() if not part.startswith("__")}


@pytest.mark.parametrize("folder", ["benchmarks", "docs", "examples", "sample_videos"])
def test_no_script_gives_opencv_a_path(folder: str) -> None:
    for path in (ROOT.parent / folder).glob("*.py"):
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        assert list(find_path_calls(nodes)) == [], path


@pytest.mark.parametrize(
    ("module", "source", "fault"),
    [
        ("abawcli.errors", "from abawcli.device import DEVICES", "higher layer"),
        ("abawcli.faces.crop", "from abawcli.media.video import Frame", "own or a higher layer"),
        ("abawcli.models.moe", "import abawcli.stages.train", "higher layer"),
        ("abawcli.media.video", "from abawcli import cli", "higher layer"),
        ("abawcli.formats.atomic", "from ..models import moe", "higher layer"),
        ("abawcli.stages.crop", "from abawcli.novelty import x", "no layer"),
        (
            "abawcli.stages.score",
            "from abawcli.stages.train_face import x",
            "stage imports",
        ),
        ("abawcli.stages.score", "from abawcli.stages import train", "stage imports"),
        ("abawcli.stages.score", "from . import train", "stage imports"),
        ("abawcli.stages.crop", "def f():\n    import click", "click below cli"),
        ("abawcli.models.moe", "from tqdm import tqdm", "tqdm below cli"),
        ("abawcli.cli.crop", "from rich.table import Table", "outside cli.console"),
        ("abawcli.faces.crop", "import torch.nn", "torch outside"),
        ("abawcli.stages.smooth", "from torch import Tensor", "torch outside"),
        ("abawcli.cli.train", "import torch", "torch outside"),
        ("abawcli.faces.utils", "", "named utils"),
        ("abawcli.models.moe", "import pickle", "pickles"),
        ("abawcli.models.moe", "from torch import load", "pickles"),
        ("abawcli.models.moe", "import torch\ntorch.save({}, 'x')", "pickles"),
        ("abawcli.faces.crop", "np.load('x', allow_pickle=True)", "pickles"),
        ("abawcli.labels", "from abawcli.metrics import score_labels", "higher layer"),
        ("abawcli.faces.crop", "\n" * 401, "module is too long"),
        ("abawcli.faces.crop", "def f():\n" + "    g()\n" * 60, "f is too long"),
        ("abawcli.faces.crop", "def f(a, b, c, d, e): ...", "takes too many arguments"),
        ("abawcli.faces.crop", "Crop(a, b, c, d, e)", "given too many arguments"),
        (
            "abawcli.faces.crop",
            "def f():\n    raise click.BadParameter('x')",
            "raises BadParameter",
        ),
        ("abawcli.stages.crop", "def crop(): ...", "named like its module"),
        ("abawcli.faces.crop", "import cv2\ncv2.imread('x')", "given a path"),
        ("abawcli.stages.train", "import cv2 as cv\ncv.imwrite('x', y)", "given a path"),
        ("abawcli.media.video", "from cv2 import VideoCapture", "given a path"),
    ],
)
def test_each_rule_can_fail(module: str, source: str, fault: str) -> None:
    assert any(fault in found for found in find_faults(module, source))


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("abawcli.labels", "from abawcli.errors import InputError"),
        ("abawcli.faces.track", "from abawcli.faces.detect import DETECTORS"),
        ("abawcli.formats.atomic", "from abawcli import __version__"),
        ("abawcli.stages.predict", "from abawcli.stages.smooth import smooth_table"),
        ("abawcli.faces.crop", "def f():\n" + "    g()\n" * 59),
        ("abawcli.faces.crop", 'def f():\n    """F.\n' + "\n" * 60 + '    """'),
        ("abawcli.faces.crop", "def f(self, a, b, c, d, *, e): ..."),
        ("abawcli.faces.crop", "Crop(a, b, c, d, e=e)\nzip(a, b, c, d, e)"),
        (
            "abawcli.faces.crop",
            'def f():\n    """Raises: InputError."""\n    raise InputError("x")',
        ),
        ("abawcli.cli.crop", "@click.command()\ndef command():\n    raise UsageError('x')"),
        ("abawcli.models.checkpoint", "import torch"),
        ("abawcli.cli.console", "from rich.table import Table"),
    ],
)
def test_what_is_allowed_passes(module: str, source: str) -> None:
    assert find_faults(module, source) == []


def test_help_and_settings_of_runs_load_nothing_heavy() -> None:
    """With --jobs, the command's own process has only settings and outcomes of the workers."""
    code = "import sys; from abawcli.cli import main; main(['--help'], standalone_mode=False); "
    code += "import abawcli.stages.settings, abawcli.stages.extract_summary; "
    code += "print('loaded', *sorted({name.split('.')[0] for name in sys.modules}))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    text, loaded = run.stdout.split("loaded ")
    assert "predict" in text
    heavy = {"torch", "transformers", "pandas", "cv2", "matplotlib", "numpy", "av", "onnxruntime"}
    heavy |= {"scipy", "rich", "tqdm"}
    assert "click" in loaded.split() and not heavy & set(loaded.split())
