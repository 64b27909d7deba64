"""Grids, labels and broken texts for the tests of this folder."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
from hypothesis import strategies as st

from text4seg.descriptors import OTHERS, LabelGrid
from text4seg.descriptors.labels import fault

ODD_LABELS = (
    *(
        "others 2",
        "Other",
        "the others",
        "2",
        "3 dogs",
        "-1",
        "0",
        "x",
        "a, b; c",
        "sky,tree",
        "naïve café",
        "红色的车",
    ),
    *("🚗 on the left", "a\tb", "a  b", "seg", "<s>", "</s>", "<seg", "\\n", "person 1", "x" * 200, "a\u2028b"),
    *("a\x0bb", "a\x00b", "%s {} $1", "'quoted'", '"', "…", "İ", "ß"),
)

label = st.one_of(st.sampled_from(ODD_LABELS), st.text(min_size=1, max_size=12)).filter(
    lambda word: fault(word) is None
)


@st.composite
def label_grids(draw: st.DrawFn, longest: int = 64) -> LabelGrid:
    """Grids from 1x1 to 64x64 with runs of all lengths; some labels may have no cell, also ``others``."""
    rows, cols = draw(st.integers(1, longest)), draw(st.integers(1, longest))
    words = [word for word in draw(st.lists(label, max_size=5, unique=True)) if word != OTHERS]
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    ids = rng.integers(0, len(words) + 1, rows * cols)
    keep = rng.random(rows * cols) < draw(st.sampled_from((0.0, 0.5, 0.9, 1.0)))
    for cell in np.flatnonzero(keep[1:]) + 1:
        ids[cell] = ids[cell - 1]
    return LabelGrid(ids.reshape(rows, cols), (OTHERS, *words))


def disk(rng: np.random.Generator, size: int = 16, word: str = "red car") -> LabelGrid:
    """One disk somewhere in the grid, never empty."""
    radius = rng.uniform(0.12, 0.35) * size
    y, x = rng.uniform(radius, size - radius, 2)
    grid_y, grid_x = np.mgrid[:size, :size] + 0.5
    inside = (grid_y - y) ** 2 + (grid_x - x) ** 2 < radius**2
    return LabelGrid(inside.astype(np.int32), (OTHERS, word))


def _cut(text: str, rng: random.Random) -> str:
    return text[: rng.randrange(len(text) + 1)]


def _swap(old: str, *new: str) -> Callable[[str, random.Random], str]:
    return lambda text, rng: text.replace(old, rng.choice(new), rng.choice((1, 1, 2, -1)))


def _change(text: str, rng: random.Random) -> str:
    where = rng.randrange(len(text) + 1)
    return text[:where] + rng.choice(PIECES) + text[where + rng.randrange(3) :]


def _move(text: str, rng: random.Random) -> str:
    a, b, c = sorted(rng.randrange(len(text) + 1) for _ in range(3))
    return text[:a] + text[b:c] + text[a:b] + text[c:]


def _repeat(text: str, rng: random.Random) -> str:
    a, b = sorted(rng.randrange(len(text) + 1) for _ in range(2))
    return text[:b] + text[a:b] * rng.randrange(1, 4) + text[b:]


def _recount(text: str, rng: random.Random) -> str:
    parts = text.split("*")
    where = rng.randrange(len(parts))
    parts[where] = rng.choice(COUNTS) + parts[where].lstrip("0123456789")
    return "*".join(parts)


COUNTS = ("0", "-3", "17", "1" + "0" * 30, "9" * 5000, "٣", "²", "1.5", "", "x", "+2", "007", " 4", "1e9")
PIECES = (
    *(
        "|",
        "*",
        "\n",
        "\r\n",
        "\r",
        "<seg>",
        "</seg>",
        "<",
        ">",
        " ",
        "\t",
        "| ",
        " *",
        "*3",
        ",",
        ";",
        "others",
        "Others",
    ),
    *("\\n", "\x00", "\ud800", "é", "🚗", "0", "7", "-", "</se", "<SEG>", "\u2028", "assistant:", "\n\n"),
)
MUTATIONS = (
    *(_cut, _change, _change, _move, _repeat, _recount, _recount),
    _swap("\n ", "\n", " ", "", "\r\n ", "| "),
    _swap("| ", "|", " ", ", ", "; ", "||"),
    _swap(" *", "*", " ", " * ", " x"),
    _swap("others", "Others", "other", ""),
    _swap("</seg>", "", "</seg></seg>", "<seg>", "</s>"),
)


def broken(text: str, rng: random.Random) -> str:
    """A text with one to four things wrong, or noise altogether."""
    if rng.random() < 0.05:
        return "".join(rng.choices(PIECES, k=rng.randrange(60)))
    for _ in range(rng.choice((1, 1, 2, 4))):
        text = rng.choice(MUTATIONS)(text, rng)
    return text
