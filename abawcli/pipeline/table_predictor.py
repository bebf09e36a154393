"""Prediction tables of whole inputs, not smoothed: videos, feature files, folders of crops."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from abawcli.config import SUBJECTS
from abawcli.errors import InputError, UsageError
from abawcli.formats.crops import find_audio
from abawcli.formats.feature_sets import read_joined_features
from abawcli.formats.features import Features, is_features
from abawcli.formats.names import decode_name
from abawcli.formats.strategy import SubjectSegment, SubjectSegments, find_starts
from abawcli.models.heads import check_features
from abawcli.pipeline.baseline import remove_baseline
from abawcli.pipeline.frame_predictor import FramePredictor
from abawcli.pipeline.prediction_columns import PredictionColumns, tabulate_features, warn_of_poor
from abawcli.pipeline.subject_stream import find_near
from abawcli.pipeline.video_features import extract_crops
from abawcli.progress import Progress, ignore_progress
from abawcli.sources import AUDIO, drop_sources, name_sources

Outputs = NDArray[np.float32]


def is_track(subject: str) -> bool:
    """Tell whether a subject is the number of a track, as in features of `--subject all`."""
    return subject.isdecimal()


def _check_subject(path: Path, made_for: str, subject: str) -> None:
    """Check that a feature file is of the requested subject.

    Raises:
        InputError: it is not.
    """
    same = [made_for, f"track {made_for}", "all"] if is_track(made_for) else [made_for]
    if subject not in same:
        raise InputError(
            f"{path} has features of subject {made_for!r}, not {subject!r}; "
            f"extract again with --subject {subject}"
        )


class TablePredictor(FramePredictor):
    """A recipe's networks, and their table for a whole input."""

    def predict_table(
        self,
        path: str | Path,
        subject: str | SubjectSegments | None = None,
        *,
        progress: Progress = ignore_progress,
        video: str | None = None,
        audio_from: str | Path | None = None,
    ) -> pd.DataFrame:
        """Return the table of a video, feature file or crops folder, with logits, not smoothed.

        Arguments and errors are those of `abawcli.stages.predict.Predictor.predict_video`.
        """
        path = Path(path)
        audio_from = None if audio_from is None else Path(audio_from)
        if os.path.isdir(path):
            return self._predict_crops(path, subject, progress, video, audio_from=audio_from)
        if is_features(path):
            return self._predict_file(path, subject)
        name, people = video or path.stem, subject or SUBJECTS[0]
        if isinstance(people, str):
            people = (SubjectSegment(people),)
        return self.predict_people(path, {name: people}, progress)[name]

    def predict_people(
        self,
        path: str | Path,
        people: Mapping[str, SubjectSegments],
        progress: Progress = ignore_progress,
    ) -> dict[str, pd.DataFrame]:
        """Return a table of a video for each choice of subjects, by its name, not smoothed.

        Tables have logits. The video is read once. The names are the values of the column `video`.

        Raises:
            InputError, UsageError: as `predict_table`.
        """
        starts = find_starts(people.values())
        columns = PredictionColumns(self.recipe.task, starts)
        columns.collect(self.predict_frames(path, starts), progress)
        tables = {
            name: columns.tabulate(decode_name(name), columns.select(chosen, path), chosen)
            for name, chosen in people.items()
        }
        for name, table in tables.items():
            warn_of_poor(table, str(path) if len(tables) == 1 else name)
        return {name: self._finish(table, str(path)) for name, table in tables.items()}

    def _predict_file(
        self, path: Path, subject: str | SubjectSegments | None = None
    ) -> pd.DataFrame:
        if self.rotate:
            raise UsageError(f"{path} holds features; rotate the video they are made of")
        paths = path, *self.more_features.get(path, ())
        features = read_joined_features(paths)
        if isinstance(subject, str):
            _check_subject(path, features.metadata.subject, subject)
        return self._predict_features([features], " + ".join(map(str, paths)))

    def _predict_crops(
        self,
        folder: Path,
        subject: str | SubjectSegments | None,
        progress: Progress,
        video: str | None,
        *,
        audio_from: Path | None,
    ) -> pd.DataFrame:
        if not (subject is None or isinstance(subject, str)):
            raise UsageError(f"the subject of {folder} is already chosen; leave out the strategy")
        audio_file = find_audio(folder, audio_from, video or folder.name)
        made = extract_crops(
            self.extractor, folder, subject, audio_file, progress=progress, video=video
        )
        return self._predict_features(made, str(folder))

    def _predict_features(self, subjects: list[Features], name: str) -> pd.DataFrame:
        """Return the table of subjects, given their features, by frame, then subject."""
        tables = []
        for features in subjects:
            for metadata in self.metadata.values():
                check_features(metadata, features.metadata.backbones, name)
            has_visual, has_audio = (
                getattr(features, f"has_{key}") & self.uses(key) for key in ("visual", "audio")
            )
            outputs, source = self.head.find_outputs(
                features.visual, features.audio, has_visual, has_audio
            )
            if is_track(features.metadata.subject) and has_visual.any():
                self._withhold_speech(outputs, source, has_visual)
            if self.reliability:
                unsure = (source == AUDIO) & ~self.reliability.judge(features.audio)
                outputs[unsure], source = np.nan, drop_sources(source, unsure)
            tables.append(
                tabulate_features(features, has_visual, outputs, source, task=self.recipe.task)
            )
        table = pd.concat(tables).sort_values("frame", kind="stable", ignore_index=True)
        warn_of_poor(table, name)
        return self._finish(table, name)

    def _withhold_speech(
        self, outputs: Outputs, source: NDArray[np.str_], has_visual: NDArray[np.bool_]
    ) -> None:
        """Leave frames without the face to those around it, in place: who speaks is unknown.

        As in a video with the subject `all`: a head that reads windows labels frames near the face.

        Args:
            outputs: (T, M).
            source: (T,) their sources.
            has_visual: (T,) frames with the face.
        """
        frames = np.arange(len(has_visual))
        outputs[~find_near(np.flatnonzero(has_visual), frames, self.head.window)] = np.nan
        known = ~np.isnan(outputs[:, 0])
        without = name_sources(has_visual, np.zeros_like(has_visual), known)
        source[~has_visual] = without[~has_visual]

    def _finish(self, table: pd.DataFrame, name: str) -> pd.DataFrame:
        """Return the table of a whole input with the baselines of its subjects removed."""
        if self.baseline is None:
            return table
        return remove_baseline(table, self.baseline, self.neutral, name)
