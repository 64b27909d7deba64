"""How outlines behave: how often a run stops in each kind of place, and which label comes next.

The counts begin with what photographs showed (:data:`STOPS`, :data:`NEXT`) and grow with every run that is written, so
one object that keeps shrinking, or a model that draws straight lines, is soon expected to go on like that.
"""

from __future__ import annotations

from collections.abc import Sequence

FIRST, NEW, WALL, END = range(4)
"""Where a run is: in the first row; under nothing of its label; under a run that reaches the end of the line; under one
that ends inside the line."""

STOPS: dict[int, tuple[float, ...]] = {
    FIRST: (0.042,),
    NEW: (0.49, 0.39, 0.24),
    WALL: (0.015, 0.009, 0.017, 0.015, 0.026),
    END: (0.028, 0.025, 0.041, 0.067, 0.188, 0.660, 0.517, 0.286, 0.203, 0.114),
}
"""Chance that a run stops before this cell, having got so far. FIRST: anywhere. NEW: after 1, 2, 3 and more cells.
WALL: 1, 2, 3, 4, 5 and more cells before the end of the line. END: from 5 and more cells before the end above (-5) to 4
and more behind it. Half of the pictures of two sets (coco_panoptic100, pets3) at 16x16; the other half was kept for
measuring (`benchmarks/decoding.py passes`)."""

ROW, UNDER, AHEAD = range(3)
"""A label is chosen: at the start of a row; under another label than the last run's; under the last run's."""

NEXT: dict[int, tuple[float, ...]] = {
    ROW: (17.0, 1.0, 0.5, 1.5),
    UNDER: (15.5, 1.8, 1.6, 1.1),
    AHEAD: (12.5, 2.1, 3.0, 2.4),
}
"""Counts to begin with: the first and the second label that the row above suggests, another one that the answer has,
one that it has not."""

_OWN, _SHARED = 40.0, 300.0
"""Runs after which what was seen weighs as much as what was expected: of one drift, and of all."""


class Habits:
    """Counts of one answer, or of all answers of a run: drafters may share them.

    Attributes:
        version: changes when the chances have changed enough to be taken anew.
    """

    def __init__(self) -> None:
        self.version = 0
        self._runs, self._due = 0, 8
        self._stops: dict[tuple[int, int, int | None], list[float]] = {}
        self._next = {case: list(counts) for case, counts in NEXT.items()}

    def stop(self, kind: int, step: int, drift: int | None) -> float:
        """Chance that a run stops here.

        Args:
            kind: one of FIRST, NEW, WALL, END.
            step: index into the kind's row of :data:`STOPS`.
            drift: how many cells that end moved in the row before (at most 3 either way); None when there is none.
        """
        stopped, passed = self._stops.get((kind, step, -9), (0.0, 0.0))
        shared = (stopped + _SHARED * STOPS[kind][step]) / (passed + _SHARED)
        stopped, passed = self._stops.get((kind, step, drift), (0.0, 0.0))
        return (stopped + _OWN * shared) / (passed + _OWN)

    def next_label(self, case: int) -> Sequence[float]:
        """Counts of the label choices in a case (see :data:`NEXT`)."""
        return self._next[case]

    def saw_label(self, case: int, choice: int) -> None:
        """Count a label choice."""
        self._next[case][choice] += 1

    def saw_run(self, places: Sequence[tuple[int, int]], drift: int | None, stopped: bool) -> None:
        """Count a run: the places (kind, step) it came to, and whether it stopped at the last of them."""
        for number, (kind, step) in enumerate(places, 1):
            for which in (drift, -9):
                count = self._stops.setdefault((kind, step, which), [0.0, 0.0])
                count[0] += stopped and number == len(places)
                count[1] += 1
        self._runs += 1
        if self._runs >= self._due:  # every quarter more
            self.version, self._due = self.version + 1, self._runs + 8 + self._runs // 4
