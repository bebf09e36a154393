"""Dependencies, their tested versions, and what the Makefile does about OpenCV."""

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import abawcli

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
NEEDED = [
    Requirement(line)
    for line in PROJECT["project"]["dependencies"] + PROJECT["dependency-groups"]["dev"]
]
PINNED = dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "constraints.txt").read_text(), re.M))


@pytest.mark.parametrize("needed", NEEDED, ids=lambda needed: needed.name)
def test_every_dependency_has_a_tested_version(needed: Requirement) -> None:
    pinned = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in PINNED.items()}
    assert needed.specifier.contains(pinned[needed.name])


def test_both_builds_of_opencv_have_one_version() -> None:
    assert PINNED["opencv-python"] == PINNED["opencv-python-headless"]


def test_no_tested_version_depends_on_the_machine() -> None:
    assert not [name for name, version in PINNED.items() if "+" in version]


def test_package_data_is_there() -> None:
    package = Path(abawcli.__file__).parent
    for pattern in PROJECT["tool"]["setuptools"]["package-data"]["abawcli"]:
        assert list(package.glob(pattern)), pattern


# Stands for the Python of the environment: cv2 loads from the beginning, once the headless build
# is there, or never.
FAKE_PYTHON = """#!/bin/sh
echo "$*" >> "$FAKE/log"
case "$*" in
  *uninstall*) ;;
  *"install "*opencv-python-headless) touch "$FAKE/headless" ;;
  *"import cv2"*) [ $LOADS = always ] || { [ $LOADS = headless ] && [ -e "$FAKE/headless" ]; } ;;
esac
"""


def run_setup(folder: Path, loads: str) -> tuple[subprocess.CompletedProcess[str], str]:
    """Run the Makefile's installation with a Python that only writes down its calls."""
    python = folder / "bin" / "python"
    python.parent.mkdir()
    python.write_text(FAKE_PYTHON)
    python.chmod(0o755)
    (folder / ".python").touch()
    environment = os.environ | {"FAKE": str(folder), "LOADS": loads}
    call = ["make", "-C", str(ROOT), f"VENV={folder}", f"{folder}/.installed"]
    run = subprocess.run(call, env=environment, capture_output=True, text=True)
    return run, (folder / "log").read_text()


def test_setup_leaves_a_working_opencv_alone(tmp_path: Path) -> None:
    run, calls = run_setup(tmp_path, "always")
    assert run.returncode == 0 and (tmp_path / ".installed").exists()
    assert "install -c constraints.txt -e ." in calls and "headless" not in calls


def test_setup_without_libgl_installs_the_headless_opencv(tmp_path: Path) -> None:
    run, calls = run_setup(tmp_path, "headless")
    assert run.returncode == 0 and (tmp_path / ".installed").exists()
    assert calls.index("uninstall --yes opencv-python") < calls.index(
        "install -c constraints.txt opencv-python-headless"
    )


def test_setup_says_what_to_install_where_no_opencv_loads(tmp_path: Path) -> None:
    run, _ = run_setup(tmp_path, "never")
    assert run.returncode != 0 and not (tmp_path / ".installed").exists()
    assert "apt-get install libgl1 libglib2.0-0" in run.stdout
