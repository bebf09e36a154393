"""`python -m abawcli`, for launchers that start modules."""

from abawcli.cli import main

if __name__ == "__main__":  # not in the processes of --jobs, which import this module
    main(prog_name="abaw")
