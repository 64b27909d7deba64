"""How a step's samples are split over devices, and how many steps passes over the data make. Imports nothing heavy.

The global batch is what a recipe states (the paper's 128): it decides what is learnt. How many samples a device can
feed at once and how many devices there are decide only how often gradients are added up before a step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from text4seg.config import Config

STEPS = 1000
"""Of a recipe that names neither steps nor epochs."""


@dataclass(frozen=True)
class Plan:
    """A training's arithmetic.

    Attributes:
        ranks: processes, one a device.
        micro: samples that a rank feeds at once.
        accumulate: micro-batches whose gradients are added up for a step.
        steps: optimizer steps of the whole training.
        samples: of an epoch; None where nobody has counted them.
    """

    ranks: int
    micro: int
    accumulate: int
    steps: int
    samples: int | None = None

    @property
    def batch(self) -> int:
        """Samples a step: the global batch."""
        return self.ranks * self.micro * self.accumulate

    @property
    def epochs(self) -> float | None:
        """Passes over the samples."""
        return None if self.samples is None else self.steps * self.batch / self.samples

    def settle(self, config: Config) -> Config:
        """The configuration with this plan's numbers; a resume on other devices then derives the same steps."""
        trainer = replace(config.trainer, steps=self.steps, epochs=None, global_batch=self.batch, accumulate=None)
        return replace(config, trainer=trainer)

    def __str__(self) -> str:
        passes = "" if self.epochs is None else f", {self.epochs:.2f} epochs"
        return (
            f"{self.steps:,} steps of {self.batch} samples ({self.ranks} ranks x {self.micro} at once x "
            f"{self.accumulate}){passes}"
        )


def plan(config: Config, ranks: int, samples: int | None = None) -> Plan:
    """Work out a training on so many ranks.

    Args:
        config: checked values.
        ranks: processes, one a device.
        samples: of an epoch, from the shards' index.

    Raises:
        ValueError: the global batch cannot be split so; steps and epochs are both given; epochs of unknown
            data, or none of them.
    """
    micro, trainer = config.data.batch_size, config.trainer
    accumulate = _accumulate(trainer.global_batch, trainer.accumulate, micro, ranks)
    return Plan(ranks, micro, accumulate, _steps(config, ranks * micro * accumulate, samples), samples)


def _accumulate(batch: int | None, accumulate: int | None, micro: int, ranks: int) -> int:
    if batch is None:
        return accumulate or 1
    times, rest = divmod(batch, ranks * micro)
    if rest or not times:
        fitting = [size for size in range(1, batch // ranks + 1) if batch % (ranks * size) == 0]
        hint = (
            f"`data.batch_size` may be {', '.join(map(str, fitting))}"
            if fitting
            else f"{ranks} ranks are too many or do not divide it; take {', '.join(map(str, _divisors(batch)))} ranks"
        )
        raise ValueError(
            f"`trainer.global_batch` {batch} is no multiple of {ranks} ranks x {micro} samples (`data.batch_size`) = "
            f"{ranks * micro}: {hint}."
        )
    if accumulate not in (None, times):
        raise ValueError(
            f"`trainer.global_batch` {batch} / ({ranks} ranks x {micro} samples) = {times} accumulated, but "
            f"`trainer.accumulate` is {accumulate}; set one of the two to null."
        )
    return times


def _divisors(number: int) -> list[int]:
    return [part for part in range(1, number + 1) if number % part == 0]


def _steps(config: Config, batch: int, samples: int | None) -> int:
    trainer = config.trainer
    if trainer.epochs is None:
        return STEPS if trainer.steps is None else trainer.steps
    if trainer.steps is not None:
        raise ValueError(
            f"`trainer.steps` ({trainer.steps}) and `trainer.epochs` ({trainer.epochs:g}) are both given; set one of "
            "the two to null."
        )
    if samples is None:
        raise ValueError(
            f"`trainer.epochs` {trainer.epochs:g} needs the number of samples, which the shards' index holds: build "
            "them first (`python -m text4seg.shards build --config ...`), or give `trainer.steps`."
        )
    steps = math.ceil(trainer.epochs * samples / batch)
    if not steps:
        raise ValueError(
            f"`trainer.epochs` {trainer.epochs:g} of {samples} samples make no step; give more than 0, of a set "
            "that has samples."
        )
    return steps
