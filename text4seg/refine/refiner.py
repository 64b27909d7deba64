"""One interface for all ways from a label grid to a mask.

Axis legend: H, W pixels of the picture; R, C rows and columns of the grid.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from text4seg.descriptors import LabelGrid, paint

from .crf import dense_crf
from .settings import REFINERS, RefineSettings


class Refiner(Protocol):
    """(grid, picture ``[H, W, 3]``, the question's name) -> ids into the grid's labels, ``[H, W]``."""

    def __call__(self, grid: LabelGrid, picture_HW3: NDArray[np.uint8], name: str = "") -> NDArray[np.int32]:
        """The mask; `name` seeds what is drawn by chance, where anything is."""
        ...


def refiner(settings: RefineSettings, device: Any = "cpu") -> Refiner:
    """The refiner of that name.

    Args:
        settings: which one, and its parameters.
        device: where one that has weights runs.

    Raises:
        ValueError: there is none of that name, or its checkpoint cannot be used.
    """
    if settings.name == "sam":
        from .sam import SamRefiner

        return SamRefiner(settings.sam, device)
    if settings.name == "crf":
        return lambda grid, picture_HW3, name="": dense_crf(picture_HW3, _painted(grid, picture_HW3), settings.crf)
    if settings.name in REFINERS:
        method = "smooth" if settings.name == "smooth" else "nearest"
        return lambda grid, picture_HW3, name="": _painted(grid, picture_HW3, method)
    raise ValueError(f"`refine.name` must be one of {', '.join(REFINERS)}, got {settings.name!r}.")


def _painted(grid: LabelGrid, picture_HW3: NDArray[np.uint8], method: str = "nearest") -> NDArray[np.int32]:
    height, width, _ = picture_HW3.shape
    return paint(grid, (height, width), method)
