"""Pseudo-labels: confident predictions as labels of frames without an annotation."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from sample_features import make_features, save_videos
from sample_tables import make_table

from abawcli.cli import main
from abawcli.datasets.annotated import AnnotatedFeatures, read_annotated
from abawcli.datasets.pseudo_labels import PseudoLabels, read_pseudo_labels
from abawcli.errors import InputError
from abawcli.formats.abaw import read_annotation, write_annotation
from abawcli.formats.features import write_features
from abawcli.formats.table_schemas import PROBABILITIES
from abawcli.formats.tables import write_table
from abawcli.models.checkpoint import read_metadata
from abawcli.models.metadata import HeadMetadata
from abawcli.stages.train_head import hold_out

FRAMES = 40
RIGHT = np.repeat(np.arange(8), 5)


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Annotated videos a, b, c and one without an annotation, x; tables of a and x."""
    monkeypatch.chdir(tmp_path)
    save_videos(tmp_path, ["a", "b", "c"], FRAMES)
    write_features(make_features(RIGHT, "x"), Path("features/x.safetensors"), {})
    for name in "ax":
        table = make_table(RIGHT, name)  # sure to 0.65
        table.loc[30:, PROBABILITIES] = 1 / 8
        write_table(table, Path("tables", f"{name}.csv"), {})


def read(pseudo: PseudoLabels | None = None) -> AnnotatedFeatures:
    files = sorted(Path("features").glob("*.safetensors")), sorted(Path("labels").glob("*.txt"))
    return read_annotated(*files, pseudo=pseudo)


def train(*arguments: str) -> Result:
    fast = ["--epochs", "1", "--gated-width", "8", "--device", "cpu", "-o", "run"]
    return CliRunner().invoke(main, ["train", "head", "features", *arguments, *fast])


def test_annotations_are_never_replaced() -> None:
    data = read(read_pseudo_labels(["tables/a.csv", "tables/x.csv"], 0.6))
    assert data.names == ["a", "b", "c", "x"]
    rows = dict(data.videos())
    annotation = read_annotation("labels/a.txt")
    assert (annotation == -1).any()
    data.everything().add_pseudo_labels()
    confident = np.where(np.arange(FRAMES) < 30, RIGHT, -1)
    wanted = np.where(annotation == -1, confident, annotation)
    assert data.labels[rows["a"]].tolist() == wanted.tolist()
    assert data.labels[rows["x"]].tolist() == confident.tolist()
    assert data.labels[rows["b"]].tolist() == read_annotation("labels/b.txt").tolist()


def test_validation_is_on_annotations_alone() -> None:
    plain, data = read(), read(read_pseudo_labels(["tables/a.csv", "tables/x.csv"], 0.6))
    train_set, valid = hold_out(data, 3)
    assert "x" in train_set.names and "x" not in valid.names
    before = valid.describe()
    train_set.add_pseudo_labels()
    assert valid.describe() == before and "pseudo_labels" not in before
    assert train_set.describe()["annotated"] + before["annotated"] == (plain.labels != -1).sum()
    assert train_set.names | valid.names == {"a", "b", "c", "x"}


def test_a_second_track_of_an_annotated_video_is_left_out() -> None:
    write_features(make_features(RIGHT, "b", "1"), Path("features/b1.safetensors"), {})
    write_annotation(RIGHT, Path("labels/b_left.txt"))
    Path("labels/b.txt").unlink()
    write_features(make_features(RIGHT, "b_left"), Path("features/b2.safetensors"), {})
    write_table(make_table(RIGHT, "b", "1"), Path("b.csv"), {})
    assert "b_1" not in read(read_pseudo_labels(["b.csv"], 0.6)).names


def test_train_head() -> None:
    result = train("--labels", "labels", "--pseudo", "tables", "--min-confidence", "0.6")
    assert result.exit_code == 0, result.output
    training = read_metadata("run/head.safetensors", HeadMetadata).training
    assert training and training.data
    found = training.data["train"]["pseudo_labels"]
    assert found["min_confidence"] == 0.6 and found["classes"]["Sadness"] >= 5
    assert found["frames"] == sum(found["classes"].values()) >= 30
    assert found["classes"]["Surprise"] == found["classes"]["Other"] == 0
    assert f"{found['frames']} pseudo-labels" in result.stderr and "Sadness" in result.stderr


def test_videos_to_validate_on_have_no_part_in_training() -> None:
    save_videos(Path("valid"), ["x"], FRAMES)
    result = train(
        "--labels", "labels", "--pseudo", "tables/x.csv", "--min-confidence", "0.6",
        "--valid-features", "valid/features", "--valid-labels", "valid/labels",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "no frame without an annotation has a pseudo-label" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--min-confidence", "0.5"], 2, "--min-confidence is only for --pseudo"),
        (["--pseudo", "tables"], 1, "no row of the tables has a confidence of 0.95 or more"),
        (["--pseudo", "nothing.csv"], 1, "no such file: nothing.csv"),
        (["--pseudo", "labels/a.txt"], 1, "pseudo-labels need prediction tables"),
    ],
)
def test_bad_calls(arguments: list[str], status: int, message: str) -> None:
    result = train("--labels", "labels", *arguments)
    assert result.exit_code == status and message in result.stderr
    assert not Path("run").exists()


def test_tables_of_other_recordings_are_refused() -> None:
    write_table(make_table([4] * 20, "x"), Path("short.csv"), {})
    with pytest.raises(InputError, match="x: predictions for pseudo-labels have 20 frames"):
        read(read_pseudo_labels(["short.csv"], 0.6))
