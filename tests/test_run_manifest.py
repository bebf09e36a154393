"""The manifest of runs: lines that are added as inputs end, and read again."""

import errno
import json
import os
import threading
from pathlib import Path

import pytest

from abawcli.errors import InputError, OutputError
from abawcli.formats import run_manifest
from abawcli.formats.run_manifest import add_line, read_run_manifest


def test_the_last_line_of_an_input_counts(tmp_path: Path) -> None:
    path = tmp_path / "out" / "manifest.jsonl"
    for name, state in (("a.mp4", "failed"), ("é/b.mp4", "done"), ("a.mp4", "done")):
        add_line(path, {"input": name, "state": state})
    lines = read_run_manifest(path)
    assert list(lines) == ["a.mp4", "é/b.mp4"]
    assert lines["a.mp4"] == {"input": "a.mp4", "state": "done"}
    assert "é" in path.read_text(encoding="utf-8")
    add_line(path, {"input": "b\\xff", "state": "failed", "error": "no file b\udcff"})
    assert read_run_manifest(path)["b\\xff"]["error"] == "no file b\udcff"


def test_a_line_that_was_cut_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "manifest.jsonl"
    add_line(path, {"input": "a", "state": "done"})
    with path.open("a") as file:
        file.write('{"input": "b", "sta')
    add_line(path, {"input": "c", "state": "kept"})
    with path.open("ab") as file:
        file.write(b"\n\xff\n[1]\n7\n" + b'{"input": 3, "state": "done"}\n{"input": "d"}\n')
    assert list(read_run_manifest(path)) == ["a", "c"]


def test_several_runs_share_a_manifest(tmp_path: Path) -> None:
    path = tmp_path / "manifest.jsonl"

    def add(run: int) -> None:
        for k in range(50):
            add_line(path, {"input": f"{run}-{k}", "state": "done", "error": "x" * 300})

    threads = [threading.Thread(target=add, args=(run,)) for run in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read_run_manifest(path)) == 200
    assert all(json.loads(line)["state"] == "done" for line in path.read_text().splitlines())


def test_a_manifest_without_a_line_is_removed_with_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "new" / "manifest.jsonl"

    def fill_disk(descriptor: int) -> bool:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(run_manifest, "_is_whole", fill_disk)
        with pytest.raises(OutputError, match=r"cannot write .*: No space left on device"):
            add_line(path, {"input": "a", "state": "done"})
        assert list(tmp_path.iterdir()) == []
    add_line(path, {"input": "a", "state": "done"})
    assert list(read_run_manifest(path)) == ["a"]


def test_places_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_run_manifest(tmp_path / "manifest.jsonl")
    (tmp_path / "out").touch()
    with pytest.raises(OutputError, match=r"cannot write .*manifest\.jsonl"):
        add_line(tmp_path / "out" / "manifest.jsonl", {})
