"""Text to label grid: read whatever a model printed, row by row, and say what had to be mended.

A well-formed text takes the quick way (:mod:`.exact`). Anything else is read line by line: each row is fixed to
exactly ``cols`` cells by itself, so a wrong count costs one row and not all rows below it.
Source: the grammar is that of Text4Seg (arXiv 2410.09855, section 3.1); the repairs are this project's.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from .codecs import check_codec, check_size
from .exact import exact_body, read_rows
from .grid import Decoded, LabelGrid, Repair
from .labels import Vocabulary
from .lines import Run, find_bodies, read_line
from .mend import BLANK, FullRun, Line, mend_lines, place_flat, place_rows, settle_rows


def parse(
    text: str, size: tuple[int, int] = (16, 16), codec: str = "rrle", labels: str | Iterable[str] | None = None
) -> Decoded:
    r"""Read a body, a tagged answer or any string at all. No string raises.

    Args:
        text: what was printed.
        size: ``(rows, cols)`` of the grid; the result always has it.
        codec: the spelling to expect.
        labels: the labels that were asked for. They get the ids 1, 2, ... in this order; a word that is one of them
            but for case, punctuation and blanks is taken for it; other words follow behind.

    Returns:
        the grid; ``ok`` when the text was exactly well formed, ``invalid`` when not one run could be read (the grid
        is all ``others``), else ``repaired`` with the list of repairs (rows from 0).

    Raises:
        ValueError: for an empty size or an unknown codec.

    >>> decoded = parse("others *2| red car *2\n others *1| red car *9\n", (3, 4))
    >>> decoded.grid.ids.tolist(), decoded.status
    ([[0, 0, 1, 1], [0, 1, 1, 1], [0, 1, 1, 1]], 'repaired')
    """
    check_codec(codec)
    check_size(size)
    expected = (labels,) if isinstance(labels, str) else () if labels is None else tuple(labels)
    vocabulary = Vocabulary(expected)
    body = exact_body(text)
    rows = read_rows(body, size, codec, vocabulary) if body is not None else None
    if rows is None:
        return _parse_any(text, size, codec, Vocabulary(expected))
    repairs: tuple[Repair, ...] = ()
    if rows.wrong:
        repairs = tuple(settle_rows(rows, size[0] * size[1] if codec == "irle" else size[1], flat=codec == "irle"))
    if vocabulary.matched:
        repairs += _renamed(vocabulary)
    grid = LabelGrid(rows.ids(size), tuple(vocabulary.names))
    return Decoded(grid, "repaired" if repairs else "ok", repairs, text, tuple(vocabulary.matched))


def _renamed(vocabulary: Vocabulary) -> tuple[Repair, ...]:
    return tuple([Repair(-1, f"label {word[:60]!r} read as {name!r}") for word, name in vocabulary.matched[:20]])


def _parse_any(text: str, size: tuple[int, int], codec: str, vocabulary: Vocabulary) -> Decoded:
    """Read and mend a text that is not well formed."""
    lines, cut = _fullest(text, size, codec, vocabulary)
    if not lines:
        return Decoded(LabelGrid(np.zeros(size, np.int32), tuple(vocabulary.names)), "invalid", (), text)
    repairs: list[Repair] = []
    lost_its_rows = codec != "irle" and _lost_its_rows(lines, size)
    if lost_its_rows:
        repairs.append(Repair(-1, "read as one sequence of cells: its newlines are missing"))
    if codec == "irle" or lost_its_rows:
        ids = place_flat(lines, size, vocabulary, repairs)
    else:
        ids = place_rows(mend_lines(lines, size, repairs), size, cut, vocabulary, repairs)
    repairs += _renamed(vocabulary)
    if not repairs:
        repairs.append(Repair(-1, "separators or tags put right"))
    grid = LabelGrid(ids, tuple(vocabulary.names))
    return Decoded(grid, "repaired", tuple(repairs), text, tuple(vocabulary.matched))


def _fullest(text: str, size: tuple[int, int], codec: str, vocabulary: Vocabulary) -> tuple[list[Line], bool]:
    """Lines of the likeliest body that fills the grid, else of the fullest; and whether it was cut off.

    There are no lines where nothing can be read.
    """
    most, best = -1, ([], False)
    for body, tagged, cut in find_bodies(text):
        if not body or body.isspace():
            continue
        lines = _read_lines(body, size, codec, tagged, cut, vocabulary)
        cells = min(sum(line.cells for line in lines), size[0] * size[1])
        if cells > most and any(line.readable for line in lines):
            most, best = cells, (lines, cut)
        if most == size[0] * size[1]:
            break
    return best


def _lost_its_rows(lines: list[Line], size: tuple[int, int]) -> bool:
    """Whether the one line that can be read is about as long as the grid: its newlines are gone, or never were."""
    rows, cols = size
    cells = [line.cells for line in lines if line.readable]
    return rows > 1 and len(cells) == 1 and 2 * cols <= cells[0] <= (rows + 1) * cols


def _read_lines(
    body: str, size: tuple[int, int], codec: str, tagged: bool, cut: bool, vocabulary: Vocabulary
) -> list[Line]:
    """All lines that are not blank; of a text that was cut off, without the run inside which it broke off.

    Blank ones stay where a line for each row is there with them: a row may have gone lost in its place.
    """
    texts = [text.strip() for text in body.strip().split("\n")]
    if len(texts) != size[0]:
        texts = [text for text in texts if text]
    known = {"": BLANK}
    lines = []
    for text in texts:
        line = known.get(text)
        if line is None:
            line = known[text] = _line(read_line(text, codec != "full"), codec, size[1], tagged, vocabulary)
        lines.append(line)
    if cut and texts:
        runs = read_line(texts[-1], codec != "full")
        before = lines[:-1]
        if runs and runs[-1][1] is None and not (codec == "full" and _is_whole(runs, before, vocabulary)):
            lines = before
            if len(runs) > 1:
                lines.append(_line(runs[:-1], codec, size[1], tagged, vocabulary))
    return lines


def _is_whole(runs: list[Run], before: list[Line], vocabulary: Vocabulary) -> bool:
    """Whether the last word of a text that was cut off is a whole label: one that was asked for or read before."""
    word = runs[-1][0]
    read = {name for line in before for name, _ in line.runs}
    return vocabulary.knows(word) or word in read or runs[-1] in runs[:-1]


def _line(runs: list[Run], codec: str, cols: int, tagged: bool, vocabulary: Vocabulary) -> Line:
    """Decide whether a line can be read and give each of its runs a count."""
    if codec != "full":
        counted = [run for run in runs if run[1] is not None]
        if len(counted) == len(runs):
            return Line(counted, bool(runs))  # type: ignore[arg-type]
        return Line(_share(runs, cols if codec == "rrle" else 0), bool(counted))
    readable = bool(runs) and (tagged or len(runs) > 1 or runs[0][1] is not None or vocabulary.knows(runs[0][0]))
    return Line([(word, 1 if count is None else count) for word, count in runs], readable)


def _share(runs: list[Run], cols: int) -> list[FullRun]:
    """Runs without a count share the cells that the row lacks (one each where rows are unknown)."""
    missing = sum(count is None for _, count in runs)
    lacking = max(0, cols - sum(count or 0 for _, count in runs)) if cols else missing
    each, rest = divmod(lacking, missing)
    full = []
    for word, count in runs:
        if count is None:
            count, rest = each + (rest > 0), max(0, rest - 1)
        full.append((word, count))
    return full
