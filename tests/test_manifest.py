"""Reading labelled images."""

from pathlib import Path

import numpy as np
import pytest

from abawcli.errors import InputError
from abawcli.formats.manifest import read_audio_manifest, read_labelled_images, read_manifest

HEADER = "file,split,label,v_neutral,v_happiness,v_contempt,v_unknown,dup_of_train\n"


def write(tmp_path: Path, *lines: str, header: str = HEADER) -> Path:
    path = tmp_path / "m.csv"
    path.write_text(header + "\n".join(lines) + "\n")
    for line in lines:
        (tmp_path / line.partition(",")[0]).touch()
    return path


def test_votes_become_distributions_and_contempt_is_other(tmp_path: Path) -> None:
    manifest = write(tmp_path, "a.png,Train,Neutral,6,2,2,0,0", "b.png,Valid,Happiness,1,9,0,0,0")
    splits = read_manifest(manifest, tmp_path)
    np.testing.assert_allclose(splits["train"].targets, [[0.6, 0, 0, 0, 0.2, 0, 0, 0.2]])
    np.testing.assert_allclose(splits["valid"].targets, [[0, 0, 0, 0, 1, 0, 0, 0]])
    assert splits["train"].files == [tmp_path / "a.png"]
    assert splits["valid"].labels.tolist() == [4]


def test_ties_train_softly_but_are_not_validated(tmp_path: Path) -> None:
    rows = ("a.png,train,,5,5,0,0,0", "b.png,valid,Neutral,9,1,0,0,0", "c.png,valid,,5,5,0,0,0")
    splits = read_manifest(write(tmp_path, *rows), tmp_path)
    assert splits["train"].targets[0, [0, 4]].tolist() == [0.5, 0.5]
    assert len(splits["valid"].files) == 1


def test_majority_of_unknown_is_left_out_and_duplicates_too(tmp_path: Path) -> None:
    rows = (
        "a.png,train,,3,0,0,7,0",
        "b.png,train,Neutral,7,0,0,3,0",
        "c.png,valid,Neutral,9,1,0,0,1",
        "d.png,valid,Neutral,9,1,0,0,0",
    )
    splits = read_manifest(write(tmp_path, *rows), tmp_path)
    assert [p.name for p in splits["train"].files] == ["b.png"]
    assert [p.name for p in splits["valid"].files] == ["d.png"]


def test_hard_labels_ignore_votes_and_ties(tmp_path: Path) -> None:
    rows = (
        "a.png,train,Neutral,6,2,2,0,0",
        "t.png,train,,5,5,0,0,0",
        "b.png,valid,happy,1,9,0,0,0",
    )
    splits = read_manifest(write(tmp_path, *rows), tmp_path, soft=False)
    assert splits["train"].targets.tolist() == [[1, 0, 0, 0, 0, 0, 0, 0]]


def test_manifest_without_votes(tmp_path: Path) -> None:
    manifest = write(tmp_path, "a.png,train,Fear", "b.png,valid,Anger", header="file,split,label\n")
    assert read_manifest(manifest, tmp_path)["train"].targets[0, 3] == 1


