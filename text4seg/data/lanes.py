"""What one loading process reads: records without end, from one set or mixed from several.

Sets that are mixed by size form one lane: an epoch is every record of every set, once. Sets that are mixed by ratio are
a lane each, with its own epochs, and every record is taken from a lane drawn by weight. Both orders are pure functions
of (seed, rank, worker) and of how many records have been read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from text4seg.data.order import generator, shards_of, shuffled
from text4seg.data.position import Place
from text4seg.data.shards.index import Index, ShardEntry
from text4seg.data.shards.read import Record, records
from text4seg.data.shards.remote import Folder


@dataclass(frozen=True)
class Lane:
    """Shards that are read through together.

    Attributes:
        name: for errors.
        shards: folder and entry of each.
        weight: share of the records that come from here, relative to the other lanes'.
    """

    name: str
    shards: tuple[tuple[Folder, ShardEntry], ...]
    weight: float = 1.0

    @property
    def samples(self) -> int:
        """Records of an epoch."""
        return sum(entry.samples for _, entry in self.shards)


def lanes_of(sets: Mapping[str, tuple[Folder, Index, float | None]]) -> list[Lane]:
    """One lane for all the sets when none has a weight, else one each.

    Raises:
        ValueError: only some have a weight, or one that is not above zero.
    """
    weights = [weight for _, _, weight in sets.values()]
    shards = {name: tuple((folder, entry) for entry in index.shards) for name, (folder, index, _) in sets.items()}
    if all(weight is None for weight in weights):
        return [Lane(" + ".join(sets), tuple(pair for pairs in shards.values() for pair in pairs))]
    if not all(weight is not None and weight > 0 for weight in weights):
        raise ValueError(
            f"`data.train.mix`: give every set a `weight` above 0, or none (then all are read once an epoch); got "
            f"{dict(zip(sets, weights, strict=True))}."
        )
    return [Lane(name, shards[name], weight) for name, (_, _, weight) in sets.items() if weight is not None]


@dataclass(frozen=True)
class Read:
    """A record and where it stood.

    Attributes:
        record: undecoded.
        lane: number of its lane.
        epoch: the lane's epoch.
        lanes: places of all lanes behind this record.
    """

    record: Record
    lane: int
    epoch: int
    lanes: tuple[Place, ...]


def read(
    lanes: Sequence[Lane], start: Sequence[Place], drawn: int, seed: int, place: int, places: int, buffer: int
) -> Iterator[Read]:
    """Records without end, from a position on.

    Args:
        start: place in each lane.
        drawn: records already taken from all of them.
        place: number of this process among all ranks' loading processes.
        places: how many there are.
        buffer: records held back for shuffling, in each lane.
    """
    streams = [
        _endless(lane, number, at, seed, place, places, buffer, len(lanes) > 1)
        for number, (lane, at) in enumerate(zip(lanes, start, strict=True))
    ]
    weights, at = [lane.weight for lane in lanes], list(start)
    for draw in count(drawn):
        chosen = 0 if len(lanes) == 1 else generator("lane", seed, place, draw).choices(range(len(lanes)), weights)[0]
        (epoch, number), record = next(streams[chosen])
        at[chosen] = (epoch, number)
        yield Read(record, chosen, epoch, tuple(at))


def lane_shards(
    lane: Lane, seed: int, epoch: int, place: int, places: int, mixed: bool
) -> list[tuple[Folder, ShardEntry]]:
    """The shards that a process reads of a lane in an epoch.

    In a mixture a set may have fewer shards than there are processes: how often it is drawn from is its weight's
    matter, so each process then reads all of it, in an order of its own.

    Raises:
        ValueError: fewer shards than processes, and nothing else to draw from.
    """
    if not mixed or len(lane.shards) >= places:
        return shards_of(lane.shards, seed, epoch, place, places)
    order = list(lane.shards)
    generator("shards", seed, epoch, place).shuffle(order)
    return order


def _endless(
    lane: Lane, number: int, start: Place, seed: int, place: int, places: int, buffer: int, mixed: bool
) -> Iterator[tuple[Place, Record]]:
    salt = () if number == 0 else (number,)
    for epoch in count(start[0]):
        behind = start[1] if epoch == start[0] else 0
        mine = lane_shards(lane, seed, epoch, place, places, mixed)
        stream = (record for folder, entry in mine for record in records(folder / entry.name))
        index = 0
        for index, record in enumerate(shuffled(stream, buffer, generator("buffer", seed, epoch, place, *salt)), 1):
            if index > behind:
                yield (epoch, index), record
        if not index:
            raise ValueError(
                f"{lane.name}: {len(mine)} shards without a single record; `shards verify` names the damage."
            )
