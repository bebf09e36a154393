import errno
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.numpy import save_file

from abawcli.config import LEFTOVER_AGE_S
from abawcli.errors import InputError, OutputError
from abawcli.formats import atomic
from abawcli.formats.atomic import create_below, name_temporary, write_whole


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


def test_an_error_leaves_no_folder_that_was_made_for_the_file(tmp_path: Path) -> None:
    with pytest.raises(OutputError), write_whole(tmp_path / "new" / "folder" / "out.csv"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "mine").mkdir()
    with pytest.raises(KeyboardInterrupt), write_whole(tmp_path / "mine" / "new" / "out.csv"):
        (tmp_path / "mine" / "new" / "other.csv").touch()  # of another run
        raise KeyboardInterrupt
    with pytest.raises(InputError), write_whole(tmp_path / "mine" / "out.csv"):
        raise InputError("broken")
    assert [path.name for path in tmp_path.rglob("*")] == ["mine", "new", "other.csv"]


def test_a_folder_that_another_run_removes_is_made_again(tmp_path: Path) -> None:
    path, removed = tmp_path / "out" / "a.csv", []

    def create() -> None:
        if len(removed) < 3:
            path.parent.rmdir()
            removed.append(path)
        path.touch()

    with create_below(path, create):
        assert path.exists() and len(removed) == 3


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    for name, message in {
        "file/out.csv": "file is not a folder",
        "file/sub/out.csv": "file/sub is not a folder",
        "folder": "cannot write .*folder: it is a folder",
        "link": "link is a link to nowhere; give the name of the file",
        "pipe": "cannot write .*pipe: it is no regular file",
        "x" * 300: "cannot write .*xxx: File name too long",
    }.items():
        with pytest.raises(OutputError, match=message), write_whole(tmp_path / name):
            raise AssertionError("found before the work")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder", "link", "pipe"]


@pytest.mark.parametrize("path", [".", "/", "out/.."])
def test_a_place_without_a_name_is_an_output_error(path: str) -> None:
    with pytest.raises(OutputError, match="it is a folder"), write_whole(Path(path)):
        raise AssertionError("nothing is to be written")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "No space left on device"),
        (OSError(errno.EIO, "Input/output error", "{temporary}"), "Input/output error"),
        (OSError("cannot finish {temporary}"), "cannot finish {path}"),
        (OSError(), "OSError"),
    ],
)
def test_errors_have_a_reason_and_the_name_that_was_given(
    tmp_path: Path, error: OSError, reason: str
) -> None:
    path = tmp_path / "out.csv"
    with pytest.raises(OutputError) as caught, write_whole(path) as temporary:
        temporary.write_text("half")
        error.args = tuple(
            a.format(temporary=temporary) if isinstance(a, str) else a for a in error.args
        )
        raise error
    assert str(caught.value) == f"cannot write {path}: {reason.format(path=path)}"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("umask", "rights"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_rights_are_those_of_the_umask_whoever_writes(
    tmp_path: Path, umask: int, rights: int
) -> None:
    before = os.umask(umask)
    try:
        with write_whole(tmp_path / "a.safetensors") as temporary:
            save_file({}, temporary)  # makes the file anew, for its owner alone
    finally:
        os.umask(before)
    assert (tmp_path / "a.safetensors").stat().st_mode & 0o777 == rights


KILLED = """
import os
from abawcli.formats.atomic import write_whole
from abawcli.formats.tensors import saving_tensors
with write_whole("out.safetensors") as temporary, saving_tensors(temporary) as target:
    target.with_name(".tmpA1b2C3").touch()  # as `save_file` does
    os.kill(os.getpid(), 9)
"""


def test_what_safetensors_leaves_of_a_killed_run_is_swept(tmp_path: Path) -> None:
    run = subprocess.run([sys.executable, "-c", KILLED], cwd=tmp_path)
    assert run.returncode == -9 and list(tmp_path.rglob(".tmp*"))
    atomic.sweep_now(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_temporary_names_are_random_and_no_longer_than_can_be() -> None:
    names = {name_temporary(Path("out/a.csv")).name for _ in range(10)}
    assert len(names) == 10
    assert all(
        re.fullmatch(r"\.abaw-[0-9a-f]{8}-[0-9a-f]+-[0-9a-f]{12}\.a\.csv", name) for name in names
    )
    for name in ("x" * 251 + ".csv", "é" * 125 + ".csv", "\udcff" * 251 + ".csv"):
        temporary = name_temporary(Path(name)).name
        assert temporary.endswith(".csv") and len(os.fsencode(temporary)) <= 255


def age(path: Path, seconds: float) -> None:
    for each in (*path.rglob("*"), path):
        os.utime(each, times=(time.time() - seconds,) * 2)


def test_what_killed_runs_left_is_swept_when_it_is_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = "0123456789ab"
    kept = [f".abaw-{random}.young.csv", f".abaw-{random}.busy", f".abaw-old-{random}.only",
            ".123.mine.csv", ".abaw-mine", f".abaw-{random}", "clip"]  # fmt: skip
    gone = [f".abaw-{random}.old.csv", f".abaw-{random}.folder", f".abaw-old-{random}.clip"]
    for name in (*kept, *gone):
        if name.endswith(".csv"):
            (tmp_path / name).touch()
        else:
            (tmp_path / name / "sub").mkdir(parents=True)
            (tmp_path / name / "sub" / "file").touch()
        age(tmp_path / name, LEFTOVER_AGE_S + 60)
    age(tmp_path / kept[0], LEFTOVER_AGE_S - 60)
    (tmp_path / kept[1] / "sub" / "file").touch()  # its run is alive
    (tmp_path / "out").symlink_to(tmp_path)
    atomic._sweep_once.cache_clear()
    with write_whole(tmp_path / "new.csv") as temporary:
        temporary.touch()
    assert {path.name for path in tmp_path.iterdir()} == {*kept, "new.csv", "out"}
    assert (tmp_path / "clip" / "sub" / "file").exists()


def test_what_a_killed_process_left_is_swept_at_once(tmp_path: Path) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    own = name_temporary(tmp_path / "a.csv")
    machine, process = own.name.split("-")[1:3]
    assert int(process, 16) == os.getpid()
    names = {  # of files, and whether they stay
        own.name: True,  # its process is alive
        f".abaw-{machine}-1-0123456789ab.a.csv": True,  # likewise
        f".abaw-{machine}-{dead.pid:x}-0123456789ab.a.csv": False,
        f".abaw-old-{machine}-{dead.pid:x}-0123456789ab.gone": True,  # the only copy
        f".abaw-00000000-{dead.pid:x}-0123456789ab.a.csv": True,  # another machine's
        f".abaw-{machine}-ffffffff-0123456789ab.a.csv": True,  # no process can have that number
    }
    for name in names:
        (tmp_path / name).touch()
    atomic.sweep_now(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {n for n, stays in names.items() if stays}
