"""The quick way in: read a text whose separators are all in place, or say no.

Nothing is explained here and no separator mended: :mod:`.parse` mends, :mod:`.strict` explains, and both ask this
module first. Cells are collected as the bytes of int32 ids, so that a run is one multiplication, and a run or a row
that was seen before (most of a grid repeats) is one look-up.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .grid import OTHERS
from .labels import Vocabulary, fault

OPEN, CLOSE = "<seg>", "</seg>"

Pieces = list[tuple[bytes, int]]
"""The runs of a row: the four bytes of an id, and a count."""


class Rows(NamedTuple):
    """What was read.

    Attributes:
        cells: int32 ids of each row as bytes, of any length.
        wrong: numbers of the rows whose length is not what it should be.
        pieces: the runs of those rows.
    """

    cells: list[bytes]
    wrong: list[int]
    pieces: list[Pieces]

    def ids(self, size: tuple[int, int]) -> NDArray[np.int32]:
        """All rows as one array ``[R, C]``; they must have the right length by now."""
        return np.frombuffer(bytearray().join(self.cells), dtype=np.int32).reshape(size)


def exact_body(text: str) -> str | None:
    """The body of a tagged answer, or the text itself when it has no tags; ``None`` when the tags are broken."""
    start = text.find(OPEN)
    if start < 0:
        return None if CLOSE in text else text
    end = text.find(CLOSE, start)
    if end < 0 or not (end + len(CLOSE) == len(text) or text[end + len(CLOSE) :].isspace()):
        return None
    return text[start + len(OPEN) : end]


def read_rows(body: str, size: tuple[int, int], codec: str, vocabulary: Vocabulary) -> Rows | None:
    """Read a body that has the right number of rows, each of well-formed runs, whatever these add up to.

    Args:
        body: the text between the tags.
        size: ``(rows, cols)``.
        codec: one of the codecs; ``irle`` is a single row of all cells.
        vocabulary: gives the ids; on failure it may have learnt words of the part that was read.

    Returns:
        the rows (a text is well formed when none of them is wrong), or ``None`` at the first thing out of place.
    """
    lines, line = (1, size[0] * size[1]) if codec == "irle" else size
    rows = body[:-1].split("\n ")
    if len(rows) != lines or not body.endswith("\n"):
        return None
    counts = None if codec == "full" else _counts(line)
    known: dict[str, bytes] = {} if counts is None else _background(line).copy()
    units: dict[str, bytes] = {}
    seen: dict[str, bytes] = {}
    read = Rows([], [], [])
    for number, row in enumerate(rows):
        cells = seen.get(row)
        if cells is None:
            cells = b""
            for run in row.split("| "):
                piece = known.get(run) or _learn(run, counts, known, units, vocabulary)
                if piece is None:
                    return None
                cells += piece
            seen[row] = cells
        if len(cells) != 4 * line:
            read.wrong.append(number)
            read.pieces.append([(known[run][:4], len(known[run]) // 4) for run in row.split("| ")])
        read.cells.append(cells)
    return read


@lru_cache(maxsize=64)
def _counts(line: int) -> dict[str, int]:
    """Counts as they must be written: those that a line can hold, and all of two digits so that slips are found."""
    return {str(n): n for n in range(1, max(line, 99) + 1)}


@lru_cache(maxsize=64)
def _background(line: int) -> dict[str, bytes]:
    """The cells of every run of ``others``: about half of all runs, and the same in every text."""
    return {f"{OTHERS} *{n}": bytes(4 * n) for n in range(1, line + 1)} if line <= 256 else {}


def _learn(
    run: str, counts: dict[str, int] | None, known: dict[str, bytes], units: dict[str, bytes], vocabulary: Vocabulary
) -> bytes | None:
    """The cells of a run not met before (of a bare word where there are no counts); ``None`` if it is malformed."""
    if counts is None:
        word, count = run, 1
    else:
        word, _, digits = run.rpartition(" *")
        if digits not in counts:
            return None
        count = counts[digits]
    unit = units.get(word)
    if unit is None:
        if fault(word) is not None:
            return None
        unit = units[word] = vocabulary.unit(word)
    cells = known[run] = unit * count
    return cells
