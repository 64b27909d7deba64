"""All scores of a set of answers together, each with the ceiling that the grid sets it.

Rules, in one place:

* scores are taken at the image's original resolution; target pixels with the value 255 count nowhere, but what is
  marked there counts as marked (``N-acc``, ``T-acc``) and belongs to the answer's box (``REC``);
* a painted cell counts for the label it names when that label was asked for (exactly, or but for case, punctuation
  and blanks); a cell with any other word counts as ``others`` and shows in ``unmatched``, but in class scores it counts
  for the class of that name, which is charged with it where other questions have it;
* an unreadable answer predicts nothing: its target adds to cIoU's unions, and its own IoU is 0 even when nothing was
  there to find;
* cIoU, gIoU and bIoU (boundary IoU, mean over items) leave ``others`` out; of several labels in one question all count;
* ``Pr@x``: share of the items with a target whose IoU is at least x; ``T-acc``: share of them where anything is marked;
  ``N-acc``: share of the items without target where nothing is marked; an unreadable answer is wrong for all of them;
* ``REC``: share of the questions about one thing whose answer's box has IoU of at least 0.5 with the annotated box;
  ``REC_mask``: with the box of the target's mask;
* class scores (see :func:`.class_iou.class_scores`) exist only where questions are about classes (tasks ``all``,
  ``partial``, ``conditioned``, ``parts``), the others' only where they are not, but for cIoU and gIoU;
* ``ceiling_X`` is X for the answer that a perfect model gives: the grid made from the target itself. ``coarse_X`` is
  X of the answer before it was refined; a refiner may pass the ceiling.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import nn

from text4seg.descriptors import OTHERS, Decoded

from .boxes import box_iou
from .class_iou import ClassIoU, ClassRow
from .cumulative_iou import CumulativeIoU
from .mean_item_iou import MeanItemIoU
from .shares import Count, Shares
from .tally import ANSWER, CEILING, COARSE, SEMANTIC, Tally, tally

if TYPE_CHECKING:
    from text4seg.data.items import Item

__all__ = ["SEMANTIC", "ItemScore", "ScoreBoard"]

PRECISIONS = (0.5, 0.6, 0.7, 0.8, 0.9)
TARGETS = (*(f"Pr@{at}" for at in PRECISIONS), "N-acc", "T-acc", "REC", "REC_mask")
VERDICTS = ("ok", "repaired", "invalid", "all_others", "unmatched")
NEITHER: Count = (0, 0)


@dataclass(frozen=True, eq=False)
class ItemScore:
    """What became of one answer.

    Attributes:
        tally: everything counted.
        iou: IoU over the asked-for labels, 0..1 (0 when invalid).
        ceiling: the same for the perfect grid.
        mask: predicted ids into the item's labels, int32 ``[H, W]``.
    """

    tally: Tally
    iou: float
    ceiling: float
    mask: NDArray[np.int32]


class View(nn.Module):
    """The scores of one kind of mask: the answers', the perfect grids', the unrefined ones'."""

    def __init__(self, name: str, merged: bool) -> None:
        super().__init__()
        self.name = name
        self.total = CumulativeIoU(sync_on_compute=merged)
        self.mean, self.outline = (MeanItemIoU(sync_on_compute=merged) for _ in range(2))
        self.targets = Shares(TARGETS, sync_on_compute=merged)
        self.classes = ClassIoU(OTHERS, sync_on_compute=merged)

    def add(self, made: Tally) -> None:
        """Count one answer."""
        self.total.add(*made.views[self.name].overlap)
        self.mean.add(made.iou(self.name))
        if made.semantic:
            self.classes.update(made.rows(self.name))
        else:
            self.outline.add(made.edge_iou(self.name))
            self.targets.update(target_counts(made, self.name))

    def compute(self) -> dict[str, float]:
        """Scores by name, NaN for those that have no items."""
        named = {"cIoU": self.total, "gIoU": self.mean, "bIoU": self.outline}
        values = {name: float(metric.compute()) for name, metric in named.items()}
        values |= {name: float(value) for name, value in self.targets.compute().items()}
        return {f"{self.name}{name}": value for name, value in (values | self.classes.compute()).items()}

    def reset(self) -> None:
        """Forget everything."""
        for metric in (self.total, self.mean, self.outline, self.targets, self.classes):
            metric.reset()


class ScoreBoard(nn.Module):
    """Collects answers and computes every score; ranks are merged by torchmetrics.

    Args:
        method: how a grid is brought to the image's size, ``nearest`` or ``smooth``.
        refined: whether answers come refined, so that their coarse masks are scored too.
        merged: whether `compute` adds up all ranks; False: what this process has seen.
    """

    def __init__(self, method: str = "nearest", refined: bool = False, merged: bool = True) -> None:
        super().__init__()
        self.method = method
        self.views = nn.ModuleList(View(name, merged) for name in (ANSWER, CEILING, *([COARSE] if refined else [])))
        self.verdicts = Shares((*VERDICTS, "ceiling_all_others"), sync_on_compute=merged)

    def update(self, preds: Decoded, target: Item, refined_HW: NDArray[np.integer] | None = None) -> ItemScore:
        """Score one answer; see :func:`.tally.tally` for the arguments and errors."""
        made, mask = tally(preds, target, self.method, refined_HW)
        self.add(made)
        return ItemScore(made, made.iou(), made.iou(CEILING), np.where(mask < made.asked, mask, 0).astype(np.int32))

    def add(self, made: Tally) -> None:
        """Count an answer that is measured already."""
        for view in self.views:
            view.add(made)  # type: ignore[operator]
        marks = [made.status == name for name in VERDICTS[:3]]
        marks += [made.all_others, made.unmatched, made.perfect_all_others]
        self.verdicts.update([(int(mark), 1) for mark in marks])

    def compute(self) -> dict[str, float]:
        """Every score by name; only those that some item has. Empty when nothing was scored.

        Under ``torch.distributed`` every rank must call this, also one that scored nothing.
        """
        values: dict[str, float] = {}
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The ``compute`` method of metric")  # a rank may have seen nothing
            for view in self.views:
                values |= view.compute()  # type: ignore[operator]
            values |= {name: float(share) for name, share in self.verdicts.compute().items()}
        if math.isnan(values["ok"]):
            return {}
        return {name: value for name, value in values.items() if not math.isnan(value)}

    def by_class(self) -> dict[str, ClassRow]:
        """Counts of each class by name; this process's items only."""
        classes: ClassIoU = self.views[0].classes  # type: ignore[assignment]
        return classes.table()

    def reset(self) -> None:
        """Forget everything scored so far."""
        for part in (*self.views, self.verdicts):
            part.reset()  # type: ignore[operator]


def target_counts(made: Tally, view: str = ANSWER) -> list[Count]:
    """One answer's part in each of :data:`TARGETS`."""
    measured, readable = made.views[view], not made.invalid or view == CEILING
    iou = made.iou(view)
    if not measured.target:
        rightly_empty = int(readable and measured.empty)
        return [NEITHER] * len(PRECISIONS) + [(rightly_empty, 1), NEITHER, NEITHER, NEITHER]
    counts: list[Count] = [(int(iou >= at), 1) for at in PRECISIONS]
    counts += [NEITHER, (int(readable and not measured.empty), 1)]
    for box in (made.annotated_box, made.target_box):
        asked = made.asked == 2 and box is not None
        counts.append((int(box_iou(measured.box, box) >= 0.5), 1) if asked else NEITHER)
    return counts
