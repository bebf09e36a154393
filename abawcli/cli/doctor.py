"""`abaw doctor`: check the installation."""

from dataclasses import asdict

import click

from abawcli.cli.console import print_json, print_table, say, shows_bars
from abawcli.cli.options import json_option


@click.command(name="doctor")
@json_option
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Check the installation: versions, device, weights.

    Shows the installed packages and whether they load, the device that networks run on and why,
    the embedded weights with their sha256, and the folders that are searched for other models. The
    exit status is 1 if a required part is broken; the message says how to fix it.

    Example: abaw doctor
    """
    from abawcli.stages.doctor import inspect_installation

    if shows_bars(False):
        say("abaw: loading packages and testing the embedded networks, for up to a minute")
    checks = inspect_installation()
    broken = [check for check in checks if check.fix]
    if as_json:
        print_json({"ok": not broken, "checks": [asdict(check) for check in checks]})
    else:
        print_table("abaw doctor", ["part", "found"], [(c.name, c.found) for c in checks])
    for check in broken:
        say(f"abaw: error: {check.name}: {check.found}; to fix it: {check.fix}")
    ctx.exit(1 if broken else 0)
