"""Where each loading process stands in its endless stream, so that a run resumes at the very next sample."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class Cursor:
    """Position of one loading process.

    Attributes:
        epoch: how often its rank has been through the data.
        index: records of this epoch that are behind it, broken ones included.
        batches: batches it has delivered since the start.
        skipped: broken or too long records since the start.
    """

    epoch: int = 0
    index: int = 0
    batches: int = 0
    skipped: int = 0


@dataclass
class Position:
    """Cursors of one rank's loading processes; batches are taken from them in turn.

    Attributes:
        cursors: one a process.
        batches: batches that training has consumed.
    """

    cursors: list[Cursor] = field(default_factory=list)
    batches: int = 0

    @classmethod
    def start(cls, workers: int) -> Position:
        """The beginning, for so many loading processes."""
        return cls([Cursor() for _ in range(workers)])

    def advance(self, worker: int, cursor: Cursor) -> None:
        """Note that training consumed the batch that left process `worker` at `cursor`."""
        self.cursors[worker] = replace(cursor)
        self.batches += 1

    @property
    def skipped(self) -> int:
        """Broken or too long records that this rank has left out so far."""
        return sum(cursor.skipped for cursor in self.cursors)

    def state(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return asdict(self)

    @classmethod
    def load(cls, state: dict[str, Any]) -> Position:
        """From `state`."""
        return cls([Cursor(**cursor) for cursor in state["cursors"]], state["batches"])
