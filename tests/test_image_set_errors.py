"""What `abaw manifest` refuses or leaves out, and what it then says."""

from pathlib import Path

import pytest
from click.testing import CliRunner
from image_sets import AFFECTNET, draw, make, refuse, write

from abawcli.cli import main
from abawcli.config import IMAGE_SETS
from abawcli.datasets.labelled_images import LabelledImage
from abawcli.stages.manifest import SET_READERS, assign_splits


@pytest.mark.parametrize("kind", IMAGE_SETS)
def test_a_folder_of_another_kind_is_refused(kind: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    said = refuse(tmp_path, kind, str(tmp_path / "in"))
    assert str(tmp_path / "in") in said
    assert "no such folder" in refuse(tmp_path, kind, str(tmp_path / "gone"))


def test_lists_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    write(tmp_path / "an/training.csv", "subDirectory_filePath,expression", "1/a.jpg,1")
    assert "training.csv has no column face_x" in refuse(tmp_path, "affectnet", f"{tmp_path}/an")
    write(tmp_path / "an/training.csv", 'a,"b')
    assert "cannot read" in refuse(tmp_path, "affectnet", f"{tmp_path}/an")
    write(tmp_path / "an/training.csv", AFFECTNET.replace(",", ";"))
    assert "is separated by semicolons" in refuse(tmp_path, "affectnet", f"{tmp_path}/an")
    (tmp_path / "fer/fer2013new.csv").mkdir(parents=True)
    assert "fer2013new.csv: it is a folder" in refuse(tmp_path, "ferplus", f"{tmp_path}/fer")


def test_images_that_nobody_can_read_are_counted(tmp_path: Path) -> None:
    root = tmp_path / "in"
    draw(root / "train/happy/1.jpg")
    (root / "train/happy/dead.jpg").symlink_to("gone.jpg")
    (root / "train/happy/empty.jpg").touch()
    (root / "train/happy/folder.jpg").mkdir()
    draw(root / "val/happy/1.jpg")
    table, said = make(tmp_path, "folders", str(root))
    assert set(table["file"]) == {"train/happy/1.jpg", "val/happy/1.jpg"}
    assert "1 images are missing, such as" in said and "dead.jpg" in said
    assert "1 images are empty or may not be read, such as" in said and "empty.jpg" in said


def test_an_image_is_in_one_data_set_only(tmp_path: Path) -> None:
    for name in ("train/happy/1.jpg", "train/happy/2.jpg"):
        draw(tmp_path / "in" / name)
    for other in ("in", "in/train"):
        said = refuse(tmp_path, "folders", str(tmp_path / "in"), "folders", str(tmp_path / other))
        assert "1.jpg is an image of " in said and said.strip().endswith("; give it once")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le"])
def test_lists_in_utf_16_are_named_as_such(tmp_path: Path, encoding: str) -> None:
    for path, kind, text in (
        ("an/training.csv", "affectnet", AFFECTNET), ("ex/label.lst", "expw", "1.jpg 0 0 0 9 9 1 1")
    ):  # fmt: skip
        (tmp_path / path).parent.mkdir()
        (tmp_path / path).write_text(text + "\n", encoding=encoding)
        said = refuse(tmp_path, kind, str(tmp_path / path.split("/")[0]))
        assert f"{path} is in UTF-16; save it as UTF-8" in said


def test_files_of_equal_names_are_refused_and_both_named(tmp_path: Path) -> None:
    root = tmp_path / "an"
    for folder in ("a", "b"):
        draw(root / folder / "1/x.jpg")
        draw(root / folder / "1/unused.jpg")
    draw(root / "a/1/y.jpg")
    write(root / "a/training.csv", AFFECTNET, "1/y.jpg,4,2,2,2,0;0,6", "1/x.jpg,4,2,2,2,0;0,6")
    assert "/a/1/x.jpg and " in (said := refuse(tmp_path, "affectnet", str(root)))
    assert "/b/1/x.jpg could both be 1/x.jpg; give the folder of one data set" in said
    write(root / "b/training.csv", AFFECTNET, "1/x.jpg,4,2,2,2,0;0,6")
    assert "could both be training.csv" in refuse(tmp_path, "affectnet", str(root))
    for folder in ("a", "b"):
        (tmp_path / f"npy/{folder}/train_set/annotations").mkdir(parents=True)
    said = refuse(tmp_path, "affectnet", f"{tmp_path}/npy")
    assert "could both be train_set/annotations" in said
    (root / "b/training.csv").unlink()
    write(root / "a/training.csv", AFFECTNET, "1/y.jpg,4,2,2,2,0;0,6")
    assert len(make(tmp_path, "affectnet", str(root))[0]) == 1  # nothing asks for x.jpg


def test_kinds_are_those_of_the_readers_and_each_needs_a_folder(tmp_path: Path) -> None:
    assert tuple(SET_READERS) == IMAGE_SETS
    said = refuse(tmp_path, "celeba", str(tmp_path))
    assert "'celeba' is no kind of data set; use affectnet, raf-db" in said
    assert "expw has no folder; give a kind and a folder" in refuse(tmp_path, "expw")


def test_options_that_no_data_set_uses_are_refused(tmp_path: Path) -> None:
    draw(tmp_path / "faces/Fear/a.png")
    folders = "folders", str(tmp_path / "faces")
    assert "--every is only for aff-wild2" in refuse(tmp_path, *folders, "--every", "1")
    assert "--labels is only for aff-wild2" in refuse(tmp_path, *folders, "--labels", "x")
    other = "expw", str(tmp_path / "faces"), "--label-map", "x=Fear"
    assert "--label-map is only for folders" in refuse(tmp_path, *other)


def test_a_manifest_to_stdout(tmp_path: Path) -> None:
    draw(tmp_path / "faces/Fear/a.png")
    arguments = ["manifest", "folders", str(tmp_path / "faces")]
    result = CliRunner().invoke(main, [*arguments, "-o", "-"])
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines() == ["file,split,label", "Fear/a.png,train,Fear"]
    assert "Fear" in result.stderr and "abaw-" not in result.stderr
    assert CliRunner().invoke(main, [*arguments, "-o", str(tmp_path / "m.csv")]).exit_code == 0
    assert (tmp_path / "m.csv").read_text() == result.stdout


def test_a_few_groups_are_held_out_wherever_the_folder_is(tmp_path: Path) -> None:
    def split(root: Path) -> list[str]:
        images = [LabelledImage(root / f"{k}.jpg", "Fear", group=f"v{k // 2}") for k in range(40)]
        return [each.split for each in assign_splits(images, root)]

    assert split(tmp_path) == split(tmp_path / "moved")
    assert split(tmp_path)[::2] == split(tmp_path)[1::2] and split(tmp_path).count("valid") == 4
