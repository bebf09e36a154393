"""How a long piece of work says how far it is; what is done with that is the caller's."""

from collections.abc import Callable

# Of what was done: how much, of how much if that is known, and what it is, such as "faces".
Progress = Callable[[int, int | None, str], None]


def ignore_progress(done: int, total: int | None, what: str) -> None:
    """Tell nobody: the default of everything that takes a `Progress`."""
