"""Predictions of a whole video, or from features, as the rows of a prediction table."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from abawcli.config import EXPR, QUALITY
from abawcli.faces.quality import explain_poor
from abawcli.faces.subjects import NOBODY
from abawcli.formats.features import Features
from abawcli.formats.strategy import SubjectSegments, describe_choice
from abawcli.formats.table_forms import TABLE_FORMS
from abawcli.models.output_forms import OUTPUT_FORMS
from abawcli.pipeline.subject_stream import FramePrediction
from abawcli.pipeline.video_columns import GrowingTable, RowArray, Selection, VideoColumns
from abawcli.sources import name_sources

LOG = logging.getLogger(__name__)
Outputs = NDArray[np.float32]


class PredictionColumns(VideoColumns[FramePrediction]):
    """The predictions for all subjects of a video: about 150 bytes per face and frame."""

    def __init__(self, task: str = EXPR, starts: Sequence[int] = ()) -> None:
        """Prepare for the outputs (M,) of a head of this task; `starts` as in `VideoColumns`."""
        shape = (OUTPUT_FORMS[task].outputs,)
        super().__init__(
            [("has_audio", "?"), ("reliable", "?"), ("audio_only", "f4", shape)],
            [("outputs", "f4", shape)],
            starts,
        )
        self._absent = GrowingTable([("frame", "i8"), ("subject", "i8"), ("outputs", "f4", shape)])
        self._unknown = np.full(shape, np.nan, np.float32)
        self.task = task

    def append(self, record: FramePrediction) -> None:
        """Append the values of the next frame."""
        audio_only = self._unknown if record.audio_only is None else record.audio_only
        super().append(replace(record, audio_only=audio_only))
        for subject, outputs in record.absent.items():
            self._absent.append(record.frame, subject, outputs)

    @property
    def absent(self) -> RowArray:
        """Return the rows (A,) of subjects who are not in a frame, but in frames near it."""
        return self._absent.rows

    def tabulate(self, video: str, rows: Selection, segments: SubjectSegments) -> pd.DataFrame:
        """Return the table of the selected subjects, one row per frame and subject.

        Rows without a face are predicted from the frames around them, or from the audio alone. With
        `all`, speech cannot be attributed to a subject, unless no other one is visible. Rows based
        on audio that is not reliable have no label.
        """
        by_subject = segments[0].strategy == "all"
        found, has_audio = rows.found, rows.of_frames("has_audio")
        audio_only, around = rows.of_frames("audio_only"), self._look_up_absent(rows)  # (R, M)
        if by_subject:
            nobody = rows.subject == NOBODY
            around[nobody] = audio_only[nobody]
            has_audio &= found | nobody
        else:
            around = np.where(np.isnan(around), audio_only, around)
        unsure = has_audio & ~found & ~rows.of_frames("reliable")
        around[unsure] = np.nan
        outputs = np.where(found[:, None], rows.of_faces("outputs"), around)  # (R, M)
        subject = rows.subject.astype(str) if by_subject else describe_choice(segments)["subject"]
        return _lay_columns(
            task=self.task,
            video=video,
            frame=rows.frame,
            time_s=rows.of_frames("time_s"),
            subject=subject,
            found=found,
            face={name: rows.of_faces(name) for name in ("score", "box", "quality")},
            source=name_sources(found, has_audio, ~np.isnan(outputs[:, 0])),
            outputs=outputs,
        )

    def _look_up_absent(self, rows: Selection) -> Outputs:
        """Return the outputs (R, M) of subjects who are not in the frame, NaN if unknown."""
        known = self.absent
        index = pd.MultiIndex.from_arrays([known["frame"], known["subject"]])
        wanted = index.get_indexer(pd.MultiIndex.from_arrays([rows.frame, rows.subject]))
        return np.concatenate([known["outputs"], self._unknown[None]])[wanted]


def tabulate_features(
    features: Features,
    found: NDArray[np.bool_],
    outputs: Outputs,
    source: NDArray[np.str_],
    *,
    task: str = EXPR,
) -> pd.DataFrame:
    """Return the table of one subject's features, given outputs (T, M) and sources (T,) of rows.

    `found` (T,) are the rows with a face.
    """
    face = {"score": features.face_score, "box": features.box, "quality": features.quality}
    return _lay_columns(
        task=task,
        video=features.metadata.video,
        frame=features.frame,
        time_s=features.time_s,
        subject=features.metadata.subject,
        found=found,
        face={
            name: np.where(found.reshape(-1, *[1] * (values.ndim - 1)), values, np.nan)
            for name, values in face.items()
        },
        source=source,
        outputs=outputs,
    )


def warn_of_poor(table: pd.DataFrame, name: str) -> None:
    """Warn if most faces of a table have a lower quality than those in the training data."""
    found = table["found"].to_numpy()
    w, h, sharpness = (table[each].to_numpy()[found] for each in ("w", "h", "sharpness"))
    problem = explain_poor(np.fmax(w, h), sharpness)
    if problem:
        LOG.warning("%s: %s", name, problem)


def _lay_columns(
    task: str,
    face: dict[str, NDArray[np.floating[Any]]],
    source: NDArray[np.str_],
    outputs: Outputs,
    **columns: Any,
) -> pd.DataFrame:
    """Return a table of faces, sources (R,), outputs (R, M) and the rest.

    `face` has `score` (R,), `box` (R, 4) and `quality` (R, 4). Tables hold 64-bit numbers.
    """
    columns["face_score"] = face["score"].astype(np.float64)
    for names, name in (("xywh", "box"), (QUALITY, "quality")):
        columns |= dict(zip(names, face[name].astype(np.float64).T, strict=True))
    form = TABLE_FORMS[task]
    return form.lay(pd.DataFrame(columns), outputs, source)[list(form.columns)]
