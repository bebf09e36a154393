"""Training on the outputs of teachers."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from face_runs import FAST, STUDENT, run, save_images, spy, teach
from raw_checkpoints import read_raw
from torch import Generator

from abawcli.config import COMPACT_FACE, Distillation, EncoderTraining
from abawcli.errors import CheckpointError, OutputError, UsageError
from abawcli.formats.hashing import hash_file
from abawcli.formats.manifest import read_manifest
from abawcli.formats.metadata import Preprocess
from abawcli.models.encoder import load_encoder
from abawcli.models.image_backbones import COMPACT_FACE_PREPROCESS, build_backbone
from abawcli.models.preprocessing import normalise_pixels, scale_to_unit
from abawcli.progress import ignore_progress
from abawcli.training import image_data
from abawcli.training.distillation import VIEWS, Teachers, fit_images, make_views
from abawcli.training.face_task import FaceTask

CPU = torch.device("cpu")


def make_task(images: Path, config: EncoderTraining, *teachers: Path) -> FaceTask:
    """Return the training task of a small compact-face."""
    backbone = build_backbone(COMPACT_FACE, config.shape)
    splits = read_manifest(images / "manifest.csv", images)
    return FaceTask(backbone, splits, config, CPU, settings={}, data={}, teachers=teachers)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return save_images(tmp_path / "images")


def test_teachers_are_averaged_each_in_its_own_size(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")  # in float32, as teachers are
    teach(images, tmp_path / "compact", [])
    run(images, tmp_path / "vit", replace(FAST, epochs=1))
    paths = [tmp_path / name / "encoder.safetensors" for name in ("compact", "vit")]
    crops = np.random.default_rng(0).integers(0, 256, (3, 48, 48, 3), np.uint8)
    unit = scale_to_unit(crops[:, 2:46, 2:46], COMPACT_FACE_PREPROCESS)  # (3, 1, 44, 44)
    small = fit_images(unit, Preprocess(28, 28, (0.5,) * 3, (0.5,) * 3))  # (3, 3, 28, 28)
    seen = (small * 255).permute(0, 2, 3, 1).numpy().round().clip(0, 255).astype(np.uint8)
    inputs = (crops, np.pad(seen, ((0, 0), (2, 2), (2, 2), (0, 0))))  # the centre of 32
    encoders = [load_encoder(path, CPU)[0] for path in paths]
    expected = [e.classify(x[:, None]) for e, x in zip(encoders, inputs, strict=True)]
    p, features = Teachers(paths, CPU, "float32").predict(unit, 1.0)
    np.testing.assert_allclose(p, np.mean(expected, axis=0), atol=2e-3)
    assert torch.allclose(features, encoders[0].encode(crops[:, None]), atol=1e-4)
    soft, _ = Teachers(paths, CPU, "float32").predict(unit, 50.0)
    assert (soft - 1 / 8).abs().max() < 0.02


def test_teachers_have_their_share_of_the_loss(images: Path, tmp_path: Path) -> None:
    """With weight 1 the labels do not matter; with less they do; features count as well."""
    teach(images, tmp_path / "teacher", [], replace(STUDENT, seed=1))
    teacher = tmp_path / "teacher/encoder.safetensors"
    losses = dict[tuple[float, float, bool], float]()
    for swapped in (False, True):
        if swapped:
            table = pd.read_csv(images / "manifest.csv")
            votes = [name for name in table.columns if name.startswith("v_")]
            table[votes] = table[votes].to_numpy()[:, ::-1]
            table.to_csv(images / "manifest.csv", index=False)
        for weight, feature_weight in ((1.0, 0.0), (0.5, 0.0), *([] if swapped else [(0.5, 1.0)])):
            how = Distillation(2.0, weight, feature_weight)
            out = tmp_path / f"{swapped}{weight}{feature_weight}"
            history = teach(images, out, [teacher], replace(STUDENT, distillation=how))
            losses[weight, feature_weight, swapped] = history[0].loss
    assert losses[1.0, 0.0, False] == losses[1.0, 0.0, True]
    assert losses[0.5, 0.0, False] != losses[0.5, 0.0, True]
    assert losses[0.5, 1.0, False] > losses[0.5, 0.0, False] + 0.1
    _, metadata = read_raw(tmp_path / "True0.50.0/encoder.safetensors")
    assert metadata["data"]["teachers"] == [hash_file(teacher)]


def test_views_are_scaled_rotated_and_mirrored_a_little() -> None:
    how = COMPACT_FACE_PREPROCESS
    y, x = torch.meshgrid(*[torch.linspace(0, 1, 48)] * 2, indexing="ij")
    images = torch.stack([x, y])[:, None]  # (2, 1, 48, 48) ramps: a view's values are places
    views = list(make_views(images, how))
    assert len(views) == 2 * len(VIEWS)
    torch.testing.assert_close(views[0], images[..., 2:46, 2:46], atol=1e-4, rtol=0)
    for view, mirrored in zip(views[::2], views[1::2], strict=True):
        assert torch.equal(view.flip(-1), mirrored)
    sides = [float((view[0, 0, 22, -1] - view[0, 0, 22, 0]).abs()) for view in views[::2]]
    slopes = [float(view[1, 0, 22, -1] - view[1, 0, 22, 0]) for view in views[::2]]
    for (side, degrees), across, down in zip(VIEWS, sides, slopes, strict=True):
        length, angle = side * torch.tensor(43 / 47), torch.tensor(degrees).deg2rad()
        assert across == pytest.approx(float(length * angle.cos()), abs=0.01)
        assert down == pytest.approx(float(length * angle.sin()), abs=0.01)


def test_teachers_label_the_augmented_images_of_each_step(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They get what the network gets."""
    teach(images, tmp_path / "teacher", [])
    config = replace(STUDENT, mixup_alpha=0.4)
    task = make_task(images, config, tmp_path / "teacher/encoder.safetensors")
    asked: list[Any] = []
    monkeypatch.setattr(Teachers, "predict", spy(asked, Teachers.predict))
    given: list[Any] = []
    task.network.register_forward_pre_hook(lambda network, inputs: given.append(inputs))
    task.load_data(ignore_progress)
    assert not asked
    [batch] = task.train.load([[3, 1]])
    assert task.find_loss(task.network, batch, Generator().manual_seed(0)).isfinite()
    [[_, unit, _]], [[pixels]] = asked, given
    assert torch.equal(normalise_pixels(unit, task.preprocess), pixels)
    with pytest.raises(UsageError, match="images of teachers 'blurred'; choose augmented or clean"):
        how = Distillation(images="blurred")
        teach(images, tmp_path / "run", [], replace(STUDENT, distillation=how))


