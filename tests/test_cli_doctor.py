import hashlib
import json
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from huggingface_hub import constants
from raw_checkpoints import write_raw
from safetensors.torch import save_file

from abawcli import __version__
from abawcli.cli import main
from abawcli.formats.tensors import METADATA_KEY
from abawcli.models import recipes
from abawcli.pipeline import reproducibility
from abawcli.stages import doctor

CHECK_PRECISION = doctor.check_precision


@pytest.fixture(autouse=True)
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One small checkpoint in place of the shipped ones, and no model pack."""
    path = tmp_path / "weights" / "small.safetensors"
    write_raw(path, {"w": torch.zeros(250)}, {"kind": "encoder"})
    monkeypatch.setattr(recipes, "WEIGHTS", path.parent)
    monkeypatch.setenv("INSIGHTFACE_HOME", str(tmp_path / "packs"))
    monkeypatch.setattr(doctor, "check_precision", list)  # of the shipped weights
    return path


def run_doctor(*arguments: str) -> tuple[int, dict[str, dict[str, Any]], str]:
    """Return exit status, checks by name, and what was said on stderr."""
    result = CliRunner().invoke(main, ["doctor", "--json", *arguments])
    report = json.loads(result.stdout)
    assert report["ok"] == (result.exit_code == 0)
    return result.exit_code, {c["name"]: c for c in report["checks"]}, result.stderr


def test_a_whole_installation(weights: Path) -> None:
    status, checks, said = run_doctor()
    assert (status, said) == (0, "")
    assert checks["abawcli"]["found"] == __version__
    assert checks["python"]["found"].endswith(sys.executable)
    assert checks["device"]["found"].startswith(("CPU", "CUDA", "Apple"))
    assert "CPUExecutionProvider" in checks["onnxruntime uses"]["found"]
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    assert checks["weights small.safetensors"]["found"] == f"encoder, 0.0 MB, sha256 {digest}"
    assert checks["insightface pack"]["found"].startswith("none")


def test_the_cpu_and_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    can = {"cpu_name": "Some CPU", "avx2": True, "amx_tile": True, "amx_bf16": True}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: can, raising=False)
    assert run_doctor()[1]["CPU"]["found"] == "Some CPU: AVX2, AMX BF16; oneDNN's limit: AVX2"
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict, raising=False)
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA")
    found = run_doctor()[1]["CPU"]["found"]
    assert found.endswith("features unknown before torch 2.10; oneDNN's limit: none")


@pytest.mark.parametrize(("difference", "status"), [(0.019, 0), (0.02, 1), (float("nan"), 1)])
def test_numbers_that_are_wrong_here(
    difference: float, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "check_precision", CHECK_PRECISION)
    monkeypatch.setattr(reproducibility, "measure_agreement", lambda *_: difference)
    monkeypatch.setattr(reproducibility, "measure_precision", lambda *_: 0.012)
    found, checks, said = run_doctor()
    assert found == status
    assert "bfloat16 changes its features by 1.2%" in checks["precision compact-face"]["found"]
    assert "batches of 1/16/64, 1/2 threads" in checks["numbers compact"]["found"]
    assert ("set ONEDNN_MAX_CPU_ISA=AVX2" in said) == bool(status)


def test_the_table_names_the_same_parts() -> None:
    result = CliRunner().invoke(main, ["doctor"])
    assert result.exit_code == 0
    assert all(name in result.stdout for name in run_doctor()[1])


def test_versions_come_from_the_declared_dependencies(monkeypatch: pytest.MonkeyPatch) -> None:
    declared = ["click>=8", "no-such-package>=1", 'nor-this>=2; extra == "ray"']
    monkeypatch.setattr(metadata, "requires", lambda name: declared)
    status, checks, said = run_doctor()
    assert status == 1
    assert checks["click"]["found"] == metadata.version("click")
    assert "no-such-package: missing; to fix it: pip install 'no-such-package>=1'" in said
    assert "nor-this" not in checks


@pytest.mark.parametrize(
    ("module", "name", "fix"),
    [
        ("cv2", "OpenCV (cv2)", "apt-get install libgl1"),
        ("onnxruntime", "onnxruntime uses", "onnxruntime"),
        ("abawcli.device", "device", "torch"),
        ("av", "FFmpeg in av", "av"),
    ],
)
def test_a_library_that_does_not_load(
    module: str, name: str, fix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    status, checks, said = run_doctor()
    assert status == 1
    assert fix in checks[name]["fix"]
    assert f"abaw: error: {name}: " in said and fix in said


def test_damaged_weights(weights: Path) -> None:
    weights.write_bytes(weights.read_bytes()[:100])
    status, checks, said = run_doctor()
    assert status == 1
    assert "not a safetensors file" in said and "reinstall abawcli" in said


@pytest.mark.parametrize("header", ['{"format": 1, "ki', "[]", "null", '{"format": 1}', '"text"'])
def test_weights_whose_description_is_damaged(header: str, weights: Path) -> None:
    save_file({"w": torch.zeros(250)}, weights, {METADATA_KEY: header})
    status, checks, said = run_doctor()
    assert status == 1
    assert checks["weights small.safetensors"]["fix"] == "reinstall abawcli"
    assert "abaw: error: weights small.safetensors: " in said and said.count("\n") == 1


def test_weights_where_torch_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "abawcli.models.recipes", None)
    status, checks, said = run_doctor()
    assert status == 1
    assert "torch" in checks["weights"]["fix"]
    assert "abaw: error: weights: cannot be read" in said


def test_no_weights_at_all(weights: Path) -> None:
    weights.unlink()
    status, _, said = run_doctor()
    assert status == 1
    assert "abaw: error: weights: none in" in said


def test_a_model_pack_is_found(tmp_path: Path) -> None:
    pack = tmp_path / "packs" / "models" / "buffalo_l"
    pack.mkdir(parents=True)
    (pack / "det_10g.onnx").touch()
    assert str(pack) in run_doctor()[1]["insightface pack"]["found"]


def test_the_hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models--a--b").mkdir()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    found = run_doctor()[1]["Hugging Face cache"]["found"]
    assert found == f"{tmp_path}, 1 models, offline (HF_HUB_OFFLINE)"
