"""The label grid: what an image looks like once it is a table of words, and what a decoder made of a text.

Axis legend: R rows of the grid, C columns of the grid.
Source: semantic descriptors, Text4Seg (arXiv 2410.09855), section 3.1.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

OTHERS = "others"
"""The label of every cell that nobody asked about; always ``labels[0]``."""

Status = Literal["ok", "repaired", "invalid"]


@dataclass(frozen=True, eq=False)
class LabelGrid:
    """A grid of labels.

    Attributes:
        ids: int32 array ``[R, C]``; each value indexes ``labels``.
        labels: the distinct labels; ``labels[0]`` is always ``"others"``, whether or not a cell has it.
    """

    ids: NDArray[np.int32]
    labels: tuple[str, ...]

    def __post_init__(self) -> None:
        given = np.asarray(self.ids)
        ids = np.ascontiguousarray(given, dtype=np.int32)
        if given.dtype != np.int32 and not np.array_equal(ids, given):  # 0.5, 2**32: not what was meant, once cast
            raise ValueError(f"`ids` must be whole numbers that fit 32 bits, got {given.dtype}: round or check them.")
        if ids.ndim != 2 or 0 in ids.shape:
            raise ValueError(f"`ids` must be a non-empty [rows, cols] array, got shape {ids.shape}.")
        labels = tuple(self.labels)
        if not labels or labels[0] != OTHERS:
            raise ValueError(f"`labels[0]` must be {OTHERS!r}, got {labels[:1]}.")
        if len(set(labels)) != len(labels):
            raise ValueError(f"`labels` must be distinct, got {labels}.")
        if ids.view(np.uint32).max() >= len(labels):  # one pass for both ends: a negative id is a huge unsigned one
            raise ValueError(f"`ids` must lie in 0..{len(labels) - 1}, got {ids.min()}..{ids.max()}.")
        object.__setattr__(self, "ids", ids)
        object.__setattr__(self, "labels", labels)

    @property
    def size(self) -> tuple[int, int]:
        """``(rows, cols)``."""
        rows, cols = self.ids.shape
        return rows, cols

    def words(self) -> list[list[str]]:
        """The label of every cell, row by row."""
        return [[self.labels[i] for i in row] for row in self.ids.tolist()]

    def __eq__(self, other: object) -> bool:
        """Equal when every cell carries the same word, whatever the order of ``labels``."""
        if not isinstance(other, LabelGrid):
            return NotImplemented
        return self.size == other.size and self.words() == other.words()

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True)
class Repair:
    """One thing the parser mended: in which row (-1: the whole text) and what was done."""

    row: int
    what: str


@dataclass(frozen=True)
class Decoded:
    """What a parser made of a text.

    Attributes:
        grid: the label grid, always of the size that was asked for.
        status: ``ok`` (the text was well formed), ``repaired``, or ``invalid`` (not one run could be read; the grid
            is then all ``others`` and must be scored as IoU 0 even when the target is empty).
        repairs: what was mended, in reading order.
        text: the text as given.
        renamed: (word, label that it was taken for) where the two differ in case, punctuation or blanks.
    """

    grid: LabelGrid
    status: Status
    repairs: tuple[Repair, ...] = field(default=())
    text: str = ""
    renamed: tuple[tuple[str, str], ...] = ()
