"""Boundary IoU: how well the outlines agree, which large masks hide in plain IoU.

Source: Boundary IoU (arXiv 2103.16562), section 4: of each mask only the pixels within d of its outline count, d being
2 % of the image's diagonal. A pixel at the image's edge lies at the outline.
Axis legend: H, W pixels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SHARE = 0.02
"""d as a share of the diagonal."""


def boundary_width(shape: tuple[int, int], share: float = SHARE) -> int:
    """d in pixels, at least 1."""
    return max(1, round(share * float(np.hypot(*shape))))


def boundary(mask_HW: NDArray[np.bool_], width: int) -> NDArray[np.bool_]:
    """The pixels of a mask from which a square of ``2 * width + 1`` pixels reaches out of it (or of the image).

    >>> boundary(np.ones((3, 4), dtype=bool), 1).astype(int).tolist()
    [[1, 1, 1, 1], [1, 0, 0, 1], [1, 1, 1, 1]]
    """
    side = 2 * width + 1
    padded = np.pad(mask_HW, width).astype(np.int32)
    rows = _window_sums(padded, side)
    inside = side * side == _window_sums(np.ascontiguousarray(rows.T), side).T
    return np.logical_and(mask_HW, np.logical_not(inside))


def boundary_counts(
    preds_HW: NDArray[np.bool_], target_HW: NDArray[np.bool_], counted_HW: NDArray[np.bool_]
) -> tuple[int, int]:
    """Pixels in both boundaries and in either, where `counted` is true."""
    width = boundary_width(target_HW.shape)  # type: ignore[arg-type]
    a, b = boundary(preds_HW, width) & counted_HW, boundary(target_HW, width) & counted_HW
    return int((a & b).sum()), int((a | b).sum())


def _window_sums(values: NDArray[np.int32], side: int) -> NDArray[np.int32]:
    """Sums over windows of ``side`` along the first axis; one row for each place that a window fits."""
    sums = np.cumsum(values, axis=0, dtype=np.int32)
    sums = np.concatenate([np.zeros((1, values.shape[1]), np.int32), sums])
    return sums[side:] - sums[:-side]
