"""Damaged files of every kind give an error of one line, whatever is damaged; see `fuzzing`."""

import logging
import time
from collections import Counter
from pathlib import Path

import pytest
from fuzzing import Fuzzer

SEEDS = 250
CPU_S = 10.0  # of one file; usual are milliseconds


def test_damaged_files_are_errors_of_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR, "abawcli")
    fuzzer = Fuzzer(tmp_path)
    tried: Counter[str] = Counter()
    for seed in range(SEEDS):
        begin = time.process_time()
        try:
            tried[fuzzer.try_seed(seed)] += 1
        except Exception as error:
            raise AssertionError(f"seed {seed}: {type(error).__name__}: {error}") from error
        assert time.process_time() - begin < CPU_S, f"seed {seed}"
    assert tried.keys() == fuzzer.readers.keys()
