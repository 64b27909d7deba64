"""Where each loading process stands in its endless stream, so that a run resumes at the very next sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

Place = tuple[int, int]
"""How often a lane has been through its data, and how many records of this epoch are behind it, broken ones too."""


@dataclass(frozen=True)
class Cursor:
    """Position of one loading process.

    Attributes:
        lanes: the place in each lane (`data.lanes`).
        drawn: records taken from all lanes since the start.
        batches: batches it has delivered since the start.
        skipped: broken or too long records since the start.
        delivered: batches of the current window (`data.length_window`) that are out; everything else stands where the
            window begins.
    """

    lanes: tuple[Place, ...] = ((0, 0),)
    drawn: int = 0
    batches: int = 0
    skipped: int = 0
    delivered: int = 0

    @property
    def epoch(self) -> int:
        """Epochs that every lane has finished."""
        return min(epoch for epoch, _ in self.lanes)


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
    def start(cls, workers: int, lanes: int = 1) -> Position:
        """The beginning, for so many loading processes and lanes."""
        return cls([Cursor(((0, 0),) * lanes) for _ in range(workers)])

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
        cursors = [Cursor(**cursor) for cursor in state["cursors"]]
        return cls(
            [replace(c, lanes=tuple((place[0], place[1]) for place in c.lanes)) for c in cursors], state["batches"]
        )

    @classmethod
    def spread(
        cls, ranks: Sequence[dict[str, Any]], world: int, workers: int, sizes: Sequence[int], shrunk: float = 1.0
    ) -> Position:
        """The same amount of training for another number of ranks or loading processes.

        Exact is how much of each lane has been read; every process goes on that far into its own new share of the
        shards. So until the end of the current epoch some samples come twice and about as many not at all; from the
        next epoch on every sample comes once again.

        Args:
            ranks: stored `state` of each rank.
            world: ranks there are now.
            workers: loading processes a rank has now.
            sizes: records of each lane.
            shrunk: samples of a batch then, relative to now.
        """
        before = [cls.load(state) for state in ranks]
        cursors = [cursor for position in before for cursor in position.cursors]
        lanes = []
        for lane, size in enumerate(sizes):
            epochs = sum(cursor.lanes[lane][0] for cursor in cursors) / len(cursors)
            read = epochs * size + sum(cursor.lanes[lane][1] for cursor in cursors)
            epoch, rest = divmod(round(read), size)
            lanes.append((epoch, rest // (world * workers)))
        batches = round(sum(position.batches for position in before) * shrunk) // world
        drawn = sum(cursor.drawn for cursor in cursors) // (world * workers)
        return cls([Cursor(tuple(lanes), drawn, batches // workers) for _ in range(workers)], batches)
