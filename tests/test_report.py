"""The report as files: what it says, what it depends on, and what is refused."""

import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from click.testing import CliRunner, Result
from media_files import counting_picture, write_media
from sample_tables import make_table

from abawcli import __version__
from abawcli.cli import main
from abawcli.config import Segmentation
from abawcli.formats.abaw import write_annotation
from abawcli.formats.provenance import describe_work
from abawcli.formats.table_schemas import PROBABILITIES
from abawcli.formats.tables import write_table
from abawcli.labels import CLASSES
from abawcli.views.report.content import encode_timeline
from abawcli.views.report.methods import AUTHORS, CITATION, TITLE
from abawcli.views.report.pages import name_page
from abawcli.views.report.study import read_study
from abawcli.views.timeline import split_timelines

ROOT = Path(__file__).parents[1]
LABELS = [4] * 10 + [0] * 10 + [-1] * 5  # 25 frames, a second


class Reader(HTMLParser):
    """The text of a page, its links and sources, and its data."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.text, self.places, self.data, self.tag = "", list[str](), list[str](), ""
        self.feed(page.read_text(encoding="utf-8"))
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tag = tag if tag in ("script", "style") else self.tag
        self.places += [v for name, v in attributes if name in ("src", "href") and v]

    def handle_endtag(self, tag: str) -> None:
        self.tag = ""

    def handle_data(self, text: str) -> None:
        if self.tag == "script":
            self.data.append(text)
        elif not self.tag:
            self.text += text + " "


def write_video(path: Path, frames: int = len(LABELS)) -> Path:
    return write_media(path, [counting_picture(k) for k in range(1, frames + 1)])


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A table and its video, in the working folder, with the provenance of a prediction."""
    monkeypatch.chdir(tmp_path)
    Path("videos").mkdir()
    video = write_video(Path("videos/P1.mp4"))
    settings = {
        "recipe": "compact", "subject": "main", "rotate": 0, "detector": {"name": "retinaface"},
        "visual": {"backbone": "compact-face"}, "audio": None,
        "smoothing": {"method": "median", "window_s": 1.0, "space": "probabilities"},
    }  # fmt: skip
    work = describe_work("predict", [video], settings) | {"warnings": ["the audio is <missing>"]}
    write_table(make_table(LABELS, "P1"), Path("P1.csv"), work)
    return tmp_path


