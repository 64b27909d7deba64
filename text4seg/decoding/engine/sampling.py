"""Tokens drawn from the model's own distribution, one draw a token, whatever was guessed.

An answer's draws come from a stream of its own: its text depends on the seed, not on drafts, widths or neighbours.
Axis legend: V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor


class Sampling:
    """Draws tokens.

    Args:
        temperature: logits are divided by it; more than 0.
        seed: of the draws.

    Raises:
        ValueError: the temperature is not positive.
    """

    def __init__(self, temperature: float, seed: int = 0) -> None:
        if temperature <= 0:
            raise ValueError(f"`temperature` must be more than 0, got {temperature}; greedy decoding needs none.")
        self._temperature = temperature
        self._seed = seed
        self._streams: dict[int, torch.Generator] = {}

    def __call__(self, number: int, logits_V: Tensor) -> int:
        """A token of answer `number`."""
        if number not in self._streams:
            # The generator reads 32 bits of its seed; an odd factor keeps neighbouring seeds' streams apart.
            self._streams[number] = torch.Generator().manual_seed((self._seed * 2_654_435_761 + number) % 2**32)
        chances_V = torch.softmax(logits_V.double() / self._temperature, -1).cpu()
        # The place of one uniform number among the summed chances: the same token for the same number.
        drawn = torch.rand((), generator=self._streams[number], dtype=torch.float64)
        sums_V = chances_V.cumsum(-1)
        return int(torch.searchsorted(sums_V, drawn * sums_V[-1], right=True).clamp(max=len(sums_V) - 1))
