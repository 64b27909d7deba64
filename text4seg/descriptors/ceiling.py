"""The ceiling: the IoU that a perfect grid can reach, because cells are coarser than pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .paint import paint
from .rasterize import label_map, rasterize


class Overlap(NamedTuple):
    """Pixel counts of each label, in the order of the labels.

    Attributes:
        intersection: int64 ``[labels]``, pixels where both maps have the label.
        union: int64 ``[labels]``, pixels where at least one has it.
    """

    intersection: NDArray[np.int64]
    union: NDArray[np.int64]

    def iou(self, empty: float = 1.0) -> NDArray[np.float64]:
        """Intersection over union of each label; ``empty`` where neither map has it."""
        return np.where(self.union > 0, self.intersection / np.maximum(self.union, 1), empty)


def overlap(predicted: NDArray[Any], truth: NDArray[Any], labels: int) -> Overlap:
    """Count the pixels on which two label maps agree.

    Args:
        predicted: ids, ``[H, W]``; ids from ``labels`` on count as a label that the truth never has.
        truth: ids in ``0..labels-1``, ``[H, W]``; negative where the pixel is left out.
        labels: how many labels to count.
    """
    valid = truth >= 0
    guess = np.minimum(predicted[valid], labels).astype(np.int64)
    table = np.bincount(guess * labels + truth[valid], minlength=(labels + 1) * labels)
    table = table.astype(np.int64, copy=False).reshape(labels + 1, labels)
    hits = table[:labels].diagonal()
    return Overlap(hits.copy(), table[:labels].sum(axis=1) + table.sum(axis=0) - hits)


def ceiling(
    mask_HW: NDArray[Any],
    labels: str | Sequence[str],
    size: tuple[int, int] = (16, 16),
    rule: str = "center",
    ignore: int | None = 255,
    method: str = "nearest",
    share: float = 0.25,
) -> Overlap:
    """What a model scores that answers with exactly the grid of the truth.

    The mask is rasterised, painted back at its own size and compared with itself; ignored pixels are left out.

    Returns:
        intersections and unions of each label (``"others"`` first), pixels at the mask's resolution.

    Raises:
        ValueError: as :func:`text4seg.descriptors.rasterize` and :func:`text4seg.descriptors.paint`.

    >>> import numpy as np
    >>> mask = np.zeros((8, 8), dtype=bool)
    >>> mask[:, :3] = True
    >>> ceiling(mask, "red car", size=(2, 2)).iou().round(2).tolist()
    [0.8, 0.75]
    """
    truth, names = label_map(mask_HW, labels, ignore)
    grid = rasterize(mask_HW, labels, size, rule, ignore, share)
    height, width = truth.shape
    return overlap(paint(grid, (height, width), method), truth, len(names))
