"""Scores as a table for people: one line a score, its ceiling beside it."""

from __future__ import annotations

from collections.abc import Mapping

from rich.table import Table
from rich.text import Text

MEANINGS = {
    "cIoU": "all intersections / all unions",
    "gIoU": "mean over items",
    "bIoU": "boundary IoU, mean over items",
    **{f"Pr@{at}": f"items with a target, IoU {at} or more" for at in (0.5, 0.6, 0.7, 0.8, 0.9)},
    "N-acc": "items without target, nothing marked",
    "T-acc": "items with a target, something marked",
    "REC": "box IoU 0.5 or more, annotated box",
    "REC_mask": "box IoU 0.5 or more, box of the target's mask",
    "mIoU": "mean over classes present",
    "mIoU_bg": "others is a class too",
    "mIoU_nobg": "only where a class is",
    "fwIoU": "classes and others, by their pixels",
    "pixel_acc": "pixels with the right label",
    "VQA": "accuracy of answers in words",
    "ok": "answers well formed",
    "repaired": "answers mended by the parser",
    "invalid": "answers that cannot be read",
    "all_others": "answers that mark nothing asked for",
    "unmatched": "answers with a label nobody asked for",
}
"""The lines in their order; names a run does not have are left out."""


def score_table(columns: Mapping[str, Mapping[str, float]], title: str = "Scores", prefix: str = "") -> Table:
    """Set runs side by side.

    Args:
        columns: heading -> scores by name, such as ``{"before": {...}, "after": {...}}``.
        title: printed above.
        prefix: what stands before every name, e.g. ``val/``.

    Returns:
        a table for ``rich.print``; the last column but one is the ceiling of the last run that has one.
    """
    table = Table(title=Text(title), title_justify="left")
    table.add_column("score")
    for heading in columns:
        table.add_column(Text(heading), justify="right", style="bold")
    table.add_column("ceiling", justify="right")
    table.add_column("", style="dim")
    for name, meaning in MEANINGS.items():
        values = [scores.get(prefix + name) for scores in columns.values()]
        if any(value is not None for value in values):
            ceilings = [scores.get(f"{prefix}ceiling_{name}") for scores in columns.values()]
            best = next((value for value in reversed(ceilings) if value is not None), None)
            table.add_row(name, *(_write(name, value) for value in values), _write(name, best), meaning)
    return table


def _write(name: str, value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if "IoU" in name else f"{value:.1%}"


def printable(text: str) -> str:
    """A text from elsewhere, with the characters spelled out that steer a terminal or that it cannot show.

    >>> printable("a\\x1b[2J")
    'a\\\\x1b[2J'
    """
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def class_table(ious: Mapping[str, float], most: int = 40) -> Table:
    """IoU of each class, best first; of more than ``most`` classes the worst and the best half of that many."""
    order = sorted(ious, key=lambda name: -ious[name])
    shown = order if len(order) <= most else [*order[: most // 2], "...", *order[-(most // 2) :]]
    table = Table(title=f"IoU of {len(ious)} classes", title_justify="left")
    table.add_column("class")
    table.add_column("IoU", justify="right", style="bold")
    for name in shown:
        table.add_row(Text(name), f"{ious[name]:.3f}" if name in ious else "")
    return table
