"""`abaw models`: recipes and backbones."""

import click

from abawcli.cli.console import print_json, print_table
from abawcli.cli.options import json_option, verbosity_options


@click.command(name="models")
@json_option
@verbosity_options
def command(as_json: bool, quiet: bool) -> None:
    """List recipes and backbones with their weights, licences and sizes.

    A recipe is a complete configuration for `predict --recipe`. A backbone is a network
    from face crops or audio to features, for `extract --visual` and `--audio` and for
    `train face --backbone`.

    Example: abaw models --json
    """
    from abawcli.stages.models import list_models

    models = list_models()
    if as_json:
        print_json(models)
        return
    columns = ["name", "kind", "licence", "size", "weights"]
    print_table("Models", columns, [[row[name] for name in columns] for row in models])
