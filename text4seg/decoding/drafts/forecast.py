"""What a half-written label grid goes on with: the next run's label and end, each with a chance.

Outlines move little from one row to the next. So the run above is carried down, and what is estimated is by how much
its end moves: cell by cell, the chance that the run stops, given how far the end above is away and how that end moved
in the row before (:mod:`.habits`).
Cells are ids in reading order. A line is what no run crosses: a row, or the whole grid in the codec ``irle``.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from text4seg.decoding.drafts.habits import AHEAD, END, FIRST, NEW, ROW, STOPS, UNDER, WALL, Habits

LEAST = 1e-3
"""Guesses less likely than this are not made."""
_AHEAD, _BEHIND = 3, 2
"""Cells to the right and left in which a run of the same label above still counts as the same thing."""
_DRIFT = 3


class Run(NamedTuple):
    """A run: its label, the first cell behind it, and how likely it is."""

    label: int
    end: int
    chance: float = 1.0


class Forecast:
    """Guesses runs of one grid.

    Args:
        cols: cells of a row.
        line: cells of a line.
        habits: what outlines do; learns in :meth:`learn`.
    """

    def __init__(self, cols: int, line: int, habits: Habits) -> None:
        self._cols, self._line, self._habits = cols, line, habits
        self._lengths: dict[tuple[object, ...], list[tuple[int, float]]] = {}
        self._version = habits.version

    def runs(self, cells: Sequence[int], last: int | None, labels: Collection[int], least: float) -> list[Run]:
        """What may come behind these cells, in no order; chances sum to at most 1.

        Args:
            cells: ids so far, not a full grid.
            last: label of the run that ended here; None at the start of a line.
            labels: what the run may be of.
            least: chance below which a guess is left out.
        """
        start = len(cells)
        return [
            Run(label, start + length, chance * part)
            for label, chance in self._labels(cells, last, labels)
            if chance >= least
            for length, part in self._ends(cells, label)
            if chance * part >= least
        ]

    def cell(self, cells: Sequence[int], last: int | None, labels: Collection[int], least: float) -> list[Run]:
        """As :meth:`runs` where every cell is written by itself: runs of one cell, `last` may go on."""
        end = len(cells) + 1
        if last is None:
            return [Run(label, end, chance) for label, chance in self._labels(cells, last, labels)]
        start = len(cells) - 1
        while start % self._line and cells[start - 1] == last:
            start -= 1
        length = len(cells) - start
        ends = self._ends(cells[:start], last)
        stop = sum(chance for n, chance in ends if n == length)
        stay = sum(chance for n, chance in ends if n > length)
        stop = min(stop / (stop + stay), 1 - LEAST) if stop + stay else 0.5  # longer runs are left out, not impossible
        turns = [] if stop < least else self._labels(cells, last, labels)
        return [Run(last, end, 1 - stop), *(Run(label, end, stop * chance) for label, chance in turns)]

    def learn(self, cells: Sequence[int], last: int | None, run: Run) -> None:
        """Count a run that was written behind these cells."""
        start = len(cells)
        case, likely = self._likely(cells, last)
        if last is None or len(likely) > 1:
            other = 2 if run.label in cells else 3
            self._habits.saw_label(case, likely.index(run.label) if run.label in likely else other)
        room = self._line - start % self._line
        length = run.end - start
        drift, kind, reach = self._kind(cells, run.label, room)
        places = [(kind, _step(kind, n, reach, room)) for n in range(1, min(length + 1, room))]
        self._habits.saw_run(places, drift, length < room)

    def _labels(self, cells: Sequence[int], last: int | None, labels: Collection[int]) -> list[tuple[int, float]]:
        case, likely = self._likely(cells, last)
        counts = self._habits.next_label(case)
        found = [(label, count) for label, count in zip(likely, counts, strict=False) if label in labels]
        taken = {*likely, last}
        seen = {label for label in set(cells) - taken if label in labels}
        new = len(labels) - sum(label in labels for label in taken) - len(seen)
        found += [(label, counts[2] / len(seen)) for label in seen]
        total = sum(count for _, count in found) + (counts[3] if new else 0)
        if new and counts[3] / new > LEAST * total:
            found += [(label, counts[3] / new) for label in labels if label not in taken and label not in seen]
        return [(label, count / total) for label, count in found]

    def _likely(self, cells: Sequence[int], last: int | None) -> tuple[int, list[int]]:
        """The case of :data:`NEXT`, and the labels that the row above suggests, two at most, the likelier first."""
        start = len(cells)
        above = start - self._cols
        case = ROW if last is None else UNDER
        likely: list[int] = []
        if above >= 0:
            if cells[above] == last:
                case = AHEAD
            for label in cells[above : min(above + self._line - start % self._line, start)]:
                if label != last and label not in likely:
                    likely.append(label)
                    if len(likely) == 2:
                        return case, likely
        if last != 0 and 0 not in likely:
            likely.append(0)
        return case, likely

    def _ends(self, cells: Sequence[int], label: int) -> list[tuple[int, float]]:
        """Lengths of a run of this label behind these cells, with their chances."""
        if self._version != self._habits.version:
            self._version = self._habits.version
            self._lengths.clear()
        room = self._line - len(cells) % self._line
        drift, kind, reach = self._kind(cells, label, room)
        key = (drift, kind, reach, room)
        if key not in self._lengths:
            self._lengths[key] = self._spread(*key)
        return self._lengths[key]

    def _spread(self, drift: int | None, kind: int, reach: int, room: int) -> list[tuple[int, float]]:
        left, spread = 1.0, []
        for length in range(1, room):
            chance = left * self._habits.stop(kind, _step(kind, length, reach, room), drift)
            left -= chance
            if chance > LEAST:
                spread.append((length, chance))
            if left < LEAST:
                return spread
        return [*spread, (room, left)]

    def _kind(self, cells: Sequence[int], label: int, room: int) -> tuple[int | None, int, int]:
        """Drift, kind, and the length at which the run above ends."""
        start = len(cells)
        if start < self._cols:
            return None, FIRST, 0
        above = self._span(cells, start, self._cols, label)
        if above is None:
            return None, NEW, 0
        before = self._span(cells, above[0], 2 * self._cols, label)
        if above[1] - start >= room:
            return (None if before is None else int(before[1] - start >= room)), WALL, 0
        drift = None if before is None else max(-_DRIFT, min(_DRIFT, above[1] - before[1]))
        return drift, END, above[1] - start

    def _span(self, cells: Sequence[int], start: int, back: int, label: int) -> tuple[int, int] | None:
        """Start and end of the run of this label that lies `back` cells before `start`, or right beside there."""
        at = start - back
        if at < 0:
            return None
        low = at - at % self._line
        high = min(low + self._line, len(cells))
        steps = (0, *range(1, _AHEAD + 1), *range(-1, -_BEHIND - 1, -1))
        first = next((at + step for step in steps if low <= at + step < high and cells[at + step] == label), None)
        if first is None:
            return None
        end = first + 1
        while first > low and cells[first - 1] == label:
            first -= 1
        while end < high and cells[end] == label:
            end += 1
        return first + back, end + back


def _step(kind: int, length: int, reach: int, room: int) -> int:
    """Where a run of this length is: an index into the kind's row of :data:`.habits.STOPS`."""
    if kind == END:
        return max(0, min(9, length - reach + 5))
    if kind == WALL:
        return min(4, room - length - 1)
    return min(length, len(STOPS[kind])) - 1
