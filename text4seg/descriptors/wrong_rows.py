"""Rows of an answer that are wrong on purpose: read, but not learnt.

In training the rows above are always right, and a row is nearly always what stands above it. A model that starts from
nothing therefore learns to copy and never looks at the picture for columns and labels (measured: docs/grounding.md).
Where the rows above may be wrong, only the picture tells. Source: this project's own measurement; the idea is scheduled
sampling's (arXiv 1506.03099), without its cost.
Axis legend: R rows of the grid, C columns of the grid.
"""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np

from .grid import LabelGrid

Span = tuple[int, int]
"""First character of a stretch of text and the one behind its last."""
ROW_CODECS = ("rrle", "full")
"""Codecs that break rows; in the others there is no row to be wrong."""


def with_wrong_rows(grid: LabelGrid, share: float, rng: random.Random) -> tuple[LabelGrid, list[int]]:
    """Replace rows by others of the same grid, turned by a random number of columns, their labels changed about.

    So a wrong row looks like a right one, in labels and lengths. Any label that the question names may stand in the
    place of another, whether the grid shows it or not; `others` stays.

    Args:
        grid: ``[R, C]``.
        share: probability with which each row is replaced.
        rng: decides which, by what, turned how far.

    Returns:
        The new grid and the numbers of the rows replaced, which may by chance be what they were.
    """
    rows, columns = grid.size
    chosen = [row for row in range(rows) if rng.random() < share]
    ids = grid.ids.copy()
    named = range(1, len(grid.labels))
    for row in chosen:
        changed = np.array([0, *rng.sample(named, len(named))], ids.dtype)
        ids[row] = np.roll(changed[grid.ids[rng.randrange(rows)]], rng.randrange(columns))
    return replace(grid, ids=ids), chosen


def row_spans(body: str, rows: list[int], start: int) -> list[Span]:
    """Where rows of a descriptor lie in the answer, each with the newline that ends it.

    Args:
        body: as `descriptors.encode` wrote it, in a codec that breaks rows.
        rows: their numbers.
        start: the body's place in the answer.
    """
    ends = np.cumsum([len(line) + 1 for line in body.split("\n")[:-1]]) + start  # labels may hold other line breaks
    starts = [start, *ends[:-1].tolist()]
    return [(starts[row], int(ends[row])) for row in rows]
