"""A key-value cache whose rows have lengths of their own, so that each answer of a batch can accept as much as it may.

Accepted tokens of a row always stand in one piece at the front of its slots: what was rejected is written over by the
next pass, an accepted branch is moved to the front. There are no holes, no padding, and nothing grows but by accepted
tokens. transformers' own caches crop whole batches only.
Axis legend: B rows, H heads, S slots, Q tokens of a pass, D width of a head, T tokens of a prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import Cache, DynamicCache
from transformers.cache_utils import DynamicLayer

_ROOM = 64
"""Slots that a new storage has beyond those in use, at the least."""


class RaggedCache(Cache):
    """Keys and values ``[B, H, S, D]`` of every layer; row b has its first ``lengths[b]`` slots in use.

    Args:
        prefilled: what a pass over left-padded prompts left behind.
        mask_BT: which positions of the prompts are tokens.
    """

    def __init__(self, prefilled: DynamicCache, mask_BT: Tensor) -> None:
        super().__init__(layer_class_to_replicate=DynamicLayer)
        self.lengths = [int(n) for n in mask_BT.sum(1)]
        size = mask_BT.shape[1]
        layers: list[Any] = prefilled.layers
        self._stores = [
            tuple(_unpadded(part, self.lengths, size + _ROOM) for part in (layer.keys, layer.values))
            for layer in layers
        ]

    def update(self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_: Any, **__: Any) -> Any:
        """Write a pass's keys and values ``[B, H, Q, D]`` behind each row; gives all slots that may be looked at."""
        width = key_states.shape[2]
        end = max(self.lengths) + width
        keys, values = self._roomy(layer_idx, end)
        first = self.lengths[0]
        if all(length == first for length in self.lengths):
            keys[:, :, first:end] = key_states
            values[:, :, first:end] = value_states
        else:
            rows_B1, slots_BQ = self._places(width, keys.device)
            # Under mixed precision values come in fewer bits than transformers' cache keeps them in.
            keys[rows_B1, :, slots_BQ] = key_states.transpose(1, 2).to(keys.dtype)
            values[rows_B1, :, slots_BQ] = value_states.transpose(1, 2).to(values.dtype)
        return keys[:, :, :end], values[:, :, :end]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Slots in use of the longest row."""
        return max(self.lengths, default=0)

    def accept(self, row: int, places: Sequence[int]) -> None:
        """Keep some of the last pass's tokens of a row.

        Args:
            row: which.
            places: their numbers in the pass, rising.
        """
        start, count = self.lengths[row], len(places)
        if list(places) != list(range(count)):
            device = self._stores[0][0].device
            kept = torch.tensor(places, device=device) + start
            for store in self._stores:
                for part in store:
                    part[row, :, start : start + count] = part[row].index_select(1, kept)
        self.lengths[row] = start + count

    def select(self, rows: Sequence[int]) -> None:
        """Keep these rows, in this order; a row may be named several times."""
        if list(rows) == list(range(len(self.lengths))):
            return
        index = torch.tensor(rows, dtype=torch.long, device=self._stores[0][0].device)
        self.lengths = [self.lengths[row] for row in rows]
        self._stores = [tuple(part.index_select(0, index) for part in store) for store in self._stores]

    def join(self, other: RaggedCache) -> None:
        """Put another cache's rows behind these."""
        slots = max(self._stores[0][0].shape[2], other._stores[0][0].shape[2])
        self.lengths += other.lengths
        self._stores = [
            tuple(torch.cat([_widened(a, slots), _widened(b, slots)]) for a, b in zip(mine, theirs, strict=True))
            for mine, theirs in zip(self._stores, other._stores, strict=True)
        ]

    def _roomy(self, layer_idx: int, slots: int) -> tuple[Tensor, ...]:
        store = self._stores[layer_idx]
        if store[0].shape[2] < slots:
            store = self._stores[layer_idx] = tuple(_widened(part, slots + max(_ROOM, slots // 4)) for part in store)
        return store

    def _places(self, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
        starts_B1 = torch.tensor(self.lengths, device=device)[:, None]
        return torch.arange(len(self.lengths), device=device)[:, None], starts_B1 + torch.arange(width, device=device)


def _unpadded(part_BHTD: Tensor, lengths: list[int], slots: int) -> Tensor:
    """The last ``lengths[b]`` positions of each row, moved to the front of ``slots`` slots."""
    batch, heads, total, width = part_BHTD.shape
    out = part_BHTD.new_zeros(batch, heads, slots, width)  # never empty: a slot that is masked counts 0 times its value
    for row, length in enumerate(lengths):
        out[row, :, :length] = part_BHTD[row, :, total - length :]
    return out


def _widened(part_BHSD: Tensor, slots: int) -> Tensor:
    batch, heads, had, width = part_BHSD.shape
    if had == slots:
        return part_BHSD
    out = part_BHSD.new_zeros(batch, heads, slots, width)
    out[:, :, :had] = part_BHSD
    return out
