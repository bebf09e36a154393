"""Files that are cut, damaged or made up, and disks that are full: one line each, nothing lost."""

import errno
import json
import resource
import sys
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
from click.testing import CliRunner, Result
from raw_checkpoints import read_raw, write_raw
from safetensors.numpy import load_file, save_file
from sample_features import make_features, save_videos
from sample_tables import make_table

from abawcli.cli import main
from abawcli.datasets.folds import read_folds
from abawcli.errors import AbawError, CheckpointError, InputError, explain_os_error
from abawcli.formats.faces import SCHEMA, read_faces, write_faces
from abawcli.formats.features import read_features, write_features
from abawcli.formats.provenance import provenance_path, read_provenance
from abawcli.formats.tables import read_table, write_table
from abawcli.formats.tensors import open_tensors
from abawcli.models.checkpoint import read_kind
from abawcli.models.encoder import load_encoder
from abawcli.models.heads import load_head
from abawcli.models.recipes import find_recipe, find_weights
from abawcli.models.voice import load_voice_encoder

CPU = torch.device("cpu")
DEEP = '{"a":' * 100_000


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)))


@contextmanager
def full_after(size: int) -> Iterator[None]:
    """Let the system refuse to write files beyond a size in bytes, as a full disk does.

    Python would keep what it compiles up to that size, which no later run can read.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "dont_write_bytecode", True)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def list_files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_full_disk_stops_one_input_and_not_the_batch(tmp_path: Path) -> None:
    for name, seconds in (("a", 10), ("b", 1)):
        with wave.open(str(tmp_path / f"{name}.wav"), "wb") as file:
            file.setparams((1, 2, 8000, 0, "NONE", ""))
            file.writeframes(bytes(16000 * seconds))
    recordings = [tmp_path / "a.wav", tmp_path / "b.wav"]
    with full_after(50_000):
        result = run("extract", *recordings, "--modality", "audio", "-o", tmp_path / "out")
    assert result.exit_code == 1
    line = f"abaw: error: cannot write {tmp_path}/out/a.safetensors: File too large"
    assert line in result.stderr.splitlines()
    names = {"b.safetensors", "b.safetensors.provenance.json", "manifest.jsonl"}
    assert list_files(tmp_path / "out") == names


@pytest.mark.parametrize("command", ["train head", "crossval --folds 2"])
def test_a_full_disk_is_an_error_of_training(command: str, tmp_path: Path) -> None:
    features, labels = save_videos(tmp_path, ["a", "b", "c"], frames=24)
    call = [*command.split(), features, "--labels", labels, "-o", tmp_path / "run", "--epochs", "1"]
    with full_after(8_000):
        result = run(*call)
    assert result.exit_code == 1
    said = [line for line in result.stderr.splitlines() if line.startswith("abaw: error")]
    assert len(said) == 1 and said[0].endswith(": File too large"), result.stderr
    assert not any(".abaw-" in name for name in list_files(tmp_path / "run"))
    assert run(*call).exit_code == 0


@pytest.mark.parametrize("lost", ["video", "subject", "visual", "audio"])
@pytest.mark.parametrize("value", [None, 7])
def test_a_description_without_what_it_must_have(lost: str, value: Any, tmp_path: Path) -> None:
    path = tmp_path / "v.safetensors"
    write_features(make_features(np.arange(4)), path, {})
    metadata = read_features(path).metadata.to_json() | {"format": 1, "kind": "features"}
    if value is None:
        del metadata[lost]
    else:
        metadata[lost] = value
    save_file(load_file(path), path, {"abaw": json.dumps(metadata)})
    if value is None and lost in ("visual", "audio"):  # that is: none, as its width must be
        with pytest.raises(InputError, match=f"{lost} is .* wide"):
            read_features(path)
        return
    with pytest.raises(InputError, match=f"its metadata has (no {lost}|{value} as {lost})"):
        read_features(path)
    result = run("predict", path, "-o", tmp_path / "t.csv")
    assert result.exit_code == 1 and "internal" not in result.stderr


LOADERS = {"compact-face": load_encoder, "compact-voice": load_voice_encoder}
LOADERS |= {"compact-gated": load_head, "compact-dual-branch": load_head}
CLAIMS: list[tuple[str, str, Any]] = [
    ("compact-face", "network.stem", 2**20),
    ("compact-face", "network.stem", 10**12),
    ("compact-voice", "network.dim", 2**18),
    ("compact-gated", "network.hidden", 2**17),
    ("compact-gated", "network.hidden", 10**10),
    ("compact-gated", "visual.dim", 10**10),
    ("compact-dual-branch", "network.layers", 10**9),
    ("compact-dual-branch", "network.hidden", -1),
    ("compact-dual-branch", "network", []),
    ("compact-gated", "network", {"novel": 1}),
    ("compact-face", "preprocess", 3),
]


@pytest.mark.parametrize(("name", "key", "value"), CLAIMS)
def test_a_checkpoint_that_claims_what_it_does_not_hold(
    name: str, key: str, value: Any, tmp_path: Path
) -> None:
    tensors, metadata = read_raw(find_weights(name))
    *places, last = key.split(".")
    inner = metadata
    for place in places:
        inner = inner[place]
    inner[last] = value
    path = tmp_path / "x.safetensors"
    write_raw(path, tensors, metadata)
    limit = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (6 << 30, limit[1]))
    try:
        said = r"x\.safetensors(: its metadata has| describes| does not fit)"
        with pytest.raises(CheckpointError, match=said):
            LOADERS[name](path, CPU)
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, limit)


@pytest.mark.parametrize("name", LOADERS)
def test_what_fits_loads(name: str) -> None:
    LOADERS[name](find_weights(name), CPU)


@pytest.mark.parametrize("smoothing", [None, [], {"novel": 1}])
def test_a_recipe_without_its_smoothing(smoothing: Any, tmp_path: Path) -> None:
    tensors, metadata = read_raw(find_weights("compact-gated"))
    write_raw(tmp_path / "x.safetensors", tensors, metadata | {"smoothing": smoothing})
    said = r"its metadata has (no (smoothing|method)|\[\] as smoothing)"
    with pytest.raises(CheckpointError, match=said):
        find_recipe(str(tmp_path / "x.safetensors"))


def write_raw_faces(path: Path, metadata: bytes = b"{}", **changed: Any) -> None:
    values: dict[str, Any] = {name: [1.0, 2.0] for name in SCHEMA.names}
    values |= {"frame": [1, 2], "subject": [0, 0], "found": [True] * 2, "detected": [True] * 2}
    rows = pa.Table.from_pydict(values | changed, schema=SCHEMA)
    pa.parquet.write_table(rows.replace_schema_metadata({"abaw": metadata}), path)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"frame": [1, None]}, "frame is empty"),
        ({"frame": [0, 1]}, "numbers from 1"),
        ({"found": [True, None]}, "found is empty"),
        ({"x": [1.0, np.inf]}, "no finite number"),
        ({"score": [1.0, None]}, "no finite number"),
        ({"time_s": [np.nan, 1.0]}, "no finite number"),
        ({"metadata": DEEP.encode()}, "nested too deeply"),
        ({"metadata": b"[]"}, "not an object"),
        ({"metadata": b'{"settings": 3}'}, "no settings"),
    ],
)
def test_faces_that_cannot_be(changed: dict[str, Any], said: str, tmp_path: Path) -> None:
    write_raw_faces(tmp_path / "faces.parquet", **changed)
    with pytest.raises(InputError, match=said):
        read_faces(tmp_path / "faces.parquet")


@pytest.mark.parametrize("column", ["time_s", "x", "h", "face_score", "confidence"])
@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e300])
def test_a_table_with_a_number_beyond_all(column: str, value: float, tmp_path: Path) -> None:
    table = make_table([1, 2, 3])
    table.loc[1, column] = value
    write_table(table, tmp_path / "t.parquet", {})
    with pytest.raises(InputError, match=f"row 2: {column} must be a number below"):
        read_table(tmp_path / "t.parquet")
    assert run("smooth", tmp_path / "t.parquet", "-o", tmp_path / "s.csv").exit_code == 1


def test_broken_pages_are_read_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    faces = pd.DataFrame({name: np.ones(50) for name in SCHEMA.names}).assign(
        frame=range(1, 51), subject=0, found=True, detected=True
    )
    refused = 0
    for write, read in (
        (lambda: write_table(make_table(np.arange(50) % 8), path, {}), read_table),
        (lambda: write_faces(faces, path, {}), read_faces),
    ):
        path.unlink(missing_ok=True)
        provenance_path(path).unlink(missing_ok=True)
        write()
        whole = path.read_bytes()
        for place in range(4, len(whole), len(whole) // 60):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
            try:
                read(path)
            except InputError as error:
                assert "\n" not in str(error)
                refused += 1
    assert refused > 25


def test_descriptions_that_are_nested_deeply(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"a": np.zeros(1)}, path, {"abaw": DEEP})
    for read in (read_features, read_kind):
        with pytest.raises(AbawError, match="nested too deeply"):
            read(path)
    provenance_path(path).write_text(DEEP)
    assert read_provenance(path) == {}
    result = run("predict", tmp_path / "x.safetensors", "-o", tmp_path / "t.csv")
    assert result.exit_code == 1 and "nested too deeply" in result.stderr


def test_what_is_not_there_and_what_is_not_allowed_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readers = [read_features, read_kind, read_folds, read_table, read_faces]
    names = ["x.safetensors", "x.safetensors", "x.csv", "x.csv", "x.parquet"]
    for read, name in zip(readers, names, strict=True):
        with pytest.raises(AbawError, match="no such file: .*x"):
            read(tmp_path / name)
    for name in names:
        (tmp_path / name).write_text("a,b\n")

    def refuse(*arguments: Any, **options: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr(pd, "read_csv", refuse)
    for read, name in zip(readers, names, strict=True):
        with pytest.raises(AbawError, match="cannot read .*x.*: permission denied"):
            read(tmp_path / name)
    assert explain_os_error("x", OSError(5, "Input/output error")).endswith("Input/output error")


def test_an_empty_or_cut_safetensors_file(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"a": np.zeros(9)}, path)
    whole = path.read_bytes()
    for end in (0, 5, 20, len(whole) - 1):
        path.write_bytes(whole[:end])
        with pytest.raises(InputError, match="not a safetensors file"), open_tensors(path, "np"):
            pass
