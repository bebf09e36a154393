import gc
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

# Before transformers is imported: a hub that cannot be reached costs seconds a test.
os.environ["HF_HUB_OFFLINE"] = "1"
# Before torch is imported, and for commands that tests start: threads that wait sleep.
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"

import pytest
from hypothesis import settings

# Compile modules once, also where the environment says not to keep the result: each of the many
# processes that tests start would compile the package again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# A run started with `&` or nohup ignores these signals, and so would the commands that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):  # not on Windows
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

MEMORY = "/dev/shm"  # a file system in memory, on Linux
FREE = 1 << 30  # bytes, far more than lies there at one time


def write_into_memory() -> None:
    """Let tests write into memory if there is enough: a disk takes milliseconds for a folder."""
    if "TMPDIR" in os.environ or not os.access(MEMORY, os.W_OK | os.X_OK):
        return
    space = os.statvfs(MEMORY)
    if space.f_bavail * space.f_frsize >= FREE and not space.f_flag & os.ST_NOEXEC:
        os.environ["TMPDIR"] = MEMORY
        tempfile.tempdir = None  # what pytest has found before


write_into_memory()

# The same examples every time, and none judged by how busy the machine is.
settings.register_profile("abaw", deadline=None, derandomize=True, max_examples=25)
settings.load_profile("abaw")


# Imports leave no garbage, but each collection on the way walks all that was imported before.
gc.disable()


def pytest_collection_finish() -> None:
    """Leave all that was imported out of later garbage collections, too."""
    gc.freeze()
    gc.enable()
    let_loggers_propagate()


def let_loggers_propagate() -> None:
    """Let pytest catch what libraries log at the root alone, and look at few loggers.

    It looks at all of them six times a test, and adds a handler to each that does not propagate;
    torch and transformers have hundreds. A logger without a level, and those who have it, need no
    list to work.
    """
    listed = logging.root.manager.loggerDict
    for name, logger in list(listed.items()):
        if isinstance(logger, logging.Logger):
            logger.propagate = True
            plain = not logger.handlers and logger.level == logging.NOTSET
            if plain and name.startswith(("torch.", "transformers.")):
                del listed[name]


def pytest_runtest_teardown() -> None:
    """Undo what -v and -q set, so that later tests see the library's warnings."""
    log = logging.getLogger("abawcli")
    log.handlers, log.propagate = [], True
    if log.level != logging.NOTSET:  # to set it, all loggers are walked
        log.setLevel(logging.NOTSET)


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop() -> None:
    """Keep a fork of this process, for tests that ask for it, from before anything is computed."""
    if early_forks := sys.modules.get("early_forks"):
        early_forks.make_early_fork()


@pytest.fixture(scope="session", autouse=True)
def this_process() -> Iterator[None]:
    """Prepare a process that runs tests, not the one that only gives them to others.

    It computes in one thread: several wait for each other longer than tiny networks compute. The
    embedded networks are loaded once, and compute once what they make of the same bytes. Results
    do not depend on a model pack of InsightFace that may be on this disk.
    """
    import torch
    from remembered_networks import keep_networks

    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        keep_networks(patch)
        patch.setenv("INSIGHTFACE_HOME", str(Path(__file__).with_name("no_pack")))
        for unseeded in (torch.cuda, torch.xpu, torch.mtia):
            if not unseeded.is_available():  # or it formats the stack, for errors when it is
                patch.setattr(unseeded, "manual_seed_all", lambda seed: None)
        yield


@pytest.fixture(scope="session")
def one_bank() -> Iterator[None]:
    """Make the non-speech audio that voices are trained beside once for all runs, two of a kind."""
    from abawcli.training import audio_data, non_speech, voice_task

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(audio_data, "NON_SPEECH_SAMPLES", 2 * len(non_speech.NON_SPEECH))
        patch.setattr(voice_task, "make_non_speech_bank", cache(audio_data.make_non_speech_bank))
        yield


@pytest.fixture
def shared_data() -> Path:
    """Return the folder of recordings beside the repository; skip where there is none."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    return folder
