"""Heads of tasks with values: losses, training, and what their files say."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from sample_features import NAMES, save_videos, small_network
from test_tasks import find_direct_ccc
from value_files import save_value_videos, write_values

from abawcli.cli import main
from abawcli.config import HEAD_NAMES, TASK_TRAINING, default_head_training
from abawcli.datasets.annotated import read_annotated
from abawcli.errors import InputError
from abawcli.formats.features import read_features
from abawcli.models.heads import load_head
from abawcli.models.metadata import HeadMetadata
from abawcli.stages.train_head import train_fusion_head
from abawcli.tasks import TASKS, Task
from abawcli.training.head_task import HeadTask
from abawcli.training.losses import ccc_loss, unit_loss, unit_weights
from abawcli.training.objectives import validate_values

VA, AU = TASKS["va"], TASKS["au"]
CPU = torch.device("cpu")


def test_the_ccc_loss_is_that_of_its_definition_over_annotated_rows() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.uniform(-1, 1, (2, 60, 2))
    y[5:20, 0] = np.nan
    predicted = torch.from_numpy(x).requires_grad_()
    loss = ccc_loss(predicted, torch.from_numpy(y))
    known = ~np.isnan(y)
    direct = [find_direct_ccc(x[known[:, k], k], y[known[:, k], k]) for k in range(2)]
    assert loss.item() == pytest.approx(1 - np.mean(direct))
    loss.backward()
    assert predicted.grad is not None and predicted.grad.isfinite().all()
    assert (predicted.grad[5:20, 0] == 0).all() and (predicted.grad[5:20, 1] != 0).all()
    unknown = torch.full((60, 2), torch.nan)
    assert ccc_loss(predicted, unknown).item() == 1


def test_the_loss_of_units_is_a_weighted_cross_entropy_over_annotated_rows() -> None:
    rng = np.random.default_rng(1)
    z, y = rng.normal(size=(40, 3)), rng.integers(0, 2, (40, 3)).astype(float)
    y[:, 1] = 0  # never active
    y[3:9, 0] = np.nan
    weight = unit_weights(torch.from_numpy(y), 1.0)
    active = [np.nansum(y[:, k]) for k in (0, 2)]
    assert weight[1] == 1
    direct = [(34 - active[0]) / active[0], (40 - active[1]) / active[1]]
    np.testing.assert_allclose(weight[[0, 2]], direct, rtol=1e-6)
    assert (unit_weights(torch.from_numpy(y), 0.0) == 1).all()
    near = unit_weights(torch.from_numpy(y), 1.0, beta=0.999999)  # hardly saturated
    np.testing.assert_allclose(near, weight, rtol=1e-3)
    p = 1 / (1 + np.exp(-z))
    each = -(weight.numpy() * y * np.log(p) + (1 - y) * np.log(1 - p))
    loss = unit_loss(torch.from_numpy(z), torch.from_numpy(y), weight)
    assert loss.item() == pytest.approx(np.nanmean(each))
    assert unit_loss(torch.from_numpy(z), torch.full((40, 3), torch.nan), weight).item() == 0


def test_validation_scores_what_is_not_predicted_as_zero() -> None:
    truth, outputs = np.zeros((2, 12)), np.full((2, 12), np.nan)
    truth[:, 0] = 1
    outputs[0] = 0.7
    score = validate_values("au", outputs, truth)
    assert score.columns["AU1"] == pytest.approx(2 / 3) and score.columns["AU2"] == 0
    assert score.mean == pytest.approx(2 / 3 / 12)


def train(folder: Path, *arguments: str) -> Result:
    fast = ["--epochs", "8", "--batch-size", "120", "--lr", "0.02", "--device", "cpu"]
    run = ["-o", str(folder / "run"), *fast]
    return CliRunner().invoke(main, ["train", "head", str(folder / "features"), *run, *arguments])


@pytest.mark.parametrize("task", [VA, AU], ids=["va", "au"])
def test_a_head_learns_the_values_and_says_its_task(tmp_path: Path, task: Task) -> None:
    features, (labels,) = save_value_videos(tmp_path, NAMES, task)
    result = train(tmp_path, "--labels", str(labels), "--task", task.name, "--gated-width", "16")
    assert result.exit_code == 0, result.output
    key = task.measure.lower()
    assert f"mean {task.measure}" in result.stderr and task.columns[-1] in result.stderr
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    best = max(rows, key=lambda row: row[f"mean_{key}"])
    assert best[f"mean_{key}"] > 0.5 and best[f"mean_{key}"] > rows[0][f"mean_{key}"]
    assert best[key].keys() == set(task.columns) and best["valid_loss"] > 0
    head, metadata = load_head(tmp_path / "run/head.safetensors", CPU)
    assert metadata.task == task.name and metadata.training
    assert metadata.training.result and metadata.training.result.to_json() == best
    found = read_features(features / "a.safetensors")
    outputs, _ = head.find_outputs(found.visual, found.audio, found.has_visual, found.has_audio)
    known = found.has_visual | found.has_audio
    assert outputs.shape == (60, len(task.columns))
    assert (np.isnan(outputs[:, 0]) == ~known).all()
    assert (outputs[known] >= task.low).all() and (outputs[known] <= task.high).all()


@pytest.mark.parametrize("name", [name for name in HEAD_NAMES if name != "gated"])
def test_every_head_has_the_width_of_the_task(tmp_path: Path, name: str) -> None:
    features, (labels,) = save_value_videos(tmp_path, ["a", "b"], VA, frames=30)
    files = sorted(features.glob("*.safetensors")), sorted(labels.iterdir())
    network = small_network(name)
    config = replace(default_head_training(name, "va"), network=network, epochs=1, folds=2)
    (result,) = train_fusion_head(files, tmp_path / "run", name, config, device="cpu")
    head, metadata = load_head(tmp_path / "run/head.safetensors", CPU)
    assert metadata.task == "va" and result.criterion is not None
    assert head.head.classifier.linear.out_features == 2


def test_a_column_without_annotations_is_left_out(tmp_path: Path) -> None:
    _, (units,) = save_value_videos(tmp_path, NAMES, AU)
    for path in units.iterdir():
        header, *rows = path.read_text().splitlines()
        path.write_text("\n".join([header, *(row[: row.rindex(",")] + ",-1" for row in rows)]))
    result = train(tmp_path, "--labels", str(units), "--task", "au", "--gated-width", "16")
    assert result.exit_code == 0, result.output
    row = json.loads((tmp_path / "run/metrics.jsonl").read_text().splitlines()[-1])
    assert row["f1"]["AU26"] == 0 < row["f1"]["AU25"]


def test_auxiliary_tasks_share_the_trunk_and_are_not_saved(tmp_path: Path) -> None:
    features, (_, units) = save_value_videos(tmp_path, NAMES, VA, AU)
    save_videos(tmp_path / "expr", NAMES, frames=60)
    (tmp_path / "va" / "a.txt").unlink()  # some videos may lack them
    labels = ["--labels", str(tmp_path / "expr/labels"), "--gated-width", "16"]
    both = ["--aux-va", str(tmp_path / "va"), "--aux-au", str(units)]
    result = train(tmp_path, *labels, *both)
    assert result.exit_code == 0, result.output
    head, metadata = load_head(tmp_path / "run/head.safetensors", CPU)
    assert metadata.task == "expr" and head.head.classifier.linear.out_features == 8
    row = json.loads((tmp_path / "run/metrics.jsonl").read_text().splitlines()[-1])
    assert row["macro_f1"] > 0.3  # the trunk learns both
    assert "other settings" in train(tmp_path, *labels).output  # it is another run
    assert train(tmp_path, *labels, *both).exit_code == 0  # it is finished


def test_auxiliary_losses_reach_the_trunk(tmp_path: Path) -> None:
    features, (labels,) = save_value_videos(tmp_path, ["a", "b"], VA, frames=30)
    expr = save_videos(tmp_path / "expr", ["a", "b"], frames=30)[1]
    files = sorted(features.glob("*.safetensors")), sorted(expr.iterdir())
    data = read_annotated(*files, auxiliary={"va": sorted(labels.iterdir())})
    gated = small_network("gated")
    config = replace(default_head_training("gated"), network=gated, precision="float32")
    task = HeadTask("gated", config, train=data.everything(), valid=None, device=CPU)
    generator = torch.Generator().manual_seed(0)
    batch = torch.arange(len(task.samples))
    weights = task.network.get_parameter("visual.project.weight")

    def slope(weight: float) -> torch.Tensor:
        task.config = replace(task.config, auxiliary_weight=weight)
        torch.manual_seed(0)  # dropout
        loss = task.find_loss(task.network, batch, generator)
        return torch.autograd.grad(loss, weights)[0]

    none, some, more = (slope(weight) for weight in (0.0, 0.5, 1.0))
    assert not torch.allclose(none, some)
    torch.testing.assert_close(more - none, 2 * (some - none), atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--labels", "va", "--task", "au"], "line 1: .* --task va"),
        (["--labels", "va"], "line 1: .* --task va"),
        (["--labels", "expr/labels", "--task", "va"], "line 1: .* --task expr"),
        (["--labels", "long", "--task", "va"], "the annotation has 90 rows and the video 60"),
        (["--labels", "wide", "--task", "va"], r"a.txt, line 2: a row must have 2 values"),
        (["--labels", "empty", "--task", "va"], "no frame is annotated .* are -5"),
        (["--labels", "va", "--task", "va", "--focal", "2"], "--focal is not for --task va"),
        (["--labels", "va", "--task", "va", "--face-only", "encoder"], "only for --task expr"),
        (["--labels", "va", "--task", "va", "--aux-va", "va"], "--aux-va is the task itself"),
        (["--labels", "expr/labels", "--aux-va", "other"], r"arousal \(such as z\) is of .*as a\)"),
    ],
)
def test_bad_input_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    save_value_videos(tmp_path, ["a", "b"], VA)
    save_videos(tmp_path / "expr", ["a", "b"], frames=60)
    for folder, values in {
        "long": np.zeros((90, 2)), "wide": np.full((60, 2), 1.5), "empty": np.full((60, 2), np.nan)
    }.items():  # fmt: skip
        write_values(tmp_path / folder / "a.txt", VA, values)
    write_values(tmp_path / "other" / "z.txt", VA, np.zeros((60, 2)))
    result = train(tmp_path, *arguments)
    assert result.exit_code in (1, 2)
    assert re.search(message, " ".join(result.output.split())), result.output
    assert not (tmp_path / "run/head.safetensors").exists()


def test_a_head_of_an_unknown_task_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="of the task 'pain', and known are expr, va, au"):
        HeadMetadata.from_json({"task": "pain"}, tmp_path / "h")
    with pytest.raises(InputError, match="was trained for other classes"):
        HeadMetadata.from_json({"task": "va", "classes": ["valence"]}, tmp_path / "h")


def test_settings_of_other_losses_are_off() -> None:
    for task, off in TASK_TRAINING.items():
        config = default_head_training("dual-branch", task)
        assert all(getattr(config, field) == value for field, value in off.items())
        assert config.task == task and config.smoothing.space == "probabilities"
