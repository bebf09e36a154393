"""`abaw crossval`: cross-validation of heads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from abawcli.cli.console import print_json, print_table, progress_bar
from abawcli.cli.feature_sets import features_option, find_feature_files, list_sets
from abawcli.cli.options import (
    Window,
    device_option,
    json_option,
    labels_option,
    overwrite_option,
    task_option,
    verbosity_options,
)
from abawcli.cli.train_head import (
    check_losses,
    check_shape,
    features_argument,
    read_training,
    training_options,
)
from abawcli.cli.train_options import run_option
from abawcli.config import HEAD_NAMES, HeadTraining

if TYPE_CHECKING:
    from abawcli.stages.crossval import Results

KIND_NAMES = {
    "raw": "", "smoothed": ", smoothed",
    "best_raw": ", best epoch", "best_smoothed": ", best epoch, smoothed",
}  # fmt: skip
# Figures that are shown; those of each action unit are in results.json.
FIGURES = {
    "macro_f1": "macro-F1", "accuracy": "accuracy", "mean_ccc": "mean CCC", "mean_f1": "mean F1",
    "valence": "CCC of valence", "arousal": "CCC of arousal",
}  # fmt: skip
DEVIATIONS = {
    "mean": "mean",
    "sample deviation": "deviation",
    "population deviation": "population_deviation",
}


@click.command(name="crossval")
@features_argument
@features_option
@labels_option(required=True)
@run_option
@click.option(
    "--head", "heads", type=click.Choice(HEAD_NAMES), multiple=True, default=[HEAD_NAMES[0]],
    show_default=True, help="Fusion head. If given several times, the heads are compared.",
)  # fmt: skip
@click.option(
    "--folds", type=click.IntRange(min=2), default=HeadTraining().folds, show_default=True,
    help="Number of folds. All tracks of one source video are in the same fold.",
)  # fmt: skip
@click.option(
    "--best-epoch", is_flag=True,
    help="Also score each fold's best epoch, as published figures do. It is chosen on the "
    "held-out fold, so the score is optimistic.",
)  # fmt: skip
@task_option
@training_options
@device_option
@json_option
@overwrite_option
@verbosity_options
def command(
    features: tuple[str, ...],
    more_features: tuple[str, ...],
    labels: str,
    output: Path,
    heads: tuple[str, ...],
    folds: int,
    best_epoch: bool,
    task: str,
    window: Window | None,
    device: str,
    as_json: bool,
    overwrite: bool,
    quiet: bool,
    **tuned: Any,
) -> None:
    """Cross-validate heads: train on all folds but one, score on the held-out fold.

    FEATURES are files of `abaw extract`, or folders of them; --features adds those of further
    backbones. Folds are balanced by class (with --task va by the quadrant of valence and
    arousal, with au by the number of active units) and written to folds.csv in the run folder; a
    later run with other heads uses the same folds. An interrupted run continues with the folds that
    are not trained yet. Scores are those of the last epoch: the held-out fold does not choose the
    epoch.

    The run folder also gets results.json, a training curve per fold (<head>/fold1/metrics.jsonl),
    and the prediction of each video by the head that was not trained on it
    (<head>/predictions/, not smoothed).

    Example: abaw crossval features/ --labels annotations/ -o cv/ --head gated --head visual
    """
    from abawcli.datasets.pairing import ANNOTATION_SUFFIXES
    from abawcli.formats.inputs import expand_inputs
    from abawcli.formats.outputs import check_apart, check_outside, check_writable
    from abawcli.stages.crossval import cross_validate, describe_results

    check_shape(heads, tuned)
    check_losses(task, tuned)
    check_outside(output, features + more_features)
    check_apart([output], [labels])
    check_writable([output / "config.json"])
    sets = list_sets(features, more_features, "FEATURES...")
    files = find_feature_files(sets), expand_inputs([labels], ANNOTATION_SUFFIXES)
    configs = {head: read_training(head, window, tuned, task) for head in heads}
    with progress_bar("crossval", "batch", quiet) as update:
        results = cross_validate(
            *files, output, heads, folds=folds, configs=configs, best_epoch=best_epoch,
            device=device, overwrite=overwrite, task=task, progress=update,
        )  # fmt: skip
    if as_json:
        print_json(describe_results(results))
    else:
        _print_results(results)


def _print_results(results: Results) -> None:
    """Print one table per measure: folds in rows, heads in columns."""
    from abawcli.stages.crossval import describe_results

    described = describe_results(results)
    columns = [(head, kind) for head in described for kind in KIND_NAMES if kind in described[head]]
    first = next(iter(described.values()))["folds"]
    names = [f"{head}{KIND_NAMES[kind]}" for head, kind in columns]
    for figure, title in FIGURES.items():
        if figure not in first[0]["raw"]:
            continue  # of another task
        rows = [
            [str(fold["fold"]), str(fold["videos"]), f"{fold['frames']:,}"]
            + [f"{described[head]['folds'][k][kind][figure]:.4f}" for head, kind in columns]
            for k, fold in enumerate(first)
        ]
        for row, key in DEVIATIONS.items():
            spread = [f"{described[head][kind][figure][key]:.4f}" for head, kind in columns]
            rows.append([row, "", "", *spread])
        print_table(f"{title} on held-out folds", ["fold", "videos", "frames", *names], rows)
