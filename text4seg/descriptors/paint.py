"""Label grid to mask: stretch the grid over an image of any size.

Axis legend: H, W pixels of the mask; R, C rows and columns of the grid.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .grid import LabelGrid
from .rasterize import nearest_index

METHODS = ("nearest", "smooth")


def paint(grid: LabelGrid, shape: tuple[int, int], method: str = "nearest") -> NDArray[np.int32]:
    """Stretch a grid over an image.

    Args:
        grid: the label grid.
        shape: ``(height, width)`` of the mask in pixels.
        method: ``nearest``: every pixel takes its cell's label, as Pillow's NEAREST resize of the grid does.
            ``smooth``: each label is interpolated bilinearly between cell centres and the strongest one wins, ties
            to the lowest id; borders run through the grid's steps instead of along them.

    Returns:
        int32 ids into ``grid.labels``, ``[H, W]``.

    Raises:
        ValueError: for an empty shape or an unknown method.
    """
    height, width = shape
    if height < 1 or width < 1:
        raise ValueError(f"`shape` must be (height, width), both at least 1, got {shape}.")
    if method not in METHODS:
        raise ValueError(f"`method` must be one of {', '.join(METHODS)}, got {method!r}.")
    rows, cols = grid.size
    if method == "nearest":
        return grid.ids[nearest_index(rows, height)[:, None], nearest_index(cols, width)]
    return _smooth(grid.ids, height, width)


def _smooth(ids_RC: NDArray[np.int32], height: int, width: int) -> NDArray[np.int32]:
    """One label at a time, so memory stays at a few [H, W] planes whatever the number of labels."""
    top, bottom, down = _taps(ids_RC.shape[0], height)
    left, right, along = _taps(ids_RC.shape[1], width)
    best = np.full((height, width), -1, dtype=np.float32)
    winner = np.zeros((height, width), dtype=np.int32)
    for label in np.unique(ids_RC).tolist():
        plane = (ids_RC == label).astype(np.float32)
        plane = plane[top] * (1 - down)[:, None] + plane[bottom] * down[:, None]
        plane = plane[:, left] * (1 - along) + plane[:, right] * along
        # where labels tie in exact arithmetic, rounding must not choose: a later label has to win by a margin
        better = plane > best + np.float32(1e-6)
        best[better] = plane[better]
        winner[better] = label
    return winner


def _taps(source: int, target: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """Two neighbouring cells and the weight of the second, for each of ``target`` pixel centres; ends clamped."""
    where = np.clip((np.arange(target) + 0.5) * (source / target) - 0.5, 0, source - 1)
    first = where.astype(np.intp)
    return first, np.minimum(first + 1, source - 1), (where - first).astype(np.float32)
