"""A row whose counts do not add up: which of them is wrong?

Taking the last one (fill up with the last label, or cut) is right only when the slip is at the end of the row. Here
each count in turn is taken for the wrong one, and the row that agrees best with its intact neighbours is kept; where
they do not decide, the last one it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter

import numpy as np


def settle(pieces: Sequence[tuple[bytes, int]], cols: int, neighbours: Sequence[bytes]) -> bytes:
    """Bring a row to exactly ``cols`` cells.

    Args:
        pieces: the runs of the row: the four bytes of an int32 id, and a count from 0 on; at least one run.
        cols: how many cells the row must have.
        neighbours: the nearest rows above and below that needed no repair, as bytes.

    Returns:
        the row, int32 ids as bytes.
    """
    default = pad(fill(pieces, cols), cols)
    if not neighbours:
        return default
    runs = [(unit, sum([count for _, count in run])) for unit, run in groupby(pieces, itemgetter(0))]
    lacking = cols - sum([count for _, count in runs])
    if max([count for _, count in runs]) + lacking <= 0:
        return default
    if len(runs) > cols:  # more than any row has: empty ones are noise then, and too many to try each
        runs = [run for run in runs if run[1]]
    rows = [default]
    for wrong in range(len(runs)):
        if runs[wrong][1] + lacking > 0:
            rows.append(b"".join([unit * (count + lacking * (i == wrong)) for i, (unit, count) in enumerate(runs)]))
    table = np.frombuffer(b"".join(rows), dtype=np.int32).reshape(-1, 1, cols)
    beside = np.frombuffer(b"".join(neighbours), dtype=np.int32).reshape(-1, cols)
    agreement = (table == beside).sum(axis=(1, 2))
    return rows[int(agreement.argmax())]  # the first of equals: the default


def fill(pieces: Sequence[tuple[bytes, int]], cells: int) -> bytes:
    """The ids of one to ``cells`` cells; runs that are all empty are one cell of the last one."""
    row = b""
    for unit, count in pieces:
        left = cells - len(row) // 4
        if count >= left:
            return row + unit * left
        row += unit * count
    return row or pieces[-1][0]


def pad(ids: bytes, cells: int) -> bytes:
    """Repeat the last cell up to a length."""
    return ids + ids[-4:] * (cells - len(ids) // 4)


def nearest_intact(rows: Sequence[bytes], intact: Sequence[bool], number: int) -> list[bytes]:
    """The nearest row above and the nearest one below that needed no repair."""
    above = next((i for i in range(number - 1, -1, -1) if intact[i]), None)
    below = next((i for i in range(number + 1, len(rows)) if intact[i]), None)
    return [rows[i] for i in (above, below) if i is not None]
