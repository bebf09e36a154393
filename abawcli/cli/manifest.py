"""`abaw manifest`: labelled face images of public data sets, for `abaw train face`."""

import shlex
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import click

from abawcli.cli.classifiers import read_label_map
from abawcli.cli.console import print_table, say
from abawcli.cli.options import overwrite_option, verbosity_options
from abawcli.cli.outputs import is_to_stdout, text_output_option
from abawcli.config import IMAGE_SETS
from abawcli.errors import UsageError
from abawcli.labels import CLASSES

# Options that one kind of data set alone uses.
USED_BY = {"--label-map": "folders", "--labels": "aff-wild2", "--every": "aff-wild2"}


@click.command(name="manifest")
@click.argument("sets", nargs=-1, required=True, metavar="KIND ROOT [KIND ROOT]...")
@text_output_option("manifest.csv", True, "Output file (csv), outside of the folders")
@click.option(
    "--label-map", callback=read_label_map, metavar="NAME=CLASS,...",
    help="Classes of folder names that are not recognised (kind folders); none ignores a folder.",
)  # fmt: skip
@click.option(
    "--labels", metavar="DIR",
    help="Folder of the annotations (aff-wild2).  [default: EXPR_* in ROOT]",
)  # fmt: skip
@click.option(
    "--every", type=click.IntRange(min=1), metavar="K",
    help="Take each K-th annotated frame of a video (aff-wild2).  [default: 1]",
)  # fmt: skip
@click.option(
    "--max-per-class", type=click.IntRange(min=1), metavar="N",
    help="Largest number of training images per class, drawn at random.  [default: all]",
)  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True,
              help="Seed of the random choice.")  # fmt: skip
@overwrite_option
@verbosity_options
def command(
    sets: tuple[str, ...],
    output: Path,
    label_map: dict[str, str],
    labels: str | None,
    every: int | None,
    max_per_class: int | None,
    seed: int,
    overwrite: bool,
    quiet: bool,
) -> None:
    """List labelled face images of public data sets in a manifest for `abaw train face`.

    KIND is the data set in the folder ROOT, in the form in which it is distributed:

    \b
    affectnet   training.csv and validation.csv, or train_set/ and val_set/ with .npy
    raf-db      list_patition_label.txt and aligned images
    ferplus     fer2013new.csv and images; the votes become soft targets
    expw        label.lst with boxes, and images
    folders     a folder per class, within folders train/ and val/ or not
    aff-wild2   crops, and annotations of the EXPR challenge

    Data sets without splits are split by image, or by video. If no set has validation images, a
    share of the training images is held out. Rows that cannot be used are counted by their reason.
    Paths of several data sets are relative to the parent folder of all.

    Example: abaw manifest affectnet sets/AffectNet raf-db sets/RAF-DB -o faces.csv
    """
    from abawcli.datasets.labelled_images import ReadOptions
    from abawcli.formats.outputs import check_writable
    from abawcli.stages.manifest import TIE, make_manifest

    kinds, roots = sets[::2], sets[1::2]
    if unknown := [kind for kind in kinds if kind not in IMAGE_SETS]:
        raise UsageError(f"{unknown[0]!r} is no kind of data set; use {', '.join(IMAGE_SETS)}")
    if len(kinds) != len(roots):
        raise UsageError(f"{kinds[-1]} has no folder; give a kind and a folder for each data set")
    _check_used(kinds, {"--label-map": label_map, "--labels": labels, "--every": every})
    check_writable([output])
    work = make_manifest(
        list(zip(kinds, roots, strict=True)), output,
        options=ReadOptions(label_map, Path(labels) if labels else None, every or 1),
        max_per_class=max_per_class, seed=seed, overwrite=overwrite,
    )  # fmt: skip
    if quiet:
        return
    counts = work["summary"]["counts"]
    names = [name for name in (*CLASSES, TIE) if any(name in own for own in counts.values())]
    rows = [[split, *(str(own.get(name, 0)) for name in names)] for split, own in counts.items()]
    if is_to_stdout():
        print_table("manifest", ["split", *names], rows, stderr=True)
        return
    print_table(str(output), ["split", *names], rows, stderr=True)
    images, manifest = shlex.quote(str(work["summary"]["images"])), shlex.quote(str(output))
    say(f"abaw: train with --images {images} --manifest {manifest}")


def _check_used(kinds: Collection[str], given: Mapping[str, Any]) -> None:
    """Refuse options that no data set of these kinds uses."""
    for flag, value in given.items():
        if value and USED_BY[flag] not in kinds:
            raise UsageError(f"{flag} is only for {USED_BY[flag]}, which is not among the sets")
