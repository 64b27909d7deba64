"""Boxes of masks, for referring comprehension (REC): is the thing that was meant where the answer says?

A box is (left, top, right, bottom) in pixels, the edges of the pixels: a mask of one pixel at (0, 0) has (0, 0, 1, 1).
Axis legend: H, W pixels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Box = tuple[float, float, float, float]


def mask_box(mask_HW: NDArray[np.bool_]) -> Box | None:
    """The tight box around a mask; None when the mask is empty.

    >>> mask_box(np.eye(3, 5, k=1, dtype=bool))
    (1, 0, 4, 3)
    """
    rows, cols = (np.flatnonzero(mask_HW.any(axis=axis)) for axis in (1, 0))
    if not rows.size:
        return None
    return int(cols[0]), int(rows[0]), int(cols[-1]) + 1, int(rows[-1]) + 1


def box_iou(a: Box | None, b: Box | None) -> float:
    """Intersection over union of two boxes; 0 when one is missing or neither covers anything.

    >>> box_iou((0, 0, 2, 2), (1, 0, 3, 2))
    0.3333333333333333
    """
    if a is None or b is None:
        return 0.0
    shared = _span(max(a[0], b[0]), min(a[2], b[2])) * _span(max(a[1], b[1]), min(a[3], b[3]))
    area_a, area_b = (_span(box[0], box[2]) * _span(box[1], box[3]) for box in (a, b))
    union = area_a + area_b - shared
    return shared / union if union > 0 else 0.0


def _span(start: float, end: float) -> float:
    return max(0.0, end - start)
