"""Work without networks, whose tasks are what happens to an input: for tests of where work runs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from abawcli.errors import CheckpointError
from abawcli.formats.provenance import Plan


@dataclass(frozen=True)
class LoadedChores:
    """What all such work has in common; `do` is that of a test module."""

    fails: bool = False
    device: str = "cpu"

    def load(self) -> Self:
        if self.fails:
            raise CheckpointError("no weights")
        return self

    def plan(self, path: Path, task: str) -> list[Plan]:
        return []
