"""The folder of a training run: what others put there stays, whatever is asked."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from raw_checkpoints import write_raw

from abawcli.errors import OutputError
from abawcli.models.training_metadata import EpochResult
from abawcli.training.run_folder import (
    CONFIG_NAME,
    METRICS_NAME,
    STATE_NAME,
    History,
    load_state,
    open_run,
    save_state,
)

RESULT = "head.safetensors"
SETTINGS = {"head": "gated", "training": {"epochs": 2}}
OURS = (CONFIG_NAME, STATE_NAME, METRICS_NAME, RESULT)


def train(out: Path, epochs: int, overwrite: bool = False, settings: object = SETTINGS) -> History:
    """Do what training does with its folder."""
    open_run(out, settings, RESULT, overwrite)  # type: ignore[arg-type]
    torch.manual_seed(0)
    model = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters())
    history = load_state(out, model, optimizer)
    for epoch in range(len(history), epochs):
        history.append(EpochResult(epoch + 1, 0.5))
        write_raw(out / RESULT, {}, {"kind": "head", "epoch": epoch + 1})
        save_state(out, model, optimizer, history)
    return history


def read(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@settings(max_examples=20, deadline=None)
@given(
    st.dictionaries(st.sampled_from([*OURS, "notes.txt", "fold1/x", ".hidden"]),
                    st.sampled_from([b"", b"mine", b"{}", b'{"a": 1}\n']), max_size=4),
    st.booleans(),
    st.booleans(),
)  # fmt: skip
def test_files_of_others_stay(mine: dict[str, bytes], before: bool, overwrite: bool) -> None:
    with TemporaryDirectory() as place:
        out = Path(place)
        if before:
            train(out, 1)
        for name, text in mine.items():
            (out / name).parent.mkdir(exist_ok=True)
            (out / name).write_bytes(text)
        there = read(out)
        # An empty list of figures is one of a run before its first epoch.
        foreign = [
            name for name in mine if name in OURS and (name, mine[name]) != (METRICS_NAME, b"")
        ]
        if foreign:
            with pytest.raises(OutputError, match=f"holds .*{foreign[0]}.*which no training wrote"):
                train(out, 2, overwrite)
            assert read(out) == there
        elif not overwrite and not before and METRICS_NAME in mine:
            with pytest.raises(OutputError, match="other settings"):
                train(out, 2, overwrite)
            assert read(out) == there
        else:
            train(out, 2, overwrite)
            assert {n: t for n, t in read(out).items() if n not in OURS} == {
                n: t for n, t in mine.items() if n not in OURS
            }


def test_the_old_outcome_stays_until_there_is_a_new_one(tmp_path: Path) -> None:
    train(tmp_path, 2)
    before = (tmp_path / RESULT).read_bytes()
    other = {"training": {"epochs": 1}}
    assert train(tmp_path, 0, overwrite=True, settings=other) == []
    assert (tmp_path / RESULT).read_bytes() == before
    train(tmp_path, 1, settings=other)
    assert (tmp_path / RESULT).read_bytes() != before


def test_a_run_of_before_there_was_a_precision_goes_on_in_float32(tmp_path: Path) -> None:
    assert len(train(tmp_path, 1)) == 1
    with pytest.raises(OutputError, match="other settings"):
        train(
            tmp_path, 2, settings={**SETTINGS, "training": {"epochs": 2, "precision": "bfloat16"}}
        )
    now = {**SETTINGS, "training": {"epochs": 2, "precision": "float32"}}
    assert len(train(tmp_path, 2, settings=now)) == 2
    assert json.loads((tmp_path / CONFIG_NAME).read_text()) == now


def test_figures_that_were_changed_are_not_replaced(tmp_path: Path) -> None:
    train(tmp_path, 2)
    path = tmp_path / METRICS_NAME
    whole = path.read_text()
    path.write_text(whole.splitlines(keepends=True)[0])  # killed before the last were written
    assert len(train(tmp_path, 3)) == 3 and path.read_text().startswith(whole)
    path.write_text(json.dumps({"epoch": 1, "note": "the learning rate was too high"}))
    with pytest.raises(OutputError, match=r"metrics\.jsonl was changed after it was written"):
        train(tmp_path, 4)
    assert "too high" in path.read_text()
    assert len(train(tmp_path, 1, overwrite=True)) == 1


def test_moments_are_laid_out_as_their_weights(tmp_path: Path) -> None:
    """Fused AdamW on CUDA takes no others."""

    def make() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
        model = torch.nn.Conv2d(2, 4, 3)
        model.to(memory_format=torch.channels_last)
        return model, torch.optim.AdamW(model.parameters())

    model, optimizer = make()
    model(torch.ones(1, 2, 5, 5)).sum().backward()
    optimizer.step()
    save_state(tmp_path, model, optimizer, [EpochResult(1, 0.5)])
    again, resumed = make()
    load_state(tmp_path, again, resumed)
    for before, weight in zip(model.parameters(), again.parameters(), strict=True):
        for name in ("exp_avg", "exp_avg_sq"):
            moment = resumed.state[weight][name]
            assert moment.stride() == weight.stride()
            assert torch.equal(moment, optimizer.state[before][name])
