from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sample_tables import make_table

from abawcli.errors import InputError
from abawcli.formats.abaw import write_annotation
from abawcli.formats.submission import write_submission
from abawcli.formats.tables import write_table
from abawcli.labels import CLASSES
from abawcli.stages.score import describe_scoring, score_files


def write_text(path: Path, labels: list[int]) -> Path:
    write_annotation(np.array(labels), path)
    return path


def write_rows(path: Path, *tables: pd.DataFrame) -> Path:
    write_table(pd.concat(tables), path, {})
    return path


def test_text_against_text(tmp_path: Path) -> None:
    scoring = score_files(
        [write_text(tmp_path / "p" / "a.txt", [0, 1, 1, 4])],
        [write_text(tmp_path / "t" / "a.txt", [0, 1, 4, -1])],
    )
    assert scoring.overall.frames == 3
    assert scoring.overall.accuracy == pytest.approx(2 / 3)
    assert scoring.overall.macro_f1 == pytest.approx((1 + 2 / 3) / 8)
    assert scoring.with_face is None
    assert scoring.unlabelled == {}
    assert [v.name for v in scoring.videos] == ["a"]
    assert scoring.failed == {}


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_table_also_scores_the_frames_with_a_face(tmp_path: Path, suffix: str) -> None:
    table = make_table([0, 1, -1, -1, 2], video="clips/a.mp4")
    predictions = write_rows(tmp_path / f"x{suffix}", table)
    scoring = score_files([predictions], [write_text(tmp_path / "a.txt", [0, 1, 1, -1, 1])])
    assert scoring.overall.frames == 4
    assert scoring.overall.accuracy == pytest.approx(2 / 4)
    assert scoring.with_face is not None
    assert scoring.with_face.frames == 3
    assert scoring.with_face.accuracy == pytest.approx(2 / 3)
    assert scoring.unlabelled == {"a": 1}


def test_a_submission_scores_as_its_videos_do(tmp_path: Path) -> None:
    labels = {"a": [0, 1, 1, 4], "b_left": [2, 3]}
    rows = [(video, k, c) for video, cs in labels.items() for k, c in enumerate(cs, 1)]
    submission = tmp_path / "predictions.txt"
    write_submission(pd.DataFrame(rows, columns=["video", "frame", "label"]), submission, {})
    texts = [write_text(tmp_path / "p" / f"{name}.txt", labels[name]) for name in labels]
    truth = [
        write_text(tmp_path / "t" / "a.txt", [0, 1, 4, -1]),
        write_text(tmp_path / "t" / "b_left.txt", [2, 2, 2]),
    ]
    scoring = score_files([submission], truth)
    assert describe_scoring(scoring) == describe_scoring(score_files(texts, truth))
    assert scoring.overall.accuracy == pytest.approx(3 / 6)


def test_no_annotated_frame_with_a_face(tmp_path: Path) -> None:
    predictions = write_rows(tmp_path / "a.csv", make_table([0, -1]))
    scoring = score_files([predictions], [write_text(tmp_path / "clip.txt", [-1, 3])])
    assert scoring.with_face is None
    assert scoring.overall.frames == 1


def test_swapped_arguments_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = write_rows(tmp_path / "p" / "a.csv", make_table([0, 1, 2], "a"))
    text = write_text(tmp_path / "t" / "a.txt", [0, 1, 2])
    score_files([table], [text])
    assert caplog.messages == []
    score_files([text], [table])
    (message,) = caplog.messages
    assert message.startswith(f"{table} is a prediction table, but stands for the annotations")


def test_all_videos_are_pooled_and_not_averaged(tmp_path: Path) -> None:
    predictions = [
        write_rows(tmp_path / "p" / "a.csv", make_table([0] * 9, "a")),
        write_rows(tmp_path / "p" / "b.csv", make_table([1], "b")),
    ]
    annotations = [
        write_text(tmp_path / "t" / "a.txt", [0] * 9),
        write_text(tmp_path / "t" / "b.txt", [0]),
    ]
    assert score_files(predictions, annotations).overall.accuracy == pytest.approx(9 / 10)


