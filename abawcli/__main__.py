"""`python -m abawcli`, for launchers that start modules."""

from abawcli.cli import main

main(prog_name="abaw")
