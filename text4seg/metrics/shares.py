"""Shares: how many of those that could, did. Precision at a threshold, N-acc and REC are such."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

Count = tuple[int, int]
"""How many did, of how many."""


class Shares(Metric):
    """Shares by name, of everything added; whole numbers, so ranks add up exactly.

    Args:
        names: of the shares, distinct.

    >>> shares = Shares(["found", "rightly empty"])
    >>> shares.update([(1, 1), (0, 0)])
    >>> shares.update([(0, 1), (0, 0)])
    >>> {name: float(value) for name, value in shares.compute().items()}
    {'found': 0.5, 'rightly empty': nan}
    """

    is_differentiable = False
    full_state_update = False
    did: Tensor
    could: Tensor

    def __init__(self, names: Sequence[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.names = tuple(names)
        for state in ("did", "could"):
            self.add_state(state, torch.zeros(len(self.names), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, counts: Sequence[Count]) -> None:
        """Add one answer (or the sums of several).

        Args:
            counts: for each name (did, of how many); ``(0, 0)`` where the answer has no part in a share.

        Raises:
            ValueError: not one pair a name, or more did than could.
        """
        if len(counts) != len(self.names) or any(not 0 <= did <= could for did, could in counts):
            raise ValueError(f"`counts` must be {len(self.names)} pairs (did, of how many), got {list(counts)}.")
        pairs = torch.tensor(counts, dtype=torch.int64, device=self.did.device).reshape(-1, 2)
        self.did += pairs[:, 0]
        self.could += pairs[:, 1]

    def compute(self) -> dict[str, Tensor]:
        """Shares so far by name, float64 in 0..1; NaN where nothing could."""
        shares = self.did.cpu().double() / self.could.cpu()
        return dict(zip(self.names, shares, strict=True))
