"""No key may stand in a data set twice; of each key only 64 bits are held in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from text4seg.data.shards.read import records


def key_hash(key: str) -> int:
    """64 bits of a key."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big")


def repeats(shards: Sequence[Path], hashes: NDArray[np.uint64]) -> Iterator[tuple[str, str]]:
    """Every record whose key comes more than once: its key and its shard. Two that are neighbours are read as one.

    Args:
        shards: read only where a hash comes twice.
        hashes: of all their keys; they are sorted here.
    """
    hashes.sort()
    suspects = set(hashes[1:][hashes[1:] == hashes[:-1]].tolist())
    for path in shards if suspects else ():
        for record in records(path):
            if not record.error and key_hash(record.key) in suspects:
                yield record.key, path.name


def refuse_repeats(shards: Sequence[Path], hashes: NDArray[np.uint64]) -> None:
    """Raise where a key comes twice.

    Raises:
        ValueError: naming the first such key.
    """
    for key, _ in repeats(shards, hashes):
        raise ValueError(f"the key {key!r} comes twice; ids must differ in letters and digits.")
