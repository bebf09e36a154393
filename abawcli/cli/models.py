"""`abaw models`: what can be used, where it is, under which licence."""

import click

from abawcli.cli.console import print_json, print_table
from abawcli.cli.options import json_option, verbosity_options


@click.command(name="models")
@json_option
@verbosity_options
def command(as_json: bool, quiet: bool) -> None:
    """List recipes and backbones: where their weights are, licence, size.

    A recipe labels faces (`predict --recipe`); a backbone is what an encoder is trained from
    (`train face --backbone`).

    Example: abaw models --json
    """
    from abawcli.models.recipes import list_models

    models = list_models()
    if as_json:
        print_json(models)
        return
    columns = ["name", "kind", "licence", "size", "weights"]
    print_table("Models", columns, [[row[name] for name in columns] for row in models])
