"""Labels of `abaw train head` beside its own: to validate on, of other tasks, and of tables."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from abawcli.cli.bundles import bundle_options
from abawcli.cli.feature_sets import find_feature_files
from abawcli.cli.options import FiniteRange, complete_files
from abawcli.config import PSEUDO_CONFIDENCE, HeadTraining

if TYPE_CHECKING:
    from abawcli.datasets.pseudo_labels import PseudoLabels
    from abawcli.stages.train_head import Files


@dataclass(frozen=True)
class ValidationFiles:
    """Which videos choose the best epoch; without both, some that are held out."""

    valid_features: tuple[str, ...]
    valid_labels: str | None

    def find_files(self, backbones: int) -> Files | None:
        """Return their features, of so many backbones, and their annotations.

        Raises:
            click.UsageError: one is given without the other, or not one folder for each backbone.
        """
        from abawcli.datasets.pairing import ANNOTATION_SUFFIXES
        from abawcli.formats.inputs import expand_inputs

        if bool(self.valid_features) != bool(self.valid_labels):
            raise click.UsageError("--valid-features and --valid-labels need each other")
        if not self.valid_labels:
            return None
        sets = self._list_sets(backbones)
        return find_feature_files(sets), expand_inputs([self.valid_labels], ANNOTATION_SUFFIXES)

    def _list_sets(self, backbones: int) -> list[tuple[str, ...]]:
        """Return the arguments of each backbone's features."""
        if backbones == 1:
            return [self.valid_features]
        if len(self.valid_features) != backbones:
            raise click.UsageError(
                f"{len(self.valid_features)} --valid-features for features of {backbones} "
                "backbones; give one for each, in their order"
            )
        return [(each,) for each in self.valid_features]


@dataclass(frozen=True)
class ExtraLabels:
    """Labels that a head also learns: of other tasks, and of prediction tables."""

    aux_va: str | None
    aux_au: str | None
    pseudo: tuple[str, ...]
    min_confidence: float | None

    def find_auxiliary(self, task: str) -> dict[str, Iterable[Path]]:
        """Return the annotation files of other tasks than `task`, by task.

        Raises:
            click.UsageError: they are of `task` itself.
        """
        from abawcli.datasets.pairing import ANNOTATION_SUFFIXES
        from abawcli.formats.inputs import expand_inputs

        folders = {"va": self.aux_va, "au": self.aux_au}
        given = {name: folder for name, folder in folders.items() if folder}
        if task in given:
            raise click.UsageError(f"--aux-{task} is the task itself; leave it out")
        return {
            name: expand_inputs([folder], ANNOTATION_SUFFIXES) for name, folder in given.items()
        }

    def read_pseudo(self) -> PseudoLabels | None:
        """Return the confident rows of the tables, if any are given.

        Raises:
            click.UsageError: only a limit of confidence is given.
        """
        from abawcli.datasets.pseudo_labels import read_pseudo_labels
        from abawcli.formats.inputs import expand_inputs
        from abawcli.formats.tables import TABLE_SUFFIXES

        if not self.pseudo:
            if self.min_confidence is not None:
                raise click.UsageError("--min-confidence is only for --pseudo")
            return None
        paths = expand_inputs(self.pseudo, TABLE_SUFFIXES)
        return read_pseudo_labels(paths, self.min_confidence or PSEUDO_CONFIDENCE)


validation_options = bundle_options("validation", ValidationFiles, [
    click.option(
        "--valid-features", multiple=True, metavar="FEATURES",
        help="Features of the videos that choose the best epoch; of several backbones, one "
        "--valid-features for each, in their order.  "
        f"[default: one of {HeadTraining().folds} folds of the videos, held out]",
    ),
    click.option(
        "--valid-labels", metavar="DIR", shell_complete=complete_files,
        help="Annotations of these videos.",
    ),
])  # fmt: skip

extra_label_options = bundle_options("extra", ExtraLabels, [
    click.option(
        "--aux-va", metavar="DIR", shell_complete=complete_files,
        help="Annotations of valence and arousal of some of the videos, which the head also "
        "learns; it still predicts its own task.",
    ),
    click.option(
        "--aux-au", metavar="DIR", shell_complete=complete_files,
        help="Annotations of action units, likewise.",
    ),
    click.option(
        "--pseudo", multiple=True, metavar="TABLE", shell_complete=complete_files,
        help="Pseudo-labels (self-training): prediction table, or folder of them, whose confident "
        "rows are used as labels of frames and videos without an annotation. Annotations are never "
        "replaced.",
    ),
    click.option(
        "--min-confidence", type=FiniteRange(0, 1, min_open=True),
        help=f"Lowest confidence of --pseudo.  [default: {PSEUDO_CONFIDENCE:g}]",
    ),
])  # fmt: skip
