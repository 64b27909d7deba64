"""Draws docs/images/draft_tree.svg: half a grid, the draft that hangs on it, and what of the draft turns out right.

    python benchmarks/draft_picture.py OUT.svg [--rows 9] [--width 40]

The scene is a leaning ellipse, the tokenizer that of the embedded tiny model; nothing is drawn at random. On the left
the rows that are written (dark), those that the accepted branch adds (light) and the rest of the object (outlined). On
the right the tree: a box a token, in green those that a model accepts which goes on with the right text.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
from transformers import AutoTokenizer

import text4seg
from text4seg.decoding.contract import Draft
from text4seg.decoding.drafts.geometry import GeometryDrafter
from text4seg.decoding.drafts.spelling import Spelling
from text4seg.descriptors import LabelGrid, encode

SIDE, CELL = 16, 15
BOX, GAP, LINE = 58, 8, 26
LEFT, TOP = 16, 34
DARK, LIGHT, FAINT, TEXT = "#2f6f4f", "#8fd3a8", "#e4e7eb", "#222222"


def main(argv: list[str] | None = None) -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--rows", type=int, default=9, help="rows that are written already (default 9)")
    parser.add_argument("--width", type=int, default=40, help="tokens of the draft (default 40)")
    options = parser.parse_args(argv)
    spelling = Spelling(AutoTokenizer.from_pretrained(Path(text4seg.__file__).parent / "assets" / "tiny"))
    grid = LabelGrid(scene(), ("others", "circle"))
    lines = encode(grid).split("\n ")
    written = "<seg>" + "\n ".join(lines[: options.rows]) + "\n"
    right = spelling.tokens("<seg>" + encode(grid) + "</seg>")
    accepted = right[: len(spelling.tokens(written))]
    draft = GeometryDrafter(spelling, ("circle",), grid.size).propose(accepted, options.width, options.width)
    rest = right[len(accepted) :]
    count = draft.agreeing(rest)
    added = b"".join(spelling.piece(token) for token in rest[:count]).count(b"\n")
    path = accepted_path(draft, rest[:count])
    names = [spelling.piece(token).decode() for token in draft.tokens]
    tree, right_edge, bottom = drawn_tree(draft, names, path, LEFT + SIDE * CELL + 40)
    height = max(bottom, TOP + SIDE * CELL) + 16
    notes = [
        label(LEFT, 22, f"{options.rows} rows are written"),
        label(LEFT + SIDE * CELL + 40, 22, f"a draft of {len(draft.tokens)} tokens: {count} are right, one pass"),
    ]
    body = "\n".join([*notes, *drawn_grid(grid, options.rows, added), *tree])
    size = f'width="{right_edge + 16}" height="{height}" viewBox="0 0 {right_edge + 16} {height}"'
    style = 'font-family="DejaVu Sans Mono, Menlo, Consolas, monospace" font-size="11"'
    sheet = f'<rect width="100%" height="100%" fill="#ffffff"/>\n{body}'
    options.out.write_text(f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>\n{sheet}\n</svg>\n')


def scene() -> np.ndarray:
    """A leaning ellipse."""
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5
    u, v = (x - 8) + 0.45 * (y - 8), (y - 8)
    return ((u / 4.6) ** 2 + (v / 6.8) ** 2 < 1).astype(int)


def accepted_path(draft: Draft, tokens: tuple[int, ...]) -> set[int]:
    """Numbers of the draft's tokens that are right."""
    path, node = set(), -1
    for token in tokens:
        node = next(i for i, up in enumerate(draft.parents) if up == node and draft.tokens[i] == token)
        path.add(node)
    return path


def drawn_grid(grid: LabelGrid, rows: int, added: int) -> list[str]:
    """A square a cell."""
    shapes = []
    for (row, col), value in np.ndenumerate(grid.ids):
        object_fill = DARK if row < rows else LIGHT if row < rows + added else "#ffffff"
        fill = object_fill if value else FAINT if row < rows + added else "#ffffff"
        edge = "#ffffff" if row < rows + added else "#9aa5b1" if value else "#eef0f2"
        place = f'x="{LEFT + col * CELL}" y="{TOP + row * CELL}" width="{CELL - 1}" height="{CELL - 1}"'
        shapes.append(f'<rect {place} fill="{fill}" stroke="{edge}"/>')
    return shapes


def drawn_tree(draft: Draft, names: list[str], path: set[int], left: int) -> tuple[list[str], int, int]:
    """Boxes and the lines between them; the right and lower edges."""
    children: dict[int, list[int]] = {}
    for number, parent in enumerate(draft.parents):
        children.setdefault(parent, []).append(number)
    places: dict[int, tuple[int, int]] = {-1: (left - BOX, TOP)}
    shapes: list[str] = []
    below = TOP

    def put(number: int, x: int) -> None:
        nonlocal below
        for rank, child in enumerate(children.get(number, ())):
            below += LINE if rank else 0
            places[child] = (x, below)
            put(child, x + BOX + GAP)

    put(-1, left)
    for number, (x, y) in places.items():
        for child in children.get(number, ()):
            to_x, to_y = places[child]
            edge = f"M{x + BOX} {y + 9}H{to_x - GAP / 2}V{to_y + 9}H{to_x}"
            if number >= 0:
                colour = DARK if child in path else "#9aa5b1"
                shapes.append(f'<path d="{edge}" fill="none" stroke="{colour}"/>')
    for number, name in enumerate(names):
        x, y = places[number]
        fill = LIGHT if number in path else "#f4f5f7"
        shapes.append(f'<rect x="{x}" y="{y}" width="{BOX}" height="18" rx="4" fill="{fill}" stroke="#9aa5b1"/>')
        shapes.append(label(x + 5, y + 13, name.replace(" ", "\u00b7").replace("\n", "\u21b5")))
    right = max(x for x, _ in places.values()) + BOX
    return shapes, right, below + 18


def label(x: int, y: int, text: str) -> str:
    """A line of text."""
    return f'<text x="{x}" y="{y}" fill="{TEXT}">{escape(text)}</text>'


if __name__ == "__main__":
    main()
