"""mIoU and its relatives: each class counted over all pictures, classes told apart by name.

Axis legend: K rows of counts.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

from .measure import Row

_ROWS = 256
"""Blocks of counts that pile up before they are added together."""


def label_key(label: str) -> int:
    """A label as a signed 64-bit number, the same in every process."""
    return int.from_bytes(hashlib.blake2b(label.encode(), digest_size=8).digest(), "big", signed=True)


class ClassRow(NamedTuple):
    """What is known of one class, in pixels over all pictures: rightly found, predicted, predicted where the target
    says ``others``, predicted on void, in the target."""

    hits: int
    guessed: int
    on_others: int
    on_void: int
    true: int

    @property
    def iou(self) -> float:
        """Hits over the union; 0 for a class that is nowhere."""
        union = self.guessed + self.true - self.hits
        return self.hits / union if union else 0.0

    @property
    def iou_inside(self) -> float:
        """As `iou`, with every pixel left out whose target is ``others``."""
        union = self.guessed - self.on_others + self.true - self.hits
        return self.hits / union if union else 0.0


def class_scores(table: Mapping[str, ClassRow], background: str) -> dict[str, float]:
    """The scores that a table of classes gives; NaN where no class is present.

    * ``mIoU``: mean over the classes present, ``others`` is none of them; marking it wrongly costs the class marked.
    * ``mIoU_bg``: the same with ``others`` as one more class (VOC-21, Context-60).
    * ``mIoU_nobg``: only pixels whose target is a class count (VOC-20, Context-59, A-150).
    * ``fwIoU``: IoU of classes and ``others``, weighed by their pixels.
    * ``pixel_acc``: share of pixels with the right label, ``others`` included.
    """
    present = {name: row for name, row in table.items() if row.true}
    classes = [row for name, row in present.items() if name != background]
    if not classes:
        return dict.fromkeys(("mIoU", "mIoU_bg", "mIoU_nobg", "fwIoU", "pixel_acc"), math.nan)
    pixels = sum(row.true for row in present.values())
    return {
        "mIoU": math.fsum(row.iou for row in classes) / len(classes),
        "mIoU_bg": math.fsum(row.iou for row in present.values()) / len(present),
        "mIoU_nobg": math.fsum(row.iou_inside for row in classes) / len(classes),
        "fwIoU": math.fsum(row.iou * row.true for row in present.values()) / pixels,
        "pixel_acc": sum(row.hits for row in present.values()) / pixels,
    }


class ClassIoU(Metric):
    """A table of classes over everything added, and :func:`class_scores` of it.

    Each item brings its own list of labels, so classes need not be known beforehand.

    Args:
        background: name of the label that is no class: what it means differs from question to question.

    Source: Text4Seg (arXiv 2410.09855), Table 5; unlike its published code, absent classes are left out, void is
    void, and false positives on background are charged (:mod:`.legacy` has that one's arithmetic).
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    rows: list[Tensor]

    def __init__(self, background: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.background = background
        self.names: dict[int, str] = {}
        self.add_state("rows", [], dist_reduce_fx="cat")

    def update(self, counts: Mapping[str, Row]) -> None:
        """Add one item: for each label the numbers of :class:`ClassRow`."""
        keys = {label_key(name): name for name in counts}
        self.names |= keys
        rows = [(key, *counts[name]) for key, name in keys.items()]
        self.rows.append(torch.tensor(rows, dtype=torch.int64, device=self.device).reshape(-1, 6))
        if len(self.rows) >= _ROWS:
            self.rows = [self._sums()]

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """As in torchmetrics; a rank that saw nothing takes part with an empty table of the right shape."""
        if not self.rows:
            self.rows = [self._sums()]
        super().sync(*args, **kwargs)

    def _sums(self) -> Tensor:
        """Counts ``[K, 6]`` (key and the numbers of a row), one row a class, sorted by key."""
        parts = self.rows if isinstance(self.rows, list) else [self.rows]
        table = torch.cat([torch.zeros((0, 6), dtype=torch.int64, device=self.device), *parts])
        keys, place = torch.unique(table[:, 0], return_inverse=True)
        sums = torch.zeros((len(keys), 5), dtype=torch.int64, device=table.device)
        sums.index_add_(0, place, table[:, 1:])
        return torch.cat([keys.reshape(-1, 1), sums], 1)

    def table(self) -> dict[str, ClassRow]:
        """The row of each class by name, sorted; a class that only other ranks have seen is named by its number."""
        named = {self.names.get(key, str(key)): ClassRow(*numbers) for key, *numbers in self._sums().tolist()}
        return dict(sorted(named.items()))

    def compute(self) -> dict[str, float]:
        """Scores so far by name; NaN while no class is present."""
        background = label_key(self.background)
        rows = {str(key): ClassRow(*numbers) for key, *numbers in self._sums().tolist()}
        return class_scores(rows, str(background))

    def reset(self) -> None:
        """Forget all counts and names."""
        super().reset()
        self.names = {}
