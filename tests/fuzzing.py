"""Damaged files of every kind that abaw reads, made by seeds, and what must hold of them."""

import os
import random
import resource
import shutil
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from media_files import AudioTrack, counting_picture, make_clicks, write_media
from PIL import Image
from sample_features import make_features
from sample_tables import make_table

from abawcli.datasets.folds import make_folds, read_folds, write_folds
from abawcli.errors import AbawError
from abawcli.formats.abaw import read_annotation, write_annotation
from abawcli.formats.baseline import read_neutral_frames
from abawcli.formats.exports import EXPORTERS
from abawcli.formats.faces import SCHEMA, read_faces, write_faces
from abawcli.formats.features import read_features, write_features
from abawcli.formats.imports import IMPORTERS
from abawcli.formats.manifest import read_audio_manifest, read_manifest
from abawcli.formats.participants import Groups, read_groups
from abawcli.formats.provenance import Plan, read_provenance
from abawcli.formats.run_manifest import read_run_manifest
from abawcli.formats.strategy import read_strategy
from abawcli.formats.submission import read_submission
from abawcli.formats.summary import Result
from abawcli.formats.tables import read_table, write_table
from abawcli.formats.task_annotations import read_values
from abawcli.formats.task_submission import compose_header, read_task_submission
from abawcli.media.audio import read_audio
from abawcli.media.damage import begins_damaged
from abawcli.media.video import read_frames
from abawcli.models.encoder import load_encoder
from abawcli.models.heads import load_head
from abawcli.models.recipes import find_weights
from abawcli.models.voice import load_voice_encoder
from abawcli.progress import Progress
from abawcli.stages.export import export_table
from abawcli.tasks import TASKS

CPU = torch.device("cpu")
LABELS = np.repeat([0, 3, -1, 4], 10)
TEXT = (b"\0", b"\xff\xfe", b",", b"\n", b'"', b"-1", b"nan", b"1e999", b"9" * 40, b"[" * 3000)
# A file of the same bytes each time, with any number of cores: no random identifier, one thread.
SAME_CONTAINER, SAME_CODEC = {"fflags": "+bitexact"}, {"threads": "1"}
Read = Callable[[Path], object]


def watch(path: Path) -> None:
    """Decode all frames, to RGB."""
    begins_damaged(path)
    for frame in read_frames(path):
        frame.rgb()


def write_video(path: Path, codec: str = "libx264") -> Path:
    """Write ten frames, with audio where the container has it."""
    pictures = [counting_picture(k) for k in range(10)]
    audio = AudioTrack([(0.0, make_clicks([0.1], 0.4, 48_000))]) if path.suffix != ".gif" else None
    pixels = "rgb8" if codec == "gif" else "yuv420p"
    return write_media(
        path, pictures, codec=codec, audio=audio, pixel_format=pixels,
        options=SAME_CODEC, container_options=SAME_CONTAINER,
    )  # fmt: skip


def read_audio_file(path: Path) -> None:
    """Decode all audio."""
    begins_damaged(path)
    read_audio(path)


def write_task_texts(folder: Path) -> dict[str, Read]:
    """Write one file of each format of tasks with values; return how each is read, by its name."""
    readers: dict[str, Read] = {}
    for name, task in TASKS.items():
        row = ",".join("0" for _ in task.columns)
        (folder / f"{name}.txt").write_text("\n".join([task.header, *[row] * 20]) + "\n")
        rows = [f"v/{k:05d}.jpg,{row}" for k in range(1, 21)]
        sample = folder / f"{name}_submission.txt"
        sample.write_text("\n".join([compose_header(task), *rows]) + "\n")
        readers[f"{name}.txt"] = partial(read_values, task=task)
        readers[sample.name] = partial(read_task_submission, task=task)
    return readers


def write_texts(folder: Path) -> None:
    """Write one file of each text format."""
    table = make_table(LABELS.tolist(), "v")
    for suffix in (".csv", ".parquet"):
        write_table(table, folder / f"table{suffix}", {})
    write_annotation(LABELS, folder / "annotation.txt")
    (folder / "strategy.csv").write_text("video,strategy,from,to\nv,left,1,3\nv,track 4,4,\n")
    rows = "\n".join(f"v/{k:05d}.jpg,{max(0, label)}" for k, label in enumerate(LABELS, 1))
    header = "image_location,Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other"
    (folder / "submission.txt").write_text(f"{header}\n{rows}\n")
    (folder / "images.csv").write_text(
        "file,label,split,v_Anger\na.png,Anger,train,3\na.png,Anger,valid,2\n"
    )
    (folder / "sounds.csv").write_text(
        "file,label,split,speaker\na.wav,Anger,train,x\na.wav,Fear,valid,y\n"
    )
    (folder / "groups.csv").write_text("video,group\nv,a\nw,b\n")
    (folder / "neutral.csv").write_text("video,frame,subject\nv,1,main\nv,2,main\n")
    faces = pd.DataFrame({name: np.ones(9) for name in SCHEMA.names})
    write_faces(
        faces.assign(frame=range(1, 10), found=True, detected=True), folder / "faces.parquet", {}
    )
    for name in ("a.png", "a.wav"):
        (folder / name).touch()
    (folder / "manifest.jsonl").write_text('{"input": "a", "state": "done"}\n' * 3)
    for name, exporter in EXPORTERS.items():
        if name in IMPORTERS:
            export_table(folder / "table.csv", folder / f"import{exporter.suffix}", name)
    write_folds(make_folds(["a", "b", "c"], [LABELS] * 3, 3), folder / "folds.csv")


