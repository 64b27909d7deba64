"""Questions about expressions: one target or several together, present or not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from text4seg.data.tasks.turns import Asked, Asker, Plane
from text4seg.data.types import IGNORE, Example, Referent, Task, Turn
from text4seg.descriptors import OTHERS

Ask = tuple[Referent, str]
"""A referent and the expression that asks for it."""


def askable(example: Example, task: str) -> Iterator[Referent]:
    """The referents of an example: only the generalized task may ask for what is not there."""
    return (r for r in example.referents if task == "generalized" or r.mask.any())


def groups(task: Task, example: Example, asker: Asker) -> Iterator[list[Asked]]:
    """The referring samples of an example, each a list of turns."""
    settings, rng = asker.settings, asker.rng
    asks = [(r, p) for r in askable(example, task) for p in _phrases(r, asker)]
    rng.shuffle(asks)
    if settings.further == "any":
        for ask in asks:
            further = [rng.choice(asks) for _ in range(settings.turns - 1)]
            yield [refer(task, [one], asker) for one in (ask, *further)]
        return
    questions = list(_together(asks, asker))
    for start in range(0, len(questions), settings.turns):
        yield [refer(task, question, asker) for question in questions[start : start + settings.turns]]


def refer(task: Task, asks: Sequence[Ask], asker: Asker) -> Asked:
    """One question for one or several expressions; where targets overlap, the smaller one keeps its pixels."""
    found = any(referent.mask.any() for referent, _ in asks)
    phrases = [phrase for _, phrase in asks]
    question, opener = asker.words(task, phrases, found)
    name = "+".join(referent.id for referent, _ in asks) if all(referent.id for referent, _ in asks) else ""
    box = asks[0][0].box if len(asks) == 1 else None
    return Turn(question, opener, (OTHERS, *phrases), task, name, box), _plane(asks, asker)


def _phrases(referent: Referent, asker: Asker) -> Sequence[str]:
    return referent.phrases if asker.settings.phrases == "all" else (asker.rng.choice(referent.phrases),)


def _together(asks: Sequence[Ask], asker: Asker) -> Iterator[list[Ask]]:
    """Put neighbours into one question, never the same expression twice."""
    most, held = asker.settings.objects, list(asks)
    while held:
        wanted = asker.rng.randint(1, most) if most > 1 else 1
        taken, rest = [held[0]], []
        for ask in held[1:]:
            fresh = len(taken) < wanted and ask[1] not in [phrase for _, phrase in taken]
            (taken if fresh else rest).append(ask)
        yield taken
        held = rest


def _plane(asks: Sequence[Ask], asker: Asker) -> Plane:
    plane = np.zeros(asks[0][0].mask.shape, np.uint8)
    voids = [referent.void for referent, _ in asks if referent.void is not None]
    if asker.settings.void == "ignore":
        for void in voids:
            plane[void] = IGNORE
    by_size = sorted(enumerate(asks, 1), key=lambda item: -int(item[1][0].mask.sum()))
    for value, (referent, _) in by_size:
        plane[referent.mask] = value
    return plane
