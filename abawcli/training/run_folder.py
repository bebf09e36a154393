"""The folder of a training run: its settings, its state between epochs, and its metrics.

    config.json          what the result depends on; a run with other settings is not resumed
    last.safetensors     weights, optimizer and metrics after the last finished epoch
    metrics.jsonl        one line of metrics per epoch
    <result>.safetensors the result of the run

An interrupted run that is resumed from it gives the same result as one that is not interrupted, if
each epoch has its own random seed.
"""

import json
import logging
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from abawcli.errors import CheckpointError, OutputError
from abawcli.formats.atomic import report_errors, write_whole
from abawcli.formats.inputs import relate_path
from abawcli.formats.json_values import JsonObject, parse_object
from abawcli.formats.metadata import MODALITIES, drop_location
from abawcli.models.checkpoint import load_checkpoint, load_into, read_kind, save_checkpoint
from abawcli.models.training_metadata import EpochResult, TrainingState

LOG = logging.getLogger(__name__)
STATE_NAME = "last.safetensors"
CONFIG_NAME = "config.json"
FORMER = {"precision": "float32"}  # settings of training before they were options
# The setting that has the numbers of definitions: what the same settings mean, where that changed.
DEFINITIONS = "definitions"
FIRST = 1  # number of a definition that a run does not name
METRICS_NAME = "metrics.jsonl"
# Hashes of data; older runs have none.
HASHES = "features_sha256", "images_sha256", "recordings_sha256"
History = list[EpochResult]


def open_run(out: str | Path, settings: JsonObject, result: str, overwrite: bool) -> None:
    """Create or reopen the folder of a run; `result` is the name of its result file.

    With `overwrite` the run starts again; the old result remains until there is a new one. A run
    that has finished epochs keeps the numbers of the definitions that it began with.

    Raises:
        OutputError: the folder has a run with other settings, or files of these names that no run
            wrote, which are never replaced; or it cannot be written.
    """
    out = Path(out)
    path = out / CONFIG_NAME
    text = _write_settings(settings)
    with report_errors(out, out):
        names = (CONFIG_NAME, STATE_NAME, METRICS_NAME, result)
        there = [name for name in names if os.path.lexists(out / name)]
        foreign = [name for name in there if not _is_of_run(out / name)]
        if foreign:
            raise OutputError(
                f"{out} holds {', '.join(foreign)}, which no training wrote; choose another folder"
            )
        if overwrite:
            (out / STATE_NAME).unlink(missing_ok=True)
        elif there and (CONFIG_NAME not in there or not _are_alike(path.read_text(), text)):
            raise OutputError(
                f"{out} holds a run with other settings or data (see {path}); "
                "choose another folder, or --overwrite"
            )
        if not overwrite and STATE_NAME in there:
            text = _write_settings(settings | _read_definitions(path, settings))
    with write_whole(path) as temporary:
        temporary.write_text(text)


def warn_of_changes(out: str | Path, settings: JsonObject) -> None:
    """Warn of each definition that changed since the run in the folder began."""
    began = _read_definitions(Path(out) / CONFIG_NAME, settings)
    for name, number in settings.get(DEFINITIONS, {}).items():
        if began[DEFINITIONS][name] != number:
            LOG.warning(
                "%s: %s was defined differently when this run began; the epochs that are left "
                "have the new definition, and with --overwrite all have",
                out, name,
            )  # fmt: skip


def _write_settings(settings: JsonObject) -> str:
    return json.dumps(settings, indent=2, sort_keys=True) + "\n"


def _read_definitions(path: Path, settings: JsonObject) -> JsonObject:
    """Return the definitions that settings name, with the numbers of the run that wrote `path`."""
    if DEFINITIONS not in settings:
        return {}
    known = json.loads(path.read_text()).get(DEFINITIONS)
    known = known if isinstance(known, dict) else {}
    return {DEFINITIONS: {name: known.get(name, FIRST) for name in settings[DEFINITIONS]}}


def locate_from(out: str | Path, path: str | Path) -> str:
    """Return the path of data relative to the run's folder; all spellings of a path are equal.

    So a run is resumed also if its folder was moved together with its data.
    """
    return Path(relate_path(os.path.realpath(path), os.path.realpath(out))).as_posix()


