"""`abaw models`."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from tiny_classifiers import save_face_classifier, save_onnx_classifier, save_voice_classifier

from abawcli.cli import main
from abawcli.formats.hashing import hash_file


def test_models_lists_the_embedded_recipe_with_its_weights() -> None:
    result = CliRunner().invoke(main, ["models", "--json"])
    assert result.exit_code == 0, result.output
    rows = {(row["name"], row["kind"]): row for row in json.loads(result.stdout)}
    compact = rows["compact", "recipe"]
    assert Path(compact["weights"]).is_file()
    assert compact["size"].endswith("MB") and "MIT" in compact["licence"]
    assert ("compact-face", "backbone") in rows


def test_backbones_of_the_hub_name_the_command_or_the_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    name = "facebook/dinov2-large"
    folder = tmp_path / "models--facebook--dinov2-large"
    weights = folder / "snapshots" / "abc" / "model.safetensors"

    def find() -> str:
        rows = json.loads(CliRunner().invoke(main, ["models", "--json"]).stdout)
        return next(row["weights"] for row in rows if row["name"] == name)

    assert find() == f"not here: hf download {name}"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"x" * 10)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("abc")
    assert find() == str(weights)


def test_models_as_a_table() -> None:
    result = CliRunner().invoke(main, ["models"])
    assert result.exit_code == 0
    assert "compact-face" in result.stdout


def test_models_hash_their_weights() -> None:
    rows = json.loads(CliRunner().invoke(main, ["models", "--json"]).stdout)
    compact = next(row for row in rows if row["name"] == "compact-face")
    assert compact["sha256"] == hash_file(Path(compact["weights"]))


def test_other_peoples_classifiers_by_name(tmp_path: Path) -> None:
    folder = save_face_classifier(tmp_path / "face")
    onnx = save_onnx_classifier(tmp_path / "mine.onnx")
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n# A card\n")
    voice = save_voice_classifier(tmp_path / "voice")
    names = [f"hf:{folder}", f"hf:{voice}", str(onnx), "compact"]
    rows = json.loads(CliRunner().invoke(main, ["models", *names, "--json"]).stdout)
    assert [row["kind"] for row in rows] == [
        "face classifier", "speech classifier", "face classifier", "recipe",
    ]  # fmt: skip
    assert [row["licence"] for row in rows[:3]] == ["apache-2.0", *2 * ["unknown (no model card)"]]
    assert rows[0]["sha256"] == hash_file(folder / "model.safetensors")
    assert rows[2]["sha256"] == hash_file(onnx)
    (folder / "README.md").write_text("---\nlicense: [\n---\n")
    result = CliRunner().invoke(main, ["models", names[0], "--json"])
    assert json.loads(result.stdout)[0]["licence"].startswith("unknown (")


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("nothing", "no model 'nothing': known are compact"),
        ("nothing.onnx", "no such file: nothing.onnx"),
        ("hf:nobody/nowhere", "hf download nobody/nowhere"),
    ],
)
def test_a_model_that_is_none(name: str, problem: str) -> None:
    result = CliRunner().invoke(main, ["models", name])
    assert result.exit_code and problem in result.stderr and result.stderr.count("\n") == 1
