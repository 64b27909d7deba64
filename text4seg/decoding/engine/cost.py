"""How much to guess: from what a pass of so many tokens costs on this machine, and from how many guesses were right.

A pass of a few tokens costs about as much as one of a single token, because the weights have to be read either way;
from some width on, sooner on a small machine than on a GPU, it costs in proportion. Where that is, is measured once a
model. The width changes no text but for rounding: where two tokens all but tie, another width may round otherwise, so
that only a fixed width gives the same text to the last bit on every machine.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from transformers import DynamicCache

from text4seg.decoding.engine.cache import RaggedCache
from text4seg.decoding.engine.verify import Branches, Verifier

if TYPE_CHECKING:
    from text4seg.models.backbone import Backbone

COUNTS = (1, 4, 8, 16, 48)
"""Tokens of the passes that are timed."""
WIDTHS = (0, 2, 4, 6, 8, 12, 16, 24, 32, 48)
"""Tokens of a draft that may be chosen."""
_CONTEXT = 256
"""Tokens that are taken to stand before: an image and its question."""
_REPEATS, _PATIENCE = 3, 0.3
"""A pass is timed so often, but not again once that many seconds have gone into it."""
_FORGET = 0.97
"""Weight of what was learnt before, at each draft."""
_HOPE, _WEIGHT = 0.7, 4.0
"""Share of a draft that is taken to be right before anything is known, and how many drafts that belief is worth."""

_KNOWN: WeakKeyDictionary[torch.nn.Module, Measured] = WeakKeyDictionary()


@torch.inference_mode()
def step_curve(backbone: Backbone, counts: Sequence[int] = COUNTS) -> dict[int, float]:
    """Seconds of a pass by its tokens, the fastest of a few.

    Args:
        backbone: in the mode and on the device where it is to be used.
        counts: tokens of the passes.
    """
    verify = Verifier(backbone)
    room = backbone.context or _CONTEXT + max(counts)  # a table of positions has no place behind its end
    before = max(1, min(_CONTEXT, room - max(counts)))
    counts = [count for count in counts if count <= room - before]
    device = next(backbone.part("language").parameters()).device
    first = DynamicCache()
    backbone.part("language")(input_ids=torch.zeros(1, 1, dtype=torch.long, device=device), past_key_values=first)
    full = DynamicCache()
    layers: list[Any] = first.layers
    for number, layer in enumerate(layers):
        full.update(*(part.repeat(1, 1, before, 1) for part in (layer.keys, layer.values)), number)
    cache = RaggedCache(full, torch.ones(1, before, dtype=torch.long))
    curve = {}
    for count in counts:
        row = Branches([0] * count, list(range(-1, count - 1)), 1)
        verify(cache, [row], [(before,)])  # kernels are prepared, storage grows
        taken: list[float] = []
        while len(taken) < _REPEATS and sum(taken) < _PATIENCE:
            begin = time.perf_counter()
            verify(cache, [row], [(before,)])
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            taken.append(time.perf_counter() - begin)
        curve[count] = min(taken)
    return curve


class Measured:
    """Chooses the width that writes most tokens a second.

    Args:
        curve: seconds of a pass by its tokens.
        widths: that may be chosen, rising.
    """

    def __init__(self, curve: dict[int, float], widths: Sequence[int] = WIDTHS) -> None:
        counts = sorted(curve)
        self._counts = np.array(counts, float)
        # A pass of more tokens costs no less, whatever the clock said.
        self._seconds = np.maximum.accumulate([curve[count] for count in counts])
        self._widths = np.array(widths)
        self._right = _HOPE * self._widths * _WEIGHT
        self._seen = np.full(len(widths), _WEIGHT)

    def seconds(self, tokens: float) -> float:
        """Of a pass of so many tokens: between the measured ones on a line, beyond them in proportion."""
        last = self._counts[-1]
        inside = float(np.interp(min(tokens, last), self._counts, self._seconds))
        return inside * max(tokens / last, 1.0)

    def width(self, answers: int) -> int:
        """Tokens to draft for each of so many answers that share a pass."""
        gained = 1 + self._right / self._seen
        cost = np.array([self.seconds(answers * (1 + width)) for width in self._widths])
        return int(self._widths[(gained / cost).argmax()])

    def learn(self, asked: int, depth: int, accepted: int) -> None:
        """Of a draft some were right.

        Args:
            asked: tokens that it might have had.
            depth: tokens of its longest branch.
            accepted: those that were right.
        """
        known = np.minimum(accepted, self._widths).astype(float)
        if accepted == depth and asked <= depth:  # it might have gone on: hope decides about wider ones
            known += _HOPE * np.maximum(self._widths - asked, 0)
        self._right = _FORGET * self._right + known
        self._seen = _FORGET * self._seen + 1


class Shared:
    """A pass of at most so many tokens, shared by its answers: no clock, nothing learnt, so always the same again.

    Args:
        tokens: of a pass.
        most: of a draft.
    """

    def __init__(self, tokens: int, most: int) -> None:
        self._tokens, self._most = tokens, most

    def width(self, answers: int) -> int:
        """Tokens to draft for each of so many answers."""
        return max(0, min(self._most, self._tokens // answers - 1))

    def learn(self, asked: int, depth: int, accepted: int) -> None:
        """Nothing to learn."""


def measured(backbone: Backbone) -> Measured:
    """Widths for a backbone; a model is timed once, and what its drafts were worth is not forgotten between batches."""
    if backbone.core not in _KNOWN:
        _KNOWN[backbone.core] = Measured(step_curve(backbone))
    return _KNOWN[backbone.core]
