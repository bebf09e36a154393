"""strategy.csv: what a person may write, what is refused, and what a proposal leaves alone."""

import threading
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from abawcli.errors import InputError, OutputError
from abawcli.formats.locks import LOCK_NAME
from abawcli.formats.strategy import (
    SubjectSegment,
    choose_by_name,
    plan_folders,
    propose,
    read_names,
    read_strategy,
    suggest_names,
)


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "s.csv"


def test_whole_videos_and_stretches(file: Path) -> None:
    write(
        file,
        "video,strategy,from,to,note\n"
        "a,left,,,somebody\n"
        "b,track 2,101,,\n"
        "c,skip\n"
        "b,main,,50,\n"
        "b,largest,51,100,\n",
    )
    assert read_strategy(file) == {
        "a": (SubjectSegment("left"),),
        "b": (
            SubjectSegment("main", 1, 50),
            SubjectSegment("largest", 51, 100),
            SubjectSegment("track 2", 101),
        ),
        "c": (SubjectSegment("skip"),),
    }
    assert [s.source for s in read_strategy(file)["b"]] == [f"{file}, line {k}" for k in (5, 6, 3)]


def test_what_spreadsheets_and_hands_write_is_read(file: Path) -> None:
    write(
        file,
        "\ufeffnote,Extra,strategy,video\r\n"
        '"two, in a\r\nrow",1,  Track   07 ,a \r\n'
        ",,,\r\n\r\n,,LEFT,b",
    )
    found = read_strategy(file)
    assert found == {"a": (SubjectSegment("track 7"),), "b": (SubjectSegment("left"),)}
    assert found["b"][0].source.endswith("line 6")


def test_an_empty_strategy_goes_by_the_name(file: Path) -> None:
    write(file, "strategy,video\n,x_left\n,x_right\n,x\nmain,y_left\n")
    assert {name: s.strategy for name, (s,) in read_strategy(file).items()} == {
        "x_left": "left", "x_right": "right", "x": "main", "y_left": "main",
    }  # fmt: skip
    assert choose_by_name("left") == "main"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: no column video, strategy; the first line must be video,strategy,from,to"),
        ("video,form\na,1\n", "line 1: no column strategy; "),
        ("video;strategy\na;main\n", "s.csv is separated by semicolons; separate it by commas"),
        ('"video,strategy"\n"a,main"\n', "line 1 is in quotes as a whole"),
        ("name,strategy\na,main\n", "line 1: no column video; the first line .* with commas"),
        ("video,strategy\na,middle\n", "line 2: unknown strategy 'middle'; choose one of main, "),
        ("video,strategy\na,track\n", "line 2: unknown strategy 'track'; .*, track N, skip"),
        ("video,strategy\na,track N\n", "line 2: unknown strategy 'track n'"),
        ("video,strategy\na,main\n,left\n", "line 3: no video is named"),
        ("strategy,video\nmain,a\nleft\n", "line 3: no video is named"),
        ("video,strategy,from\na,main,0\n", "line 2: from must be a frame, .* 1, not '0'"),
        ("video,strategy,from\na,main,-3\n", "line 2: from must be a frame, .*, not '-3'"),
        ("video,strategy,to\na,main,1.5\n", "line 2: to must be a frame, .*, not '1.5'"),
        ("video,strategy,to\na,main,end\n", "line 2: to must be a frame, .*, not 'end'"),
        (f"video,strategy,to\na,main,{'9' * 5000}\n", "line 2: to must be a frame"),
        ("video,strategy,from,to\na,main,9,3\n", "line 2: from frame 9 to 3; swap the two"),
        ("video,strategy,to\na,all,9\n", "line 2: 'all' is for a whole video; leave out from"),
        ("video,strategy\na,main\nb,main\na,left\n",
         "line 4: a has a row for frame 1 already .*line 2.*; change from or to"),
        ("video,strategy,from,to\na,main,5,9\na,left,9,\n", "line 3: a has a row for frame 9"),
        ("video,strategy,from,to\na,main,5,\na,left,1,5\n", "line 2: a has a row for frame 5"),
        ("video,strategy\na,main,blurred, dark\n", "line 2: 4 cells in 2 columns; put text with"),
        ('video,strategy\n"a,main\n', "cannot read the strategies .*: unexpected end of data"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_line(text: str, message: str, file: Path) -> None:
    write(file, text)
    with pytest.raises(InputError, match=message) as caught:
        read_strategy(file)
    assert str(file) in str(caught.value) and "\n" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path, file: Path) -> None:
    with pytest.raises(InputError, match=r"no such file: .*s.csv"):
        read_strategy(file)
    with pytest.raises(InputError, match="cannot read .*it is a folder"):
        read_strategy(tmp_path)
    file.write_bytes("video,strategy\nm\u00fcller,main\n".encode("latin-1"))
    with pytest.raises(InputError, match="strategies .*: line 2 is not in UTF-8; save it as UTF-8"):
        read_strategy(file)


