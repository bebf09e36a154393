"""Folders as outputs: nothing that the program did not make is ever lost."""

import errno
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from abawcli.errors import InputError, OutputError
from abawcli.formats.atomic import write_whole
from abawcli.formats.crops import find_recording
from abawcli.formats.folders import find_finished_folder, replace_folder
from abawcli.formats.provenance import Provenance, describe_work, provenance_path, read_provenance

Tree = dict[str, str]  # relative name -> text; a name that ends in / is an empty folder
names = st.sampled_from(["a", "b.jpg", "1.0/1.jpg", "1.0/2.jpg", "sub/deep/c", "é", "x y"])
contents = st.dictionaries(names, st.sampled_from(["", "one", "two"]), max_size=5)
additions = st.dictionaries(
    names | st.sampled_from(["mine.txt", "1.0/mine.txt", "empty/", "1.0/notes/n", ".hidden"]),
    st.sampled_from(["mine", "one"]), max_size=3,
)  # fmt: skip


def read(folder: Path) -> Tree:
    tree = {}
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        if path.is_file():
            tree[name] = path.read_text()
        elif not any(path.iterdir()):
            tree[f"{name}/"] = ""
    return tree


def fill(folder: Path, tree: Tree) -> None:
    for name, text in tree.items():
        place = folder / name
        if name.endswith("/"):
            place.mkdir(parents=True, exist_ok=True)
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)


def work(command: str = "crop", **chosen: int) -> Provenance:
    return describe_work(command, [], chosen)


def make(folder: Path, tree: Tree, overwrite: bool = False, **chosen: Any) -> bool:
    """Do what commands do with folders; tell whether there was something to do."""
    todo = work(**chosen)
    if find_finished_folder(folder, todo, overwrite):
        return False
    with replace_folder(folder, todo) as temporary:
        fill(temporary, tree)
    return True


@settings(max_examples=60, deadline=None)
@given(old=contents, new=contents, extra=additions, removed=st.sets(names), again=st.booleans())
def test_what_the_user_put_into_a_folder_stays_whatever_is_asked(
    old: Tree, new: Tree, extra: Tree, removed: set[str], again: bool
) -> None:
    with TemporaryDirectory() as place:
        root = Path(place)
        folder = root / "clip"
        make(folder, old, size=1)
        for name in removed & old.keys():
            (folder / name).unlink()
        fill(folder, extra)
        before, mine = read(folder), {k: v for k, v in extra.items() if old.get(k) != v}
        try:
            make(folder, new, overwrite=again, size=2)
        except OutputError as error:
            assert read(folder) == before
            # Without a word of the user's only what is changed or missing is refused.
            assert mine or (not again and before != old)
            assert not mine or any(name.rstrip("/") in str(error) for name in mine)
        else:
            assert not mine
            assert read(folder) == new
        assert {path.name for path in root.iterdir()} == {"clip", "clip.provenance.json"}


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_that_is_not_ours_is_refused_before_any_work(
    tmp_path: Path, overwrite: bool
) -> None:
    for command in ("crop", "extract"):
        with pytest.raises(
            OutputError, match=r"has files that `abaw crop` did not write.* one, two"
        ):
            fill(tmp_path / command, {"one": "", "two": ""})
            if command == "extract":
                provenance_path(tmp_path / command).write_text('{"command": "extract"}')
            find_finished_folder(tmp_path / command, work(), overwrite)
        assert read(tmp_path / command) == {"one": "", "two": ""}


