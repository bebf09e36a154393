"""Stage predict: from videos, crops or features to prediction tables."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from abawcli.config import EXPR, SUBJECTS, Classifiers, Prediction, Smoothing
from abawcli.device import leave_one_core
from abawcli.errors import UsageError
from abawcli.formats.crops import find_audio, list_companions
from abawcli.formats.features import is_features
from abawcli.formats.json_values import JsonObject
from abawcli.formats.names import decode_name
from abawcli.formats.provenance import (
    Plan,
    Provenance,
    describe_work,
    find_finished,
    plan_output,
)
from abawcli.formats.strategy import SubjectSegment, SubjectSegments, describe_choice
from abawcli.formats.summary import Result, keep_warnings, note_summary, read_summary
from abawcli.formats.tables import drop_logits, write_table
from abawcli.media.limits import limit_frames
from abawcli.media.video import TimedImage
from abawcli.models.recipes import Recipe
from abawcli.pipeline.baseline import Baseline
from abawcli.pipeline.subject_stream import FramePrediction
from abawcli.pipeline.table_predictor import TablePredictor
from abawcli.progress import Progress, ignore_progress
from abawcli.smoothing import check_value_smoothing
from abawcli.stages.predict_summary import PredictSummary, summarise_predictions
from abawcli.stages.settings import PredictSettings
from abawcli.stages.smooth import count_segments, smooth_table


class Predictor(TablePredictor):
    """A recipe's networks, loaded once for any number of inputs, and their prediction tables."""

    def predict_video(
        self,
        path: str | Path,
        subject: str | SubjectSegments | None = None,
        smooth: bool | Smoothing = True,
        *,
        progress: Progress = ignore_progress,
        video: str | None = None,
        audio_from: str | Path | None = None,
        logits: bool = False,
    ) -> pd.DataFrame:
        """Return the prediction table of a video, picture, audio or feature file, or crops folder.

        Every decoded frame has one row, or one for each subject with `subject="all"`. The column
        `subject` is the requested subject, or the track's number for `all`. A frame without a face
        is labelled from its audio, if that is reliable; with `all` only if the whole video has no
        face, as speech cannot be attributed to a subject.

        Args:
            path: the input.
            subject: one of SUBJECTS, `track N`, or the segments of a strategy file; None: `main`,
                or the subject of the crops or features.
            smooth: the smoothing, as in the recipe, another one, or none.
            progress: called as frames are done.
            video: value of the column `video`; by default the name of the file without suffix, or
                of the folder; for feature files the name in their metadata.
            audio_from: folder with the videos that crops were made from.
            logits: keep the columns of logits of a table without smoothing.

        Raises:
            InputError: the file cannot be read, or lacks frames or a requested track; or crops
                are incomplete; or crops or features are of another subject; or no subject has a
                face in the neutral frames of a baseline.
            UsageError: the subject is unknown; or features or crops would be rotated.
            CheckpointError: features come from other backbones than the recipe's.
        """
        table = self.predict_table(
            path, subject, progress=progress, video=video, audio_from=audio_from
        )
        if not smooth:
            return table if logits else drop_logits(table)
        return smooth_table(table, self.recipe.smoothing if smooth is True else smooth)


def predict_files(
    predictor: Predictor,
    path: str | Path,
    outputs: Mapping[str, Path],
    people: str | Mapping[str, SubjectSegments] | None = None,
    *,
    smoothing: Smoothing | None = None,
    audio_from: str | Path | None = None,
    logits: bool = False,
    overwrite: bool = False,
    progress: Progress = ignore_progress,
) -> dict[str, PredictSummary]:
    """Write prediction tables of a video; finished ones are kept.

    Args:
        predictor: the recipe.
        path: a video, picture, audio file, feature file or folder of crops.
        outputs: table (.csv or .parquet) by value of its column `video`; several only for a video.
        people: segments of a strategy by the same names; or as in `Predictor.predict_video`.
        smoothing: None: no smoothing.
        audio_from: folder with the videos that crops were made from.
        logits: without smoothing, also write the logits; they are always written for a recipe that
            smooths logits, so that `smooth` gives the same result as the recipe.
        overwrite: also replace outputs that were edited or come from elsewhere.
        progress: called as frames are done.

    Raises:
        InputError, UsageError, CheckpointError: as `Predictor.predict_video`.
        OutputError: the output exists and may not be replaced, or cannot be written.
    """
    path = Path(path)
    audio_from = None if audio_from is None else Path(audio_from)
    works = {
        name: _describe_work(
            predictor, path, name, people, smoothing=smoothing, audio_from=audio_from, logits=logits
        )
        for name in outputs
    }
    finished = {name: find_finished(outputs[name], work, overwrite) for name, work in works.items()}
    todo = {name: work for name, work in works.items() if not finished[name]}
    if todo:
        with keep_warnings(*todo.values()):
            made = _predict_raw(
                predictor, path, list(todo), people, audio_from=audio_from, progress=progress
            )
            for name, raw in made.items():
                table = smooth_table(raw, smoothing) if smoothing else raw
                table = table if works[name]["settings"].get("logits") else drop_logits(table)
                removed, segments = count_segments(raw, table)
                note_summary(works[name], summarise_predictions(table, segments, removed))
                write_table(table, outputs[name], works[name])
    return {
        name: read_summary(finished[name] or work, PredictSummary, made=name in todo)
        for name, work in works.items()
    }


PredictTask = tuple[Mapping[str, Path], str | Mapping[str, SubjectSegments] | None]


