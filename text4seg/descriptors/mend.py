"""Repairs: lines of runs, as many and as long as they happen to be, to exactly the grid that was asked for."""

from __future__ import annotations

from itertools import accumulate, pairwise

import numpy as np
from numpy.typing import NDArray

from .counts import fill, nearest_intact, pad, settle
from .exact import Pieces, Rows
from .grid import Repair
from .labels import Vocabulary

FullRun = tuple[str, int]


class Line:
    """One line of the text; equal lines of a text may share one object.

    Attributes:
        runs: (word, count) pairs.
        readable: whether a run was read in it; else it only keeps a row's place.
        cells: sum of the counts.
    """

    __slots__ = ("cells", "readable", "runs")

    def __init__(self, runs: list[FullRun], readable: bool) -> None:
        self.runs, self.readable = runs, readable
        self.cells = sum([count for _, count in runs]) if readable else 0


BLANK = Line([], False)
"""A line without a word."""


def mend_lines(lines: list[Line], size: tuple[int, int], repairs: list[Repair]) -> list[Line]:
    """Bring the number of lines towards the number of rows where the counts say how.

    Too few: a line that holds two or more rows lost its newlines and is split; where none does, blank lines are rows
    whose runs are lost. Too many: two short neighbours that make exactly one row are joined, then lines without a run
    are dropped, first ones first.
    """
    rows, cols = size
    written = [line for line in lines if line is not BLANK]
    if len(written) < rows:
        mended = _split(written, rows, cols, repairs)
        return mended if len(mended) > len(written) else lines
    if len(lines) > rows:
        return _drop(_join(lines, rows, cols, repairs), rows, repairs)
    return lines


def _split(lines: list[Line], rows: int, cols: int, repairs: list[Repair]) -> list[Line]:
    spare = rows - len(lines)
    mended: list[Line] = []
    for line in lines:
        number = (line.cells + cols // 2) // cols
        pieces = _pieces(line, number, cols) if 1 < number <= spare + 1 else None
        if pieces is None:
            mended.append(line)
            continue
        spare -= number - 1
        repairs.append(Repair(len(mended), f"split a line of {line.cells} cells into {number} rows"))
        mended += pieces
    return mended


def _pieces(line: Line, number: int, cols: int) -> list[Line] | None:
    """So many rows, if the runs of a line fall into such: all of them whole, or one whose count is wrong among them.

    In a row no run length is followed by one of the same label: where a count is wrong, only such a place is an end.
    """
    runs, wrong = line.runs, line.cells - number * cols
    ends = {cells: run for run, cells in enumerate(accumulate([count for _, count in runs]), 1)}
    if wrong:
        ends = {cells: run for cells, run in ends.items() if run < len(runs) and runs[run - 1][0] == runs[run][0]}
    cuts, moved = [0], 0
    for end in range(cols, number * cols, cols):
        if end + moved not in ends:  # the wrong row ends here, and all further ends have moved
            moved = wrong
        if end + moved not in ends:
            return None
        cuts.append(ends[end + moved])
    return [Line(runs[start:stop], True) for start, stop in pairwise([*cuts, len(runs)])]


def _join(lines: list[Line], rows: int, cols: int, repairs: list[Repair]) -> list[Line]:
    surplus = len(lines) - rows
    mended: list[Line] = []
    for line in lines:
        before = mended[-1] if mended else None
        if surplus and before and before.cells and line.cells and before.cells + line.cells == cols:
            surplus -= 1
            repairs.append(Repair(len(mended) - 1, "joined a row that was broken in two"))
            mended[-1] = Line(before.runs + line.runs, True)
        else:
            mended.append(line)
    return mended


def _drop(lines: list[Line], rows: int, repairs: list[Repair]) -> list[Line]:
    surplus = len(lines) - rows
    kept = []
    for line in lines:
        if surplus > 0 and not line.readable:
            surplus -= 1
        else:
            kept.append(line)
    if len(kept) < len(lines):
        repairs.append(Repair(-1, f"dropped lines without a run ({len(lines) - len(kept)})"))
    return kept


def settle_rows(rows: Rows, line: int, flat: bool) -> list[Repair]:
    """Bring the rows of a text whose separators are all in place to their length, in place."""
    repairs = []
    intact = [len(cells) == 4 * line for cells in rows.cells]
    for number, pieces in zip(rows.wrong, rows.pieces, strict=True):
        repairs.append(_length(-1 if flat else number, len(rows.cells[number]) // 4, line))
        rows.cells[number] = settle(pieces, line, nearest_intact(rows.cells, intact, number))
    return repairs


def place_flat(
    lines: list[Line], size: tuple[int, int], vocabulary: Vocabulary, repairs: list[Repair]
) -> NDArray[np.int32]:
    """Lay all runs out one after the other, row after row: repeat the last cell or cut where the sum is wrong."""
    cells = size[0] * size[1]
    total = sum(line.cells for line in lines)
    if total != cells:
        repairs.append(_length(-1, total, cells))
    pieces = [(vocabulary.unit(word), count) for line in lines if line.readable for word, count in line.runs]
    return np.frombuffer(bytearray(settle(pieces, cells, ())), dtype=np.int32).reshape(size)


def place_rows(
    lines: list[Line], size: tuple[int, int], cut: bool, vocabulary: Vocabulary, repairs: list[Repair]
) -> NDArray[np.int32]:
    """Fix each line to exactly one row, copy the row above where one is missing, drop what is too much."""
    rows, cols = size
    read = lines[:rows]
    pieces = _pieces_of(read, vocabulary)
    intact = [line.cells == cols and line.readable for line in read]
    placed = [fill(runs, cols) if ok else b"" for runs, ok in zip(pieces, intact, strict=True)]
    for number, line in enumerate(read):
        above = placed[number - 1] if number else b""
        if not line.readable:
            repairs.append(Repair(number, "no run in this row: copied from its neighbour"))
            placed[number] = above
        elif line.cells != cols:
            repairs.append(_length(number, line.cells, cols))
            if cut and number == len(lines) - 1:
                # the text breaks off inside its last line: the row above says best how it would have gone on
                ids = fill(pieces[number], cols)
                placed[number] = pad(ids + above[len(ids) :], cols)
            else:
                placed[number] = settle(pieces[number], cols, nearest_intact(placed, intact, number))
    if len(lines) > rows:
        repairs.append(Repair(rows - 1, f"dropped lines after the last row ({len(lines) - rows})"))
    elif len(lines) < rows:
        repairs.append(Repair(len(lines), f"missing rows ({rows - len(lines)}): copied from the row above"))
        placed += [placed[-1]] * (rows - len(lines))
    if not placed[0]:  # rows before the first readable one have nothing above them
        first = next(ids for ids in placed if ids)
        placed = [ids or first for ids in placed]
    return np.frombuffer(bytearray().join(placed), dtype=np.int32).reshape(size)


def _pieces_of(lines: list[Line], vocabulary: Vocabulary) -> list[Pieces]:
    known: dict[Line, Pieces] = {}
    pieces = []
    for line in lines:
        if line not in known:
            known[line] = [(vocabulary.unit(word), count) for word, count in line.runs] if line.readable else []
        pieces.append(known[line])
    return pieces


def _length(row: int, found: int, wanted: int) -> Repair:
    return Repair(row, f"{found} cells {'filled up' if found < wanted else 'cut'} to {wanted}")