@pytest.mark.parametrize("overwrite", [False, True])
def test_links_and_files_in_the_way(tmp_path: Path, overwrite: bool) -> None:
    make(tmp_path / "real", {"a": "one"})
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "file").write_text("mine")
    provenance_path(tmp_path / "link").write_bytes(provenance_path(tmp_path / "real").read_bytes())
    for name, message in (("link", "in the way and a link"), ("file", "in the way and no folder")):
        with pytest.raises(OutputError, match=message):
            make(tmp_path / name, {}, overwrite, size=2)
    make(tmp_path / "clip", {"a": "one"})
    (tmp_path / "clip" / "b").symlink_to(tmp_path / "real")
    with pytest.raises(OutputError, match="changed since: b; move it"):
        make(tmp_path / "clip", {}, overwrite, size=2)
    assert read(tmp_path / "real") == {"a": "one"} and (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("name", ["..", "/", "."])
def test_a_place_without_a_name(name: str) -> None:
    with pytest.raises(OutputError, match="it is a folder"):
        make(Path(name), {})


def test_work_is_skipped_made_anew_or_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "clip"
    (folder).mkdir()  # an empty one is in nobody's way
    assert make(folder, {"a": "one"}) and not make(folder, {"a": "one"})
    assert make(folder, {"b": "two", "c": "two"}, size=2)
    assert read(folder) == {"b": "two", "c": "two"}
    assert caplog.messages == [f"{folder} was made with other settings and is made anew"]
    assert "replaces" not in read_provenance(folder)
    (folder / "b").unlink()
    with pytest.raises(OutputError, match="was changed after it was made"):
        make(folder, {"b": "two"}, size=2)
    assert make(folder, {"b": "two"}, overwrite=True, size=2)


def test_an_error_in_a_new_folder_names_the_place_that_was_asked_for(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "out"
    with (
        pytest.raises(OutputError) as failure,
        replace_folder(folder, work()) as temporary,
        write_whole(temporary / "faces.parquet"),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert str(failure.value) == f"cannot write {folder}/faces.parquet: No space left on device"
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_comes_while_the_work_is_done_stays(tmp_path: Path) -> None:
    folder = tmp_path / "clip"
    make(folder, {"a": "one"})
    with (
        pytest.raises(OutputError, match="changed since: mine"),
        replace_folder(folder, work()) as temporary,
    ):
        fill(temporary, {"a": "two"})
        fill(folder, {"mine": "mine"})
    assert read(folder) == {"a": "one", "mine": "mine"}
    assert len(list(tmp_path.iterdir())) == 2


def test_an_old_file_that_cannot_be_removed_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "clip"
    make(folder, {"a": "one", "b": "two"})
    unlink: Callable[..., None] = Path.unlink

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if path.parent.name.endswith("clip"):
            raise PermissionError(1, "Operation not permitted", str(path))
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    make(folder, {"a": "new"}, size=2)
    assert read(folder) == {"a": "new"}
    assert "cannot be removed: Operation not permitted" in caplog.text


def test_two_runs_at_once_do_not_hurt_each_other(tmp_path: Path) -> None:
    """As in two containers on one volume: both have the same process id."""
    folder = tmp_path / "clip"
    make(folder, {"old": "one"})
    with replace_folder(folder, work(size=2)) as first:
        fill(first, {"a": "one", "sub/b": "one"})
        with replace_folder(folder, work(size=3)) as second:
            fill(second, {"a": "two"})
            assert first != second
        assert read(folder) == {"a": "two"}
        fill(first, {"c": "one"})
    assert read(folder) == {"a": "one", "sub/b": "one", "c": "one"}
    assert read_provenance(folder)["settings"] == {"size": 2}
    assert {path.name for path in tmp_path.iterdir()} == {"clip", "clip.provenance.json"}
    assert not make(folder, {}, size=2)


def test_a_recording_is_found_below_subfolders(tmp_path: Path) -> None:
    for name in ("batch1/a.mp4", "batch2/study/b.avi", "batch2/b.avi", "c.mkv", "batch1/c.mkv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert find_recording(tmp_path, "a_left") == tmp_path / "batch1/a.mp4"
    assert find_recording(tmp_path, "study/b") == tmp_path / "batch2/study/b.avi"
    assert find_recording(tmp_path, "c") == tmp_path / "c.mkv"  # the same path comes first
    assert find_recording(tmp_path, "other/b") is None
    with pytest.raises(InputError, match="could both be the video of b"):
        find_recording(tmp_path, "b")
