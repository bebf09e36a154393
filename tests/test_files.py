import errno
import os
from pathlib import Path

import pytest

from abawcli.errors import InputError
from abawcli.formats.inputs import VIDEO_SUFFIXES, expand_inputs

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
