"""What share of the answers were well formed, mended, unreadable, empty, or about something else."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from text4seg.descriptors import Decoded

SHARES = ("ok", "repaired", "invalid", "all_others", "unmatched")


def traits(decoded: Decoded, asked: int) -> list[bool]:
    """Which of :data:`SHARES` an answer belongs to.

    Args:
        decoded: the answer, parsed with the asked-for labels.
        asked: how many labels the question has, ``others`` included; ids from there on are words nobody asked for.

    >>> from text4seg.descriptors import parse
    >>> traits(parse("others *2\\n cat *2\\n", (2, 2), labels=["dog"]), asked=2)
    [True, False, False, False, True]
    """
    ids = decoded.grid.ids
    empty = decoded.status != "invalid" and not ids.any()
    return [*(decoded.status == status for status in SHARES[:3]), bool(empty), bool((ids >= asked).any())]


class AnswerShares(Metric):
    """Shares of all answers, by name.

    ``ok``, ``repaired``, ``invalid``: the parser's verdict; they sum to 1. ``all_others``: readable answers whose
    every cell says ``others``; rightly so when nothing is there, otherwise the collapse to watch for. ``unmatched``:
    answers with a cell whose label was not asked for (such cells are scored as ``others``).
    """

    is_differentiable = False
    full_state_update = False
    counts: Tensor
    answers: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("counts", torch.zeros(len(SHARES), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("answers", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, preds: Decoded, asked: int) -> None:
        """Count one answer; `asked` as in :func:`traits`."""
        self.counts += torch.tensor(traits(preds, asked), dtype=torch.int64, device=self.counts.device)
        self.answers += 1

    def compute(self) -> dict[str, Tensor]:
        """Shares so far by name, float64 in 0..1; NaN before the first answer."""
        shares = self.counts.cpu().double() / self.answers.cpu()
        return dict(zip(SHARES, shares, strict=True))
