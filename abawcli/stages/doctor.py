"""Checks of the installation: versions, device, libraries, weights."""

import os
import platform
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path

from abawcli import __version__
from abawcli.config import COMPACT_FACE, COMPACT_VOICE, PROBABILITY_TOLERANCE
from abawcli.errors import AbawError, CheckpointError

FIX_TORCH = "pip install --force-reinstall torch"
FIX_OPENCV = (
    "pip uninstall opencv-python, then pip install opencv-python-headless; "
    "or on Debian and Ubuntu: apt-get install libgl1 libglib2.0-0"
)

FIX_NUMBERS = "set ONEDNN_MAX_CPU_ISA=AVX2, or install another torch; labels are not to be trusted"
CPU_FEATURES = {  # by torch's names for what has to be there
    "AVX2": ["avx2"],
    "AVX512": ["avx512_f", "avx512_bw", "avx512_dq", "avx512_vl"],
    "AVX512 BF16": ["avx512_bf16"],
    "AMX BF16": ["amx_tile", "amx_bf16"],
}
BATCH_SIZES, THREADS = (1, 16, 64), (1, 2)  # in which numbers are tried


@dataclass(frozen=True)
class Check:
    """The check of one part of the installation; `fix` says what to do, empty if it passed."""

    name: str
    found: str
    fix: str = ""


def check_versions() -> list[Check]:
    """Return Python, abawcli and its dependencies, from their metadata: none is imported."""
    checks = [
        Check("python", f"{platform.python_version()}, {sys.executable}"),
        Check("abawcli", __version__),
    ]
    for requirement in metadata.requires("abawcli") or []:
        name, extra = re.split(r"[^\w.-]", requirement)[0], "extra ==" in requirement
        try:
            checks.append(Check(name, metadata.version(name)))
        except metadata.PackageNotFoundError:
            if not extra:
                checks.append(Check(name, "missing", f"pip install '{requirement}'"))
    return checks


def check_weights() -> list[Check]:
    """Return the weights that came with the package: size, sha256, and whether they load."""
    try:
        from abawcli.models.recipes import WEIGHTS
    except (ImportError, OSError) as error:  # torch is broken, and nothing can be loaded
        return [Check("weights", f"cannot be read: {error}".splitlines()[0], FIX_TORCH)]
    found = sorted(WEIGHTS.glob("*.safetensors"))
    if not found:
        reinstall = "pip install --force-reinstall abawcli: the wheel carries the weights"
        return [Check("weights", f"none in {WEIGHTS}", reinstall)]
    return [
        _attempt(f"weights {path.name}", partial(_read_weights, path), "reinstall abawcli")
        for path in found
    ]


def check_precision() -> list[Check]:
    """Return checks of the embedded networks' outputs, against float64 and in bfloat16."""
    backbones, recipes = (COMPACT_FACE, COMPACT_VOICE), ("compact", "compact-dual-branch")
    return [
        *(_attempt(f"precision {n}", partial(_try_precision, n), FIX_TORCH) for n in backbones),
        *(_attempt(f"numbers {n}", partial(_try_numbers, n), FIX_NUMBERS) for n in recipes),
    ]


def inspect_installation() -> list[Check]:
    """Return all checks; a broken part does not raise."""
    parts: tuple[tuple[str, Callable[[], str], str], ...] = (
        ("device", _find_device, FIX_TORCH),
        ("CPU", _find_cpu, FIX_TORCH),
        ("FFmpeg in av", _find_ffmpeg, "pip install --force-reinstall av"),
        ("OpenCV (cv2)", _find_opencv, FIX_OPENCV),
        ("onnxruntime uses", _find_providers, "pip install --force-reinstall onnxruntime"),
        ("insightface pack", _find_pack, ""),
        ("Hugging Face cache", _find_hub_cache, "pip install --force-reinstall huggingface-hub"),
    )
    found = [_attempt(*part) for part in parts]
    return [*check_versions(), *found, *check_weights(), *check_precision()]


def _attempt(name: str, find: Callable[[], str], fix: str) -> Check:
    # A library whose shared objects are missing raises ImportError or OSError.
    try:
        return Check(name, find())
    except (ImportError, OSError, AbawError) as error:
        return Check(name, str(error).splitlines()[0], fix)


def _find_device() -> str:
    from abawcli.device import choose_device, explain_device

    return explain_device(choose_device())


def _find_cpu() -> str:
    from abawcli.device import find_capabilities

    can = find_capabilities()
    features = [name for name, keys in CPU_FEATURES.items() if all(can.get(k) for k in keys)]
    known = ", ".join(features) if can else "features unknown before torch 2.10"
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", "none")
    return f"{can.get('cpu_name', platform.processor())}: {known}; oneDNN's limit: {limit}"


def _try_precision(name: str) -> str:
    import torch

    from abawcli.device import inference_dtype
    from abawcli.pipeline.reproducibility import measure_precision

    difference = measure_precision(name, torch.bfloat16)
    is_face = name == COMPACT_FACE
    used = inference_dtype(torch.device("cpu"), small=True) if is_face else torch.float32
    form = str(used).removeprefix("torch.")
    return f"{form} is used; bfloat16 changes its features by {difference:.1%}"


def _try_numbers(recipe: str) -> str:
    from abawcli.pipeline.reproducibility import measure_agreement

    difference = measure_agreement(recipe, BATCH_SIZES, THREADS)
    sizes, threads = ("/".join(map(str, values)) for values in (BATCH_SIZES, THREADS))
    found = (
        f"probabilities differ from float64 by at most {difference:.1g} "
        f"(batches of {sizes}, {threads} threads)"
    )
    if not difference < PROBABILITY_TOLERANCE:
        raise CheckpointError(f"{found}; {PROBABILITY_TOLERANCE:g} is allowed")
    return found


def _find_ffmpeg() -> str:
    import av

    return av.ffmpeg_version_info


def _find_opencv() -> str:
    import cv2

    return cv2.__version__


def _find_providers() -> str:
    import onnxruntime

    return ", ".join(onnxruntime.get_available_providers())


def _find_pack() -> str:
    from abawcli.faces.detect import find_pack

    try:
        return str(find_pack())
    except AbawError:
        return "none: no detector insightface, and re-identification by appearance"


def _find_hub_cache() -> str:
    from huggingface_hub import constants

    cache = Path(constants.HF_HUB_CACHE)
    models = len(list(cache.glob("models--*")))
    offline = ", offline (HF_HUB_OFFLINE)" if constants.HF_HUB_OFFLINE else ""
    return f"{cache}, {models} models{offline}"


def _read_weights(path: Path) -> str:
    from abawcli.formats.hashing import hash_file
    from abawcli.models.checkpoint import read_kind

    kind = read_kind(path)
    if kind is None:
        raise CheckpointError(f"{path} does not say what kind of weights it holds")
    return f"{kind}, {os.path.getsize(path) / 1e6:.1f} MB, sha256 {hash_file(path)}"
