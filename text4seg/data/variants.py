"""How an answer is written: codec, grid and rule, and a curriculum that moves from one way to another.

Source: this project's own measurement (see docs/architecture.md). A model that starts from random weights first names
cells, then writes run lengths on one grid, then on several, from which it composes grids that it never saw.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import get_args

from text4seg.data.settings import DataSettings
from text4seg.data.types import Sample, Task
from text4seg.descriptors import CODECS, RULES


@dataclass(frozen=True)
class Variant:
    """One way of writing a mask down."""

    codec: str
    size: tuple[int, int]
    rule: str
    tasks: tuple[str, ...] = ()
    plain: bool = False
    answer: bool = True
    image_size: int | None = None

    def turns(self, sample: Sample) -> list[int]:
        """Numbers of the turns whose task this variant prefers; all of them where none is."""
        preferred = [number for number, turn in enumerate(sample.turns) if turn.task in self.tasks]
        return preferred or list(range(len(sample.turns)))


class Curriculum:
    """Draws a variant for each training sample, with weights that change with progress.

    Raises:
        ValueError: an unknown codec, rule or variant name, a malformed grid, or points out of order.
    """

    def __init__(self, settings: DataSettings) -> None:
        self.usual = _variant(settings.codec, settings.grid, settings.rule)
        self.variants = {
            name: replace(
                _variant(variant.codec, variant.grid, settings.rule),
                tasks=_tasks(variant.tasks),
                plain=variant.plain,
                answer=variant.answer,
                image_size=variant.image_size,
            )
            for name, variant in settings.variants.items()
        }
        self.points = [_point(point, self.variants) for point in settings.curriculum]
        if [at for at, _ in self.points] != sorted(at for at, _ in self.points):
            raise ValueError("`data.curriculum` must have its points in rising order of `at`.")

    def weights(self, progress: float) -> Mapping[str, float]:
        """Weights of the variants at a progress in 0..1, linear between the points."""
        # Of points at one place the last holds from there on: that is how a border without a transition is written.
        before = max(reversed([p for p in self.points if p[0] <= progress]), key=lambda p: p[0], default=self.points[0])
        after = min((p for p in self.points if p[0] > progress), key=lambda p: p[0], default=self.points[-1])
        width = after[0] - before[0]
        share = (progress - before[0]) / width if width > 0 else 0.0
        names = {**before[1], **after[1]}
        return {n: (1 - share) * before[1].get(n, 0.0) + share * after[1].get(n, 0.0) for n in names}

    def draw(self, progress: float, rng: random.Random) -> Variant:
        """The variant of one sample."""
        if not self.points:
            return self.usual
        weights = self.weights(progress)
        name = rng.choices(list(weights), list(weights.values()))[0]
        return self.variants[name]


def _variant(codec: str, grid: Sequence[int], rule: str) -> Variant:
    if codec not in CODECS:
        raise ValueError(f"`codec` must be one of {', '.join(CODECS)}, got {codec!r}.")
    if rule not in RULES:
        raise ValueError(f"`data.rule` must be one of {', '.join(RULES)}, got {rule!r}.")
    if len(grid) != 2 or not all(1 <= side <= 1024 for side in grid):
        raise ValueError(f"`grid` must be [rows, columns], each 1 to 1024, got {list(grid)}.")
    return Variant(codec, (grid[0], grid[1]), rule)


def _tasks(names: Sequence[str]) -> tuple[str, ...]:
    unknown = set(names) - set(get_args(Task))
    if unknown:
        raise ValueError(f"`tasks` of a variant may name {', '.join(get_args(Task))}, got {sorted(unknown)}.")
    return tuple(names)


def _point(point: Mapping[str, float], known: Mapping[str, Variant]) -> tuple[float, dict[str, float]]:
    weights = {name: float(weight) for name, weight in point.items() if name != "at"}
    usable = set(weights) <= set(known) and all(w >= 0 for w in weights.values()) and any(weights.values())
    if not 0 <= point.get("at", -1) <= 1 or not usable:
        raise ValueError(
            f"a point of `data.curriculum` must be {{at: 0..1, VARIANT: weight}} with variants of `data.variants` "
            f"({', '.join(known) or 'none'}), got {dict(point)}."
        )
    return float(point["at"]), weights
