"""Manifests of public data sets, in each form in which they are distributed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from blob_faces import BlobDetector, picture
from image_sets import (
    AFFECTNET,
    draw,
    make,
    make_ferplus,
    make_raf_db,
    refuse,
    rows,
    write,
)
from media_files import write_media
from torch.utils.data import DataLoader

from abawcli.config import COMPACT_FACE, CompactFaceShape, Cropping, default_training
from abawcli.errors import InputError
from abawcli.formats.abaw import write_annotation
from abawcli.formats.manifest import LabelledImages, read_manifest
from abawcli.formats.metadata import Preprocess
from abawcli.stages.crop import crop_video
from abawcli.stages.train_face import train_face_encoder
from abawcli.training import image_data
from abawcli.training.image_data import ImageDataset


def test_affectnet_as_csv(tmp_path: Path) -> None:
    root = tmp_path / "an"
    for name in ("1/a.jpg", "1/b.jpg", "2/c.jpg", "2/d.jpg"):
        draw(root / "Manually_Annotated_Images" / name)
    write(root / "training.csv", AFFECTNET, "1/a.jpg,4,2,2,2,0;0,6", "1/b.jpg,4,2,2,2,0;0,7",
          "2/c.jpg,NULL,NULL,NULL,NULL,0;0,10", "2/gone.jpg,4,2,2,2,0;0,1",
          "2/d.jpg,4,2,0,2,0;0,1", "2/d.jpg,nan,2,2,2,0;0,1", "2/d.jpg,4,2,2,2,0;0,11",
          "2/d.jpg,4,2,2,2,0;0,8")  # fmt: skip
    write(root / "lists" / "validation.csv", AFFECTNET, "2/d.jpg,4,2,2,2,0;0,0")
    table, said = make(tmp_path, "affectnet", str(root))
    folder = "Manually_Annotated_Images"
    assert rows(table) == {
        f"{folder}/1/a.jpg": ("train", "Anger"),
        f"{folder}/1/b.jpg": ("train", "Other"),  # contempt
        f"{folder}/2/d.jpg": ("valid", "Neutral"),
    }
    assert "left out: 1 faces are labelled 'no face', such as 2/c.jpg" in said
    assert "1 faces are labelled 'none', such as 2/d.jpg" in said
    assert "1 images are missing, such as 2/gone.jpg" in said
    assert "3 rows cannot be read" in said and "training.csv, line 6" in said


def test_affectnet_as_folders(tmp_path: Path) -> None:
    root = tmp_path / "an"
    for split, number, code in (("train", 0, "1"), ("train", 5, "10"), ("val", 7, "5")):
        draw(root / f"{split}_set/images/{number}.jpg")
        (root / f"{split}_set/annotations").mkdir(exist_ok=True)
        np.save(root / f"{split}_set/annotations/{number}_exp.npy", np.array(code))
    for number, content in ((2, b""), (3, b"PK\3\4"), (8, b"damaged")):
        (root / f"val_set/annotations/{number}_exp.npy").write_bytes(content)
    table, said = make(tmp_path, "affectnet", str(root))
    assert rows(table) == {
        "train_set/images/0.jpg": ("train", "Happiness"),
        "val_set/images/7.jpg": ("valid", "Disgust"),
    }
    assert "no face" in said and "3 rows cannot be read, such as" in said and "2_exp.npy" in said


def test_raf_db(tmp_path: Path) -> None:
    make_raf_db(tmp_path / "raf")
    table, said = make(tmp_path, "raf-db", str(tmp_path / "raf"))
    assert rows(table) == {
        "Image/aligned/train_00001_aligned.jpg": ("train", "Sadness"),
        "Image/aligned/train_00002_aligned.jpg": ("train", "Surprise"),
        "Image/aligned/test_0001_aligned.jpg": ("valid", "Neutral"),
    }
    assert "4 rows cannot be read" in said and "line 4" in said
    assert "1 images are missing, such as test_0002_aligned.jpg" in said


def test_ferplus(tmp_path: Path) -> None:
    root = tmp_path / "fer"
    make_ferplus(root)
    table, said = make(tmp_path, "ferplus", str(root))
    assert rows(table) == {
        "FER2013Train/fer0000000.png": ("train", "Neutral"),
        "FER2013Train/fer0000001.png": ("train", ""),
        "FER2013Valid/fer0000002.png": ("valid", "Happiness"),
        "FER2013Test/fer0000003.png": ("test", "Surprise"),
    }
    targets = read_manifest(tmp_path / "m.csv", root)["train"].targets
    np.testing.assert_allclose(targets[:, [0, 1, 4, 7]], [[0.6, 0.2, 0, 0.2], [0.5, 0, 0.5, 0]])
    assert "1 rows have no image" in said and "unknown or no face, such as fer0000004.png" in said
    assert "1 rows cannot be read" in said and "no majority" in said


def test_expw_crops_its_boxes_and_keeps_images_together(tmp_path: Path) -> None:
    root = tmp_path / "expw"
    for k in range(10):
        draw(root / f"origin/{k}.jpg")
    lines = [f"{k}.jpg {face} 2 4 6 4 60.5 {k % 7}" for k in range(10) for face in (0, 1)]
    write(root / "label.lst", *lines, "3.jpg 2 4 4 2 6 60 1", "3.jpg 2 2 4 6 4 60 7",
          "3.jpg 2 nan 4 6 4 60 1", "3.jpg 2 2 4 inf 4 60 1",
          "3.jpg 2 2 8 12 4 60 1", "4.jpg 2 -9 4 6 0 60 1")  # fmt: skip
    table, said = make(tmp_path, "expw", str(root))
    assert "4 rows cannot be read" in said
    assert "2 boxes are outside of their images, such as 3.jpg" in said
    assert table[["x", "y", "w", "h"]].drop_duplicates().to_numpy().tolist() == [[4, 2, 2, 2]]
    assert (table.groupby("file")["split"].nunique() == 1).all()
    assert table["split"].value_counts().to_dict() == {"train": 18, "valid": 2}
    named = table.drop_duplicates("file").set_index("file")["label"]
    assert named["origin/0.jpg"] == "Anger" and named["origin/6.jpg"] == "Neutral"


def test_folders_by_class_with_and_without_splits(tmp_path: Path) -> None:
    for split, name in (("train", "happy"), ("val", "Angry"), ("test", "sad"), ("train", "7")):
        draw(tmp_path / f"a/{split}/{name}/1.jpg")
    draw(tmp_path / "a/loose.jpg")
    said = refuse(tmp_path, "folders", str(tmp_path / "a"))
    assert "no class: 7" in said and "--label-map 7=Anger" in said
    table, said = make(tmp_path, "folders", str(tmp_path / "a"), "--label-map", "7=none")
    assert rows(table) == {
        "train/happy/1.jpg": ("train", "Happiness"),
        "val/Angry/1.jpg": ("valid", "Anger"),
        "test/sad/1.jpg": ("test", "Sadness"),
    }
    assert "loose.jpg" in said and "1 images are in folders '7'" in said


def test_training_images_are_held_out_where_no_set_has_validation_images(tmp_path: Path) -> None:
    for split, count in (("train", 20), ("test", 4)):
        for k in range(count):
            draw(tmp_path / f"a/{split}/happy/{k}.jpg")
    draw(tmp_path / "b/Train/sad/1.jpg")
    a, b = ("folders", str(tmp_path / "a")), ("folders", str(tmp_path / "b"))
    table, said = make(tmp_path, *a, *b)
    assert "no validation images: 10 % of the training images are held out" in said
    assert table["split"].value_counts().to_dict() == {"train": 19, "test": 4, "valid": 2}
    assert set(table["split"][table["file"].str.contains("test")]) == {"test"}
    draw(tmp_path / "b/val/sad/1.jpg")
    table, said = make(tmp_path, *a, *b)
    assert "held out" not in said and table["split"].tolist().count("valid") == 1


def test_aff_wild2_samples_annotated_frames_by_video(tmp_path: Path) -> None:
    root = tmp_path / "aw"
    for name in ("1-30", "7_left", "9"):
        for frame in range(1, 7):
            draw(root / f"cropped_aligned/{name}/{frame:05d}.jpg")
    annotations = root / "annotations/EXPR_Recognition_Challenge"
    labels = np.array([4, 4, -1, 4, 4, 1, 2])  # frame 7 has no crop
    for name in ("Train_Set/1-30", "Train_Set/7_left", "Validation_Set/9", "Train_Set/gone"):
        (annotations / name).parent.mkdir(parents=True, exist_ok=True)
        write_annotation(labels, annotations / f"{name}.txt")
    write(root / "annotations/VA_Estimation_Challenge/Train_Set/9.txt", "valence,arousal", "0,0")
    table, said = make(tmp_path, "aff-wild2", str(root), "--every", "2")
    assert rows(table) == {
        f"cropped_aligned/{name}/{frame:05d}.jpg": (split, label)
        for name, split in (("1-30", "train"), ("7_left", "train"), ("9", "valid"))
        for frame, label in ((1, "Happiness"), (4, "Happiness"), (6, "Anger"))
    }
    assert "such as gone: " in said and "such as 1-30: 1" in said
    twice = annotations / "Validation_Set/1-30.txt"
    write_annotation(labels, twice)
    assert "1-30.txt are annotations of the same name" in refuse(
        tmp_path / "x", "aff-wild2", str(root)
    )
    (tmp_path / "other").mkdir()
    assert "--labels" in refuse(tmp_path / "other", "aff-wild2", str(root / "cropped_aligned"))


def test_aff_wild2_takes_the_middle_scale_of_own_crops(tmp_path: Path) -> None:
    crop_video(
        write_media(tmp_path / "5.mkv", [picture(32)] * 3),
        tmp_path / "aw/crops/5",
        detector=BlobDetector(),
        cropping=Cropping((0.9, 1.2, 1.5)),
    )
    (tmp_path / "aw/EXPR_Set").mkdir()
    write_annotation(np.array([4, -1, 1]), tmp_path / "aw/EXPR_Set/5.txt")
    table, said = make(tmp_path, "aff-wild2", str((tmp_path / "aw").rename(tmp_path / "a w")))
    assert "/a w' --manifest" in said
    assert "all training images are of one video" in said and "10 %" not in said
    assert table["file"].tolist() == ["crops/5/1.2/00001.jpg", "crops/5/1.2/00003.jpg"]
    assert table["label"].tolist() == ["Happiness", "Anger"]


def test_crops_of_one_person_are_not_of_two_annotations(tmp_path: Path) -> None:
    root = tmp_path / "aw"
    for name in ("5", "6"):
        draw(root / f"cropped_aligned/{name}/00001.jpg")
    for name in ("5", "5_right", "6_left", "6_right"):
        (root / "EXPR_Set").mkdir(exist_ok=True)
        write_annotation(np.array([4]), root / f"EXPR_Set/{name}.txt")
    table, said = make(tmp_path, "aff-wild2", str(root))
    assert table["file"].tolist() == ["cropped_aligned/5/00001.jpg"]
    assert "3 annotations have no crops of one subject, such as 5_right: crops of" in said


def test_only_the_folder_of_an_annotation_names_its_split(tmp_path: Path) -> None:
    root = tmp_path / "test/aw"
    for name in ("1", "2"):
        draw(root / f"cropped_aligned/{name}/00001.jpg")
        (root / "EXPR_Set").mkdir(exist_ok=True)
        write_annotation(np.array([4]), root / f"EXPR_Set/{name}.txt")
    table, _ = make(tmp_path, "aff-wild2", str(root))
    assert sorted(table["split"]) == ["train", "valid"]


def test_several_sets_share_a_manifest_that_an_encoder_trains_on(tmp_path: Path) -> None:
    make_raf_db(tmp_path / "sets/raf")
    make_ferplus(tmp_path / "sets/fer")
    sets = ("raf-db", str(tmp_path / "sets/raf"), "ferplus", str(tmp_path / "sets/fer"))
    table, said = make(tmp_path, *sets)
    assert table["file"].str.startswith(("raf/", "fer/")).all() and "train with --images" in said
    moved = (tmp_path / "sets/raf").rename(tmp_path / "raf")
    apart, _ = make(tmp_path, "raf-db", str(moved), *sets[2:])
    assert apart["file"].str.startswith(("raf/", "sets/fer/")).all()
    moved.rename(tmp_path / "sets/raf")
    table, said = make(tmp_path, *sets)
    sad = table.set_index("file").loc["raf/Image/aligned/train_00001_aligned.jpg"]
    assert sad["label"] == "Sadness" and sad["v_sadness"] == 1 and sad["v_neutral"] == 0
    shape = CompactFaceShape(stem=8, widths=(8, 8, 8, 8), blocks=(1, 1, 1, 1))
    config = replace(default_training(COMPACT_FACE), epochs=1, batch_size=2, moe=None, shape=shape)
    history = train_face_encoder(
        tmp_path / "sets", tmp_path / "m.csv", tmp_path / "run", config=config, device="cpu"
    )
    assert len(history) == 1


def test_training_images_are_cut_around_their_boxes(tmp_path: Path) -> None:
    draw(tmp_path / "a.png")
    boxes = np.array([[4, 2, 2, 2], [np.nan] * 4])
    images = LabelledImages(
        [tmp_path / "a.png"] * 2, np.zeros(2, np.int64), np.eye(8, dtype=np.float32)[:2], boxes
    )
    dataset = ImageDataset(images, Preprocess(12, 12, (0, 0, 0), (1, 1, 1)), torch.device("cpu"))
    cut, whole = dataset[0][0], dataset[1][0]
    assert cut[3:9, 3:9].min() > 200 and cut[0, 0].max() < 120  # 1.2 times the square
    assert whole[:2].max() < 120 and whole[:, :5].max() < 120 and whole[4, 7].min() > 200


@pytest.mark.parametrize("box", [[8, 2, 2, 2], [2, 9, 2, 2], [-2, 2, 2, 2], [2, -3, 2, 3]])
def test_a_box_outside_of_its_image_is_no_black_crop(tmp_path: Path, box: list[float]) -> None:
    draw(tmp_path / "a.png")
    images = LabelledImages(
        [tmp_path / "a.png"], np.zeros(1, np.int64), np.eye(8, dtype=np.float32)[:1],
        np.array([box], np.float64),
    )  # fmt: skip
    dataset = ImageDataset(images, Preprocess(12, 12, (0, 0, 0), (1, 1, 1)), torch.device("cpu"))
    with pytest.raises(InputError, match=r"a.png has 8 x 8 pixels, and the box .* is outside"):
        dataset[0]


def test_images_are_read_by_the_cores_that_a_process_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = LabelledImages([tmp_path / "a"], np.zeros(1, np.int64), np.eye(8, dtype=np.float32))
    monkeypatch.setattr(image_data, "CACHE_BYTES", 0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)  # as under torchrun
    dataset = ImageDataset(images, Preprocess(8, 8, (0,), (1,)), torch.device("cpu"))
    for processes, workers in (("1", 2), ("2", 1), ("4", 1)):
        monkeypatch.setenv("ABAW_CORES", "2")
        monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
        loader = dataset.load([[0]])
        assert isinstance(loader, DataLoader) and loader.num_workers == workers


def test_at_most_so_many_training_images_of_a_class(tmp_path: Path) -> None:
    for k in range(6):
        draw(tmp_path / f"a/train/happy/{k}.jpg")
        draw(tmp_path / f"a/val/happy/{k}.jpg")
    draw(tmp_path / "a/train/sad/1.jpg")
    table, _ = make(tmp_path, "folders", str(tmp_path / "a"), "--max-per-class", "2")
    counts = table.groupby(["split", "label"]).size().to_dict()
    assert counts == {("train", "Happiness"): 2, ("train", "Sadness"): 1, ("valid", "Happiness"): 6}


def test_a_finished_manifest_names_the_images_from_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(tmp_path / "a/happy/1.jpg")
    monkeypatch.chdir(tmp_path)
    assert "--images a " in make(tmp_path, "folders", "a")[1]
    (tmp_path / "b").mkdir()
    monkeypatch.chdir(tmp_path / "b")
    assert "--images ../a " in make(tmp_path, "folders", "../a")[1]
