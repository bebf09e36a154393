"""`abaw score`: predictions against annotations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from abawcli.cli.batch import exit_if_failed
from abawcli.cli.console import print_json, print_table
from abawcli.cli.options import json_option, overwrite_option, verbosity_options
from abawcli.labels import CLASSES

if TYPE_CHECKING:
    from abawcli.stages.score import Scoring


def _print_scoring(scoring: Scoring) -> None:
    score, face = scoring.overall, scoring.with_face
    figures = zip(CLASSES, score.precision, score.recall, score.f1, score.support, strict=True)
    rows = [[name, f"{p:.3f}", f"{r:.3f}", f"{f:.3f}", f"{n:,}"] for name, p, r, f, n in figures]
    rows.append(["macro-F1", "", "", f"{score.macro_f1:.4f}", f"{score.frames:,}"])
    if face:
        rows.append(["macro-F1, face found", "", "", f"{face.macro_f1:.4f}", f"{face.frames:,}"])
    rows.append(["accuracy", "", "", f"{score.accuracy:.4f}", f"{score.frames:,}"])
    title = f"score, annotations: {len(scoring.videos)}"
    print_table(title, ["class", "precision", "recall", "F1", "frames"], rows)
    matrix = [
        [name, *map(str, counts)] for name, counts in zip(CLASSES, score.confusion, strict=True)
    ]
    short = [name[:3] for name in CLASSES]
    print_table("annotated (rows) against predicted, frames", ["", *short], matrix)
    if scoring.unlabelled:
        click.echo(f"{scoring.unlabelled:,} annotated frames have no prediction: they are wrong")


@click.command(name="score")
@click.argument("predictions", metavar="PREDICTIONS")
@click.argument("annotations", metavar="ANNOTATIONS")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write the score as JSON.")
@json_option
@overwrite_option
@verbosity_options
def command(
    predictions: str,
    annotations: str,
    output: Path | None,
    as_json: bool,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Score predictions against annotations, all videos pooled: the challenge's macro-F1.

    PREDICTIONS are tables (csv, parquet), ABAW text files or a submission, ANNOTATIONS ABAW text
    files or tables with the columns video, frame and label; each a file, a folder or a glob.
    Frames annotated -1 are left out. Videos are matched by name.
    """
    from abawcli.formats.files import (
        check_apart,
        describe_work,
        expand_inputs,
        is_finished,
        write_provenance,
        write_whole,
    )
    from abawcli.formats.tracks import LABEL_SUFFIXES
    from abawcli.stages.score import describe_scoring, score_files

    provenance = describe_work("score", [Path(predictions), Path(annotations)], {})
    predicted, annotated = (expand_inputs([s], LABEL_SUFFIXES) for s in (predictions, annotations))
    if output:
        check_apart([output], predicted + annotated)
        is_finished(output, provenance, overwrite)  # the score is quick; only strangers matter
    scoring = score_files(predicted, annotated)
    if output:
        with write_whole(output) as temporary:
            temporary.write_text(json.dumps(describe_scoring(scoring), indent=2) + "\n")
        write_provenance(output, provenance)
    if as_json:
        print_json(describe_scoring(scoring))
    else:
        _print_scoring(scoring)
    for reason in scoring.failed.values():
        click.echo(f"abaw: error: {reason}", err=True)
    exit_if_failed(list(scoring.failed), len(scoring.videos) + len(scoring.failed))