def _is_of_run(path: Path) -> bool:
    """Tell by its content whether a file was written by a run."""
    try:
        if path.suffix == ".safetensors":
            return read_kind(path) is not None
        texts = [path.read_text()] if path.name == CONFIG_NAME else path.read_text().splitlines()
        key = "training" if path.name == CONFIG_NAME else "epoch"
        return all(key in parse_object(text) for text in texts)
    except (CheckpointError, OSError, ValueError, TypeError):
        return False


def _are_alike(first: str, second: str) -> bool:
    """Tell whether the settings of two runs are equal, apart from definitions and from paths.

    If a run of an older version lacks a setting, it has the value in FORMER. If it lacks one of
    HASHES, these data are not compared.
    """
    try:
        one, other = ({**json.loads(text)} for text in (first, second))
    except (ValueError, TypeError):
        return False
    for settings in (one, other):
        settings.pop(DEFINITIONS, None)
        if isinstance(settings.get("training"), dict):
            settings["training"] = FORMER | settings["training"]
    one, other = _share_hashes(one, other)
    for modality in MODALITIES:
        for settings in (one, other):
            if isinstance(settings.get(modality), dict):
                settings[modality] = drop_location(settings[modality])
    return drop_location(one) == drop_location(other)


def _share_hashes(first: Any, second: Any) -> tuple[Any, Any]:
    """Return settings without the hashes of data that only one of them has."""
    if not (isinstance(first, dict) and isinstance(second, dict)):
        return first, second
    lacking = (first.keys() ^ second.keys()) & set(HASHES)
    one, other = ({k: v for k, v in each.items() if k not in lacking} for each in (first, second))
    for key in one.keys() & other.keys():
        one[key], other[key] = _share_hashes(one[key], other[key])
    return one, other


def save_state(out: str | Path, model: nn.Module, optimizer: Optimizer, history: History) -> None:
    """Write the state that the next epoch needs, as tensors and JSON, and the metrics.

    Raises:
        OutputError: the files cannot be written.
    """
    out = Path(out)
    tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{k}": v for k, v in state.items()}
    save_checkpoint(out / STATE_NAME, tensors, TrainingState(history))
    with write_whole(out / METRICS_NAME) as temporary:
        temporary.write_text(_list_metrics(history))


def _list_metrics(history: History) -> str:
    return "".join(json.dumps(result.to_json()) + "\n" for result in history)


def load_state(out: str | Path, model: nn.Module, optimizer: Optimizer) -> History:
    """Load the state after the last finished epoch; return the results so far, if any.

    Raises:
        CheckpointError: the state cannot be read, or is of another network.
        OutputError: the metrics were changed since they were written.
    """
    out = Path(out)
    path = out / STATE_NAME
    if not path.exists():
        return []
    tensors, metadata = load_checkpoint(path, TrainingState)
    weights = {k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")}
    load_into(model, weights, path)
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, index, name = key.split(".")
            state.setdefault(int(index), {})[name] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    _lay_out_moments(optimizer)
    _check_metrics(out / METRICS_NAME, metadata.history)
    return metadata.history


def _lay_out_moments(optimizer: Optimizer) -> None:
    """Give moments the memory layout of their weights, which fused AdamW needs; files lose it."""
    for weight, moments in optimizer.state.items():
        for name, value in moments.items():
            if value.shape == weight.shape:
                moments[name] = torch.empty_like(weight, dtype=value.dtype).copy_(value)


def _check_metrics(path: Path, history: History) -> None:
    """Check that the log of metrics is unchanged, because the next epoch replaces it."""
    if os.path.exists(path) and not _are_of(path.read_text(), history):
        raise OutputError(f"{path} was changed after it was written; move it, or use --overwrite")


def _are_of(text: str, history: History) -> bool:
    """Tell whether lines of metrics are those of the first epochs, in any order of keys."""
    try:
        rows = [parse_object(line) for line in text.splitlines()]
    except ValueError:
        return False
    known = [result.to_json() for result in history[: len(rows)]]
    return json.dumps(rows, sort_keys=True) == json.dumps(known, sort_keys=True)
