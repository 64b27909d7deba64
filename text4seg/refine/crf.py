"""A fully connected conditional random field: borders move to where the colours change.

Every pixel is joined to every other by two Gaussian kernels, one of place and one of place and colour; five mean-field
steps find labels that agree with the coarse mask and with their like. The first kernel is an exact convolution. The
second one is taken on a coarse grid over place and colour (splat, blur, slice), whose cells are as large as makes the
result's variance that of the kernel.

Source: Kraehenbuehl and Koltun, Efficient Inference in Fully Connected CRFs (arXiv 1210.5644); the bilateral grid is
that of Paris and Durand (ECCV 2006). Parameters: the published ones of Text4Seg.
Axis legend: H, W pixels; N = H * W; L labels.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

from .settings import CrfSettings

Plane = NDArray[np.float32]
_CELL = float(np.sqrt(6 / 5))
"""Cells a standard deviation: linear splatting and slicing widen by 1/6 of a cell squared each, the blur by 1/2."""


def dense_crf(
    picture_HW3: NDArray[np.uint8], coarse_HW: NDArray[np.integer], settings: CrfSettings | None = None
) -> NDArray[np.int32]:
    """Move the borders of a coarse mask to those of the picture.

    Args:
        picture_HW3: RGB.
        coarse_HW: ids; only those that occur are told apart.
        settings: the field's parameters.

    Returns:
        ids, int32 ``[H, W]``.

    Raises:
        ValueError: mask and picture differ in size.
    """
    settings = settings or CrfSettings()
    if picture_HW3.shape[:2] != coarse_HW.shape:
        raise ValueError(f"the picture has {picture_HW3.shape[:2]} pixels, the mask {coarse_HW.shape}.")
    ids, coarse = np.unique(coarse_HW, return_inverse=True)
    coarse = coarse.reshape(coarse_HW.shape)
    if len(ids) == 1:
        return coarse_HW.astype(np.int32)
    likely = np.full(len(ids), (1 - settings.certainty) / (len(ids) - 1), np.float32)
    scores_LHW = np.stack(
        [np.where(coarse == i, np.log(settings.certainty), np.log(likely[i])) for i in range(len(ids))]
    ).astype(np.float32)
    kernels = (
        (settings.near_weight, _Near(coarse_HW.shape, settings.near_size)),  # type: ignore[arg-type]
        (settings.alike_weight, _Alike(picture_HW3, settings.alike_size, settings.alike_colour)),
    )
    fields = [_Field(kernel, weight, coarse_HW.shape) for weight, kernel in kernels]  # type: ignore[arg-type]
    belief_LHW = _softmax(scores_LHW)
    for _ in range(settings.steps):
        belief_LHW = _softmax(scores_LHW + sum(field.heard(belief_LHW) for field in fields))
    return ids[belief_LHW.argmax(0)].astype(np.int32)


class _Field:
    """A kernel with its weight, made symmetric: each end is divided by the root of what it hears in all."""

    def __init__(self, kernel: _Near | _Alike, weight: float, shape: tuple[int, int]) -> None:
        self.kernel, self.weight = kernel, np.float32(weight)
        heard = np.maximum(kernel(np.ones(shape, np.float32)), np.float32(1e-20))
        self.balance: Plane = (1 / np.sqrt(heard)).astype(np.float32)
        self.whole = self.balance * kernel(self.balance)

    def heard(self, belief_LHW: Plane) -> Plane:
        """What each pixel hears of each label; beliefs sum to 1, so the last label's part is what the others leave."""
        heard = [self.balance * self.kernel(self.balance * belief) for belief in belief_LHW[:-1]]
        return (self.weight * np.stack([*heard, self.whole - sum(heard)])).astype(np.float32)


class _Near:
    """A Gaussian of place, cut off at four standard deviations; nothing lies beyond the picture."""

    def __init__(self, shape: tuple[int, int], size: float) -> None:
        reach = int(np.ceil(4 * size))
        self.taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / size) ** 2).astype(np.float32)
        self.shape = shape

    def __call__(self, plane_HW: Plane) -> Plane:
        once = self._along_rows(plane_HW)
        return self._along_rows(np.ascontiguousarray(once.T)).T

    def _along_rows(self, plane: Plane) -> Plane:
        reach = len(self.taps) // 2
        padded = np.pad(plane, ((0, 0), (reach, reach)))
        width = plane.shape[1]
        return sum(  # type: ignore[return-value]
            tap * padded[:, i : i + width] for i, tap in enumerate(self.taps)
        )


class _Alike:
    """A Gaussian of place and colour on a grid: splat linearly, blur with (1, 2, 1), slice linearly."""

    def __init__(self, picture_HW3: NDArray[np.uint8], size: float, colour: float) -> None:
        height, width, _ = picture_HW3.shape
        rows, cols = np.mgrid[:height, :width].astype(np.float32)
        features = [rows / size, cols / size, *(picture_HW3[..., c].astype(np.float32) / colour for c in range(3))]
        places = [(feature * np.float32(1 / _CELL)).ravel() for feature in features]
        # one empty cell around, so that the blur loses nothing
        first = [np.floor(place).astype(np.int64) + 1 for place in places]
        self.grid = tuple(int(part.max()) + 3 for part in first)
        beyond = [place - np.floor(place) for place in places]
        self.picture = (height, width)
        self.cells = np.ravel_multi_index(first, self.grid)
        # A corner's cell lies equally far from the first one's for every pixel: one number in place of one a pixel.
        self.corners: list[tuple[np.int64, Plane]] = []
        for corner in product((0, 1), repeat=len(places)):
            weight = np.ones(height * width, np.float32)
            for part, step in zip(beyond, corner, strict=True):
                weight *= part if step else 1 - part
            self.corners.append((np.ravel_multi_index(corner, self.grid), weight))

    def __call__(self, plane_HW: Plane) -> Plane:
        values = plane_HW.ravel()
        cells = np.zeros(int(np.prod(self.grid)), np.float64)
        for away, weight in self.corners:
            cells += np.bincount(self.cells + away, weights=weight * values, minlength=len(cells))
        table = cells.astype(np.float32).reshape(self.grid)
        for axis in range(table.ndim):
            table = _blurred(table, axis)
        flat = table.ravel()
        found = np.zeros_like(values)
        for away, weight in self.corners:
            found += weight * flat[self.cells + away]
        return found.reshape(self.picture)


def _blurred(table: Plane, axis: int) -> Plane:
    """(1, 2, 1) / 2 along an axis: 1 in the middle, as a Gaussian has it."""
    moved = np.moveaxis(table, axis, 0)
    out = moved.copy()
    out[1:] += moved[:-1] / 2
    out[:-1] += moved[1:] / 2
    return np.moveaxis(out, 0, axis)


def _softmax(scores_LHW: Plane) -> Plane:
    powers = np.exp(scores_LHW - scores_LHW.max(0))
    return powers / powers.sum(0)
