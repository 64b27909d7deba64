"""All scores of one validation together, each with the ceiling that the grid sets it.

Rules, in one place:

* scores are taken at the image's original resolution; target pixels with the value 255 count nowhere;
* a painted cell counts for the label it names when that label was asked for (exactly, or but for case, punctuation
  and blanks); a cell with any other word counts as ``others`` and shows in ``unmatched``;
* an unreadable answer predicts nothing: its target adds to cIoU's unions, and its own IoU is 0 even when nothing was
  there to find;
* cIoU and gIoU leave ``others`` out; of several labels in one question all count (see :mod:`.counts`);
* mIoU exists only where questions are about classes (tasks ``all``, ``partial``, ``conditioned``);
* ``ceiling_X`` is X for the answer that a perfect model gives: the grid made from the target itself.

Axis legend: H, W pixels of the original image.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchmetrics import Metric

from text4seg.descriptors import OTHERS, Decoded, LabelGrid, paint, rasterize

from .answer_shares import AnswerShares, traits
from .counts import item_counts
from .cumulative_iou import CumulativeIoU
from .mean_iou import MeanIoU
from .mean_item_iou import MeanItemIoU, item_ious

if TYPE_CHECKING:
    from text4seg.data.items import Item

SEMANTIC = ("all", "partial", "conditioned")
"""Tasks whose labels are classes."""


@dataclass(frozen=True, eq=False)
class ItemScore:
    """What became of one answer.

    Attributes:
        iou: IoU over the asked-for labels, 0..1 (0 when invalid).
        ceiling: the same for the perfect grid.
        intersection: pixels, summed over the asked-for labels.
        union: pixels, summed over the asked-for labels.
        all_others: readable, and every cell says ``others``.
        unmatched: some cell names a label that was not asked for.
        mask: predicted ids into the item's labels, int32 ``[H, W]``.
    """

    iou: float
    ceiling: float
    intersection: int
    union: int
    all_others: bool
    unmatched: bool
    mask: NDArray[np.int32]


class ScoreBoard(nn.Module):
    """Collects decoded answers and computes every score; ranks are merged by torchmetrics.

    Args:
        method: how a grid is brought to the image's size, ``nearest`` or ``smooth``.
    """

    def __init__(self, method: str = "nearest") -> None:
        super().__init__()
        self.method = method
        self.shares = AnswerShares()
        self.perfect = AnswerShares()
        self.by_name = MeanIoU(OTHERS)
        self.metric: dict[str, Metric] = {
            "cIoU": CumulativeIoU(),
            "ceiling_cIoU": CumulativeIoU(),
            "gIoU": MeanItemIoU(),
            "ceiling_gIoU": MeanItemIoU(),
            "mIoU": self.by_name,
            "ceiling_mIoU": MeanIoU(OTHERS),
        }
        self.registered = nn.ModuleList(self.metric.values())  # so that `to` reaches them

    def update(self, preds: Decoded, target: Item) -> ItemScore:
        """Score one answer.

        Args:
            preds: the answer, parsed with the item's size, codec and labels.
            target: the item that it answers.

        Raises:
            ValueError: when the answer's grid has another size than the item's, or its labels do not begin with the
                item's.
        """
        _check(preds, target)
        best = Decoded(rasterize(target.mask, target.labels, target.size, target.rule), "ok")
        truth = torch.from_numpy(np.asarray(target.mask).astype(np.int64))[None]
        shape = target.mask.shape
        painted = {"": self._paint(preds.grid, shape), "ceiling_": self._paint(best.grid, shape)}
        invalid = torch.tensor([preds.status == "invalid"])
        asked = len(target.labels)
        shown = {kind: torch.where(ids < asked, ids, 0) for kind, ids in painted.items()}
        for kind, bad in (("", invalid), ("ceiling_", None)):
            self.metric[f"{kind}cIoU"].update(shown[kind], truth)
            self.metric[f"{kind}gIoU"].update(shown[kind], truth, bad)
        if target.task in SEMANTIC:
            self.metric["mIoU"].update(painted[""], truth, preds.grid.labels)
            self.metric["ceiling_mIoU"].update(painted["ceiling_"], truth, best.grid.labels)
        self.shares.update(preds, asked)
        self.perfect.update(best, asked)
        inter, union = item_counts(shown[""], truth)
        *_, empty, unmatched = traits(preds, asked)
        return ItemScore(
            iou=float(item_ious(shown[""], truth, invalid)),
            ceiling=float(item_ious(shown["ceiling_"], truth)),
            intersection=int(inter),
            union=int(union),
            all_others=empty,
            unmatched=unmatched,
            mask=shown[""][0].numpy().astype(np.int32),
        )

    def compute(self) -> dict[str, float]:
        """Every score by name; mIoU only where there were class questions. Empty when nothing was scored.

        Under ``torch.distributed`` every rank must call this, also one that scored nothing.
        """
        values: dict[str, Tensor] = {}
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The ``compute`` method of metric")  # a rank may have seen nothing
            values |= {name: metric.compute() for name, metric in self.metric.items()}
            values |= self.shares.compute()
            values["ceiling_all_others"] = self.perfect.compute()["all_others"]
        if torch.isnan(values["ok"]):
            return {}
        return {name: float(value) for name, value in values.items() if not torch.isnan(value)}

    def by_class(self) -> dict[str, float]:
        """IoU of each class present, by name; this process's items only."""
        return self.by_name.by_class()

    def reset(self) -> None:
        """Forget everything scored so far."""
        for metric in (self.shares, self.perfect, *self.metric.values()):
            metric.reset()

    def _paint(self, grid: LabelGrid, shape: tuple[int, int]) -> Tensor:
        return torch.from_numpy(paint(grid, shape, self.method).astype(np.int64))[None]


def _check(preds: Decoded, target: Item) -> None:
    if preds.grid.size != tuple(target.size):
        raise ValueError(f"`preds` must be parsed with size={tuple(target.size)}, got a grid of {preds.grid.size}.")
    asked = tuple(target.labels)
    if preds.grid.labels[: len(asked)] != asked:
        raise ValueError(f"`preds` must be parsed with labels={asked[1:]}, got a grid with {preds.grid.labels}.")
