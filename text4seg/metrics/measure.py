"""What comparing one mask with its target leaves behind: whole numbers, from which every score is made.

They are small enough to be stored with the answer, so scores can be taken again without the masks.
Axis legend: H, W pixels of the original image.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from .boundary import boundary_counts
from .boxes import Box, mask_box

VOID = -1
"""Stands for pixels that are left out, where the target's id would stand."""
Row = tuple[int, int, int, int, int]
"""Of one label: pixels rightly predicted, predicted, predicted where the target says others, predicted on void pixels,
and in the target. Only the fourth counts void pixels."""


@dataclass(frozen=True)
class Measure:
    """One mask against one target.

    Attributes:
        pixels: (id in the target, id in the mask, number of pixels) for every pair of ids that occurs; void pixels
            have the target id -1.
        edges: pixels of the foreground's boundaries in both and in either, summed over the asked-for labels.
        box: around everything that the mask marks and was asked for, on void pixels too; None when it marks nothing.
        any_box: around everything that it marks.
        asked: how many labels were asked for, ``others`` included; ids from there on are words nobody asked for.
    """

    pixels: tuple[tuple[int, int, int], ...]
    edges: tuple[int, int]
    box: Box | None
    any_box: Box | None
    asked: int

    @cached_property
    def overlap(self) -> tuple[int, int]:
        """Intersection and union, summed over the asked-for labels (see :func:`.counts.item_counts`)."""
        asked = [(true, guess if guess < self.asked else 0, n) for true, guess, n in self.pixels if true != VOID]
        inter = sum(n for true, guess, n in asked if true and true == guess)
        marked = sum(n for true, guess, n in asked for one in (true, guess) if one)
        return inter, marked - inter

    @property
    def iou(self) -> float:
        """IoU over the asked-for labels; 1 when nothing is there and nothing marked."""
        inter, union = self.overlap
        return inter / union if union else 1.0

    @property
    def edge_iou(self) -> float:
        """Boundary IoU; 1 when neither has a boundary."""
        inter, union = self.edges
        return inter / union if union else 1.0

    @property
    def empty(self) -> bool:
        """Whether no pixel carries an asked-for label; void pixels are looked at too."""
        return not any(0 < guess < self.asked for _, guess, _ in self.pixels)

    @property
    def target(self) -> int:
        """Pixels of the target: those with a label, void ones left out."""
        return sum(n for true, _, n in self.pixels if true > 0)

    def row(self, label: int) -> Row:
        """The counts of one label, of a word nobody asked for too."""
        hits = guessed = on_others = on_void = true_pixels = 0
        for true, guess, n in self.pixels:
            void = true == VOID
            hits += n if true == guess == label else 0
            guessed += n if guess == label and not void else 0
            on_others += n if guess == label and true == 0 else 0
            on_void += n if guess == label and void else 0
            true_pixels += n if true == label and not void else 0
        return hits, guessed, on_others, on_void, true_pixels


def measure(mask_HW: NDArray[np.integer], target_HW: NDArray[np.integer], asked: int, outline: bool = True) -> Measure:
    """Compare a mask with its target.

    Args:
        mask_HW: ids; those from ``asked`` on are words nobody asked for.
        target_HW: ids below ``asked``, -1 where nothing is scored.
        asked: how many labels there are, ``others`` included.
        outline: whether to compare the boundaries too, which costs most; otherwise ``edges`` is ``(0, 0)``.

    Raises:
        ValueError: the shapes differ, or an id is out of range.
    """
    guess, truth = np.asarray(mask_HW).astype(np.int64), np.asarray(target_HW).astype(np.int64)
    if guess.shape != truth.shape or guess.ndim != 2:
        raise ValueError(f"`mask` and `target` must have one shape [H, W], got {guess.shape} and {truth.shape}.")
    if truth.min() < VOID or truth.max() >= asked or guess.min() < 0:
        raise ValueError(f"`target` must hold ids in 0..{asked - 1} or {VOID}, and `mask` none below 0.")
    counted = truth != VOID
    kinds = int(guess.max()) + 1
    table = np.bincount(((truth - VOID) * kinds + guess).ravel())
    places = np.flatnonzero(table).tolist()
    pixels = tuple((place // kinds + VOID, place % kinds, int(table[place])) for place in places)
    present = sorted({one for true, mark, _ in pixels for one in (true, mark) if 0 < one < asked} if outline else ())
    edges = [boundary_counts(guess == label, truth == label, counted) for label in present]
    return Measure(
        pixels=pixels,
        edges=(sum(inter for inter, _ in edges), sum(union for _, union in edges)),
        box=mask_box((guess > 0) & (guess < asked)),
        any_box=mask_box(guess > 0),
        asked=asked,
    )
