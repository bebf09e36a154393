"""`abaw models`: recipes and backbones."""

import click

from abawcli.cli.console import print_json, print_table
from abawcli.cli.options import json_option, verbosity_options


@click.command(name="models")
@click.argument("names", nargs=-1, metavar="[NAME...]")
@json_option
@verbosity_options
def command(names: tuple[str, ...], as_json: bool, quiet: bool) -> None:
    """List recipes and backbones with their weights, licences, sizes and sha256.

    With NAME, list only these: recipes, backbones, or pretrained classifiers (hf:NAME,
    hf:FOLDER, FILE.onnx), whose licence is read from the model card beside their weights.

    A recipe is a complete configuration for `predict --recipe`. A backbone is a network
    from face crops or audio to features, for `extract --visual` and `--audio` and for
    `train face --backbone`.

    Example: abaw models --json
    """
    from abawcli.stages.models import list_models

    models = list_models(names)
    if as_json:
        print_json(models)
        return
    columns = ["name", "kind", "licence", "size", "weights", "sha256"]
    rows = [[row[name] for name in columns[:-1]] + [row["sha256"][:12]] for row in models]
    print_table("Models", columns, rows)