def test_folders_of_each_video() -> None:
    rows = {
        "two_left": (SubjectSegment("left"),),
        "two_right": (SubjectSegment("track 1"),),
        "both": (SubjectSegment("main"),),
        "both_left": (SubjectSegment("left"),),
        "own_left": (SubjectSegment("top"),),
        "typo": (SubjectSegment("skip"),),
    }
    videos = ["two", "both", "own_left", "own", "free", "free_right", "b/two"]
    plan = plan_folders(videos, rows)
    assert list(plan) == videos
    assert plan["two"] == {"two_left": rows["two_left"], "two_right": rows["two_right"]}
    assert plan["both"] == {"both": rows["both"], "both_left": rows["both_left"]}
    assert plan["own_left"] == {"own_left": rows["own_left"]}
    assert plan["own"] == {"own": (SubjectSegment("main"),)}
    assert plan["free_right"] == {"free_right": (SubjectSegment("right"),)}
    assert plan["b/two"] == {"b/two": (SubjectSegment("main"),)}
    assert plan_folders(["free_right"], {}, "largest") == {
        "free_right": {"free_right": (SubjectSegment("largest"),)}
    }


def test_videos_in_folders_are_matched_by_their_names_alone(file: Path) -> None:
    write(file, "102\r\n45_left\r\n45_right\r\ntwice\r\nbatch2/twice\r\n")
    videos = ["batch1/102", "batch2/deep/45", "batch1/twice", "batch2/twice"]
    assert {name: s.strategy for name, (s,) in read_names(file, videos).items()} == {
        "batch1/102": "main",
        "batch2/deep/45_left": "left",
        "batch2/deep/45_right": "right",
        "twice": "main",  # there are two
        "batch2/twice": "main",
    }
    assert suggest_names("twice", videos) == "; is it batch1/twice or batch2/twice?"
    assert suggest_names("Twic", videos[:3]) == "; is it batch1/twice?"
    assert suggest_names("Video86_2", ["batch1/video86_2"]) == "; is it batch1/video86_2?"
    assert suggest_names("zzz", videos) == ""
    assert suggest_names("twice_left", videos) == "; is it batch1/twice or batch2/twice?"


def test_a_row_that_names_the_folder_goes_first(file: Path) -> None:
    write(file, "video,strategy\nx,left\nbatch1/x,right\ny,top\n")
    found = {name: s.strategy for name, (s,) in read_strategy(file, ["batch1/x", "b/y"]).items()}
    assert found == {"x": "left", "batch1/x": "right", "b/y": "top"}


def test_a_row_without_its_folder_is_not_proposed_again(file: Path) -> None:
    write(file, "video,strategy\nx,left\n")
    propose(
        file, {"batch1/x": ((SubjectSegment("left"),), ""), "b/y": ((SubjectSegment("main"),), "")}
    )
    assert file.read_text().splitlines()[1:] == ["x,left,,,", "b/y,main,,,"]


def test_a_proposal_can_be_read_back(file: Path) -> None:
    used = {
        "a, b": ((SubjectSegment("main"),), "track 0: 3 of 4 frames"),
        "c": ((SubjectSegment("left", 1, 5), SubjectSegment("track 3", 9)), 'say "no"'),
    }
    propose(file, used)
    assert read_strategy(file) == {name: segments for name, (segments, _) in used.items()}
    assert file.read_text().splitlines()[:2] == [
        "video,strategy,from,to,note", '"a, b",main,,,track 0: 3 of 4 frames',
    ]  # fmt: skip


def test_rows_that_are_there_stay_as_they_are(file: Path) -> None:
    write(file, "seen,strategy,video\nyes,left,a\n,track 1,gone\n")
    propose(
        file,
        {"a": ((SubjectSegment("main"),), "new"), "b": ((SubjectSegment("top", 2),), "note b")},
    )
    assert file.read_text().splitlines() == [
        "seen,strategy,video,from,to,note", "yes,left,a,,,", ",track 1,gone,,,", ",top,b,2,,note b",
    ]  # fmt: skip
    before = file.stat().st_mtime_ns
    propose(file, {"a": ((SubjectSegment("main"),), "new")})
    propose(file, {})
    assert file.stat().st_mtime_ns == before


