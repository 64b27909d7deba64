"""mIoU: the mean over classes of each class's IoU, each counted over all pictures.

Axis legend: N items, H, W pixels, K rows of counts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from .counts import IGNORE, class_counts

_ROWS = 256
"""Blocks of counts that pile up before they are added together."""


def mean_iou(preds: Tensor, target: Tensor, classes: int, ignore_index: int | None = IGNORE) -> Tensor:
    """Mean IoU over the classes that `target` has anywhere; every id counts, 0 too.

    Args:
        preds: integer ids, ``[N, H, W]``.
        target: same shape; ``ignore_index`` marks void pixels, which count nowhere.
        classes: how many ids there are.
        ignore_index: value of void pixels.

    Returns:
        float64 scalar; NaN when no class is present.

    Raises:
        ValueError: when the maps cannot be compared (see :func:`.counts.class_counts`).

    >>> import torch
    >>> target = torch.tensor([[[0, 0, 1, 255]]])
    >>> round(float(mean_iou(torch.tensor([[[0, 1, 1, 2]]]), target, classes=3)), 4)
    0.5
    """
    inter, union, true = class_counts(preds, target, classes, ignore_index)
    present = true > 0
    return (inter[present].double() / union[present]).mean()


def label_key(label: str) -> int:
    """A label as a signed 64-bit number, the same in every process."""
    return int.from_bytes(hashlib.blake2b(label.encode(), digest_size=8).digest(), "big", signed=True)


class MeanIoU(Metric):
    """mIoU over everything seen, classes told apart by name.

    Each item brings its own list of labels, so classes need not be known beforehand. A class counts when some target
    has it. Predicting a class where it is not costs that class, also on background. Pixels with `ignore_index` count
    nowhere.

    Args:
        background: name of the label that is no class: what it means differs from question to question. None counts
            every label.
        ignore_index: value of void pixels.

    Source: Text4Seg (arXiv 2410.09855), Table 4; unlike its published code, absent classes are left out, void is
    void, and false positives on background are charged.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0
    rows: list[Tensor]

    def __init__(self, background: str | None = None, ignore_index: int | None = IGNORE, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.background = background
        self.ignore_index = ignore_index
        self.names: dict[int, str] = {}
        self.add_state("rows", [], dist_reduce_fx="cat")

    def update(self, preds: Tensor, target: Tensor, labels: Sequence[str]) -> None:
        """Count more items.

        Args:
            preds: integer ids into `labels`, ``[N, H, W]``.
            target: same shape; ids into `labels` or `ignore_index`.
            labels: the names of the ids, distinct.
        """
        counts = torch.stack(class_counts(preds, target, len(labels), self.ignore_index), 1)
        keep = [i for i, label in enumerate(labels) if label != self.background and int(counts[i, 1])]
        keys = [label_key(labels[i]) for i in keep]
        self.names.update(zip(keys, (labels[i] for i in keep), strict=True))
        column = torch.tensor(keys, dtype=torch.int64, device=counts.device).reshape(-1, 1)
        self.rows.append(torch.cat([column, counts[keep]], 1).to(self.device))
        if len(self.rows) >= _ROWS:
            self.rows = [self._table()]

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """As in torchmetrics; a rank that saw nothing takes part with an empty table of the right shape."""
        if not self.rows:
            self.rows = [self._table()]
        super().sync(*args, **kwargs)

    def _table(self) -> Tensor:
        """Counts ``[K, 4]`` (key, intersection, union, target pixels), one row a class, sorted by key."""
        parts = self.rows if isinstance(self.rows, list) else [self.rows]
        table = torch.cat([torch.zeros((0, 4), dtype=torch.int64, device=self.device), *parts])
        keys, place = torch.unique(table[:, 0], return_inverse=True)
        sums = torch.zeros((len(keys), 3), dtype=torch.int64, device=table.device)
        sums.index_add_(0, place, table[:, 1:])
        return torch.cat([keys.reshape(-1, 1), sums], 1)

    def by_class(self) -> dict[str, float]:
        """IoU of each class present whose name this process has seen, by name; not summed over ranks."""
        ious = {self.names[key]: i / u for key, i, u, true in self._table().tolist() if true and key in self.names}
        return dict(sorted(ious.items()))

    def compute(self) -> Tensor:
        """The score so far, float64; NaN while no class is present."""
        ious = [i / u for _, i, u, true in self._table().tolist() if true]
        return torch.tensor(ious, dtype=torch.float64).mean()

    def reset(self) -> None:
        """Forget all counts and names."""
        super().reset()
        self.names = {}
