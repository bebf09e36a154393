"""Features with their annotations: matching, alignment, what is left out, what is refused."""

import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sample_features import AUDIO, VISUAL, make_features, save_videos

from abawcli.datasets.annotated import AnnotatedFeatures, VideoSet, read_annotated
from abawcli.errors import InputError
from abawcli.formats.abaw import write_annotation
from abawcli.formats.features import write_features
from abawcli.formats.metadata import Backbones


def save(folder: Path, name: str, rows: int, video: str = "", subject: str = "main") -> None:
    features = make_features(np.zeros(rows, np.int64), video or name, subject)
    write_features(features, folder / f"{name}.safetensors", {})


def annotate(folder: Path, name: str, labels: list[int]) -> None:
    write_annotation(np.array(labels), folder / f"{name}.txt")


def read(folder: Path) -> AnnotatedFeatures:
    files = sorted(folder.glob("*.safetensors")), sorted(folder.glob("*.txt"))
    return read_annotated(*files)


def test_rows_of_several_videos_stand_one_after_the_other(tmp_path: Path) -> None:
    save(tmp_path, "a", 3)
    save(tmp_path, "b", 2)
    annotate(tmp_path, "a", [1, -1, 2])
    annotate(tmp_path, "b", [3, 4])
    data = read(tmp_path)
    assert data.labels.tolist() == [1, -1, 2, 3, 4]
    assert list(data.videos()) == [("a", slice(0, 3)), ("b", slice(3, 5))]
    assert data.visual.shape == (5, 10) and data.audio.shape == (5, 6)
    assert data.visual.dtype == np.float16
    assert data.backbones.visual == VISUAL
    only_b = VideoSet(data, frozenset(["b"]))
    assert only_b.labels().tolist() == [3, 4]
    described = only_b.describe()
    assert described | {"sha256": "", "features_sha256": ""} == {
        "videos": 1, "frames": 2, "annotated": 2, "sha256": "", "features_sha256": "",
    }  # fmt: skip
    assert only_b.describe()["sha256"] != data.everything().describe()["sha256"]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([1, 2], [1, 2, -1, -1]),
        ([1, 2, 3, 4, 5, 6], [1, 2, 3, 4]),
        ([1, 2, 3, 4], [1, 2, 3, 4]),
    ],
)
def test_up_to_two_rows_more_or_less(
    tmp_path: Path, labels: list[int], expected: list[int]
) -> None:
    save(tmp_path, "a", 4)
    annotate(tmp_path, "a", labels)
    assert read(tmp_path).labels.tolist() == expected


def test_three_rows_more_name_both_counts(tmp_path: Path) -> None:
    save(tmp_path, "a", 4)
    annotate(tmp_path, "a", [0] * 7)
    with pytest.raises(InputError, match="a: the annotation has 7 rows and the video 4 frames"):
        read(tmp_path)


def test_sides_are_found_among_subjects_and_by_name(tmp_path: Path) -> None:
    for name, video, subject in (("x", "x", "left"), ("x-2", "x", "right"), ("y", "y", "main")):
        save(tmp_path, name, 2, video, subject)
    save(tmp_path, "z_left", 2)
    for k, name in enumerate(["x_left", "x_right", "y", "z_left"]):
        annotate(tmp_path, name, [k, k])
    assert read(tmp_path).names == ["x_left", "x_right", "y", "z_left"]