def make_samples(folder: Path) -> dict[str, Read]:
    """Write a whole file of each kind; return how each is read, by its name."""
    folder.mkdir(parents=True, exist_ok=True)
    readers: dict[str, Read] = {}
    for suffix, codec in ((".mp4", "libx264"), (".mkv", "libx264"), (".avi", "mpeg4"),
                          (".ts", "mpeg2video"), (".gif", "gif")):  # fmt: skip
        readers[write_video(folder / f"video{suffix}", codec).name] = watch
    for suffix, codec in ((".wav", "pcm_s16le"), (".flac", "flac"), (".mka", "aac")):
        audio = AudioTrack([(0.0, make_clicks([0.1], 0.4, 48_000))], codec=codec)
        path = write_media(folder / f"sound{suffix}", audio=audio, container_options=SAME_CONTAINER)
        readers[path.name] = read_audio_file
    for suffix in ("png", "jpg", "webp", "tif", "bmp", "avif"):
        Image.fromarray(counting_picture(7)).save(folder / f"picture.{suffix}")
        readers[f"picture.{suffix}"] = watch
    write_texts(folder)
    write_features(make_features(LABELS), folder / "features.safetensors", {})
    loaders: dict[str, Callable[..., object]] = {
        "compact-gated": load_head, "compact-face": load_encoder,
        "compact-voice": load_voice_encoder,
    }  # fmt: skip
    for name, load in loaders.items():
        shutil.copy(find_weights(name), folder)
        readers[f"{name}.safetensors"] = partial(load, device=CPU)
    for name, read in IMPORTERS.items():
        readers[f"import{EXPORTERS[name].suffix}"] = read
    readers |= write_task_texts(folder)
    return readers | {
        "table.csv": read_table, "table.parquet": read_table,
        "faces.parquet": read_faces, "neutral.csv": read_neutral_frames,
        "groups.csv": lambda path: read_groups(Groups(Path(path)), ["v", "w"], {}),
        "annotation.txt": read_annotation, "strategy.csv": lambda path: read_strategy(path, ["v"]),
        "submission.txt": read_submission, "features.safetensors": read_features,
        "images.csv": lambda path: read_manifest(path, path.parent),
        "sounds.csv": lambda path: read_audio_manifest(path, path.parent),
        "manifest.jsonl": read_run_manifest, "folds.csv": read_folds,
        "table.csv.provenance.json": lambda path: read_provenance(path.parent / "table.csv"),
    }  # fmt: skip


def damage(data: bytes, draw: random.Random) -> bytes:
    """Return a file with up to five changes; most are near its beginning, where headers are."""
    found = bytearray(data)
    for _ in range(draw.randint(1, 5)):
        size = max(1, len(found))
        at = draw.randrange(min(size, draw.choice((64, 1024, size))))
        length = draw.choice((1, 1, 2, 4, 8, 64, 1024))
        change = draw.randrange(7)
        if change == 0:
            del found[at:]
        elif change == 1:
            found[at : at + 1] = bytes([draw.randrange(256)])
        elif change == 2:
            found[at : at + length] = draw.randbytes(length)
        elif change == 3:
            del found[at : at + length]
        elif change == 4:
            found[at:at] = found[at : at + length] * draw.randint(1, 3)
        elif change == 5:
            number = draw.choice((0, 1 << 31, (1 << 32) - 1, 1 << 60, (1 << 64) - 1))
            found[at : at + 8] = struct.pack(draw.choice("<>") + "Q", number)
        else:
            found[at:at] = draw.choice(TEXT)
    return bytes(found)


class Fuzzer:
    """Reads damaged files; what is not an error with a message of one line is a fault."""

    def __init__(self, folder: Path) -> None:
        """Write the whole files, and read each once."""
        self.folder = folder
        self.readers = make_samples(folder / "whole")
        for name, read in self.readers.items():
            read(folder / "whole" / name)
        self.before = self.list_files()

    def list_files(self) -> set[Path]:
        """Return all files beside the damaged one: reading must not write any."""
        return {path for path in self.folder.rglob("*") if "damaged" not in path.parts}

    def try_seed(self, seed: int, names: Sequence[str] = ()) -> str:
        """Damage the file of a seed and read it; return its name.

        Raises:
            AssertionError: a file was written, or the message has several lines.
            Exception: any error of reading that is none of abaw's.
        """
        draw = random.Random(seed)
        name = draw.choice(sorted(names or self.readers))
        place = self.folder / "damaged" / name
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(damage((self.folder / "whole" / name).read_bytes(), draw))
        if name.endswith(".provenance.json"):
            (place.parent / "table.csv").touch()
        try:
            self.readers[name](place)
        except AbawError as error:
            assert "\n" not in str(error), error
        assert self.list_files() == self.before
        return name


@dataclass(frozen=True)
class FuzzWork:
    """Damaged files as work of an engine, whose processes may crash. A task is a seed."""

    folder: str
    cpu_s: int  # of one file; SIGXCPU ends a process that takes longer
    device: str = "cpu"

    def load(self) -> "FuzzWorker":
        """Write the whole files into a folder of this process."""
        return FuzzWorker(Path(self.folder), self.cpu_s)


class FuzzWorker:
    """A process that reads damaged files."""

    def __init__(self, folder: Path, cpu_s: int) -> None:
        """Write the whole files."""
        self.fuzzer = Fuzzer(folder / f"process-{os.getpid()}")
        self.cpu_s = cpu_s

    def do(self, path: Path, task: int, progress: Progress) -> list[Result]:
        """Read one."""
        _, most = resource.getrlimit(resource.RLIMIT_CPU)
        resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time()) + self.cpu_s, most))
        self.fuzzer.try_seed(task)
        return []

    def plan(self, path: Path, task: int) -> list[Plan]:
        """Return nothing: there is no output."""
        return []
