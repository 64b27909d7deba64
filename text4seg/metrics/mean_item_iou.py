"""gIoU: the mean over items of each item's IoU; the same metric takes the mean of any score that items have."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from .counts import IGNORE, item_counts

_ONE = 10**12
"""1.0 in the fixed point of the running sum: room for 9 million items."""


def item_ious(
    preds: Tensor, target: Tensor, invalid: Tensor | None = None, ignore_index: int | None = IGNORE
) -> Tensor:
    """IoU of each item; 1 when nothing is there and nothing was predicted, 0 for an invalid answer whatever is there.

    Args:
        preds: bool or integer ids, ``[N, H, W]``; 0 is background.
        target: same shape; ``ignore_index`` marks pixels to leave out.
        invalid: bool ``[N]``, items whose answer could not be read; None: all could.
        ignore_index: value of such pixels.

    Returns:
        float64 ``[N]``.

    Raises:
        ValueError: when the maps cannot be compared (see :func:`.counts.item_counts`), or `invalid` is not ``[N]``.
    """
    inter, union = (count.cpu() for count in item_counts(preds, target, ignore_index))
    ious = torch.where(union > 0, inter.double() / union.clamp(min=1), 1.0)
    if invalid is None:
        return ious
    if invalid.shape != ious.shape or invalid.dtype != torch.bool:
        raise ValueError(f"`invalid` must be bool {tuple(ious.shape)}, got {invalid.dtype} {tuple(invalid.shape)}.")
    return ious.masked_fill(invalid.cpu(), 0.0)


def mean_item_iou(
    preds: Tensor, target: Tensor, invalid: Tensor | None = None, ignore_index: int | None = IGNORE
) -> Tensor:
    """Mean of :func:`item_ious` over the items, float64; see there for arguments and errors.

    >>> import torch
    >>> target = torch.tensor([[[1, 1, 0, 0]], [[0, 0, 0, 1]], [[0, 0, 0, 0]]])
    >>> preds = torch.tensor([[[1, 1, 1, 0]], [[0, 0, 0, 0]], [[0, 0, 0, 0]]])
    >>> round(float(mean_item_iou(preds, target)), 4)
    0.5556
    >>> round(float(mean_item_iou(preds, target, torch.tensor([False, False, True]))), 4)
    0.2222
    """
    return item_ious(preds, target, invalid, ignore_index).mean()


class MeanItemIoU(Metric):
    """gIoU over everything seen: every item weighs the same, however large.

    The sum is kept in int64 fixed point, so the score does not depend on the order of the items or on how many ranks
    shared them. Source: GRES (arXiv 2306.00968), section 5; Text4Seg (arXiv 2410.09855), Table 2.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0
    total: Tensor
    items: Tensor

    def __init__(self, ignore_index: int | None = IGNORE, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.ignore_index = ignore_index
        self.add_state("total", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("items", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, preds: Tensor, target: Tensor, invalid: Tensor | None = None) -> None:
        """Count more items; maps ``[N, H, W]``, `invalid` bool ``[N]``."""
        for iou in item_ious(preds, target, invalid, self.ignore_index).tolist():
            self.add(iou)

    def add(self, score: float) -> None:
        """Add an item whose score is known, 0..1."""
        self.total += round(score * _ONE)
        self.items += 1

    def compute(self) -> Tensor:
        """The score so far, float64; NaN before the first item."""
        items = int(self.items)
        return torch.tensor(int(self.total) / _ONE / items if items else float("nan"), dtype=torch.float64)
