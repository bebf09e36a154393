"""`abaw train head` from the shell."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from sample_features import NAMES, save_videos

from abawcli.cli import main
from abawcli.cli.train_head import read_training
from abawcli.config import DualBranchHead, GatedHead, Smoothing, default_head_training
from abawcli.device import choose_precision


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Features and annotations in the working directory."""
    monkeypatch.chdir(tmp_path)
    save_videos(tmp_path, NAMES)
    save_videos(tmp_path / "valid", ["v"])


def train(*arguments: str) -> Result:
    fast = ["--epochs", "2", "--batch-size", "300", "--device", "cpu"]
    return CliRunner().invoke(main, ["train", "head", *arguments, *fast])


def test_train_head() -> None:
    result = train(
        "features", "--labels", "labels", "-o", "run", "--head", "concat", "--window", "0.5s",
        "--lr", "0.01", "--seed", "3", "--valid-features", "valid/features",
        "--valid-labels", "valid/labels",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert result.stdout == "" and "macro-F1" in result.stderr
    settings = json.loads(Path("run/config.json").read_text())
    assert settings["head"] == "concat" and settings["data"]["valid"]["videos"] == 1
    training = settings["training"]
    assert (training["epochs"], training["lr"], training["seed"]) == (2, 0.01, 3)
    assert training["smoothing"]["window_s"] == 0.5
    assert Path("run/head.safetensors").exists()


def test_quiet_says_nothing() -> None:
    assert train("features", "--labels", "labels", "-o", "run", "-q").output == ""
    assert Path("run/head.safetensors").exists()


@pytest.mark.parametrize("more", [[], ["--task", "va"]])
def test_annotations_that_do_not_exist_are_named(more: list[str]) -> None:
    result = train("features", "--labels", "nothing.txt", "-o", "run", *more)
    assert result.exit_code == 1
    assert result.stderr == "abaw: error: no such file: nothing.txt\n"


@pytest.mark.parametrize("command", [["train", "head"], ["crossval"]])
def test_a_run_does_not_mix_with_its_inputs(command: list[str]) -> None:
    """Its weights would be taken for features the next time."""
    for output, message in (
        ("features/run", "features/run is in the input features; choose a folder beside it"),
        ("features", "features is in the input features"),
        ("labels", "labels is an input and would be replaced; choose another -o"),
    ):
        call = [*command, "features", "--labels", "labels", "-o", output]
        result = CliRunner().invoke(main, call)
        assert result.exit_code == 2 and message in result.stderr
    assert not Path("features/run").exists() and not Path("labels/config.json").exists()


@pytest.mark.parametrize("command", [["train", "head"], ["crossval"]])
def test_a_run_folder_is_not_named_like_a_file(command: list[str]) -> None:
    call = [*command, "features", "--labels", "labels", "-o", "head.safetensors"]
    result = CliRunner().invoke(main, call)
    assert result.exit_code == 2
    assert "head.safetensors is named like a file, and -o is a folder here" in result.stderr
    assert not Path("head.safetensors").exists()


def test_defaults_are_the_heads_own(tmp_path: Path) -> None:
    save_videos(tmp_path / "few", ["a", "b"], frames=8)
    result = CliRunner().invoke(
        main,
        ["crossval", "few/features", "--labels", "few/labels", "-o", "both", "--head", "gated",
         "--head", "dual-branch", "--folds", "2", "--epochs", "1", "--device", "cpu"],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    for head in ("gated", "dual-branch"):
        settings = json.loads(Path(f"both/{head}/fold1/config.json").read_text())
        precision = choose_precision("auto", torch.device("cpu"))
        expected = asdict(replace(default_head_training(head), epochs=1, precision=precision))
        assert settings["training"] == json.loads(json.dumps(expected))


def test_class_weights_by_frequency_replace_the_heads_own() -> None:
    tuned = {"class_weight_power": 0.5, "focal_gamma": 0.0, "epochs": None}
    config = read_training("dual-branch", (9, None), tuned)
    assert config.effective_beta is None and config.class_weight_power == 0.5
    assert config.focal_gamma == 0 and config.epochs == 30
    assert config.smoothing == Smoothing("median", 9)


def test_the_dual_branch_has_a_size_of_its_own() -> None:
    tuned = {"hidden": 32, "layers": 1, "dropout": 0.2}
    network = replace(DualBranchHead(), hidden=32, layers=1, dropout=0.2)
    assert read_training("dual-branch", None, tuned).network == network
    assert read_training("gated", None, tuned) == default_head_training("gated")


def test_the_width_of_gated_fusion_and_weights_by_effective_numbers() -> None:
    tuned = {"gated_width": 64, "effective_beta": 0.99}
    assert read_training("gated", None, tuned) == replace(
        default_head_training("gated"), network=GatedHead(hidden=64), effective_beta=0.99
    )
    dual = replace(default_head_training("dual-branch"), effective_beta=0.99)
    assert read_training("dual-branch", None, tuned) == dual


def test_files_by_name_and_a_held_out_fold() -> None:
    result = train(
        "features/a.safetensors", "features/b.safetensors", "--labels", "labels", "-o", "run"
    )
    assert result.exit_code == 0, result.output
    assert "5 annotations have no features" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["features", "-o", "run"], 2, "Missing option '--labels'"),
        (
            ["features", "--labels", "labels", "-o", "run", "--valid-labels", "labels"],
            2,
            "need each other",
        ),
        (
            ["features", "--labels", "labels", "-o", "run", "--layers", "2"],
            2,
            "--layers is only for --head dual-branch",
        ),
        (
            [
                "features",
                "--labels",
                "labels",
                "-o",
                "run",
                "--head",
                "dual-branch",
                "--gated-width",
                "8",
            ],
            2,
            "--gated-width is not for --head dual-branch; use --hidden",
        ),
        (
            [
                "features",
                "--labels",
                "labels",
                "-o",
                "run",
                "--class-weights",
                "1",
                "--effective-beta",
                "0.9",
            ],
            2,
            "--class-weights and --effective-beta exclude each other",
        ),
        (["nothing", "--labels", "labels", "-o", "run"], 1, "no such file: nothing"),
        (
            ["features", "--labels", "features", "-o", "run"],
            1,
            "no .csv .eaf .parquet .textgrid .tsv .txt file",
        ),
        (["features/a.safetensors", "--labels", "labels", "-o", "run"], 2, "cannot be split"),
        (
            ["labels/a.txt", "--labels", "labels", "-o", "run"],
            1,
            "is not a safetensors file, whose",
        ),
    ],
)
def test_bad_calls(arguments: list[str], status: int, message: str) -> None:
    result = train(*arguments)
    assert result.exit_code == status and message in result.stderr
    assert not Path("run").exists()