@pytest.mark.parametrize(
    ("lines", "header", "message"),
    [
        (["a.png,train"], "file,split\n", "no column label"),
        (["a.png,train,Joyful"], "file,split,label\n", "'Joyful'"),
        (["a.png,train,Fear"], "file,split,label\n", "split 'valid'"),
        (["a.png,train,4"], "file,split,label\n", "'4'"),
        (["a.png,1,Fear"], "file,split,label\n", "split 'train'"),
        (["a.png,train,Fear,many"], "file,split,label,v_fear\n", "votes must be numbers"),
        (["a.png,train,Fear,"], "file,split,label,v_fear\n", "v_fear is empty for a.png"),
    ],
)
def test_bad_manifests(tmp_path: Path, lines: list[str], header: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_manifest(write(tmp_path, *lines, header=header), tmp_path)


def test_missing_manifest(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_manifest(tmp_path / "none.csv", tmp_path)


def test_recordings_with_speakers_and_corpora(tmp_path: Path) -> None:
    header = "file,corpus,speaker,label,split\n"
    rows = ("a.wav,x,x1,Fear,Train", "b.wav,y,y1,,train", "c.wav,y,y2,calm,valid")
    splits = read_audio_manifest(write(tmp_path, *rows, header=header), tmp_path)
    assert splits["train"].files == [tmp_path / "a.wav"]  # one without a label is left out
    assert splits["train"].labels.tolist() == [3] and splits["valid"].labels.tolist() == [0]
    assert splits["valid"].speakers.tolist() == ["y2"] and splits["valid"].corpora.tolist() == ["y"]


def test_recordings_need_neither_speakers_nor_corpora(tmp_path: Path) -> None:
    manifest = write(tmp_path, "a.wav,train,Fear", "b.wav,valid,Anger", header="file,split,label\n")
    assert read_audio_manifest(manifest, tmp_path)["train"].corpora.tolist() == [""]
    with pytest.raises(InputError, match="no labelled recording in split 'valid'"):
        read_audio_manifest(
            write(tmp_path, "a.wav,train,Fear", header="file,split,label\n"), tmp_path
        )


def test_a_speaker_of_both_splits_is_an_error(tmp_path: Path) -> None:
    rows = ("a.wav,ann,Fear,train", "b.wav,ann,Anger,valid")
    manifest = write(tmp_path, *rows, header="file,speaker,label,split\n")
    with pytest.raises(InputError, match="'ann' in both splits"):
        read_audio_manifest(manifest, tmp_path)


def test_files_that_are_not_there_are_counted_and_the_first_is_named(tmp_path: Path) -> None:
    rows = [f"{name}.png,{split},Fear" for name, split in
            (("a", "train"), ("b", "train"), ("c", "train"), ("d", "valid"))]  # fmt: skip
    manifest = write(tmp_path, *rows, header="file,split,label\n")
    for name in "bc":
        (tmp_path / f"{name}.png").unlink()
    for read in (read_manifest, read_audio_manifest):
        with pytest.raises(InputError, match=r"2 of 3 files are missing; the first is .*/b\.png"):
            read(manifest, tmp_path)


def test_two_spellings_of_an_accent_are_one_file(tmp_path: Path) -> None:
    manifest = write(tmp_path, "a.png,train,Fear", "b.png,valid,Fear", header="file,split,label\n")
    manifest.write_text("file,split,label\nsub/caf\u00e9.png,train,Fear\nb.png,valid,Fear\n")
    decomposed = tmp_path / "sub" / "cafe\u0301.png"
    decomposed.parent.mkdir()
    decomposed.touch()
    assert read_manifest(manifest, tmp_path)["train"].files == [decomposed]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"file;split;label\na.png;train;Fear\n", "separated by semicolons"),
        ("file,split,label\n".encode("utf-16"), "is in UTF-16; save it as UTF-8"),
        (
            b"file,split,label,dup_of_train\na.png,train,odd,1\nb.png,train,Joyful,0\n",
            r"m\.csv, line 3: unknown expression 'Joyful'; known are",
        ),
    ],
)
def test_a_table_that_cannot_be_used_is_explained(
    tmp_path: Path, text: bytes, message: str
) -> None:
    (tmp_path / "m.csv").write_bytes(text)
    with pytest.raises(InputError, match=message):
        read_manifest(tmp_path / "m.csv", tmp_path)


def test_a_split_is_found_in_upper_and_lower_case(tmp_path: Path) -> None:
    path = write(tmp_path, "a.png,Valid,Fear", "b.png,train,Anger", header="file,split,label\n")
    for split in ("valid", "Valid"):
        assert read_labelled_images(path, tmp_path, split).labels.tolist() == [3]
    with pytest.raises(InputError, match="no labelled image in split 'test'"):
        read_labelled_images(path, tmp_path, "test")


def test_boxes_of_faces_in_images(tmp_path: Path) -> None:
    header = "file,split,label,x,y,w,h\n"
    lines = ("a.png,train,Fear,1,2,3.5,4", "b.png,train,Fear,,,,", "c.png,valid,Fear,0,0,1,1")
    boxes = read_manifest(write(tmp_path, *lines, header=header), tmp_path)["train"].boxes
    np.testing.assert_array_equal(boxes, [[1, 2, 3.5, 4], [np.nan] * 4])
    for wrong in ("1,2,0,4", "1,2,,4", "1,2,x,4", "1,2,3,inf"):
        path = write(tmp_path, f"a.png,train,Fear,{wrong}", *lines, header=header)
        with pytest.raises(InputError, match="the box of a.png must be four numbers"):
            read_manifest(path, tmp_path)
    path = write(tmp_path, "a.png,train,Fear,1", header="file,split,label,x\n")
    with pytest.raises(InputError, match="has the column x, but not y, w, h"):
        read_manifest(path, tmp_path)
