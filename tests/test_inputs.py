"""Inputs as people name them; what scans leave out; links, pipes and patterns."""

import errno
import glob
import io
import logging
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from media_files import write_media

from abawcli.cli import main
from abawcli.errors import InputError
from abawcli.formats.crops import is_crops
from abawcli.formats.inputs import VIDEO_SUFFIXES, check_input, expand_inputs, expand_media
from abawcli.formats.scan import match_pattern
from abawcli.media.video import read_frames

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


def test_audio_in_folders_is_an_input_only_of_that_modality(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.mp3").touch()
    assert list(expand_media([str(tmp_path)], VIDEOS, audio=True)) == [tmp_path / "sub" / "a.mp3"]
    with pytest.raises(InputError, match=r"has no .*; audio files in folders .* --modality audio"):
        expand_media([str(tmp_path)], VIDEOS, audio=False)
    (tmp_path / "sub" / "a.mp3").unlink()
    with pytest.raises(InputError, match=r"has no \.avi \.mp4 file$"):
        expand_media([str(tmp_path)], VIDEOS, audio=False)


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


def test_comments_in_lists(clips: Path) -> None:
    (clips / "#1.mp4").touch()
    (clips / "list.txt").write_text("# first part\nb.mp4\n  # a.MP4\n./#1.mp4\n")
    assert expand("@list.txt") == ["b.mp4", "#1.mp4"]
    (clips / "list.txt").write_text("# b.mp4\n")
    with pytest.raises(InputError, match=r"^the list list\.txt is empty$"):
        expand("@list.txt")


def test_a_list_without_a_name() -> None:
    with pytest.raises(InputError, match="@ names no list; give @FILE, or @- for a list"):
        expand_inputs(["@"], frozenset([".mp4"]))


def test_a_list_from_stdin(clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def type_in(text: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))

    type_in(b"b.mp4\n# none\nsub\n")
    assert expand("a.MP4", "@-") == ["a.MP4", "b.mp4", "sub/c.avi"]
    type_in(b"@list.txt\n")
    (clips / "list.txt").write_text("@-")
    with pytest.raises(InputError, match="^the list - names itself$"):
        expand("@-")
    for text, message in ((b"", "list stdin is empty"), (b"\xff", "cannot read the list stdin")):
        type_in(text)
        with pytest.raises(InputError, match=message):
            expand("@-")


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
    with pytest.raises(InputError, match="list.txt is .*save it as UTF-8"):
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
        ("empty", r"empty has no \.avi \.mp4 file"),
        ("*.mkv", r"nothing matches \*\.mkv"),
        ("@gone.txt", "^no such file: gone.txt$"),
        ("@blank.txt", "the list blank.txt is empty"),
    ],
)
def test_an_argument_that_means_nothing(clips: Path, argument: str, message: str) -> None:
    (clips / "blank.txt").write_text("\n")
    with pytest.raises(InputError, match=message):
        expand(argument)
    assert expand(argument, "b.mp4") == [argument, "b.mp4"]  # the others are still done


def test_an_address_is_no_file() -> None:
    with pytest.raises(InputError, match="^http://a.b/v.mp4 is an address; download the file"):
        expand("http://a.b/v.mp4")


def test_video_suffixes_are_lower_case() -> None:
    assert all(suffix == suffix.lower() and suffix[0] == "." for suffix in VIDEO_SUFFIXES)


def test_what_a_scan_leaves_out_is_counted_and_named_with_v(
    clips: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (clips / "sub" / "dead.mp4").symlink_to("gone.mp4")
    (clips / "raw.braw").touch()
    (clips / "phone").write_bytes(b"\0\0\0\x18ftypmp42")
    (clips / "README").write_text("no media")
    (clips / "sub" / "notes.dead").symlink_to("gone.txt")
    (clips / "a.csv.provenance.json").touch()  # records of abaw itself are not counted
    (clips / "manifest.jsonl").touch()
    os.mkfifo(clips / "pipe.mp4")
    os.mkfifo(clips / "pipe")
    with caplog.at_level(logging.WARNING, "abawcli"):
        assert expand(".") == ["a.MP4", "b.mp4", "sub/c.avi"]
    counts = (
        "(.dead files: 1, .txt files: 1, dead links: 1, files of unsupported formats: 1, "
        "files that cannot be read: 1, files without a suffix: 2, media files without a suffix: 1)"
    )
    assert counts in caplog.text
    assert len(caplog.records) == 1 and "-v names them" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.INFO, "abawcli"):
        expand(".")
    for name in ("sub/dead.mp4", "raw.braw", "phone", "pipe.mp4", "notes.txt", "sub/notes.dead"):
        assert f": {name}" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING, "abawcli"):
        expand_inputs(["."], frozenset([".txt"]))  # tables are not mistaken for media
    assert not caplog.records