def test_a_proposal_does_not_replace_what_it_cannot_read(file: Path) -> None:
    write(file, "dear diary\n")
    with pytest.raises(InputError, match="line 1: no column video, strategy"):
        propose(file, {"a": ((SubjectSegment("main"),), "")})
    assert file.read_text() == "dear diary\n"


def test_an_unwritable_place(tmp_path: Path) -> None:
    write(tmp_path / "file", "")
    with pytest.raises(OutputError, match="cannot write .*/file/s.csv: .*file is not a folder"):
        propose(tmp_path / "file" / "s.csv", {"a": ((SubjectSegment("main"),), "")})


names = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zs", "Zl", "Zp"]), min_size=1)
choices = st.sampled_from(["main", "left", "skip", "track 12"])


@settings(max_examples=12)
@given(st.dictionaries(names, st.lists(st.tuples(choices, st.integers(1, 99)), min_size=1)))
def test_any_rows_survive_a_round(
    tmp_path_factory: pytest.TempPathFactory, drawn: dict[str, list[tuple[str, int]]]
) -> None:
    used = {}
    for name, parts in drawn.items():
        segments, first = [], 1
        for strategy, length in parts:
            segments.append(SubjectSegment(strategy, first, first + length - 1))
            first += length
        used[name] = tuple(segments), name
    file = tmp_path_factory.mktemp("s") / "s.csv"
    propose(file, used)
    if used:
        assert read_strategy(file) == {name: segments for name, (segments, _) in used.items()}
    assert file.exists() == bool(used)


odd_names = st.text(st.sampled_from("ab ,\"\n\r\t;é\u0301'"), min_size=1, max_size=6)


@given(st.lists(odd_names, min_size=1, unique_by=lambda name: unicodedata.normalize("NFC", name)))
def test_names_with_blanks_quotes_commas_and_line_breaks_survive(
    tmp_path_factory: pytest.TempPathFactory, videos: list[str]
) -> None:
    used = {video: ((SubjectSegment("top"),), f"of {video}") for video in videos}
    file = tmp_path_factory.mktemp("s") / "s.csv"
    propose(file, dict(list(used.items())[:1]))
    propose(file, used)
    assert list(read_strategy(file, videos)) == videos
    before = file.read_bytes()
    propose(file, used)  # all are there
    assert file.read_bytes() == before
    assert plan_folders(videos, read_strategy(file, videos)) == {
        video: {video: (SubjectSegment("top"),)} for video in videos
    }


def test_blanks_that_were_typed_and_other_spellings_mean_the_same(file: Path) -> None:
    write(file, "video,strategy\n caf\u00e9 ,top\n x_left,left\n \t ,\n")
    videos = ["cafe\u0301", "x", "bad\udcff"]
    assert read_strategy(file, videos) == {
        "cafe\u0301": (SubjectSegment("top"),), "x_left": (SubjectSegment("left"),),
    }  # fmt: skip
    write(file, "video,strategy\nbad\ufffd,top\n")
    assert list(read_strategy(file, videos)) == ["bad\udcff"]


def test_runs_that_end_together_lose_no_row(tmp_path: Path) -> None:
    """As shards of one study that crop into one folder do."""
    file = tmp_path / "strategy.csv"
    names = [[f"{run}-{k}" for k in range(10)] for run in range(4)]

    def add(run: int) -> None:
        for name in names[run]:
            propose(file, {name: ((SubjectSegment("main"),), "")})

    threads = [threading.Thread(target=add, args=(run,)) for run in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(read_strategy(file)) == set(sum(names, []))
    assert [path.name for path in tmp_path.iterdir()] == ["strategy.csv"]


def test_a_lock_file_is_removed_unless_somebody_wrote_into_it(tmp_path: Path) -> None:
    lock = tmp_path / LOCK_NAME
    for text, left in (("", []), ("mine", [lock])):  # the empty one is of a run that was killed
        lock.write_text(text)
        propose(tmp_path / "strategy.csv", {f"a{text}": ((SubjectSegment("main"),), "")})
        assert [path for path in tmp_path.iterdir() if path == lock] == left
    assert lock.read_text() == "mine"
    assert set(read_strategy(tmp_path / "strategy.csv")) == {"a", "amine"}
