"""Who reads which samples in which order: a pure function of (seed, epoch, rank, worker).

No generator is shared or carried over, so any position can be found again by counting.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


def generator(*parts: object) -> random.Random:
    """A generator that depends on `parts` only."""
    return random.Random(" ".join(str(part) for part in parts))


def shards_of(shards: Sequence[T], seed: int, epoch: int, place: int, places: int) -> list[T]:
    """The shards that one loading process reads in one epoch.

    Every process permutes the whole list alike and takes each `places`-th, so that all shards are read once.

    Args:
        shards: all of them, in the index's order.
        place: number of this process among all ranks' loading processes.
        places: ranks x workers.

    Raises:
        ValueError: fewer shards than processes.
    """
    if len(shards) < places:
        raise ValueError(
            f"{len(shards)} shards cannot feed {places} loading processes (ranks x workers): build the set with "
            f"shards={places} or more, or lower `data.workers`."
        )
    order = list(shards)
    generator("shards", seed, epoch).shuffle(order)
    return order[place::places]


def shuffled(items: Iterable[T], buffer: int, rng: random.Random) -> Iterator[T]:
    """Shuffle a stream inside a window of `buffer` items (1 or less: as it comes)."""
    held: list[T] = []
    for item in items:
        if len(held) < buffer:
            held.append(item)
            continue
        if not held:
            yield item
            continue
        place = rng.randrange(len(held))
        held[place], item = item, held[place]
        yield item
    rng.shuffle(held)
    yield from held
