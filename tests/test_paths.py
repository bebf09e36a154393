"""Every public function that takes a path takes a string as well."""

import ast
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from media_files import write_media
from sample_features import make_features
from sample_tables import make_table

import abawcli
import abawcli.errors
from abawcli.formats.abaw import read_annotation, write_annotation
from abawcli.formats.features import read_features, write_features
from abawcli.formats.inputs import expand_inputs
from abawcli.formats.outputs import name_outputs
from abawcli.formats.provenance import describe_work, read_provenance
from abawcli.formats.tables import read_table, read_tables, write_table
from abawcli.media.audio import read_audio
from abawcli.media.video import read_frames
from abawcli.models.checkpoint import read_kind
from abawcli.models.recipes import find_weights
from abawcli.stages.predict import Predictor
from abawcli.stages.probe import probe_media
from abawcli.stages.score import score_files
from abawcli.stages.smooth import smooth_file
from abawcli.stages.submit import find_differences

ROOT = Path(abawcli.__file__).parent
# A mapping's keys are of one type, and what a caller hands in to be called is given Paths:
# functions, and classes that follow a protocol.
OTHERS = ("Mapping[", "Callable[")


def find_parameters(tree: ast.AST, where: str) -> Iterator[tuple[str, str]]:
    """Yield name and annotation of each parameter of public functions and methods with a Path."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            if "Protocol" in map(ast.unparse, node.bases):
                continue
            yield from find_parameters(node, f"{where}.{node.name}")
        if not isinstance(node, ast.FunctionDef):
            continue
        if node.name.startswith("_") and node.name != "__init__":
            continue
        for argument in [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]:
            text = ast.unparse(argument.annotation) if argument.annotation else ""
            if "Path" in text and not text.startswith(OTHERS):
                yield f"{where}.{node.name}({argument.arg})", text


def list_parameters() -> list[tuple[str, str]]:
    modules = [p for p in sorted(ROOT.rglob("*.py")) if p.relative_to(ROOT).parts[0] != "cli"]
    return [
        found
        for path in modules
        for found in find_parameters(
            ast.parse(path.read_text(encoding="utf-8")), str(path.relative_to(ROOT))
        )
    ]


def test_every_path_may_be_a_string() -> None:
    parameters = list_parameters()
    assert len(parameters) > 100
    assert [each for each in parameters if "str | Path" not in each[1]] == []


def test_a_parameter_that_takes_no_string_is_found() -> None:
    tree = ast.parse("class A:\n    def f(self, x: Path | None = None): ...\ndef _g(x: Path): ...")
    assert list(find_parameters(tree, "m")) == [("m.A.f(x)", "Path | None")]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_tables_and_texts(folder: Path) -> None:
    write_table(make_table([0, 1, 1]), "p.csv", describe_work("predict", ["gone.mp4"], {}))
    assert read_table("p.csv").equals(read_table(Path("p.csv")))
    assert len(read_tables(["p.csv"], {})) == 3
    assert read_provenance("p.csv")["command"] == "predict"
    write_annotation(np.array([0, 1, 2]), "p.txt")
    assert read_annotation("p.txt").tolist() == [0, 1, 2]
    assert score_files(["p.csv"], ["p.txt"]).overall.frames == 3
    smooth_file("p.csv", "s.csv")
    assert len(read_table("s.csv")) == 3
    Path("sample.txt").write_text("image_location,Neutral\n")
    with pytest.raises(abawcli.errors.InputError):
        list(find_differences("sample.txt", "none.txt"))


def test_features_and_names(folder: Path) -> None:
    write_features(make_features(np.arange(4)), "v.safetensors", {})
    assert len(read_features("v.safetensors").frame) == 4
    assert name_outputs(["a.mp4"], "out", ".csv") == {Path("a.mp4"): Path("out/a.csv")}
    assert list(expand_inputs(["v.safetensors"], frozenset())) == [Path("v.safetensors")]
    assert read_kind(str(find_weights("compact-face"))) == "encoder"


def test_media(folder: Path) -> None:
    video = str(write_media(folder / "a.mp4", [np.full((48, 64, 3), 90, np.uint8)] * 3))
    assert probe_media(video).video is not None
    assert len(list(read_frames(video))) == 3
    assert read_audio(video) is None
    assert len(Predictor(device="cpu", modality="visual").predict_video(video)) == 3
