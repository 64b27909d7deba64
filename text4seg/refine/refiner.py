"""One interface for all ways from a label grid to a mask.

Axis legend: H, W pixels of the picture; R, C rows and columns of the grid.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from text4seg.descriptors import LabelGrid, paint

from .crf import dense_crf
from .settings import REFINERS, RefineSettings

Refiner = Callable[[LabelGrid, NDArray[np.uint8]], NDArray[np.int32]]
"""(grid, picture ``[H, W, 3]``) -> ids into the grid's labels, ``[H, W]``."""


def refiner(settings: RefineSettings) -> Refiner:
    """The refiner of that name.

    Raises:
        ValueError: there is none of that name.
    """
    if settings.name == "crf":
        return lambda grid, picture_HW3: dense_crf(picture_HW3, _painted(grid, picture_HW3), settings.crf)
    if settings.name in REFINERS:
        method = "smooth" if settings.name == "smooth" else "nearest"
        return lambda grid, picture_HW3: _painted(grid, picture_HW3, method)
    raise ValueError(f"`refine.name` must be one of {', '.join(REFINERS)}, got {settings.name!r}.")


def _painted(grid: LabelGrid, picture_HW3: NDArray[np.uint8], method: str = "nearest") -> NDArray[np.int32]:
    height, width, _ = picture_HW3.shape
    return paint(grid, (height, width), method)
