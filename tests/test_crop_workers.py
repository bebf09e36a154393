"""Processes that prepare crops for predict and extract: they end with the process they serve."""

import os
import subprocess
import sys
from pathlib import Path

# Starts two processes, prints their numbers, and waits to be killed.
CODE = """
import sys
from abawcli.pipeline.crop_workers import CropWorkers

tasks = [(k, "__import__('os').getpid()") for k in range(8)]
workers = CropWorkers(2)
print(*{pid for _, pid in workers.map(eval, tasks, "input")}, flush=True)
sys.stdin.read()
"""


def test_they_end_with_their_parent_even_if_it_is_killed() -> None:
    run = subprocess.Popen(
        [sys.executable, "-c", CODE],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert run.stdout
    numbers = {int(number) for number in run.stdout.readline().split()}
    assert numbers and run.pid not in numbers
    run.kill()
    rest, _ = run.communicate(timeout=30)  # ends when all that hold its stdout have ended
    assert rest == ""
