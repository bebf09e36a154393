import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from sample_clips import abaw
from sample_tables import make_table

from abawcli import __version__
from abawcli.errors import InputError, OutputError
from abawcli.formats.folders import replace_folder
from abawcli.formats.hashing import ENDS, hash_ends, hash_file
from abawcli.formats.provenance import (
    Provenance,
    describe_input,
    describe_work,
    find_finished,
    find_input,
    plan_output,
    provenance_path,
    read_provenance,
    write_provenance,
    write_result,
)
from abawcli.formats.tables import write_table


@pytest.fixture(autouse=True)
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study folder with a clip, as the working folder."""
    (tmp_path / "study" / "clips").mkdir(parents=True)
    (tmp_path / "study" / "clips" / "a.mp4").write_text("first")
    monkeypatch.chdir(tmp_path / "study")
    return tmp_path / "study"


def work(source: str = "clips/a.mp4", **settings: int) -> Provenance:
    return describe_work("predict", [Path(source)], settings)


def predict(source: str = "clips/a.mp4", overwrite: bool = False, **settings: int) -> bool:
    """Do what commands do with a.csv; tell whether there was something to do."""
    todo = work(source, **settings)
    if find_finished(Path("a.csv"), todo, overwrite):
        return False
    with write_result(Path("a.csv"), todo) as temporary:
        temporary.write_text(f"made of {Path(source).read_text()} {settings}")
    return True


def test_provenance_is_plain_json_beside_the_output() -> None:
    assert predict(stride=5)
    clip = {"name": "clips/a.mp4", "size": 5, "sha256": hash_ends(Path("clips/a.mp4"))}
    assert json.loads(Path("a.csv.provenance.json").read_text()) == {
        "abawcli": __version__,
        "command": "predict",
        "inputs": [clip],
        "companions": [],
        "settings": {"stride": 5},
        "made_from": [],
        "warnings": [],
        "summary": {},
        "output": hash_file(Path("a.csv")),
    }


@pytest.mark.parametrize("content", [
    "", "[1]", "{", "\x00", "[" * 100_000,
    '{"inputs": "a.mp4"}', '{"companions": null}', '{"made_from": [1]}',
    '{"settings": []}', '{"warnings": "none"}',
])  # fmt: skip
def test_damaged_provenance_is_none(content: str) -> None:
    Path("a.csv.provenance.json").write_text(content)
    assert read_provenance(Path("a.csv")) == {}


@pytest.mark.parametrize("change", [
    {"inputs": 5}, {"inputs": ["/home/me/a.mp4"]}, {"inputs": [{}]}, {"command": None},
    {"output": None},
])  # fmt: skip
def test_provenance_that_says_something_else_is_not_trusted(change: dict[str, object]) -> None:
    predict()
    write_provenance(Path("a.csv"), read_provenance(Path("a.csv")) | change)
    with pytest.raises(OutputError, match="a.csv .*use --overwrite"):
        predict(stride=1)


def test_finished_work_is_skipped_unless_something_changed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert predict(stride=5) and not predict(stride=5)
    assert predict(stride=5, overwrite=True)
    assert caplog.messages == []
    assert predict(stride=1)
    assert caplog.messages == ["a.csv was made with other settings and is made anew"]
    assert "{'stride': 1}" in Path("a.csv").read_text()
    assert "replaces" not in read_provenance(Path("a.csv"))


def test_another_content_of_the_input_is_made_anew_another_time_of_it_is_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    predict()
    os.utime("clips/a.mp4", (1, 1))
    assert not predict()
    Path("clips/a.mp4").write_text("Fürst")
    assert predict() and not predict()
    assert caplog.messages == [
        "a.csv was made from inputs that have changed since and is made anew"
    ]


def test_an_input_is_read_at_both_ends(tmp_path: Path) -> None:
    path, seen = tmp_path / "long", set()
    for text in (b"a" * 3 * ENDS, b"b" + b"a" * (3 * ENDS - 1), b"a" * (3 * ENDS - 1) + b"b",
                 b"a" * (3 * ENDS - 1), b"", b"a" * ENDS, b"a" * (ENDS + 1)):  # fmt: skip
        path.write_bytes(text)
        seen.add(hash_ends(path))
    assert len(seen) == 7


def test_edits_are_refused_without_overwrite() -> None:
    predict()
    Path("a.csv").write_text("edited")
    changes: list[dict[str, Any]] = [{}, {"stride": 1}]
    for settings in changes:
        with pytest.raises(OutputError, match="a.csv was changed after it was made; move it, or"):
            predict(**settings)
    assert Path("a.csv").read_text() == "edited"
    assert predict(overwrite=True)


def test_what_something_else_made_is_refused_without_overwrite() -> None:
    Path("a.csv").write_text("mine")
    with pytest.raises(OutputError, match="was not made from this input; use --overwrite"):
        predict()
    assert predict(overwrite=True)
    Path("clips/b.mp4").write_text("other")
    with pytest.raises(OutputError, match="was not made from this input; use --overwrite"):
        predict("clips/b.mp4")
    with pytest.raises(OutputError, match="was not made from this input; use --overwrite"):
        find_finished(Path("a.csv"), describe_work("smooth", [Path("clips/a.mp4")], {}), False)


def test_a_study_that_was_moved_or_is_seen_from_elsewhere_is_finished(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict()
    assert str(study.parent) not in Path("a.csv.provenance.json").read_text()
    assert not predict(str(study / "clips/a.mp4"))
    shutil.copytree(study, study.parent / "new" / "place")
    monkeypatch.chdir(study.parent / "new")
    there = describe_work("predict", [Path("place/clips/a.mp4")], {})
    assert find_finished(Path("place/a.csv"), there, False)


def test_two_clips_of_one_name_in_two_folders_are_two() -> None:
    predict()
    Path("other").mkdir()
    Path("other/a.mp4").write_text("second")
    with pytest.raises(OutputError, match="was not made from this input"):
        predict("other/a.mp4")


def test_work_stays_finished_when_its_input_is_gone() -> None:
    predict()
    Path("clips/a.mp4").unlink()
    assert find_finished(Path("a.csv"), work(), False)


def test_companions_count_while_they_are_there() -> None:
    def extract(*companions: str) -> Provenance | None:
        paths = [Path(name) for name in companions]
        todo = describe_work("extract", [Path("clips/a.mp4")], {}, companions=paths)
        if done := find_finished(Path("a.safetensors"), todo, False):
            return done
        with write_result(Path("a.safetensors"), todo) as temporary:
            temporary.touch()
        return None

    Path("a.wav").write_text("audio")
    assert not extract() and extract()
    assert not extract("a.wav") and extract("a.wav")
    assert extract()  # gone
    Path("a.wav").write_text("another")
    assert not extract("a.wav") and extract("a.wav")


def test_companions_of_one_file_name_differ_by_their_order() -> None:
    def describe(*folders: str) -> Provenance:
        paths = [Path(folder, "a.txt") for folder in folders]
        return describe_work("report", [Path("clips/a.mp4")], {}, companions=paths)

    for folder in ("x", "y"):
        Path(folder).mkdir()
        Path(folder, "a.txt").write_text(folder)
    with write_result(Path("a.html"), describe("x", "y")) as temporary:
        temporary.touch()
    for folders in (("x", "y"), ("x",), ("y",)):
        assert find_finished(Path("a.html"), describe(*folders), False)
    assert not find_finished(Path("a.html"), describe("y", "x"), False)
    Path("x/a.txt").write_text("z")
    assert not find_finished(Path("a.html"), describe("x", "y"), False)


def test_folders_are_told_by_names_and_sizes() -> None:
    before = describe_input(Path("clips"))
    assert before == describe_input(Path("clips")) and before["size"] == 5
    Path("clips/b.mp4").touch()
    after = describe_input(Path("clips"))
    assert after["sha256"] != before["sha256"]
    Path("clips/b.mp4").unlink()
    assert describe_input(Path("clips")) == before


def test_a_repeated_run_into_a_folder_does_not_change_it() -> None:
    before = describe_input(Path("clips"))
    Path("clips/manifest.jsonl").write_text("{}\n")
    Path("clips/a.mp4.provenance.json").write_text("{}\n")
    assert describe_input(Path("clips")) == before


def test_an_input_is_found_again_where_the_study_is_now(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    described = describe_input(Path("clips/a.mp4"))
    moved = study.rename(study.parent / "moved")
    monkeypatch.chdir("/")
    assert find_input(described, moved / "crops" / "a") == moved / "clips" / "a.mp4"
    (moved / "clips" / "a.mp4").write_text("Fürst")
    assert find_input(described, moved / "crops" / "a") is None


def test_provenance_of_earlier_versions_is_no_proof_that_nothing_was_edited() -> None:
    Path("a.csv").write_text("perhaps edited")
    old = {"abawcli": __version__, "command": "predict", "files": {}, "settings": {},
           "inputs": [os.path.abspath("clips/a.mp4")]}  # fmt: skip
    provenance_path(Path("a.csv")).write_text(json.dumps(old))
    assert read_provenance("a.csv")["inputs"] == []
    with pytest.raises(OutputError, match="made by an earlier version"):
        predict()
    assert Path("a.csv").read_text() == "perhaps edited" and predict(overwrite=True)


def test_two_runs_that_write_one_file_do_not_hurt_each_other() -> None:
    todo, other = work(stride=1), work(stride=2)
    with write_result(Path("a.csv"), todo) as first:
        first.write_text("first")
        with write_result(Path("a.csv"), other) as second:
            second.write_text("second")
        assert Path("a.csv").read_text() == "second"
    assert Path("a.csv").read_text() == "first"
    assert find_finished(Path("a.csv"), todo, False)
    assert {path.name for path in Path().iterdir()} == {"clips", "a.csv", "a.csv.provenance.json"}


@pytest.mark.parametrize("what", ["removed", "changed"])
def test_an_input_that_changes_while_it_is_read_fails(what: str) -> None:
    todo, clip = work(), Path("clips/a.mp4")
    if what == "removed":
        clip.unlink()
    else:
        clip.write_text("first, and more of it")
    message = f"^clips/a.mp4 (was )?{what} while it was read"
    with pytest.raises(InputError, match=message), write_result("a.csv", todo) as temporary:
        temporary.write_text("half of it")
    assert [path.name for path in Path().iterdir()] == ["clips"]
    with pytest.raises(InputError, match=message), replace_folder("a", todo) as folder:
        (folder / "1.jpg").touch()
    assert [path.name for path in Path().iterdir()] == ["clips"]


def test_plans_say_what_a_run_would_do_and_why() -> None:
    def plan(overwrite: bool = False, stride: int = 5) -> tuple[str, str]:
        found = plan_output("a.csv", work(stride=stride), overwrite)
        return found.action, found.reason

    assert plan() == ("make", "it does not exist")
    predict(stride=5)
    assert plan() == ("keep", "it is made with these settings")
    assert plan(stride=3) == ("make", "it was made with other settings, or of another input")
    Path("a.csv").write_text("edited")
    assert plan()[0] == "fail" and "was changed after it was made" in plan()[1]
    assert plan(overwrite=True) == ("make", "--overwrite")


def test_a_file_on_another_drive_has_its_whole_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: object, start: object = None) -> str:
        raise ValueError("path is on mount 'D:', start on mount 'C:'")  # as in Windows

    table, out = tmp_path / "a.csv", tmp_path / "out"
    write_table(make_table([0, 4], "a"), table, {})
    monkeypatch.setattr(os.path, "relpath", refuse)
    abaw("smooth", table, "-o", tmp_path / "b.csv")
    abaw("export", tmp_path / "b.csv", "--format", "elan", "-o", out / "a.eaf")
    abaw("report", table, "-o", out / "report")
    assert read_provenance(tmp_path / "b.csv")["inputs"][0]["name"] == str(table)
    assert (out / "report" / "index.html").exists()