def test_clean_images_are_labelled_once_before_training(images: Path, tmp_path: Path) -> None:
    """The targets of an image are its votes, and the mean outputs of all teachers on its views."""
    for seed in (0, 1):
        teach(images, tmp_path / f"teacher{seed}", [], replace(STUDENT, seed=seed))
    paths = [tmp_path / f"teacher{seed}/encoder.safetensors" for seed in (0, 1)]
    how = Distillation(temperature=1.0, images="clean", feature_weight=1.0)
    task = make_task(images, replace(STUDENT, distillation=how), *paths)
    votes = task.train.targets
    task.load_data(ignore_progress)
    [(crops, targets)] = task.train.load([[3, 1]])
    assert torch.equal(targets[:, :8], votes[[3, 1]])
    views = list(make_views(scale_to_unit(crops, COMPACT_FACE_PREPROCESS), COMPACT_FACE_PREPROCESS))
    found = [[Teachers([path], CPU, "float32").predict(v, 1.0) for v in views] for path in paths]
    p = torch.stack([p for part in found for p, _ in part]).mean(dim=0)
    features = torch.stack([f for _, f in found[0]]).mean(dim=0)  # of the first teacher
    torch.testing.assert_close(targets[:, 8:16], p, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(targets[:, 16:], features, atol=1e-5, rtol=1e-4)


# Where Python 3.12 or newer forks, as torch's DataLoader does, it warns of torch's threads.
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_labels_of_clean_images_are_those_of_images_that_other_processes_read(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images that are too many for the memory have the labels of images that are held there."""
    teach(images, tmp_path / "teacher", [])
    config = replace(STUDENT, distillation=Distillation(images="clean", feature_weight=1.0))
    monkeypatch.setenv("ABAW_CORES", "1")
    batches = []
    for limit in (image_data.CACHE_BYTES, 0):
        monkeypatch.setattr(image_data, "CACHE_BYTES", limit)
        task = make_task(images, config, tmp_path / "teacher/encoder.safetensors")
        task.load_data(ignore_progress)
        batches += task.train.load([[3, 1]])
    for held, read in zip(*batches, strict=True):
        assert torch.equal(held, read)
    assert batches[0][1].shape == (2, 8 + 8 + 256)
    assert task.find_loss(task.network, batches[1], Generator().manual_seed(0)).isfinite()


def test_an_interrupted_run_labels_clean_images_again(images: Path, tmp_path: Path) -> None:
    """It ends with the same weights."""
    teach(images, tmp_path / "teacher", [])
    teachers = [tmp_path / "teacher/encoder.safetensors"]
    config = replace(STUDENT, epochs=2, distillation=Distillation(images="clean"))
    said = []

    def stop(done: int, total: int | None, what: str) -> None:
        said.append(what)
        if what.startswith("epoch 2/"):
            raise KeyboardInterrupt

    teach(images, tmp_path / "whole", teachers, config)
    with pytest.raises(KeyboardInterrupt):
        teach(images, tmp_path / "cut", teachers, config, stop)
    assert said[0] == "labels of the teachers"
    teach(images, tmp_path / "cut", teachers, config)
    for name in ("encoder.safetensors", "metrics.jsonl"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_mixup_mixes_what_teachers_say_of_clean_images_as_the_targets(images: Path) -> None:
    task = make_task(images, replace(STUDENT, mixup_alpha=0.4))
    unit = torch.rand(4, 1, 48, 48)
    targets = torch.eye(8)[:4]  # (4, 8)
    features = targets @ torch.rand(8, 5)  # (4, 5) linear in the targets, so also when mixed
    _, mixed = task._augment(unit, torch.cat([targets, features], 1), Generator().manual_seed(0))
    assert (mixed[:, :8].max(dim=1).values < 1).any()
    torch.testing.assert_close(mixed[:, 8:], mixed[:, :4] @ features)


def test_a_run_with_other_teachers_is_another_run(images: Path, tmp_path: Path) -> None:
    for seed in (0, 1):
        teach(images, tmp_path / f"teacher{seed}", [], replace(STUDENT, seed=seed))
    first, second = (tmp_path / f"teacher{k}/encoder.safetensors" for k in (0, 1))
    teach(images, tmp_path / "run", [first])
    with pytest.raises(OutputError, match="other settings"):
        teach(images, tmp_path / "run", [second])


def test_teachers_that_cannot_be(images: Path, tmp_path: Path) -> None:
    run(images, tmp_path / "vit", replace(FAST, epochs=1))
    vit = tmp_path / "vit/encoder.safetensors"
    with pytest.raises(CheckpointError, match=r"no\.safetensors"):
        teach(images, tmp_path / "run", [tmp_path / "no.safetensors"])
    config = replace(STUDENT, distillation=Distillation(feature_weight=1.0))
    with pytest.raises(UsageError, match="first teacher have 16, the student's 256"):
        teach(images, tmp_path / "run", [vit], config)
