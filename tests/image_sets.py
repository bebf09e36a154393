"""Data sets of images with labels that tests make, and the command that reads them."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from click.testing import CliRunner

from abawcli.cli import main

AFFECTNET = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression"
FERPLUS = (
    "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
)


def draw(path: Path, side: int = 8) -> None:
    """Write a grey picture with a bright 2 x 2 square at 4, 2."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.full((side, side, 3), 60, np.uint8)
    image[2:4, 4:6] = 250
    path.write_bytes(cv2.imencode(path.suffix, image)[1].tobytes())


def write(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def make(tmp_path: Path, *arguments: str) -> tuple[pd.DataFrame, str]:
    """Run the command; return the manifest and what it said."""
    output = tmp_path / "m.csv"
    result = CliRunner().invoke(main, ["manifest", *arguments, "-o", str(output)])
    assert result.exit_code == 0, result.stderr
    return pd.read_csv(output, keep_default_na=False), result.stderr


def refuse(tmp_path: Path, *arguments: str) -> str:
    """Run the command, which must fail without an output; return what it said."""
    output = tmp_path / "m.csv"
    result = CliRunner().invoke(main, ["manifest", *arguments, "-o", str(output)])
    assert result.exit_code in (1, 2) and not output.exists()
    assert "Traceback" not in result.stderr
    return result.stderr


def rows(table: pd.DataFrame) -> dict[str, tuple[str, str]]:
    columns = [table[name].tolist() for name in ("file", "split", "label")]
    return {file: (split, label) for file, split, label in zip(*columns, strict=True)}


def make_raf_db(root: Path) -> None:
    lines = ["train_00001.jpg 5", "train_00002.jpg 1", "test_0001.jpg 7"]
    for line in lines:
        draw(root / "Image/aligned" / f"{line.split('.')[0]}_aligned.jpg")
    wrong = ["train_00003.jpg 8", "train_00003.jpg 0", "train_00003.jpg", "extra_1.jpg 3"]
    write(root / "EmoLabel/list_patition_label.txt", *lines, *wrong, "test_0002.jpg 4")


def make_ferplus(root: Path) -> None:
    for k, folder in enumerate(("Train", "Train", "Valid", "Test", "Train")):
        draw(root / f"FER2013{folder}/fer000000{k}.png")
    lines = (
        "Training,fer0000000.png,6,0,0,0,2,0,0,2,0,0",
        "Training,fer0000001.png,5,5,0,0,0,0,0,0,0,0",
        "PublicTest,fer0000002.png,0,9,0,0,0,0,0,0,1,0",
        "PrivateTest,fer0000003.png,0,0,9,0,0,0,0,0,1,0",
        "Training,fer0000004.png,3,0,0,0,0,0,0,0,7,0",
        "Training,,0,0,0,0,0,0,0,0,0,10",
        "Other,fer0000000.png,1,0,0,0,0,0,0,0,0,0",
    )
    write(root / "fer2013new.csv", FERPLUS, *lines)