def report(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(main, ["report", *arguments])
    assert result.exit_code == code, result.output
    return result


def test_a_page_tells_shares_quality_warnings_methods_and_provenance(study: Path) -> None:
    report("P1.csv", "-o", "out/report.html")
    page = Reader(Path("out/report.html"))
    for text in (
        "0:01.0 long, 25 frames, 25.00 frames a second, 128 × 96 pixels",
        "Warning of the run: the audio is <missing>",
        "Happiness 50.0 % 1", "Neutral 50.0 % 1", "Anger 0.0 % 0",
        "Face found 80.0 % of the time", "Mean score of the detector 0.900",
        "Sources of labels face 80.0 % , no label 20.0 %",
        "Gaps without a label 1, together 0.2 s; the longest: 0:00.8 to 0:01.0",
        "0:00.40 0:00.80 0.40 Neutral 0.65 100 %",
        "The facial expression of the person on screen longest and largest was annotated frame by "
        f"frame with abawcli {__version__} (recipe compact, features of compact-face, faces found "
        "by retinaface). Probabilities were smoothed over time (median of probabilities over 1 s).",
        "25 frames (0.0 minutes) of one video; a face was found in 80.0% of that time.",
        CITATION, '"command": "predict"',
    ):  # fmt: skip
        assert text in page.text, text
    assert "../videos/P1.mp4" in page.places
    assert sum(place.startswith("data:image/jpeg") for place in page.places) == 2


@pytest.mark.parametrize(
    ("chosen", "names", "text"),
    [
        (None, ["main"], "of the person on screen longest and largest was"),  # of crops
        (None, ["track 2"], "of a person who was chosen by hand was"),
        ("strategy", ["strategy"], "of a person who was chosen by hand was"),
        (None, ["0", "1"], "of every person was"),
        ("all", ["0", "1"], "50 frames (0.0 minutes) of 2 subjects of one video;"),
    ],
)
def test_the_methods_say_whose_faces_were_labelled(
    study: Path, chosen: str | None, names: list[str], text: str
) -> None:
    table = pd.concat([make_table(LABELS, "P1", name) for name in names])
    write_table(table, Path("P1.csv"), describe_work("predict", [], {"subject": chosen}))
    report("P1.csv", "-o", "report.html")
    assert text in Reader(Path("report.html")).text


def test_the_methods_say_that_tables_were_edited(study: Path) -> None:
    write_table(make_table(LABELS, "P2"), Path("P2.csv"), describe_work("predict", [], {}))
    report("P1.csv", "P2.csv", "-o", "before.html")
    assert "edited after that" not in Reader(Path("before.html")).text
    text = Path("P2.csv").read_text()
    Path("P2.csv").write_text(text.replace("visual,4", "visual,5"))
    report("P1.csv", "P2.csv", "-o", "both.html")
    assert "1 of 2 tables was edited after that." in Reader(Path("both.html")).text
    report("P2.csv", "-o", "one.html")
    assert "The table was edited after that." in Reader(Path("one.html")).text


def test_the_methods_say_that_labels_were_corrected(study: Path) -> None:
    Path("P1.labels").write_text("0\t1\tSadness\n")
    arguments = ["P1.labels", "--format", "audacity", "--table", "P1.csv", "-o", "corrected.csv"]
    assert CliRunner().invoke(main, ["import", *arguments]).exit_code == 0
    report("corrected.csv", "-o", "report.html")
    text = "Labels were corrected in another program (a file of the format audacity)."
    assert text in Reader(Path("report.html")).text
    report("P1.csv", "-o", "before.html")
    assert "corrected" not in Reader(Path("before.html")).text


def test_a_page_asks_for_nothing_but_its_videos(study: Path) -> None:
    report("P1.csv", "-o", "report.html")
    page = Reader(Path("report.html"))
    assert {place.split(":")[0].split("/")[0] for place in page.places} == {"data", "videos"}
    text = Path("report.html").read_text(encoding="utf-8")
    assert not re.search(r"(src|href)=\"?(https?:)?//|@import|url\(", text)


def test_what_was_embedded_needs_no_file(study: Path) -> None:
    report("P1.csv", "--embed", "-o", "report.html")
    assert any(p.startswith("data:video/mp4;base64,") for p in Reader(Path("report.html")).places)


def test_annotations_bring_a_score(study: Path) -> None:
    truth = np.array([4] * 10 + [6] * 10 + [-1] * 5)
    write_annotation(truth, Path("P1.txt"))
    report("P1.csv", "--labels", "P1.txt", "-o", "report.html")
    text = Reader(Path("report.html")).text
    assert "macro-F1 0.125 over all eight classes (0.333 over those that occur)" in text
    assert "accuracy 0.500, 20 annotated frames" in text
    assert "Surprise 0.000 0.000 0.000 10" in text
    assert "annotated Neutral Happiness Happiness 0 10 Surprise 10 0" in text  # the confusion


def test_errors_are_ranked_by_confidence_times_seconds(study: Path) -> None:
    table = make_table([4] * 12 + [0] * 12 + [-1] * 6, "wrong")
    table.loc[:2, PROBABILITIES] = 0.05 / 7
    table.loc[:2, ["p_happiness", "confidence"]] = 0.95
    table.loc[4, "found"], table.loc[:2, "found"] = True, False
    write_table(table, Path("wrong.csv"), {})
    write_annotation(np.array([5] * 6 + [4] * 6 + [-1] * 2 + [6] * 10 + [5] * 6), Path("wrong.txt"))
    failed: dict[str, str] = {}
    (video,) = read_study(["wrong.csv"], ["wrong.txt"], None, failed=failed,
                          config=Segmentation()).videos  # fmt: skip
    (subject,) = video.subjects
    spans = [(each.first, each.last, each.annotation, each.label) for each in subject.errors]
    assert spans == [
        (15, 24, "Surprise", "Neutral"), (1, 6, "Sadness", "Happiness"),
        (25, 30, "Sadness", "no label"),
    ]  # fmt: skip
    worst, second, last = subject.errors
    assert worst.cost == pytest.approx(10 * 0.04 * 0.65)
    assert second.cost == pytest.approx(0.04 * (3 * 0.95 + 3 * 0.65))
    assert second.shown == 4  # the frame of the highest confidence has no face
    assert last.cost == 0 and last.mean_confidence is None
    assert subject.score is not None
    right = int(subject.score.confusion.trace())
    wrong = sum(each.last - each.first + 1 for each in subject.errors)
    assert wrong + right == subject.score.frames  # no wrong frame is left out
    assert failed == {}


def test_a_folder_has_an_index_and_a_page_for_each_video(study: Path) -> None:
    write_table(make_table([0] * 25, "a/P<2>"), Path("P2.csv"), {})
    result = report("P1.csv", "P2.csv", "-o", "out")
    assert "no player for a/P<2>: not found; --videos says" in result.stderr
    name = name_page("a/P<2>")
    assert re.fullmatch(r"a_P_2_-[0-9a-f]{8}\.html", name)
    index = Reader(Path("out/index.html"))
    assert {"videos/P1.html", f"videos/{name}"} <= set(index.places)
    page = Reader(Path("out/videos/P1.html"))
    assert {"../index.html", "../../videos/P1.mp4"} <= set(page.places)
    assert "No player: the video is not found." in Reader(Path("out/videos") / name).text


@pytest.mark.parametrize("video", ["../../up", "/root", ".", "..", "a\\b", "x" * 300, "ü\n\0", ""])
def test_a_page_stays_in_its_folder_whatever_the_video_is_called(video: str) -> None:
    name = name_page(video)
    assert "/" not in name and "\\" not in name and len(name) < 120
    assert name != name_page(video + "!") and not name.startswith(".")


def test_finished_pages_are_kept_and_edited_ones_not_lost(study: Path) -> None:
    report("P1.csv", "-o", "out")
    pages = [Path("out/index.html"), Path("out/videos/P1.html")]
    before = [page.stat().st_mtime_ns for page in pages]
    report("P1.csv", "-o", "out")
    assert [page.stat().st_mtime_ns for page in pages] == before
    write_annotation(np.array(LABELS), Path("P1.txt"))
    pages[1].write_text("mine")
    report("P1.csv", "--labels", "P1.txt", "-o", "out", code=1)
    assert pages[1].read_text() == "mine"


def test_a_page_without_the_annotations_of_the_last_run_is_another_one(study: Path) -> None:
    for folder in ("labels/a", "labels/b"):  # two annotations of one file name
        Path(folder).mkdir(parents=True)
        write_annotation(np.array(LABELS), Path(folder, "P1.txt"))
        write_table(make_table(LABELS, f"{Path(folder).name}/P1"), Path(f"{folder}.csv"), {})
    Path("people.csv").write_text("video,group\na/P1,young\nb/P1,old\n")
    tables = ("labels/a.csv", "labels/b.csv")

    def make(*options: str) -> str:
        report(*tables, "-o", "out", *options)
        return Path("out/index.html").read_text()

    plain = make()
    everything = make("--labels", "labels/**/*.txt", "--participants", "people.csv")
    made = Path("out/index.html").stat().st_mtime_ns
    assert "macro-F1" in everything and "young" in everything
    assert make("--labels", "labels/**/*.txt", "--participants", "people.csv") == everything
    assert Path("out/index.html").stat().st_mtime_ns == made
    assert "young" not in make("--labels", "labels/**/*.txt")
    assert make() == plain


def test_several_subjects_have_a_lane_each(study: Path) -> None:
    both = pd.concat([make_table(LABELS, "P1", "0"), make_table([6] * 25, "P1", "1")])
    write_table(both, Path("both.csv"), {})
    report("both.csv", "-o", "report.html")
    page = Reader(Path("report.html"))
    assert "Subject 0" in page.text and "Subject 1" in page.text and "2 subjects" in page.text
    data = next(json.loads(text) for text in page.data if '"subjects"' in text)
    assert [subject["name"] for subject in data["subjects"]] == ["0", "1"]


def test_tracks_keep_times_breaks_and_unknown_rows() -> None:
    table = make_table([4, 4, -1, 0]).assign(time_s=[10.0, 10.04, 10.08, 12.0])
    table["frame"] = [1, 2, 3, 50]
    (timeline,) = split_timelines(table)
    data = encode_timeline(timeline, table["frame"].to_numpy())
    import base64

    def read(name: str, kind: str) -> list[int]:
        return np.frombuffer(base64.b64decode(data[name]), kind).tolist()

    assert data["zero_s"] == 10.0 and read("start", "<u4") == [0, 400, 800, 20_000]
    assert data["ends"] == {2: pytest.approx(0.12), 3: pytest.approx(2.04)}
    assert read("frame", "<u4") == [1, 2, 3, 50] and read("label", "i1") == [4, 4, -1, 0]
    assert read("p", "u1")[16:24] == [255] * 8 and max(read("p", "u1")[:8]) == round(0.65 * 250)


def test_the_citation_is_the_one_of_the_project() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["title"] == TITLE and cited["version"] == __version__
    assert [author["name"] for author in cited["authors"]] == [AUTHORS]
    assert TITLE in CITATION and __version__ in CITATION


def test_a_video_with_another_number_of_frames_is_named_and_the_page_made(study: Path) -> None:
    write_table(make_table([0] * 25, "P2"), Path("P2.csv"), {})
    write_video(Path("videos/P2.mp4"), 20)
    result = report("P1.csv", "P2.csv", "--videos", "videos", "-o", "out", code=1)
    assert "P2: its table has 25 frames and videos/P2.mp4 has 20" in result.stderr
    again = report("P1.csv", "P2.csv", "--videos", "videos", "-o", "out", code=1)
    assert "P2: its table has 25 frames" in again.stderr  # though its page was finished
    assert "No player" in Reader(Path("out/videos/P2.html")).text
    assert "../../videos/P1.mp4" in Reader(Path("out/videos/P1.html")).places


def test_of_two_files_of_one_name_the_one_that_the_table_was_made_from_is_taken(
    study: Path,
) -> None:
    write_video(Path("videos/P1.mkv"), 30)
    write_table(make_table(LABELS, "P2"), Path("P2.csv"), {})
    for suffix in ("mp4", "mkv"):
        write_video(Path(f"videos/P2.{suffix}"))
    result = report("P1.csv", "P2.csv", "--videos", "videos", "-o", "out")
    assert "videos/P1.mp4" in " ".join(Reader(Path("out/videos/P1.html")).places)
    assert "no player for P2" in result.stderr  # nothing tells which


def test_the_video_of_crops_is_shown(study: Path) -> None:
    (study / "crops" / "P1").mkdir(parents=True)
    companions = [Path("videos/P1.mp4")]
    work = describe_work("predict", [Path("crops/P1")], {}, companions=companions)
    write_table(make_table(LABELS, "P1"), Path("P1.csv"), work)
    report("P1.csv", "-o", "report.html")
    assert "videos/P1.mp4" in Reader(Path("report.html")).places


def test_both_people_in_a_video_are_shown_in_it(study: Path) -> None:
    Path("videos/batch1").mkdir()
    for name, path in (("P1_left", "P1"), ("P3_right", "batch1/P3"), ("P4_left", "P4_left")):
        write_video(Path(f"videos/{path}.mp4"))
        write_table(make_table(LABELS, name), Path(f"{name}.csv"), {})
    write_video(Path("videos/P4.mp4"))
    report("P1_left.csv", "P3_right.csv", "P4_left.csv", "--videos", "videos", "-o", "out")
    for name, path in (("P1_left", "P1"), ("P3_right", "batch1/P3"), ("P4_left", "P4_left")):
        page = Reader(Path(f"out/videos/{name}.html"))
        assert f"../../videos/{path}.mp4" in page.places, name


def test_names_that_are_no_text_lead_to_the_video(study: Path) -> None:
    odd = Path(os.fsdecode(b"videos/caf\xe9 #1.mp4"))
    work = describe_work("predict", [write_video(odd)], {"recipe": "compact"})
    write_table(make_table(LABELS, "caf\ufffd #1"), Path("odd.csv"), work)
    report("odd.csv", "-o", "report.html")
    page = Reader(Path("report.html"))
    assert "videos/caf%E9%20%231.mp4" in page.places and "caf\ufffd #1" in page.text


@pytest.mark.parametrize("labels", [[-1] * 5, [4], [-1]])
def test_tables_with_next_to_nothing_have_a_page(study: Path, labels: list[int]) -> None:
    write_table(make_table(labels, "short"), Path("short.csv"), {})
    report("short.csv", "-o", "out")
    text = Reader(Path("out/videos/short.html")).text
    assert f"{len(labels)} frames," in text
    assert ("No labelled frame has a face" in text) == (-1 in labels)


def test_videos_without_a_segment_have_a_page(study: Path) -> None:
    write_table(make_table([-1] * len(LABELS), "P1"), Path("P1.csv"), {})
    report("P1.csv", "--videos", "videos", "-o", "report.html")
    page = Reader(Path("report.html"))
    assert "no label 100.0 %" in page.text
    assert "videos/P1.mp4" in page.places


def test_bad_tables_are_named_and_the_others_go_on(study: Path) -> None:
    good = Path("P1.csv").read_text()
    head, *rows = good.splitlines()
    Path("empty.csv").write_text(head + "\n")
    cells = [line.split(",")[:13] for line in good.splitlines()]
    Path("bare.csv").write_text("\n".join(map(",".join, cells)) + "\n")
    more = [head + ",mood", *(row.replace("P1", "P3", 1) + ",9" for row in rows)]
    Path("more.csv").write_text("\n".join(more) + "\n")
    write_table(make_table(LABELS, "P4").assign(time_s=np.nan), Path("untimed.csv"), {})
    hole = make_table(LABELS, "P5").assign(time_s=lambda table: table["time_s"].replace(0, np.nan))
    write_table(hole, Path("hole.csv"), {})
    names = ["empty.csv", "bare.csv", "more.csv", "untimed.csv", "hole.csv"]
    result = report("P1.csv", *names, "-o", "report.html", code=1)
    assert "empty.csv holds no rows" in result.stderr
    assert "bare.csv has no column p_neutral" in result.stderr
    assert "P4: its frames have no times" in result.stderr
    assert "P5, subject main, frame 1: its time_s is empty; predict again" in result.stderr
    assert "2 videos" in result.stderr  # columns that are not known are no fault
    assert "Expressions in 2 videos" in Reader(Path("report.html")).text


def test_participants_that_are_twice_or_missing_are_named(study: Path) -> None:
    for name in ("P2", "P3"):
        write_table(make_table(LABELS, name), Path(f"{name}.csv"), {})
    Path("people.csv").write_text("video,condition,age\nP1,a,20\nP2,a,30\nP2,b,31\n")
    names = ["P1.csv", "P2.csv", "P3.csv"]
    result = report(*names, "--participants", "people.csv", "-o", "report.html", code=1)
    assert "P2 is 2 times in people.csv" in result.stderr
    assert "P3 is not in people.csv" in result.stderr
    page = Reader(Path("report.html"))
    data = next(json.loads(text) for text in page.data if '"person"' in text)
    assert [row["person"] for row in data] == [{"age": "20", "condition": "a"}, {}, {}]
    assert len(data[0]["shares"]) == len(CLASSES)


def test_columns_of_few_values_or_chosen_ones_can_be_compared(study: Path) -> None:
    names = [f"P{k:02d}" for k in range(14)]
    write_table(pd.concat([make_table([0, 4], name) for name in names]), Path("all.csv"), {})
    people = {"video": names, "age": range(20, 34), "sex": ["f", "m"] * 7, "site": ["x"] * 14}
    pd.DataFrame(people).to_csv("people.csv", index=False)
    for by, offered in ([], ["sex"]), (["--by", "age,site"], ["age", "site"]):
        report("all.csv", "--participants", "people.csv", *by, "-o", "report.html", "--overwrite")
        text = Path("report.html").read_text(encoding="utf-8")
        assert re.findall(r'class="filter" data-column="(\w+)"', text) == offered


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["-o", "report.pdf"], 2, "report.pdf must end in .htm or .html, or be a folder"),
        (["-o", "r.html", "--by", "age"], 2, "--by age needs --participants"),
        (["-o", "r.html", "--participants", "p.csv", "--by", "a,"], 2, "must be COLUMN"),
        (["-o", "r.html", "--participants", "p.csv", "--by", "age"], 1, "p.csv has no column age"),
        (["-o", "r.html", "--participants", "q.csv"], 1, "no such file: q.csv"),
        (["-o", "r.html", "--videos", "empty"], 1, "empty has no"),
        (["-o", "r.html", "--videos", "nowhere"], 1, "no such folder: nowhere"),
        (["-o", "r.html", "--labels", "none.txt"], 1, "none.txt"),
    ],
)
def test_bad_input(study: Path, options: list[str], code: int, message: str) -> None:
    Path("p.csv").write_text("video,sex\nP1,f\n")
    Path("empty").mkdir()
    result = report("P1.csv", *options, code=code)
    assert message in " ".join(result.stderr.split())


def test_a_place_that_cannot_be_written_is_an_error(study: Path) -> None:
    Path("file").write_text("")
    result = report("P1.csv", "-o", "file/report.html", code=1)
    assert "cannot write file/report.html" in result.stderr
    result = report("none.csv", "-o", "file", code=1)  # before the tables are read
    assert "cannot write file/index.html: file is not a folder" in result.stderr
