import errno
import json
import os
from pathlib import Path

import pytest

from abawcli import __version__
from abawcli.errors import InputError, OutputError
from abawcli.formats.atomic import write_whole
from abawcli.formats.inputs import VIDEO_SUFFIXES, expand_inputs
from abawcli.formats.provenance import (
    describe_work,
    is_finished,
    provenance_path,
    read_provenance,
    replace_folder,
    write_provenance,
)

VIDEOS = frozenset([".mp4", ".avi"])


@pytest.fixture
def clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of clips and other things, as the working directory."""
    for name in ("b.mp4", "a.MP4", "sub/c.avi", "notes.txt", ".hidden.mp4", "._a.mp4", ".x/d.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def expand(*inputs: str) -> list[str]:
    return [str(path) for path in expand_inputs(inputs, VIDEOS)]


def test_a_folder_means_its_visible_files_of_all_levels(clips: Path) -> None:
    assert expand(".") == ["a.MP4", "b.mp4", "sub/c.avi"]


def test_a_folder_that_is_hidden_itself_is_taken_when_named(clips: Path) -> None:
    assert expand(".x") == [".x/d.mp4"]


def test_files_keep_the_order_given_and_come_once(clips: Path) -> None:
    assert expand("b.mp4", "a.MP4", "sub", "b.mp4") == ["b.mp4", "a.MP4", "sub/c.avi"]
    assert expand("b.mp4", str(clips / "b.mp4"), "sub/../b.mp4") == ["b.mp4"]


def test_a_named_file_is_taken_whatever_it_is(clips: Path) -> None:
    assert expand("notes.txt", "gone.mp4") == ["notes.txt", "gone.mp4"]


def test_globs(clips: Path) -> None:
    (clips / "folder.mp4" / "e.mp4").touch()
    assert expand("*.mp4") == ["b.mp4", "folder.mp4/e.mp4"]
    assert expand("**/*.avi") == ["sub/c.avi"]


def test_a_file_whose_name_looks_like_a_glob(clips: Path) -> None:
    (clips / "clip[1].mp4").touch()
    assert expand("clip[1].mp4") == ["clip[1].mp4"]


def test_lists(clips: Path) -> None:
    (clips / "list.txt").write_text("\ufeffb.mp4\r\n\r\n  sub \r\n")
    assert expand("@list.txt") == ["b.mp4", "sub/c.avi"]
    assert expand("a.MP4", "@list.txt") == ["a.MP4", "b.mp4", "sub/c.avi"]


def test_a_list_that_names_itself(clips: Path) -> None:
    (clips / "list.txt").write_text("@list.txt")
    (clips / "one.txt").write_text("@two.txt")
    (clips / "two.txt").write_text("@sub/../one.txt")
    for name, again in (("list.txt", "list.txt"), ("one.txt", "sub/../one.txt")):
        with pytest.raises(InputError, match=f"the list {again} names itself"):
            expand(f"@{name}")
    (clips / "list.txt").write_text("b.mp4\n@list.txt\n@one.txt")
    assert expand("@list.txt") == ["b.mp4", "@list.txt", "@one.txt"]  # the others are still done


def test_a_list_that_another_names_twice(clips: Path) -> None:
    (clips / "inner.txt").write_text("b.mp4")
    (clips / "list.txt").write_text("@inner.txt\nsub\n@inner.txt")
    assert expand("@list.txt") == ["b.mp4", "sub/c.avi"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le"])
def test_a_list_in_another_encoding(clips: Path, encoding: str) -> None:
    (clips / "list.txt").write_text("b.mp4\n", encoding=encoding)
    with pytest.raises(InputError, match="list.txt"):
        expand("@list.txt")


def test_names_that_cannot_be_looked_at_are_left_to_readers_and_writers(
    clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stat = os.stat

    def refuse(path: str | Path, **options: bool) -> os.stat_result:
        if "locked" in str(path):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return stat(path, **options)

    monkeypatch.setattr(os, "stat", refuse)
    for name in ("x" * 300 + ".mp4", "locked/a.mp4"):
        assert expand(name) == [name]
        assert not is_finished(Path(name), describe_work("predict", [Path(name)], {}), False)
    (clips / "sub" / "locked.mp4").touch()
    assert expand("sub") == ["sub/c.avi"]


def test_a_file_whose_name_begins_like_a_list(clips: Path) -> None:
    (clips / "@home.mp4").touch()
    assert expand("@home.mp4") == ["@home.mp4"]


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("empty", r"empty holds no \.avi \.mp4 file"),
        ("*.mkv", r"nothing matches \*\.mkv"),
        ("@gone.txt", "cannot read the list gone.txt"),
        ("@blank.txt", "the list blank.txt is empty"),
    ],
)
def test_an_argument_that_means_nothing(clips: Path, argument: str, message: str) -> None:
    (clips / "blank.txt").write_text("\n")
    with pytest.raises(InputError, match=message):
        expand(argument)
    assert expand(argument, "b.mp4") == [argument, "b.mp4"]  # the others are still done


def test_video_suffixes_are_lower_case() -> None:
    assert all(suffix == suffix.lower() and suffix[0] == "." for suffix in VIDEO_SUFFIXES)


def test_a_whole_file_appears_with_its_folders(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "out.csv"
    with write_whole(path) as temporary:
        assert temporary.suffix == ".csv"
        temporary.write_text("done")
        assert not path.exists()
    assert path.read_text() == "done"
    assert list(path.parent.iterdir()) == [path]


def test_an_error_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    path.write_text("old")
    with pytest.raises(InputError), write_whole(path) as temporary:
        temporary.write_text("half")
        raise InputError("broken")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "out.csv", tmp_path / "file" / "sub" / "out.csv"):
        with pytest.raises(OutputError, match="is not a folder"), write_whole(path) as temporary:
            temporary.touch()
    (tmp_path / "folder").mkdir()
    with (
        pytest.raises(OutputError, match="Is a directory"),
        write_whole(tmp_path / "folder") as temporary,
    ):
        temporary.touch()
    long = tmp_path / ("x" * 300)
    with pytest.raises(OutputError, match="File name too long"), write_whole(long) as temporary:
        temporary.touch()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]


@pytest.mark.parametrize("path", [".", "/"])
def test_a_place_without_a_name_is_an_output_error(path: str) -> None:
    for write in (write_whole, replace_folder):
        with pytest.raises(OutputError, match="it is a folder"), write(Path(path)):
            raise AssertionError("nothing is to be written")


def test_a_full_disk_is_an_output_error(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match="out.csv: No space left on device"),
        write_whole(tmp_path / "out.csv") as temporary,
    ):
        temporary.write_text("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert list(tmp_path.iterdir()) == []


def test_provenance_is_plain_json_beside_the_output(tmp_path: Path) -> None:
    output = tmp_path / "out.csv"
    work = describe_work("smooth", [Path("a.csv")], {"window": (3, 5)})
    assert work == {
        "abawcli": __version__,
        "command": "smooth",
        "inputs": [os.path.abspath("a.csv")],
        "files": {},
        "settings": {"window": [3, 5]},
    }
    write_provenance(output, work)
    assert provenance_path(output).name == "out.csv.provenance.json"
    assert json.loads(provenance_path(output).read_text()) == work == read_provenance(output)


@pytest.mark.parametrize("content", ["", "[1]", "{", "\x00"])
def test_damaged_provenance_is_none(tmp_path: Path, content: str) -> None:
    provenance_path(tmp_path / "out.csv").write_text(content)
    assert read_provenance(tmp_path / "out.csv") == {}


def finish(output: Path, source: Path, **settings: int) -> dict[str, object]:
    work = describe_work("predict", [source], settings)
    output.write_text("result")
    write_provenance(output, work)
    return work


def test_finished_work_is_skipped_unless_something_changed(tmp_path: Path) -> None:
    source, output = tmp_path / "a.mp4", tmp_path / "a.csv"
    source.touch()
    assert not is_finished(output, describe_work("predict", [source], {}), overwrite=False)
    work = finish(output, source, stride=5)
    assert is_finished(output, work, overwrite=False)
    assert not is_finished(output, work, overwrite=True)
    assert not is_finished(output, describe_work("predict", [source], {"stride": 1}), False)


def test_another_state_of_the_input_is_stale_also_an_older_one(tmp_path: Path) -> None:
    source, output = tmp_path / "a.mp4", tmp_path / "a.csv"
    source.write_text("first")
    finish(output, source)
    before = source.stat()
    for content, mtime_ns in [("first", before.st_mtime_ns - 10**9), ("2", before.st_mtime_ns)]:
        source.write_text(content)
        os.utime(source, ns=(mtime_ns, mtime_ns))
        assert not is_finished(output, describe_work("predict", [source], {}), overwrite=False)
    source.write_text("first")
    os.utime(source, ns=(before.st_mtime_ns, before.st_mtime_ns))
    assert is_finished(output, describe_work("predict", [source], {}), overwrite=False)


def test_an_input_is_the_same_by_its_full_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "same.csv"
    for folder in ("d1", "d2"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "clip.mp4").touch()
    monkeypatch.chdir(tmp_path / "d1")
    finish(output, Path("clip.mp4"))
    for path in (tmp_path / "d1" / "clip.mp4", Path("../d1/clip.mp4")):
        assert is_finished(output, describe_work("predict", [path], {}), overwrite=False)
    monkeypatch.chdir(tmp_path / "d2")
    with pytest.raises(OutputError, match="was not made from this input"):
        is_finished(output, describe_work("predict", [Path("clip.mp4")], {}), overwrite=False)


def test_work_stays_finished_when_its_input_is_gone(tmp_path: Path) -> None:
    source, output = tmp_path / "a.mp4", tmp_path / "a.csv"
    source.touch()
    finish(output, source)
    source.unlink()
    assert is_finished(output, describe_work("predict", [source], {}), overwrite=False)


def test_a_strangers_output_is_not_replaced(tmp_path: Path) -> None:
    output = tmp_path / "a.csv"
    output.write_text("mine")
    work = describe_work("predict", [tmp_path / "a.mp4"], {})
    with pytest.raises(OutputError, match="was not made from this input; use --overwrite"):
        is_finished(output, work, overwrite=False)
    finish(output, tmp_path / "b.mp4")
    with pytest.raises(OutputError, match="use --overwrite"):
        is_finished(output, work, overwrite=False)
    assert not is_finished(output, work, overwrite=True)
