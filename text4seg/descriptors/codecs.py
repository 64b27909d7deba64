"""Label grid to text: the three spellings of a semantic descriptor.

``rrle``  run lengths inside each row (published, byte for byte): ``others *2| red car *2\\n others *4\\n``
``irle``  run lengths over the whole grid, row after row, no row breaks: ``others *2| red car *2| others *4\\n``
``full``  every cell spelled out: ``others| others| red car| red car\\n others| others| others| others\\n``

``full`` separates its rows as ``rrle`` does (newline, space): a reader then mends each row by itself, and what a
model learns about rows on the one spelling carries over to the other. The published decoder of the unrolled list
knows no rows; :func:`text4seg.descriptors.parse` reads that flat form as well.
Source: sections 3.1 and 4 of Text4Seg (arXiv 2410.09855).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from .grid import OTHERS, LabelGrid
from .labels import check_labels

CODECS = ("rrle", "irle", "full")
"""The names that ``codec`` may have."""

STAR, BAR, BREAK = " *", "| ", "\n "
"""What stands between a label and its count, between two runs, and between two rows; a text ends with a newline."""

STACK = 1 << 15
"""Cells that :func:`encode_many` lays end to end at a time: enough to share the overhead, few enough for the cache."""


def check_codec(codec: str) -> None:
    """Refuse an unknown codec name with a ``ValueError``."""
    if codec not in CODECS:
        raise ValueError(f"`codec` must be one of {', '.join(CODECS)}, got {codec!r}.")


def check_size(size: Sequence[int]) -> None:
    """Refuse a size that no grid has with a ``ValueError``."""
    if len(size) != 2 or min(size) < 1:
        raise ValueError(f"`size` must be (rows, cols), both at least 1, got {size}.")


def encode(grid: LabelGrid, codec: str = "rrle") -> str:
    r"""Write a grid as text: the body, without the tags.

    Raises:
        ValueError: when a label of the grid holds a separator, or for an unknown codec.

    >>> import numpy as np
    >>> encode(LabelGrid(np.array([[0, 1, 1], [0, 0, 0]]), ("others", "red car")))
    'others *1| red car *2\n others *3\n'
    """
    check_codec(codec)
    if codec == "full":
        return _spell_out(grid)
    return _write_one(grid, grid.ids.shape[1] if codec == "rrle" else grid.ids.size)


def encode_many(grids: Iterable[LabelGrid], codec: str = "rrle") -> list[str]:
    """Write many grids at once: the same texts as :func:`encode`, faster than one by one.

    Raises:
        ValueError: when a label of a grid holds a separator, or for an unknown codec.
    """
    check_codec(codec)
    grids = list(grids)
    if codec == "full":
        return [_spell_out(grid) for grid in grids]
    texts = [""] * len(grids)
    places: dict[tuple[int, int], list[int]] = {}
    for i, grid in enumerate(grids):
        places.setdefault(grid.size, []).append(i)
    for (rows, cols), found in places.items():
        line = cols if codec == "rrle" else rows * cols
        at_once = max(1, STACK // (rows * cols))
        for start in range(0, len(found), at_once):
            chunk = found[start : start + at_once]
            for i, text in zip(chunk, _write_stack([grids[i] for i in chunk], line, at_once), strict=True):
                texts[i] = text
    return texts


def answer(prefix: str, body: str) -> str:
    r"""A whole answer: words, then the tagged descriptor; nothing follows it.

    >>> answer("Here it is:", "others *1\n")
    'Here it is:\n<seg>others *1\n</seg>'
    """
    return f"{prefix}\n<seg>{body}</seg>"


def max_text(
    size: tuple[int, int], labels: str | Sequence[str], codec: str = "rrle", length: Callable[[str], int] = len
) -> str:
    """The longest body that a grid with these labels can have, so that decoding can be bounded.

    Neighbouring cells alternate between the two longest labels: every cell is a run of its own. In the codec ``full``
    every cell is of the longest.

    Args:
        size: (rows, cols).
        labels: what may be written beside ``others``.
        codec: one of the codecs.
        length: how long a piece of the text is: a label with what stands behind it. Default: its characters.
    """
    check_codec(codec)
    names = tuple(dict.fromkeys((OTHERS, *((labels,) if isinstance(labels, str) else labels))))
    behind = BAR if codec == "full" else f"{STAR}1{BAR}"
    # twice, since the first of a text may be cut into tokens otherwise than those that follow
    order = sorted(range(len(names)), key=lambda i: -length(2 * f"{names[i]}{behind}"))
    rows, cols = size
    ids = np.full(rows * cols, order[0], dtype=np.int32)
    if len(order) > 1 and codec != "full":
        line = cols if codec == "rrle" else rows * cols
        ids[np.arange(rows * cols) % line % 2 == 1] = order[1]
    return encode(LabelGrid(ids.reshape(rows, cols), names), codec)


@lru_cache(maxsize=4096)
def _heads(labels: tuple[str, ...]) -> list[str]:
    check_labels(labels)
    return [label + STAR for label in labels]


@lru_cache(maxsize=64)
def _tails(line: int) -> list[str]:
    """What follows the star: a count and a bar, or (from ``line + 1`` on) a count and the end of the row."""
    return [f"{n}{BAR}" for n in range(line + 1)] + [f"{n}{BREAK}" for n in range(line + 1)]


@lru_cache(maxsize=16)
def _marks(cells: int, line: int) -> NDArray[np.intp]:
    """Each cell's own number, the last cell of a row raised by ``line + 1``: its run then finds a row-ending tail."""
    marks = np.arange(cells)
    marks[line - 1 :: line] += line + 1
    marks.flags.writeable = False
    return marks


