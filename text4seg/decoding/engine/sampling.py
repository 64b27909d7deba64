"""Tokens drawn from the model's own distribution, one draw a token, whatever was guessed.

An answer's draws come from a stream of its own: its text depends on the seed and on what is asked, not on drafts,
widths or neighbours.
Axis legend: V vocabulary.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from text4seg.data.items import Item
    from text4seg.decoding.settings import DecodingSettings


class Sampling:
    """Draws tokens.

    Args:
        temperature: logits are divided by it; more than 0.
        seed: of the draws.
        top_p: only the likeliest tokens are drawn from, as many as it takes for their chances to sum up to this.
        names: of the answers' streams, by the answers' numbers; default: the numbers.

    Raises:
        ValueError: the temperature is not positive, or no token can be likely enough.
    """

    def __init__(self, temperature: float, seed: int = 0, top_p: float = 1.0, names: Sequence[str] = ()) -> None:
        if temperature <= 0:
            raise ValueError(f"`temperature` must be more than 0, got {temperature}; greedy decoding needs none.")
        if not 0 < top_p <= 1:
            raise ValueError(f"`top_p` must be more than 0 and at most 1, got {top_p}; 1 draws from all tokens.")
        self._temperature, self._top_p = temperature, top_p
        self._seed, self._names = seed, names
        self._streams: dict[int, torch.Generator] = {}

    def __call__(self, number: int, logits_V: Tensor) -> int:
        """A token of answer `number`."""
        if int((logits_V > -torch.inf).sum()) == 1:  # no draw, as for tokens that need no pass
            return int(logits_V.argmax())
        chances_V = torch.softmax(logits_V.double() / self._temperature, -1).cpu()
        if self._top_p < 1:
            chances_V = _likeliest(chances_V, self._top_p)
        # The place of one uniform number among the summed chances: the same token for the same number.
        drawn = torch.rand((), generator=self._stream(number), dtype=torch.float64)
        sums_V = chances_V.cumsum(-1)
        return int(torch.searchsorted(sums_V, drawn * sums_V[-1], right=True).clamp(max=len(sums_V) - 1))

    def _stream(self, number: int) -> torch.Generator:
        if number not in self._streams:
            name = f"{self._seed}/{self._names[number] if self._names else number}"
            start = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")  # the generator reads 32 bits
            self._streams[number] = torch.Generator().manual_seed(start)
        return self._streams[number]


def sampling_of(settings: DecodingSettings, items: Iterable[Item]) -> Sampling | None:
    """What draws the answers to items; None where the settings ask for the likeliest tokens."""
    if not settings.temperature:
        return None
    names = [f"{item.key}/{item.turn}/{item.question}" for item in items]
    return Sampling(settings.temperature, settings.seed, settings.top_p, names)


def _likeliest(chances_V: Tensor, share: float) -> Tensor:
    """Chances without those that the share does not need."""
    sorted_V, order_V = chances_V.sort(descending=True, stable=True)
    needed_V = sorted_V.cumsum(-1) - sorted_V < share
    return torch.zeros_like(chances_V).scatter(0, order_V, sorted_V * needed_V)
