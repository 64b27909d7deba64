"""A training in stages: what each teaches, how fast which part learns, unfolded into one run.

One run, not one a stage: optimizer, schedule and position in the data go on over a border, so a stopped run resumes
anywhere, also inside a transition. Imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import accumulate

from text4seg.config import Config
from text4seg.data.settings import DataSettings, VariantSettings
from text4seg.models.settings import Phase
from text4seg.training.settings import StageSettings

PARTS = ("vision", "projector", "language")


def unfolded(config: Config) -> DataSettings:
    """The data room's settings with the stages as a curriculum; unchanged where there are none."""
    if not config.stages:
        return config.data
    points: list[dict[str, float]] = []
    for number, (stage, (start, end)) in enumerate(zip(config.stages, _borders(config), strict=True)):
        if number:
            points.append({"at": start, config.stages[number - 1].name: 1.0})
        points.append({"at": start + stage.fade * (end - start) if number else start, stage.name: 1.0})
    variants = {stage.name: _variant(stage, config.data) for stage in config.stages}
    return replace(config.data, variants=variants, curriculum=points)


def phases_of(config: Config) -> list[Phase]:
    """The models room's view of the stages; none where there are none."""
    return [
        Phase(
            until=end,
            lr=config.optim.lr if stage.lr is None else stage.lr,
            parts=tuple(stage.train),
            cells=_cells(stage, config),
        )
        for stage, (_, end) in zip(config.stages, _borders(config), strict=True)
    ]


def teaches_cells(config: Config) -> bool:
    """Whether image tokens have to name their cells at any time."""
    return max([phase.cells for phase in phases_of(config)] or [config.loss.cells]) > 0


def sides_of(config: Config) -> dict[str, int]:
    """Sides of the pictures that stages or variants have in place of the model's, by name."""
    variants = unfolded(config).variants.items()
    return {name: variant.image_size for name, variant in variants if variant.image_size is not None}


def stage_lines(config: Config, steps: int) -> Iterator[str]:
    """A line a stage, in words; `steps` of the whole training."""
    for stage, phase, (start, end) in zip(config.stages, phases_of(config), _borders(config), strict=True):
        way = _variant(stage, config.data)
        taught = f"{way.codec} {way.grid[0]}x{way.grid[1]}" if way.answer else "cells only"
        taught += f" on {way.image_size} pixels" if way.image_size is not None else ""
        yield (
            f"{stage.name}: steps {round(start * steps)} to {round(end * steps)}, {taught}, "
            f"{' and '.join(phase.parts) or 'all that trains'} at {phase.lr:g}, cells {phase.cells:g}"
        )


def check_stages(config: Config) -> None:
    """Refuse stages that cannot be.

    Raises:
        ValueError: naming the stage and what it may hold.
    """
    names = [stage.name for stage in config.stages]
    if config.stages and (config.data.variants or config.data.curriculum):
        raise ValueError("`stages` stand in place of `data.variants` and `data.curriculum`; take one of them away.")
    for number, stage in enumerate(config.stages):
        where = f"`stages[{number}]`"
        if not stage.name or stage.name == "at" or names.count(stage.name) > 1:
            raise ValueError(f"{where} needs a `name` that no other stage has (and not `at`), got {stage.name!r}.")
        if not stage.length > 0 or stage.length == float("inf"):
            raise ValueError(f"{where}.length must be above 0, got {stage.length}.")
        if not 0 <= stage.fade <= 1:
            raise ValueError(f"{where}.fade must be 0 to 1, a share of the stage, got {stage.fade}.")
        if not (stage.lr is None or 0 <= stage.lr < float("inf")):
            raise ValueError(f"{where}.lr must be 0 or more, got {stage.lr}.")
        if not 0 <= _cells(stage, config) < float("inf"):
            raise ValueError(f"{where}.cells must be 0 or more, got {stage.cells}.")
        wrong = [part for part in stage.train if part not in PARTS]
        if wrong:
            raise ValueError(f"{where}.train may hold {', '.join(PARTS)}, got {wrong[0]!r}.")
        if not stage.answer and not _cells(stage, config):
            raise ValueError(f"{where}.answer is false, then only `cells` teaches: give it a weight.")


def _cells(stage: StageSettings, config: Config) -> float:
    return config.loss.cells if stage.cells is None else stage.cells


def _variant(stage: StageSettings, data: DataSettings) -> VariantSettings:
    return VariantSettings(
        codec=stage.codec or data.codec,
        grid=stage.grid or data.grid,
        tasks=stage.tasks,
        answer=stage.answer,
        image_size=stage.image_size,
        plain=stage.plain,
    )


def _borders(config: Config) -> list[tuple[float, float]]:
    """Start and end of each stage as shares of the training."""
    ends = list(accumulate(stage.length for stage in config.stages))
    return [(0.0 if not number else ends[number - 1] / ends[-1], end / ends[-1]) for number, end in enumerate(ends)]