def _run_ends(flat: NDArray[np.int32], line: int) -> NDArray[np.intp]:
    """The last cell of every run; a run never crosses a multiple of ``line`` cells."""
    last = np.empty(flat.size, dtype=bool)
    np.not_equal(flat[1:], flat[:-1], out=last[:-1])
    last[line - 1 :: line] = True
    return last.nonzero()[0]


def run_lengths(ids: NDArray[np.int32]) -> NDArray[np.int64]:
    """How long the run is that ends in each cell, as ``rrle`` counts it; 0 where the run goes on. ``[R, C]`` both."""
    rows, cols = ids.shape
    flat = np.zeros(rows * cols, np.int64)
    ends = _run_ends(ids.reshape(-1), cols)
    flat[ends] = np.diff(ends, prepend=-1)
    return flat.reshape(rows, cols)


def _interleave(
    flat: NDArray[np.int32], ends: NDArray[np.intp], marks: NDArray[np.intp], heads: list[str], line: int
) -> list[str]:
    """Label, count, label, count, ...: the pieces of the text, two for each run."""
    tails = marks.take(ends)  # quicker than marks[ends], as below
    tails[1:] -= ends[:-1]
    tails[0] += 1
    parts = [""] * (2 * len(ends))
    parts[::2] = _pick(heads, flat.take(ends).tolist())
    parts[1::2] = _pick(_tails(line), tails.tolist())
    return parts


def _pick(table: list[str], index: list[int]) -> tuple[str, ...]:
    return itemgetter(*index)(table) if len(index) > 1 else (table[index[0]],)


def _write_one(grid: LabelGrid, line: int) -> str:
    heads = _heads(grid.labels)
    flat = grid.ids.reshape(-1)
    return "".join(_interleave(flat, _run_ends(flat, line), _marks(flat.size, line), heads, line))[:-1]


def _write_stack(grids: list[LabelGrid], line: int, at_once: int) -> list[str]:
    """Texts of grids of one size, laid end to end with each grid's ids shifted behind those of the grids before."""
    heads: list[str] = []
    shifts = []
    for grid in grids:
        shifts.append(len(heads))
        heads += _heads(grid.labels)
    cells = grids[0].ids.size
    flat = np.concatenate([grid.ids.reshape(-1) for grid in grids])
    flat += np.repeat(np.array(shifts, dtype=np.int32), cells)
    ends = _run_ends(flat, line)
    parts = _interleave(flat, ends, _marks(at_once * cells, line), heads, line)
    stops = (2 * np.searchsorted(ends, np.arange(cells, flat.size + 1, cells))).tolist()
    return ["".join(parts[a:b])[:-1] for a, b in zip([0, *stops[:-1]], stops, strict=True)]


def _spell_out(grid: LabelGrid) -> str:
    _heads(grid.labels)
    word = grid.labels.__getitem__
    return BREAK.join([BAR.join(map(word, row)) for row in grid.ids.tolist()]) + BREAK[0]