def test_a_folder_that_cannot_be_looked_into_is_said(
    clips: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    scandir = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("sub"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert expand(".") == ["a.MP4", "b.mp4"]
    assert "folders that cannot be read: 1" in caplog.text


def test_links_to_folders_are_followed_once(
    clips: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    (clips / "folder.mp4").rmdir()
    outside = tmp_path_factory.mktemp("outside")
    (outside / "d.mp4").touch()
    (outside / "again").symlink_to(outside)
    (outside / "back").symlink_to(clips)
    (clips / "far").symlink_to(outside)
    (clips / "further").symlink_to(outside)
    (clips / "sub" / "loop").symlink_to(clips)
    (clips / "sub" / "up").symlink_to("..")
    (clips / "near").symlink_to("sub")
    assert expand(".") == ["a.MP4", "b.mp4", "far/d.mp4", "sub/c.avi"]
    assert expand("**/*.avi") == ["sub/c.avi"]
    assert expand("**/*.mp4") == ["b.mp4", "far/d.mp4"]


def test_a_glob_with_a_tangle_of_links_ends(clips: Path) -> None:
    for name in "xyz":
        (clips / "sub" / name).symlink_to(clips)
    assert expand("**/c.avi") == ["sub/c.avi"]
    assert expand("**/sub/**/*.avi") == expand("sub/**") == ["sub/c.avi"]
    assert expand("./**/**/*.avi", "gone.mp4") == ["sub/c.avi", "gone.mp4"]


@given(
    st.lists(st.sampled_from(["a", "b", ".h", "a.mp4", "c[1]"]), min_size=1, max_size=4),
    st.lists(st.sampled_from(["a", "*", "**", ".*", "[ab]"]), max_size=3),
    st.sampled_from(["a", "*", "?", "*.mp4", ".*", "c[[]1]"]),
)
def test_patterns_match_what_python_matches(
    parts: list[str], folders: list[str], name: str
) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, *parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        text = "/".join([folder, *folders, name])
        assert match_pattern(text) == sorted(set(map(Path, glob.glob(text, recursive=True))))


def test_what_no_reader_can_read_is_named(clips: Path) -> None:
    Path("dead.mp4").symlink_to("gone/x.mp4")
    os.mkfifo("pipe.mp4")
    message = r"^dead\.mp4 is a dead link: there is no gone/x\.mp4$"
    with pytest.raises(InputError, match=message):
        expand("dead.mp4")
    with pytest.raises(InputError, match=message):
        check_input(Path("dead.mp4"))
    assert expand("dead.mp4", "b.mp4") == ["dead.mp4", "b.mp4"]  # the others are still done
    with pytest.raises(InputError, match=r"pipe\.mp4 is a pipe, which cannot be read"):
        check_input(Path("pipe.mp4"))
    with pytest.raises(InputError, match="is a device"):
        check_input(Path("/dev/null"))
    for name in ("b.mp4", "sub", "gone.mp4"):  # what is wrong with the last one its reader says
        check_input(Path(name))


def test_commands_name_pipes_and_dead_links(clips: Path) -> None:
    os.mkfifo("pipe.mp4")
    Path("dead.mp4").symlink_to("gone.mp4")
    result = CliRunner().invoke(main, ["probe", "pipe.mp4", "dead.mp4"])
    assert result.exit_code == 1
    assert "pipe.mp4 is a pipe" in result.stderr and "dead.mp4 is a dead link" in result.stderr
    os.mkfifo("pipe.csv")
    result = CliRunner().invoke(main, ["score", "pipe.csv", "dead.mp4"])
    assert result.exit_code == 1 and "is a dead link" in result.stderr
    Path("t.txt").touch()
    result = CliRunner().invoke(main, ["score", "pipe.csv", "t.txt"])
    assert result.exit_code == 1 and "pipe.csv is a pipe" in result.stderr


@pytest.mark.parametrize(
    ("suffix", "container", "codec"),
    [
        (".vob", "vob", "mpeg2video"),
        (".mxf", "mxf", "mpeg2video"),
        (".asf", "asf", "mpeg2video"),
        (".m2v", "mpeg2video", "mpeg2video"),
        (".mpe", "mpeg", "mpeg2video"),
        (".insv", "mp4", "libx264"),
        (".qt", "mov", "libx264"),
        (".f4v", "f4v", "libx264"),
        (".3g2", "3g2", "libx264"),
    ],
)
def test_less_common_videos_are_looked_for_and_can_be_read(
    tmp_path: Path, suffix: str, container: str, codec: str
) -> None:
    picture = np.zeros((64, 96, 3), np.uint8)
    path = write_media(tmp_path / f"a{suffix}", [picture] * 3, codec=codec, container=container)
    assert list(expand_inputs([str(tmp_path)], VIDEO_SUFFIXES)) == [path]
    assert len(list(read_frames(path))) == 3


def test_the_strategies_of_crop_are_no_input_that_is_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "v").mkdir()
    for name in ("v/00001.jpg", "strategy.csv"):
        (tmp_path / name).touch()
    assert list(expand_inputs([str(tmp_path)], VIDEO_SUFFIXES, is_crops)) == [tmp_path / "v"]
    assert caplog.messages == []
    (tmp_path / "mine.csv").touch()
    expand_inputs([str(tmp_path)], VIDEO_SUFFIXES, is_crops)
    assert ".csv files: 1" in caplog.text
