"""The type of functions that are called with the progress of work; the caller shows it."""

from collections.abc import Callable

# Called with the items done, their total number if known, and their kind, such as "faces".
Progress = Callable[[int, int | None, str], None]


def ignore_progress(done: int, total: int | None, what: str) -> None:
    """Ignore progress: the default wherever a `Progress` is taken."""