def test_several_videos_in_one_table_in_any_order(tmp_path: Path) -> None:
    both = pd.concat([make_table([0, 1, 2], "a"), make_table([3, 4, 5], "b")])
    predictions = write_rows(tmp_path / "all.csv", both.sample(frac=1, random_state=0))
    annotations = [
        write_text(tmp_path / "b.txt", [3, 4, 5]),
        write_text(tmp_path / "a.txt", [0, 1, 2]),
    ]
    assert score_files([predictions], annotations).overall.accuracy == 1


def test_a_table_as_annotation(tmp_path: Path) -> None:
    truth = tmp_path / "truth.csv"
    truth.write_text("video,frame,label\na.mp4,1,0\na.mp4,3,2\n")
    predictions = write_rows(tmp_path / "a.csv", make_table([0, 1, 1], "a"))
    scoring = score_files([predictions], [truth])
    assert scoring.overall.frames == 2
    assert scoring.overall.accuracy == pytest.approx(1 / 2)


@pytest.mark.parametrize("rows", [3, 4, 6])
def test_a_row_or_two_off_is_said_and_takes_the_nearest_frame(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, rows: int
) -> None:
    predictions = write_rows(tmp_path / "a.csv", make_table([0, 1, 2, 3, 4], "a"))
    truth = write_text(tmp_path / "a.txt", [0, 1, 2, 3, 4, 4][:rows])
    scoring = score_files([predictions], [truth])
    assert scoring.overall.frames == rows
    assert scoring.overall.accuracy == 1
    assert "1 of 1 annotations have one or two rows more or less" in caplog.text
    assert f"such as a: {rows} and 5" in caplog.text


@pytest.mark.parametrize("rows", [1, 8])
def test_further_off_names_both_counts(tmp_path: Path, rows: int) -> None:
    predictions = write_rows(tmp_path / "a.csv", make_table([0] * 5, "a"))
    truth = write_text(tmp_path / "a.txt", [0] * rows)
    with pytest.raises(InputError, match=f"a: the annotation has {rows} rows .* 5 frames"):
        score_files([predictions], [truth])


def test_what_fails_is_named_and_the_others_are_scored(tmp_path: Path) -> None:
    predictions = [
        write_rows(tmp_path / "p" / "a.csv", make_table([0, 1], "a")),
        write_text(tmp_path / "p" / "long.txt", [0] * 9),
        tmp_path / "gone.csv",
    ]
    (tmp_path / "bad.txt").write_text("no header\n")
    annotations = [
        write_text(tmp_path / "t" / "a.txt", [0, 1]),
        write_text(tmp_path / "t" / "missing.txt", [0, 1]),
        write_text(tmp_path / "t" / "long.txt", [0]),
        tmp_path / "bad.txt",
    ]
    scoring = score_files(predictions, annotations)
    assert [v.name for v in scoring.videos] == ["a"]
    assert scoring.overall.frames == 2
    assert list(scoring.failed) == [
        str(tmp_path / "gone.csv"),
        str(tmp_path / "bad.txt"),
        "missing",
        "long",
    ]
    assert scoring.failed["missing"] == "missing: no predictions of this video"


def test_nothing_to_score(tmp_path: Path) -> None:
    truth = [write_text(tmp_path / "t" / f"{k}.txt", [0]) for k in "abc"]
    with pytest.raises(
        InputError, match=r"a: no predictions of this video \(and 2 other failures\)"
    ):
        score_files([write_text(tmp_path / "x.txt", [0])], truth)
    with pytest.raises(InputError, match="no annotated frame to score"):
        score_files(
            [write_text(tmp_path / "p" / "a.txt", [0])], [write_text(tmp_path / "a.txt", [-1])]
        )


def test_two_files_about_the_same_video(tmp_path: Path) -> None:
    one, two = (write_text(tmp_path / k / "a.txt", [0]) for k in "xy")
    scoring = score_files([one, two], [write_text(tmp_path / "t" / "a.txt", [0])])
    assert list(scoring.failed) == [str(two)]
    assert f"labels of a are in {one}, too; they are left out here" in scoring.failed[str(two)]
    scoring = score_files([one], [write_text(tmp_path / "t" / "a.txt", [0]), two])
    assert list(scoring.failed) == [str(two)]


