"""The pictures of an evaluation, drawn in a second pass over its set: a sheet, and the report's gallery."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from text4seg.callbacks.keeper import write_whole
from text4seg.data.items import Item

from .overlay import open_picture, overlay
from .page import Card, page
from .questions import Questions
from .record import stored_mask
from .sheet import Entry, draw_sheet, spread

Line = Mapping[str, Any]
HEIGHT, WIDEST = 168, 300
"""Of a picture in the gallery, in pixels."""


def draw_evaluation(
    report: Mapping[str, Any], lines: Sequence[Line], questions: Questions, folder: Path, sheet: int, gallery: int
) -> None:
    """Write ``sheet.png`` and ``report.html``; an older sheet goes where nothing is to be drawn.

    Args:
        report: what ``report.json`` holds.
        lines: what ``items.jsonl`` holds.
        questions: the set that was scored.
        folder: where to.
        sheet: items on the sheet, spread evenly over the set.
        gallery: most items in the report; the worst two thirds of that many, and others from there upwards.
    """
    drawn = spread(len(lines), sheet)
    shown = choose(lines, gallery)
    entries, cards = {}, {}
    wanted = {_place(lines[number]): number for number in {*drawn, *shown}}
    for place, item in _items(questions):
        number = wanted.get(place)
        if number is None:
            continue
        if number in drawn:
            entries[number] = _entry(item, lines[number])
        if number in shown:
            cards[number] = Card(lines[number], _strip(item, lines[number]))
    if entries:
        draw_sheet([entries[number] for number in drawn]).save(folder / "sheet.png")
    else:  # the one of an earlier evaluation shows other answers
        (folder / "sheet.png").unlink(missing_ok=True)
    write_whole(folder / "report.html", page(report, [cards[number] for number in shown]))


def choose(lines: Sequence[Line], most: int) -> list[int]:
    """Numbers of the lines to show, lowest IoU first: the worst, and some spread over the rest."""
    order = sorted(range(len(lines)), key=lambda number: (lines[number]["iou"], number))
    if len(order) <= most:
        return order
    worst = most - most // 3
    rest, extra = order[worst:], most // 3
    return order[:worst] + [rest[(i + 1) * len(rest) // extra - 1] for i in range(extra)]


def _place(line: Line) -> tuple[str, int, int | None]:
    return line["key"], line["turn"], line["wording"]


def _items(questions: Questions) -> Iterator[tuple[tuple[str, int, int | None], Item]]:
    for question in questions:
        yield (question.item.key, question.item.turn, question.wording), question.item


def _entry(item: Item, line: Line) -> Entry:
    note = f"IoU {line['iou']:.2f} (ceiling {line['ceiling']:.2f}), {line['status']}"
    note += ", nothing marked" if line["tally"]["all_others"] else ""
    note += ", label not asked for" if line["unmatched"] else ""
    panels = {"truth": item.mask, "prediction": stored_mask(dict(line), item.mask.shape)}  # type: ignore[dict-item]
    return Entry(open_picture(item.image), panels, item.question, note, tuple(item.labels))  # type: ignore[arg-type]


def _strip(item: Item, line: Line) -> str:
    """Picture, truth and prediction side by side, as a data URL."""
    picture = open_picture(item.image)
    scale = min(HEIGHT / picture.height, WIDEST / picture.width)
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    masks = (item.mask, stored_mask(dict(line), item.mask.shape))  # type: ignore[arg-type]
    grey = picture.convert("L").convert("RGB")  # a red mask on a red car would not be seen
    panels = [picture, *(overlay(grey, mask) for mask in masks)]
    strip = Image.new("RGB", (3 * size[0] + 8, size[1]), (255, 255, 255))
    for number, panel in enumerate(panels):
        strip.paste(panel.resize(size, Image.Resampling.LANCZOS), (number * (size[0] + 4), 0))
    stream = io.BytesIO()
    strip.save(stream, "JPEG", quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
