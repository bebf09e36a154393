"""The library for Python users: the verbs of the command line, DataFrames in and out.

Nothing here prints or keeps state. Messages go to the logger `abawcli`; what is wrong is raised as
a subclass of `abawcli.errors.AbawError`.
"""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
from pandas.api.types import is_numeric_dtype

from abawcli.config import (
    COMPACT_FACE,
    COMPACT_VOICE,
    EXPR,
    QUALITY,
    Segmentation,
    Smoothing,
)
from abawcli.datasets.pairing import LABEL_SUFFIXES
from abawcli.errors import InputError
from abawcli.formats.inputs import RelativePaths, expand_inputs
from abawcli.formats.table_checks import check_classes, check_frames, check_times
from abawcli.formats.table_schemas import SCHEMAS, TITLES, find_table_task
from abawcli.formats.tables import read_table, write_table
from abawcli.media.video import read_frames
from abawcli.pipeline.feature_stream import Extractor
from abawcli.segments import segment_table
from abawcli.stages import extract as extract_stage
from abawcli.stages.crop import crop_video
from abawcli.stages.export import export_table
from abawcli.stages.extract_summary import ExtractSummary
from abawcli.stages.predict import Predictor, predict_frames, predict_video
from abawcli.stages.score import Scoring, score_files
from abawcli.stages.smooth import smooth_table
from abawcli.summary import SummarySettings, summarize_table

__all__ = [
    "Predictor",
    "crop_video",
    "export",
    "extract_features",
    "predict_frames",
    "predict_video",
    "read_frames",
    "read_table",
    "score",
    "segment",
    "smooth",
    "summarize",
]
Table = pd.DataFrame | str | Path  # a table, or its file
_TEXTS = ("video", "subject", "source")  # columns of a prediction table without numbers


def extract_features(
    path: str | Path,
    output: str | Path,
    *,
    visual: str = COMPACT_FACE,
    audio: str = COMPACT_VOICE,
    subject: str | None = None,
    device: str = "auto",
    overwrite: bool = False,
) -> ExtractSummary:
    """Write the features of a video to a `.safetensors` file, as `abaw extract` does.

    Several videos share the networks with `abawcli.stages.extract.extract_features`.

    Args:
        path: video, audio file or folder of crops.
        output: file that ends in .safetensors.
        visual: image backbone: `compact-face`, a file, a folder or a hub name.
        audio: audio backbone, likewise.
        subject: one of `config.SUBJECTS` or `track N`; None: the main one.
        device: `auto`, `cuda`, `mps` or `cpu`.
        overwrite: make finished work again.

    Raises:
        AbawError: as `abawcli.stages.extract.extract_features`.
    """
    extractor = Extractor(visual, audio, device=device)
    return extract_stage.extract_features(
        path, output, extractor, subject=subject, overwrite=overwrite
    )


def smooth(table: Table, config: Smoothing | None = None) -> pd.DataFrame:
    """Return a prediction table smoothed over time; by default a median of 1 s.

    Raises:
        InputError: it is no prediction table, or has no rows.
        UsageError: the method is unknown, or the window is invalid.
    """
    return smooth_table(_load(table, None), config or Smoothing())


def segment(table: Table, config: Segmentation | None = None) -> pd.DataFrame:
    """Return the segments of a prediction table: a row for each.

    Raises:
        InputError: it is no prediction table, has no rows, or its frames have no times.
    """
    return segment_table(_load(table), config)


def summarize(table: Table, settings: SummarySettings | None = None) -> pd.DataFrame:
    """Return a row of measures for each subject of each video of a prediction table.

    Raises:
        InputError: it is no prediction table, has no rows, or its frames have no times.
    """
    return summarize_table(_load(table), settings)


def score(predictions: Table, annotations: Table) -> Scoring:
    """Score predictions against annotations; each a table, a file or a folder.

    A table of annotations has the columns video, frame and label.

    Raises:
        InputError: nothing can be scored.
    """
    with (
        _as_files(predictions, "the predictions") as predicted,
        _as_files(annotations, "the annotations") as annotated,
    ):
        return score_files(predicted, annotated)


def export(
    table: Table, to: str, output: str | Path, config: Segmentation | None = None
) -> list[Path]:
    """Write the labels of a prediction table in another program's format; return the files.

    Args:
        table: prediction table, or its file.
        to: one of `config.EXPORT_FORMATS`.
        output: file with the format's suffix, or folder.
        config: how labels become segments.

    Raises:
        AbawError: as `abawcli.stages.export.export_table`.
    """
    with _as_files(table, "the table") as files:
        return [made for path in files for made in export_table(path, output, to, config)]


def _load(table: Table, task: str | None = EXPR) -> pd.DataFrame:
    """Return a prediction table of a task; None: of any.

    Raises:
        InputError: it is no such table, a column is missing, there are no rows, or values are
            invalid.
    """
    if not isinstance(table, pd.DataFrame):
        return read_table(table, task)
    found = find_table_task(table.columns) or EXPR
    if task not in (None, found):
        raise InputError(f"the table is of {TITLES[found]}, not of {TITLES[str(task)]}")
    _check_columns(table, "the table", SCHEMAS[found].names)
    if table.empty:
        raise InputError("the table holds no rows")
    if found == EXPR:
        check_classes("the table", table)  # others than those of the probabilities are allowed
    check_frames("the table", table)
    check_times("the table", table)
    return table


def _check_columns(table: pd.DataFrame, name: str, needed: Sequence[str]) -> None:
    """Check that the table `name` has the columns of a prediction table, with their types.

    Raises:
        InputError: a column is missing, or has other values than numbers.
    """
    if missing := [each for each in needed if each not in table and each not in QUALITY]:
        raise InputError(f"{name} has no column {', '.join(missing)}")
    for each in needed:
        if each in table and each not in _TEXTS and not is_numeric_dtype(table[each]):
            raise InputError(f"{name} has other values than numbers as {each}")


@contextmanager
def _as_files(table: Table, name: str) -> Iterator[RelativePaths]:
    """Yield the files that are meant; a table is one while the block runs.

    Raises:
        InputError: of the block; in place of the file of a table it has the `name`.
    """
    if not isinstance(table, pd.DataFrame):
        yield expand_inputs([str(table)], LABEL_SUFFIXES)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.parquet"
        if "p_neutral" in table:
            _check_columns(table, name, SCHEMAS[EXPR].names)
            write_table(table, path, {})
        else:
            try:
                table.to_parquet(path, index=False)
            except (TypeError, ValueError) as error:  # two columns of a name, or mixed types
                raise InputError(f"{name}: {error.args[0]}") from error
        try:
            yield {path: Path(path.name)}
        except InputError as error:
            raise InputError(str(error).replace(str(path), name)) from error