def test_two_videos_that_an_annotation_could_be_about(tmp_path: Path) -> None:
    predictions = write_rows(
        tmp_path / "x.csv", make_table([0], "c/a.mp4"), make_table([0], "b/a.avi")
    )
    truth = write_text(tmp_path / "a.txt", [0])
    with pytest.raises(
        InputError, match=r"the name matches predictions of several videos: b/a.avi, c/a.mp4"
    ):
        score_files([predictions], [truth])


def test_one_file_each_is_paired_whatever_the_names(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    predictions = write_text(tmp_path / "predicted.txt", [0, 1])
    found = score_files([predictions], [write_text(tmp_path / "truth.txt", [0, 1])])
    assert [video.name for video in found.videos] == ["truth"]
    assert "the predictions of predicted are scored against truth: names differ" in caplog.text


class TestSides:
    def test_exact_names_go_first(self, tmp_path: Path) -> None:
        names = {"10-60-1280x720": 1, "10-60-1280x720_right": 2}
        predictions = [write_text(tmp_path / "p" / f"{n}.txt", [k]) for n, k in names.items()]
        truth = [write_text(tmp_path / "t" / f"{n}.txt", [k]) for n, k in names.items()]
        assert score_files(predictions, truth).overall.accuracy == 1

    def test_a_side_is_found_among_the_subjects_of_the_video(self, tmp_path: Path) -> None:
        predictions = write_rows(
            tmp_path / "a.csv", make_table([1, 1], "a", "left"), make_table([2, 2], "a", "right")
        )
        truth = [write_text(tmp_path / "a_right.txt", [2, 2])]
        assert score_files([predictions], truth).overall.accuracy == 1

    def test_the_only_subject_stands_in_with_a_warning(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        predictions = write_rows(tmp_path / "a.csv", make_table([1, 1], "a", "main"))
        truth = [write_text(tmp_path / "a_left.txt", [1, 1])]
        assert score_files([predictions], truth).overall.accuracy == 1
        assert "a_left is matched with subject 'main' of a" in caplog.text

    def test_a_table_and_a_text_about_the_same_video(self, tmp_path: Path) -> None:
        table = write_rows(tmp_path / "p.csv", make_table([0, 1], "a"))
        text = write_text(tmp_path / "a.txt", [0, 1])
        truth = write_text(tmp_path / "truth" / "a.txt", [0, 1])
        with pytest.raises(InputError, match="a: predictions in a table and in a text file"):
            score_files([table, text], [truth])

    def test_several_subjects_name_the_option(self, tmp_path: Path) -> None:
        predictions = write_rows(
            tmp_path / "a.csv", make_table([1], "a", "1"), make_table([2], "a", "2")
        )
        with pytest.raises(InputError, match=r"2 subjects \(1, 2\); .* --subject main"):
            score_files([predictions], [write_text(tmp_path / "a.txt", [1])])
        with pytest.raises(InputError, match="--subject left"):
            score_files([predictions], [write_text(tmp_path / "a_left.txt", [1])])


def test_the_description_names_every_class(tmp_path: Path) -> None:
    predictions = write_rows(tmp_path / "a.csv", make_table([0, 1, -1], "a"))
    truth = write_text(tmp_path / "a.txt", [0, 1, 1])
    described = describe_scoring(score_files([predictions], [truth]))
    assert list(described["classes"]) == list(CLASSES)
    assert described["classes"]["Anger"] == pytest.approx(
        {"precision": 1.0, "recall": 0.5, "f1": 2 / 3, "support": 2}
    )
    assert described["confusion"][1] == [0, 1, 0, 0, 0, 0, 0, 0]
    assert described["with_face"] == {"macro_f1": 2 / 8, "accuracy": 1.0, "frames": 2}
    assert described["unlabelled_frames"] == 1
    assert list(described["videos"]) == ["a"]
