"""Stage export: the labels of prediction tables in the formats of other programs."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path, PurePath
from shlex import quote
from typing import Any

import av

from abawcli.config import Media, Segmentation
from abawcli.errors import InputError, UsageError
from abawcli.formats.abaw import split_side
from abawcli.formats.exports import EXPORTERS, Exporter, VideoLabels
from abawcli.formats.inputs import relate_path
from abawcli.formats.outputs import check_writable, is_folder_name
from abawcli.formats.provenance import (
    Provenance,
    describe_work,
    find_finished,
    find_input,
    read_provenance,
    write_result,
)
from abawcli.formats.tables import load_columns, read_table
from abawcli.media.pictures import identify_picture
from abawcli.media.streams import open_media
from abawcli.segments import segment_table

LOG = logging.getLogger(__name__)
MADE_SUFFIXES = frozenset({".safetensors", ".csv", ".parquet"})  # inputs of predict that are made


def name_exports(
    videos: Sequence[str], output: str | Path, exporter: Exporter, tables: int = 1
) -> dict[str, Path]:
    """Return the output of each video of a table: the file `output`, or files in that folder.

    `output` is a file if it has the format's suffix and is not a folder. `tables` is the number of
    tables that are exported to it.

    Raises:
        UsageError: there are several videos for one file, or the name is that of another format.
    """
    output = Path(output)
    suffix = Path(f"x{exporter.suffix}").suffix.lower()
    if len(videos) > 1 and output.suffix.lower() == suffix and not output.is_dir():
        raise UsageError(f"{len(videos)} videos need a folder as -o, not the file {output}")
    if is_folder_name(output, frozenset({suffix}), max(tables, len(videos))):
        return {video: output / f"{video}{exporter.suffix}" for video in videos}
    return dict.fromkeys(videos, output)


def check_exports(tables: Iterable[str | Path], output: str | Path, kind: str) -> None:
    """Check, before any work is done, that no two tables have an output in common.

    Tables that cannot be read are not reported here, but by `export_table`.

    Raises:
        UsageError: two tables have a video of the same name, or `output` is a file.
    """
    owners: dict[Path, Path] = {}
    paths = list(map(Path, tables))
    for path in paths:
        videos: list[str] = []
        with suppress(InputError):
            videos = load_columns(path, ["video"])["video"].unique().tolist()
        targets = name_exports(videos, output, EXPORTERS[kind], len(paths))
        for video, target in targets.items():
            if (other := owners.setdefault(target, path)) != path:
                raise UsageError(
                    f"{other} and {path} are both of {video}; leave one out, or run them apart, "
                    "each with a folder of its own as -o"
                )


def export_table(
    path: str | Path,
    output: str | Path,
    kind: str,
    config: Segmentation | None = None,
    *,
    overwrite: bool = False,
    tables: int = 1,
) -> list[Path]:
    """Export the labels of a prediction table, one file per video; return the files.

    Finished work is kept. `tables` is the number of tables that are exported to `output`.

    Raises:
        InputError: the table cannot be read, has no times, or does not fit the format.
        OutputError: the output exists and may not be replaced, or cannot be written.
        UsageError: the format is unknown, or there are several videos for one file.
    """
    path = Path(path)
    output = Path(output)
    if kind not in EXPORTERS:
        raise UsageError(f"unknown format {kind!r}; known are {', '.join(EXPORTERS)}")
    exporter, config = EXPORTERS[kind], config or Segmentation()
    table, made = read_table(path), read_provenance(path)
    videos: list[str] = table["video"].unique().tolist()
    outputs = name_exports(videos, output, exporter, tables)
    check_writable(outputs.values())
    segments = segment_table(table, config)
    for video, target in outputs.items():
        media = _find_media(made, video, path)
        if exporter.is_played:
            _warn_of_late_start(media)
        labels = VideoLabels(
            video,
            _relate(media, target),
            table[table["video"] == video].sort_values(["subject", "frame"], kind="stable"),
            segments[segments["video"] == video],
        )
        settings = {"format": kind, "video": video, "segmentation": asdict(config)}
        work = describe_work("export", [path], settings, made_from=[made])
        _write(exporter, labels, target, work, overwrite=overwrite)
    return list(outputs.values())


def _write(
    exporter: Exporter, labels: VideoLabels, target: Path, work: Provenance, *, overwrite: bool
) -> None:
    texts = {target: exporter.write(labels)}
    if exporter.sidecar:
        texts[target.with_suffix(".json")] = exporter.sidecar(labels)
    for file, text in texts.items():
        if not find_finished(file, work, overwrite):
            with write_result(file, work) as temporary:
                temporary.write_text(text, encoding="utf-8")


def _find_media(made: Mapping[str, Any], video: str, table: Path) -> Path:
    """Return the path of a video file, or its name alone if it was moved or changed.

    The provenance of a table names the video that it was made from, directly, as that of the crops,
    or in that of the tables that it was made from. `x_left` is of the video `x`.
    """
    own = PurePath(video).name
    known = {own, split_side(own)[0]}
    moved = []
    for described in _list_files(made):
        name = PurePath(str(described.get("name")))
        if {name.stem, name.name} & known and name.suffix.lower() not in MADE_SUFFIXES:
            if file := find_input(described, table):
                return file.absolute()
            moved.append(name.name)
    return Path(next(iter(moved), own))


def _relate(media: Path, target: Path) -> str:
    """Return the path of a video relative to the folder of an export, or its name."""
    known = media.is_absolute()
    return Path(relate_path(media, target.parent)).as_posix() if known else str(media)


def _warn_of_late_start(media: Path) -> None:
    """Warn if the clock of a video does not begin at 0, as it does in players.

    That of an MP4 always does: a late start is an edit list, which players show as a pause.
    """
    if not media.is_absolute() or identify_picture(media):
        return
    with suppress(InputError), open_media(media) as container:
        start_s = (container.start_time or 0) / av.time_base
        if start_s >= Media.late_start_s and "mov" not in container.format.name:
            LOG.warning(
                "the clock of %s begins at %.2f s, and players count from 0: labels are %.2f s "
                "late there. `ffmpeg -i %s -c copy %s` makes a file that begins at 0; predict "
                "from it",
                media.name, start_s, start_s, quote(media.name), quote(f"{media.stem}.mkv"),
            )  # fmt: skip


def _list_files(made: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the descriptions of the files that a table or its origins were made from."""
    found = [*made.get("inputs", []), *made.get("companions", [])]
    files: list[Mapping[str, Any]] = [each for each in found if isinstance(each, dict)]
    for below in made.get("made_from", []):
        files += _list_files(below) if isinstance(below, dict) else []
    return files