class PredictWorker:
    """A recipe's networks, for any number of inputs. A task is tables by name, and subjects."""

    def __init__(self, settings: PredictSettings) -> None:
        """Load the networks.

        Raises:
            UsageError, CheckpointError: as `Predictor`.
        """
        leave_one_core()
        config = Prediction(batch_size=settings.batch_size)
        limit_frames(settings.max_megapixels)
        self.settings = settings
        self.predictor = Predictor(
            settings.recipes, settings.device, config, settings.modality,
            rotate=settings.rotate, backbones=settings.backbones, classifiers=settings.classifiers,
            baseline=settings.baseline, label_all=settings.label_all,
            more_features=settings.more_features,
        )  # fmt: skip
        base = self.predictor.recipe.smoothing
        self.smoothing = None if settings.smoothing is None else replace(base, **settings.smoothing)
        _check_task(self.predictor.recipe, self.smoothing, settings.logits)

    def do(self, path: str | Path, task: PredictTask, progress: Progress) -> list[Result]:
        """Write the tables of one input."""
        path, (outputs, people) = Path(path), task
        done = predict_files(
            self.predictor, path, outputs, people, smoothing=self.smoothing,
            audio_from=self.settings.audio_from, logits=self.settings.logits,
            overwrite=self.settings.overwrite, progress=progress,
        )  # fmt: skip
        return [Result(_name_result(path, name), outputs[name], done[name]) for name in done]

    def plan(self, path: str | Path, task: PredictTask) -> list[Plan]:
        """Return the plan for each table."""
        path, (outputs, people) = Path(path), task
        settings, plans = self.settings, []
        for name, output in outputs.items():
            work = _describe_work(
                self.predictor, path, name, people, smoothing=self.smoothing,
                audio_from=settings.audio_from, logits=settings.logits,
            )  # fmt: skip
            plans.append(plan_output(output, work, settings.overwrite))
        return plans


def _check_task(recipe: Recipe, smoothing: Smoothing | None, logits: bool) -> None:
    """Refuse settings that tasks with values lack."""
    if recipe.task == EXPR:
        return
    if logits:
        raise UsageError(f"--logits is for expressions; {recipe.name} is of --task {recipe.task}")
    if smoothing:
        check_value_smoothing(smoothing)


def _name_result(path: Path, name: str) -> str:
    """Return the name of a table in summaries: the input's, if it has only one table.

    Below a folder that was given, it begins with the folders, so that it is of one input only.
    """
    folders, stem = os.path.split(name)
    return decode_name(os.path.join(folders, path.name) if path.stem == stem else name)


def _choose_people(
    people: str | Mapping[str, SubjectSegments] | None, name: str
) -> SubjectSegments:
    return people[name] if isinstance(people, Mapping) else (SubjectSegment(people or SUBJECTS[0]),)


def _describe_work(
    predictor: Predictor,
    path: Path,
    name: str,
    people: str | Mapping[str, SubjectSegments] | None,
    *,
    smoothing: Smoothing | None,
    audio_from: Path | None,
    logits: bool,
) -> Provenance:
    """Return the provenance of a table before it is made."""
    crops, companions = os.path.isdir(path), list(predictor.more_features.get(path, ()))
    kind = "crops" if crops else "features" if is_features(path) else "video"
    settings: JsonObject = {"video": decode_name(name)}
    settings |= predictor.describe("", smoothing, kind)
    if not smoothing and (logits or predictor.recipe.smoothing.space == "logits"):
        settings["logits"] = True
    if crops:
        settings["subject"] = people if isinstance(people, str) else None
        companions = list_companions(path, find_audio(path, audio_from, name))
    else:
        settings |= describe_choice(_choose_people(people, name))
    return describe_work("predict", [path], settings, companions=companions)


def _predict_raw(
    predictor: Predictor,
    path: Path,
    names: Sequence[str],
    people: str | Mapping[str, SubjectSegments] | None,
    *,
    audio_from: Path | None,
    progress: Progress,
) -> dict[str, pd.DataFrame]:
    """Return the tables by name, not smoothed."""
    if not (os.path.isdir(path) or is_features(path)):
        chosen = {name: _choose_people(people, name) for name in names}
        return predictor.predict_people(path, chosen, progress)
    (name,) = names
    subject = people[name] if isinstance(people, Mapping) else people
    return {
        name: predictor.predict_table(
            path, subject, progress=progress, video=name, audio_from=audio_from
        )
    }


def predict_video(
    path: str | Path,
    recipe: str | Sequence[str] = "compact",
    subject: str | SubjectSegments | None = None,
    smooth: bool | Smoothing = True,
    *,
    modality: str = "av",
    rotate: int = 0,
    classifiers: Classifiers | None = None,
    baseline: Baseline | None = None,
    label_all: bool = False,
) -> pd.DataFrame:
    """Return the prediction table of one video; see `Predictor.predict_video`.

    For several videos, make a `Predictor` once: loading takes longer than a short clip.
    """
    path = Path(path)
    predictor = Predictor(
        recipe,
        modality=modality,
        rotate=rotate,
        classifiers=classifiers,
        baseline=baseline,
        label_all=label_all,
    )
    return predictor.predict_video(path, subject, smooth)


def predict_frames(
    source: str | Path | Iterable[TimedImage], recipe: str | Sequence[str] = "compact"
) -> Iterator[FramePrediction]:
    """Yield every frame of a video, or image of a camera, with the predictions for all its faces.

    See `Predictor.predict_frames`.
    """
    return Predictor(recipe).predict_frames(source)
