"""Shards for people: a table of what a folder holds, and a sheet of its first samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from PIL import Image, ImageFont
from rich.table import Table
from rich.text import Text

from text4seg.data.image import open_image
from text4seg.data.shards.index import Index
from text4seg.data.shards.read import records
from text4seg.data.types import Sample, ignore_value
from text4seg.descriptors import OTHERS, encode, paint, rasterize

from .sheet import Entry, draw_sheet, wrap
from .table import printable

SIDE = 224
SHOWN = 30
"""So many lines of damage are printed for a folder: one bad habit of a builder is in every record."""


def damage_text(folder: Path, found: Sequence[str]) -> str:
    """What `text4seg.data.shards.verify.verify` found, for printing."""
    more = [f"and {len(found) - SHOWN} more"] if len(found) > SHOWN else []
    heading = f"{folder}: {f'damaged, {len(found)} findings' if found else 'whole'}"
    return "\n  ".join([heading, *map(printable, found[:SHOWN]), *more])


def summary_table(summary: Mapping[str, Any]) -> Table:
    """What `text4seg.data.shards.verify.summarise` found, one line a fact."""
    table = Table(title=Text(str(summary["folder"])), title_justify="left", show_header=False)
    table.add_column("fact", style="bold")
    table.add_column("value", overflow="fold")
    rows, cols = summary["grid"]
    facts = {
        "samples": f"{summary['samples']} in {summary['shards']} shards, {summary['bytes'] / 1e6:.1f} MB",
        "questions": f"{summary['turns']} ({_listed(summary['tasks'])})",
        "questions a sample": ", ".join(f"{number}: {count}x" for number, count in summary["turns_per_sample"].items()),
        "without target": f"{summary['without_target']:.1%} of the questions",
        "sources": _listed(summary["sources"]),
        "descriptors": f"{rows}x{cols} cells, {summary['codec']}, rule {summary['rule']}",
        "their characters": _listed(summary["descriptor_characters"]),
        f"labels ({summary['different_labels']})": _listed(summary["labels"]),
        "licence": summary["licence"],
        "fingerprint": summary["fingerprint"],
    }
    for name, value in facts.items():
        table.add_row(name, Text(printable(value)))  # what a shard says is no markup
    if summary["unreadable"]:
        table.add_row("unreadable", f"{summary['unreadable']} records; `verify` names them", style="red")
    return table


def draw_shards(folder: Path, limit: int = 12, side: int = SIDE) -> Image.Image:
    """A sheet of the first samples: for each question the picture, its mask and what the descriptor says.

    Args:
        folder: where the shards lie.
        limit: samples to draw.
        side: pixels of each picture.

    Raises:
        ValueError: there is no index, no record that can be read, or a limit below one.
    """
    if limit < 1:
        raise ValueError(f"`limit` must be at least 1, got {limit}.")
    index = Index.load(folder)
    entries = [entry for sample in islice(_readable(folder, index), limit) for entry in _entries(sample, index, side)]
    if not entries:
        raise ValueError(f"{folder} has no readable sample; `python -m text4seg.shards verify` names the damage.")
    return draw_sheet(entries, side=side)


def _readable(folder: Path, index: Index) -> Iterator[Sample]:
    for shard in index.shards:
        for record in records(folder / shard.name):
            try:
                sample = record.sample()
                open_image(sample.image, sample.key)
            except ValueError:
                continue
            yield sample


def _entries(sample: Sample, index: Index, side: int) -> Iterator[Entry]:
    image = open_image(sample.image, sample.key)
    font = ImageFont.load_default(13)
    for turn, plane in zip(sample.turns, sample.masks, strict=True):
        grid = rasterize(plane, turn.labels, index.grid, index.rule, ignore_value(plane))
        yield Entry(
            image,
            {"mask": plane, "descriptor": paint(grid, (image.height, image.width)).astype(plane.dtype)},
            f"{turn.question} - {turn.answer_prefix}",
            wrap(f"{sample.key}: {_excerpt(encode(grid, index.codec))}", font, 3 * side, most=1)[0],
            turn.labels,
        )


def _excerpt(text: str) -> str:
    """A descriptor from the first row on that is not all `others`."""
    rows = [row.strip() for row in text.strip().split("\n")]
    first = next((i for i, row in enumerate(rows) if {part.split(" *")[0] for part in row.split("| ")} != {OTHERS}), 0)
    return ("... / " if first else "") + " / ".join(rows[first:])


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())