def test_features_of_one_person_are_not_of_two_annotations(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name, subject in (("x", "main"), ("y", "main"), ("z", "left"), ("b/w", "left")):
        save(tmp_path, name.replace("/", "-"), 2, name, subject)
    for name in ("x", "x_right", "y_left", "y_right", "z", "z_left", "w_left"):
        annotate(tmp_path, name, [0, 1])
    assert read(tmp_path).names == ["w_left", "x", "z_left"]
    assert sorted(caplog.messages) == [
        "1 features have no annotation and are left out: y",
        "x_right: features of x match several: x, x_right; it is left out",
        "y_left: features of y match several: y_left, y_right; it is left out",
        "y_right: features of y match several: y_left, y_right; it is left out",
        "z: features of z match several: z, z_left; it is left out",
    ]


def test_what_has_no_partner_is_left_out_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in "ab":
        save(tmp_path, name, 2)
    for name in "bcdefgh":
        annotate(tmp_path, name, [0, 1])
    (tmp_path / "notes.txt").write_text("no annotation at all")
    assert read(tmp_path).names == ["b"]
    assert caplog.messages == [
        "7 annotations have no features and are left out: c, d, e, f, g, ...",
        "1 features have no annotation and are left out: a",
    ]


def test_nothing_left(tmp_path: Path) -> None:
    save(tmp_path, "a", 2)
    annotate(tmp_path, "b", [0, 1])
    message = r"none of 1 annotations \(such as b\) matches one of 1 feature files \(such as a\)"
    with pytest.raises(InputError, match=message):
        read(tmp_path)
    annotate(tmp_path, "a", [-1, -1])
    with pytest.raises(InputError, match="no frame is annotated"):
        read(tmp_path)


def test_features_of_several_backbones(tmp_path: Path) -> None:
    save(tmp_path, "a", 2)
    others = Backbones(replace(VISUAL, sha256="e" * 64), AUDIO)
    other = make_features(np.zeros(2, np.int64), "b", backbones=others)
    write_features(other, tmp_path / "b.safetensors", {})
    message = r"b\.safetensors: visual features of tiny-face \(10 wide, eee.* are of .*fff"
    annotate(tmp_path, "a", [0, 0])
    with pytest.raises(InputError, match=message):
        read(tmp_path)


def test_two_files_about_the_same(tmp_path: Path) -> None:
    save(tmp_path, "a", 2)
    save(tmp_path, "again", 2, "a")
    annotate(tmp_path, "a", [0, 0])
    with pytest.raises(InputError, match=r"again.*: another file has features of a, main, too"):
        read(tmp_path)
    annotate(tmp_path / "more", "a", [0, 0])
    (tmp_path / "again.safetensors").unlink()
    with pytest.raises(InputError, match="annotations of the same name"):
        read_annotated([tmp_path / "a.safetensors"], sorted(tmp_path.rglob("*.txt")))


def test_annotations_by_name_of_frames_and_of_intervals(tmp_path: Path) -> None:
    for name in "abc":
        save(tmp_path, name, 4)
    times_s = make_features(np.zeros(4, np.int64), "b").time_s
    (tmp_path / "frames.csv").write_text("video,frame,label\na,1,anger\na,2,sad\na,4,7\n")
    ends = f"0,{times_s[2]:.3f},Fear\n{times_s[2]:.3f},100,happy\n"
    (tmp_path / "b.csv").write_text("onset,offset,label\n" + ends)
    (tmp_path / "c.txt").write_text(
        "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other\nOther\n-1\n0\nneutral\n"
    )
    files = [tmp_path / name for name in ("frames.csv", "b.csv", "c.txt")]
    data = read_annotated(sorted(tmp_path.glob("*.safetensors")), files)
    labels = {name: data.labels[rows].tolist() for name, rows in data.videos()}
    assert labels == {"a": [1, 5, -1, 7], "b": [3, 3, 4, 4], "c": [7, -1, 0, 0]}


def test_reading_takes_the_memory_of_what_is_annotated(tmp_path: Path) -> None:
    """Files without an annotation are three times as many, and only their headers are read."""
    wide = Backbones(replace(VISUAL, dim=600), replace(AUDIO, dim=400))
    names = [f"v{k}" for k in range(40)]
    features, labels = save_videos(tmp_path, names, frames=100, backbones=wide)
    for name in names[10:]:
        (labels / f"{name}.txt").unlink()
    files = sorted(features.glob("*.safetensors")), sorted(labels.glob("*.txt"))
    read_annotated(*files)  # imports and caches
    tracemalloc.start()
    data = read_annotated(*files)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(data.names) == 10
    needed = data.visual.nbytes + data.audio.nbytes
    assert needed == 10 * 100 * 1000 * 2 and needed <= peak <= 1.3 * needed
