"""cIoU: all intersections over all unions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from .counts import IGNORE, item_counts


def cumulative_iou(preds: Tensor, target: Tensor, ignore_index: int | None = IGNORE) -> Tensor:
    """Sum of the items' intersections over the sum of their unions; 1 when nothing is there and nothing predicted.

    Args:
        preds: bool or integer ids, ``[N, H, W]``; 0 is background.
        target: same shape; ``ignore_index`` marks pixels to leave out.
        ignore_index: value of such pixels.

    Returns:
        float64 scalar.

    Raises:
        ValueError: when the maps cannot be compared (see :func:`.counts.item_counts`).

    >>> import torch
    >>> target = torch.tensor([[[1, 1, 0, 0]], [[0, 0, 0, 1]]])
    >>> preds = torch.tensor([[[1, 1, 1, 0]], [[0, 0, 0, 0]]])
    >>> round(float(cumulative_iou(preds, target)), 4)
    0.5
    """
    inter, union = item_counts(preds, target, ignore_index)
    return _ratio(inter.sum(), union.sum())


def _ratio(intersection: Tensor, union: Tensor) -> Tensor:
    inter, whole = int(intersection), int(union)
    return torch.tensor(inter / whole if whole else 1.0, dtype=torch.float64)


class CumulativeIoU(Metric):
    """cIoU over everything seen: :func:`cumulative_iou` with int64 counts that ranks add up.

    Large objects weigh more than small ones. Source: RES literature; Text4Seg (arXiv 2410.09855), Table 1.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0
    intersection: Tensor
    union: Tensor

    def __init__(self, ignore_index: int | None = IGNORE, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.ignore_index = ignore_index
        self.add_state("intersection", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("union", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Count more items; both ``[N, H, W]``."""
        inter, union = item_counts(preds, target, self.ignore_index)
        self.add(int(inter.sum()), int(union.sum()))

    def add(self, intersection: int, union: int) -> None:
        """Add pixels that are counted already."""
        self.intersection += intersection
        self.union += union

    def compute(self) -> Tensor:
        """The score so far, float64."""
        return _ratio(self.intersection, self.union)
