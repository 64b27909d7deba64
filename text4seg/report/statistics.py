"""The figures of `shards stats` for people: a table, and a plot of ceilings, losses and lengths over the grid size."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

COLUMNS = ("set", "grid", "rule", "objects lost", "ceiling cIoU", "ceiling gIoU", "length: median", "99 %", "longer")
WHOLE = ("conversation: median", "99 %", "left out")
"""Columns of what a configuration makes of the samples."""


def statistics_table(found: Mapping[str, Any]) -> Table:
    """One line a data set, grid and rule."""
    whole = any("conversations" in row for row in found["grids"])
    table = Table(*COLUMNS, *(WHOLE if whole else ()), title=Text(str(found["folder"])), title_justify="left")
    for row in found["grids"]:
        cells = (
            row["source"],
            f"{row['grid']}x{row['grid']}",
            row["rule"],
            f"{row['lost']} of {row['objects']}",
            f"{row['ceiling_cIoU']:.3f}",
            f"{row['ceiling_gIoU']:.3f}",
            *_spread(row),
            *(_spread(row["conversations"]) if whole else ()),
        )
        table.add_row(*map(Text, cells))
    return table


def _spread(lengths: Mapping[str, Any]) -> tuple[str, str, str]:
    return str(lengths["length"]["median"]), str(lengths["length"]["99 %"]), f"{lengths['longer']:.1%}"


def plot(found: Mapping[str, Any], path: Path) -> None:
    """Draw the figures over the grid size, a line a data set and rule.

    Raises:
        ValueError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ValueError("a plot needs matplotlib: pip install 'text4seg[plots]'.") from error
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    panels = figure.subplots(1, 3)
    kinds = {
        "ceiling gIoU": lambda row: row["ceiling_gIoU"],
        "share of objects lost": lambda row: row["lost"] / max(row["objects"], 1),
        "answer length, median": lambda row: row["length"]["median"],
    }
    for panel, (title, value) in zip(panels, kinds.items(), strict=True):
        for name in sorted({(row["source"], row["rule"]) for row in found["grids"]}):
            rows = [row for row in found["grids"] if (row["source"], row["rule"]) == name]
            panel.plot([row["grid"] for row in rows], [value(row) for row in rows], marker="o", label=", ".join(name))
        panel.set(title=title, xlabel="cells a side")
    panels[0].legend(fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
