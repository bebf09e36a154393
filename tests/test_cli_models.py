"""`abaw models`."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from abawcli.cli import main


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
