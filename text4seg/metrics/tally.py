"""One answer, measured: the step between masks and scores.

Axis legend: H, W pixels of the original image.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from text4seg.descriptors import Decoded, LabelGrid, paint, rasterize

from .boxes import Box, mask_box
from .counts import IGNORE
from .measure import VOID, Measure, Row, measure

if TYPE_CHECKING:
    from text4seg.data.items import Item

SEMANTIC = ("all", "partial", "conditioned", "parts")
"""Tasks whose labels are classes."""
ANSWER, CEILING, COARSE = "", "ceiling_", "coarse_"
"""Whose mask was measured: the answer's, the perfect grid's, the answer's before it was refined."""


@dataclass(frozen=True)
class Tally:
    """Everything about one answer that scores are made of; :func:`to_json` and :func:`from_json` keep it.

    Attributes:
        labels: asked for, ``others`` first, then the words that the answer adds.
        asked: how many labels were asked for, ``others`` included.
        task: template family of the question.
        status: the parser's verdict.
        all_others: readable, and no cell holds a label that was asked for: ``others``, or words of its own.
        perfect_all_others: the same of the perfect grid.
        unmatched: some cell names a label that was not asked for.
        views: measures by whose mask it is: ``""`` the answer, ``ceiling_`` the perfect grid, ``coarse_`` the answer
            before refining (where it was refined).
        target_box: around the target's mask; None when nothing is there.
        annotated_box: as the annotation has it; None when it has none.
    """

    labels: tuple[str, ...]
    asked: int
    task: str
    status: str
    all_others: bool
    perfect_all_others: bool
    unmatched: bool
    views: Mapping[str, Measure] = field(default_factory=dict)
    target_box: Box | None = None
    annotated_box: Box | None = None

    @property
    def invalid(self) -> bool:
        """Whether the answer could not be read: it is then wrong, whatever is there."""
        return self.status == "invalid"

    @property
    def semantic(self) -> bool:
        """Whether the labels are classes."""
        return self.task in SEMANTIC

    def iou(self, view: str = ANSWER) -> float:
        """The item's IoU; an unreadable answer has 0, also where nothing is there."""
        return 0.0 if self.invalid and view != CEILING else self.views[view].iou

    def edge_iou(self, view: str = ANSWER) -> float:
        """The item's boundary IoU; 0 for an unreadable answer."""
        return 0.0 if self.invalid and view != CEILING else self.views[view].edge_iou

    def rows(self, view: str = ANSWER) -> dict[str, Row]:
        """Counts of every label that occurs, by name: a word nobody asked for has its own, as a class of that name."""
        measured = self.views[view]
        ids = {one for true, guess, _ in measured.pixels for one in (true, guess)} - {VOID}
        return {self.labels[i]: measured.row(i) for i in sorted(ids)}


def tally(
    preds: Decoded, target: Item, method: str = "nearest", refined_HW: NDArray[np.integer] | None = None
) -> tuple[Tally, NDArray[np.int32]]:
    """Measure one answer.

    Args:
        preds: the answer, parsed with the item's size, codec and labels.
        target: the item that it answers.
        method: how a grid is brought to the image's size, ``nearest`` or ``smooth``.
        refined_HW: the answer's mask after a refiner; None: the painted grid itself counts.

    Returns:
        the tally, and the answer's mask: ids into ``preds.grid.labels``, ``[H, W]``.

    Raises:
        ValueError: when the answer's grid has another size than the item's, or its labels do not begin with the
            item's.
    """
    _check(preds, target)
    asked = len(target.labels)
    best = rasterize(target.mask, target.labels, target.size, target.rule)
    truth = np.where(np.asarray(target.mask) == IGNORE, VOID, np.asarray(target.mask).astype(np.int32))
    outline = target.task not in SEMANTIC
    painted = _paint(preds.grid, truth.shape, method)
    mask = painted if refined_HW is None else np.asarray(refined_HW, dtype=np.int32)
    views = {ANSWER: measure(mask, truth, asked, outline)}
    views[CEILING] = measure(_paint(best, truth.shape, method), truth, asked, outline)
    if refined_HW is not None:
        views[COARSE] = measure(painted, truth, asked, outline)
    ids = preds.grid.ids
    made = Tally(
        labels=tuple(preds.grid.labels),
        asked=asked,
        task=target.task,
        status=preds.status,
        all_others=preds.status != "invalid" and not bool(((ids > 0) & (ids < asked)).any()),
        perfect_all_others=not bool(best.ids.any()),
        unmatched=bool((ids >= asked).any()),
        views=views,
        target_box=mask_box(truth > 0),
        annotated_box=getattr(target, "box", None),
    )
    return made, mask


def to_json(made: Tally) -> dict[str, Any]:
    """A tally as plain lists and numbers."""
    return asdict(made)


def from_json(stored: Mapping[str, Any]) -> Tally:
    """What :func:`to_json` made, read back.

    Raises:
        KeyError, TypeError: it is something else.
    """
    views = {
        name: Measure(
            pixels=tuple((int(true), int(guess), int(n)) for true, guess, n in one["pixels"]),
            edges=(one["edges"][0], one["edges"][1]),
            box=_box(one["box"]),
            any_box=_box(one["any_box"]),
            asked=one["asked"],
        )
        for name, one in stored["views"].items()
    }
    made: dict[str, Any] = {**stored, "labels": tuple(stored["labels"]), "views": views}
    made |= {name: _box(stored[name]) for name in ("target_box", "annotated_box")}
    return Tally(**made)


def _box(stored: Any) -> Box | None:
    return None if stored is None else (stored[0], stored[1], stored[2], stored[3])


def _paint(grid: LabelGrid, shape: tuple[int, ...], method: str) -> NDArray[np.int32]:
    return paint(grid, (shape[0], shape[1]), method)


def _check(preds: Decoded, target: Item) -> None:
    if preds.grid.size != tuple(target.size):
        raise ValueError(f"`preds` must be parsed with size={tuple(target.size)}, got a grid of {preds.grid.size}.")
    asked = tuple(target.labels)
    if preds.grid.labels[: len(asked)] != asked:
        raise ValueError(f"`preds` must be parsed with labels={asked[1:]}, got a grid with {preds.grid.labels}.")
