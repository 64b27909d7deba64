"""Contact sheet: for every item the picture, the truth and the prediction side by side, with a caption."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from .overlay import Colour, overlay, palette

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_PAD = 8
_LINE = 18
_INK, _FAINT, _PAPER = (25, 25, 25), (120, 120, 120), (255, 255, 255)


@dataclass(frozen=True, eq=False)
class Entry:
    """One row of pictures.

    Attributes:
        image: the picture.
        panels: masks by heading, e.g. ``truth`` and ``prediction``; integer ids ``[H, W]``.
        question: the first line of the caption.
        note: the last line of the caption, e.g. the IoU.
        labels: names of the ids, ``others`` first; when there are several, a legend names those that show, then others.
    """

    image: Image.Image
    panels: dict[str, NDArray[np.generic]]
    question: str
    note: str = ""
    labels: tuple[str, ...] = ()


def spread(count: int, most: int) -> list[int]:
    """Numbers of the entries to draw, at most so many, spread evenly over a set.

    >>> spread(10, 4)
    [0, 2, 5, 7]
    """
    drawn = min(count, most)
    return [i * count // drawn for i in range(drawn)]


def draw_sheet(entries: Sequence[Entry], columns: int = 2, side: int = 224) -> Image.Image:
    """Draw entries in a grid.

    Args:
        entries: what to draw, row by row.
        columns: entries side by side.
        side: each picture is fitted into a square of this many pixels.

    Returns:
        an RGB picture.

    Raises:
        ValueError: when there is nothing to draw.
    """
    if not entries:
        raise ValueError("`entries` is empty: a sheet needs at least one item.")
    tiles = [_draw_entry(entry, side) for entry in entries]
    columns = min(columns, len(tiles))
    width = max(tile.width for tile in tiles)
    rows = [tiles[i : i + columns] for i in range(0, len(tiles), columns)]
    heights = [max(tile.height for tile in row) for row in rows]
    page = Image.new("RGB", (columns * width + (columns + 1) * _PAD, sum(heights) + (len(rows) + 1) * _PAD), _PAPER)
    top = _PAD
    for row, height in zip(rows, heights, strict=True):
        for column, tile in enumerate(row):
            page.paste(tile, (_PAD + column * (width + _PAD), top))
        top += height + _PAD
    return page


def _draw_entry(entry: Entry, side: int) -> Image.Image:
    font = ImageFont.load_default(13)
    pictures = [("image", entry.image), *((name, overlay(entry.image, ids)) for name, ids in entry.panels.items())]
    fitted = [(name, _fit(picture, side)) for name, picture in pictures]
    width = len(fitted) * side + (len(fitted) - 1) * _PAD
    height = max(picture.height for _, picture in fitted)
    lines = wrap(entry.question, font, width, most=2)
    legend = _legend(entry) if len(entry.labels) > 2 else []
    extra = len(lines) + bool(entry.note) + bool(legend) + 1
    tile = Image.new("RGB", (width, height + extra * _LINE), _PAPER)
    pen = ImageDraw.Draw(tile)
    for i, (name, picture) in enumerate(fitted):
        left = i * (side + _PAD)
        tile.paste(picture, (left + (side - picture.width) // 2, _LINE + (height - picture.height) // 2))
        pen.text((left, 0), name, fill=_FAINT, font=font)
    top = height + _LINE
    for line in lines:
        pen.text((0, top), line, fill=_INK, font=font)
        top += _LINE
    if legend:
        _draw_legend(pen, legend, font, top, width)
        top += _LINE
    if entry.note:
        pen.text((0, top), entry.note, fill=_FAINT, font=font)
    return tile


def _legend(entry: Entry) -> list[tuple[str, Colour]]:
    """Names with their colours, those that a panel shows first."""
    shown = {number for ids in entry.panels.values() for number in np.unique(ids).tolist()}
    numbers = sorted(range(1, len(entry.labels)), key=lambda number: number not in shown)
    colours = palette(len(entry.labels) - 1)
    return [(entry.labels[number], colours[number - 1]) for number in numbers]


def _draw_legend(
    pen: ImageDraw.ImageDraw, legend: Sequence[tuple[str, Colour]], font: Font, top: int, width: int
) -> None:
    """Names in their colours, as many as fit on the line."""
    left = 0.0
    for label, colour in legend:
        step = pen.textlength(label, font=font) + _LINE + 4
        if left + step > width:
            pen.text((left, top), "...", fill=_FAINT, font=font)
            return
        pen.rectangle((left, top + 3, left + 10, top + 13), fill=colour)
        pen.text((left + 14, top), label, fill=_INK, font=font)
        left += step


def _fit(picture: Image.Image, side: int) -> Image.Image:
    scale = side / max(picture.size)
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    return picture.resize(size, Image.Resampling.BILINEAR if scale < 1 else Image.Resampling.NEAREST)


def wrap(text: str, font: Font, width: float, most: int) -> list[str]:
    """Break a text into at most ``most`` lines of ``width`` pixels; what does not fit ends in dots."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= width:
            lines[-1] = longer
        elif len(lines) < most:
            lines.append(word)
        else:
            lines[-1] += " ..."
            break
    return [_shorten(line, font, width) for line in lines] or [""]


def _shorten(line: str, font: Font, width: float) -> str:
    while line and font.getlength(line) > width:
        line = f"{line.removesuffix('...').rstrip()[:-1]}..." if line.strip(".") else line[:-1]
    return line
