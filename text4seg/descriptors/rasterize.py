"""Mask to label grid: which label each cell of the grid gets.

Four rules: ``center`` is the published one (one sampled pixel a cell, identical to Pillow's NEAREST stretch),
``majority`` lets every pixel vote, ``coverage`` keeps small objects that fill only a part of a cell, ``labelled`` is
``center`` where ignored pixels teach nothing.

Axis legend: H, W pixels of the mask; R, C rows and columns of the grid.
Source: section 3.1 of Text4Seg (arXiv 2410.09855) for ``center``; the other rules are this project's.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .grid import OTHERS, LabelGrid

RULES = ("center", "majority", "coverage", "labelled")


@lru_cache(maxsize=256)
def nearest_index(source: int, target: int) -> NDArray[np.intp]:
    """The source index of each of ``target`` samples along one axis, as Pillow's NEAREST resize takes it.

    Pillow adds the step up in double precision instead of multiplying it; the rounding of that sum decides which
    pixel is taken where a sample falls on a border, so the sum is repeated here the same way.

    Returns:
        read-only int array ``[target]`` with values in ``0..source-1``.
    """
    step = source / target
    steps = np.full(target, step)
    steps[0] = step * 0.5
    index = np.add.accumulate(steps).astype(np.intp)
    np.minimum(index, source - 1, out=index)
    index.flags.writeable = False
    return index


def names_of(labels: str | Sequence[str], boolean: bool) -> tuple[str, ...]:
    """The full label tuple, ``"others"`` first, from what a caller may write."""
    names = (labels,) if isinstance(labels, str) else tuple(labels)
    if len(names) == 1 and names[0] != OTHERS and (boolean or isinstance(labels, str)):
        names = (OTHERS, *names)
    if not names or names[0] != OTHERS:
        raise ValueError(f"`labels[0]` must be {OTHERS!r} (the id 0 is the background), got {names[:1]}: put it first.")
    if boolean and len(names) != 2:
        raise ValueError(f"a bool mask has one object: expected one label, got {len(names)}: {names}.")
    return names


def label_map(
    mask: NDArray[Any], labels: str | Sequence[str], ignore: int | None
) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    """Check a mask and bring it to one form.

    Returns:
        int32 ids ``[H, W]`` with -1 where the pixel is ignored, and the labels with ``"others"`` first.

    Raises:
        ValueError: for a mask of another rank or type, an id without a label, or an ``ignore`` that is also a label.
    """
    mask = np.asarray(mask)
    if mask.ndim != 2 or 0 in mask.shape:
        raise ValueError(f"`mask` must be a non-empty [height, width] array, got shape {mask.shape}.")
    boolean = mask.dtype == np.bool_
    if not boolean and mask.dtype.kind not in "iu":
        raise ValueError(f"`mask` must hold bool or integer ids, got {mask.dtype}: pass `mask > 0` or cast it.")
    names = names_of(labels, boolean)
    if boolean:
        return mask.astype(np.int32), names
    # A mask of 8 bits cannot show the label 255: there the value is free to be ignored however many labels there are.
    if ignore is not None and 0 <= ignore < len(names) and (mask.dtype, ignore) != (np.uint8, 255):
        raise ValueError(
            f"`ignore`={ignore} is also the id of the label {names[ignore]!r}: pass ignore=None, or another value "
            "(65535 for 16-bit masks)."
        )
    skip = np.zeros(mask.shape, dtype=bool) if ignore is None else mask == ignore
    wrong = ~skip & ((mask < 0) | (mask >= len(names)))
    if wrong.any():
        found = np.unique(mask[wrong])[:5].tolist()
        raise ValueError(
            f"`mask` holds ids without a label: {found}; expected 0..{len(names) - 1}"
            f"{'' if ignore is None else f' or ignore={ignore}'}. For a 0/255 picture pass `mask > 0`."
        )
    ids = mask.astype(np.int32)
    ids[skip] = -1
    return ids, names


def rasterize(
    mask_HW: NDArray[Any],
    labels: str | Sequence[str],
    size: tuple[int, int] = (16, 16),
    rule: str = "center",
    ignore: int | None = 255,
    share: float = 0.25,
) -> LabelGrid:
    """Turn a mask into a label grid.

    Args:
        mask_HW: integer ids into ``labels``, or bool (one object), ``[H, W]``, of any size, also smaller than the
            grid.
        labels: the labels, ``"others"`` first; the object's name alone will do for a single object.
        size: ``(rows, cols)`` of the grid.
        rule: ``center``: the pixel that Pillow's NEAREST resize samples. ``majority``: the label with most pixels
            in the cell, ties to the lowest id. ``coverage``: the object that fills the largest part of the cell if
            that is at least ``share``, ties to the lowest id; else as ``majority``.
            ``labelled``: as ``center``, but a cell whose sampled pixel is ignored takes the label that most of its
            other pixels have; where all are ignored it continues the run to its left, else takes the label to its
            right, else that of the row above or below.
        ignore: id of pixels without a label: ``center`` reads them as ``others``, elsewhere they do not vote; a cell
            of ignored pixels only is ``others`` (but see ``labelled``).
        share: the part of a cell (0..1, of its pixels that vote) that ``coverage`` asks for.

    Raises:
        ValueError: for a wrong mask, size, rule or share.

    >>> import numpy as np
    >>> mask = np.zeros((4, 4), dtype=bool)
    >>> mask[:, 2:] = True
    >>> rasterize(mask, "red car", size=(1, 2)).words()
    [['others', 'red car']]
    """
    if min(size) < 1 or len(size) != 2:
        raise ValueError(f"`size` must be (rows, cols), both at least 1, got {size}.")
    if rule not in RULES:
        raise ValueError(f"`rule` must be one of {', '.join(RULES)}, got {rule!r}.")
    if not 0 < share <= 1:
        raise ValueError(f"`share` must lie in (0, 1], got {share}.")
    ids, names = label_map(mask_HW, labels, ignore)
    rows, cols = size
    sampled = ids[nearest_index(ids.shape[0], rows)[:, None], nearest_index(ids.shape[1], cols)]
    if rule == "center" or (rule == "labelled" and sampled.min() >= 0):
        return LabelGrid(np.maximum(sampled, 0), names)
    votes, owned = count_votes(ids, size, len(names))
    winner = votes.argmax(axis=2)
    if rule == "labelled":
        voted = np.where(votes.any(axis=2), winner, -1)
        return LabelGrid(_continued(np.where(sampled < 0, voted, sampled)), names)
    if rule == "coverage" and len(names) > 1:
        objects = votes[:, :, 1:]
        enough = objects.max(axis=2) >= np.maximum(share * votes.sum(axis=2), 1)
        winner = np.where(enough, objects.argmax(axis=2) + 1, winner)
    # a mask smaller than the grid leaves cells without a pixel of their own: these take the sampled one
    return LabelGrid(np.where(owned, winner, np.maximum(sampled, 0)), names)


def _continued(ids_RC: NDArray[Any]) -> NDArray[Any]:
    """Give cells without a label (-1) that of a neighbour: left, else right, else above, else below."""
    for _ in range(2):  # along the rows, then along the columns
        ids_RC = _forward(_forward(ids_RC)[:, ::-1])[:, ::-1].T
    return np.maximum(ids_RC, 0)


def _forward(ids_RC: NDArray[Any]) -> NDArray[Any]:
    last = np.maximum.accumulate(np.where(ids_RC >= 0, np.arange(ids_RC.shape[1]), 0), axis=1)
    return np.take_along_axis(ids_RC, last, axis=1)


def count_votes(
    ids_HW: NDArray[np.int32], size: tuple[int, int], labels: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Count, cell by cell, the pixels of each label.

    A pixel belongs to the cell that paints it (:func:`text4seg.descriptors.paint`, nearest).

    Returns:
        votes, int64 ``[R, C, labels]``, ignored pixels (-1) left out; and whether the cell has pixels, ``[R, C]``.
    """
    (height, width), (rows, cols) = ids_HW.shape, size
    row_of, col_of = nearest_index(rows, height), nearest_index(cols, width)
    # one spare column of votes takes the ignored pixels: id -1 becomes index 0
    where = (row_of[:, None] * cols + col_of) * (labels + 1) + (ids_HW + 1)
    votes = np.bincount(where.ravel(), minlength=rows * cols * (labels + 1)).reshape(rows, cols, labels + 1)
    return votes[:, :, 1:].astype(np.int64, copy=False), np.asarray(votes.any(axis=2))
