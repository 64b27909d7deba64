"""`Example` -> `Sample`: put questions to an annotated image.

Every draw comes from a generator seeded by (seed, example id, visit), so a sample does not depend on the order in which
examples arrive or on which process handles them.
Source: task families and their mixture, Text4Seg (arXiv 2410.09855), section 3.2.
"""

from __future__ import annotations

import random
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import cast, get_args

import numpy as np

from text4seg.data.image import BLANK, jpeg_bytes
from text4seg.data.notes import Notes
from text4seg.data.tasks.crops import crop
from text4seg.data.tasks.referring import askable, groups, refer
from text4seg.data.tasks.semantic import semantic
from text4seg.data.tasks.settings import TaskSettings, check
from text4seg.data.tasks.turns import Asked, Asker, check_turn, escaped, stacked
from text4seg.data.types import Example, Referent, Sample, Task, Turn
from text4seg.descriptors import OTHERS, check_labels
from text4seg.templates import DEFAULT, Templates

SEMANTIC_MIX: dict[Task, float] = {"all": 1.0, "partial": 3.0, "conditioned": 6.0}
REFERRING: tuple[Task, ...] = ("referring", "generalized")


def samples(
    examples: Iterable[Example],
    task: str,
    settings: TaskSettings,
    seed: int,
    quality: int = 90,
    notes: Notes | None = None,
    on_error: str = "raise",
) -> Iterator[Sample]:
    """Turn examples into samples, in order.

    Args:
        task: a task family, `semantic` (1 all : 3 partial : 6 conditioned) or `mix` (``settings.weights``).
        quality: JPEG quality for images that are not JPEG already.
        notes: where what is left out is counted.
        on_error: `raise`, or `skip` an example that is broken. Sources that can go on after an error are iterators
            that calculate each example on demand (`map`); a generator ends with its first error.

    Raises:
        ValueError: an unknown task or option, a label with a separator in it (the example is named), a broken image.
    """
    weights = _weights(task, settings)
    check(settings)
    if not 1 <= quality <= 100:
        raise ValueError(f"`quality` must be 1 to 100, got {quality}.")
    templates = replace(Templates.load(settings.templates) if settings.templates else DEFAULT, joiner=settings.joiner)
    notes = notes or Notes()
    stream = iter(examples)
    while True:
        try:
            example = next(stream)
            made = list(_visits(example, weights, settings, templates, seed, quality, notes))
        except StopIteration:
            return
        except ValueError as error:
            if on_error == "raise":
                raise
            notes.add("broken", str(error))
            continue
        yield from made


def _weights(task: str, settings: TaskSettings) -> dict[Task, float]:
    known: tuple[Task, ...] = get_args(Task)
    if task in known:
        return {cast(Task, task): 1.0}
    if task not in ("semantic", "mix"):
        raise ValueError(f"unknown task {task!r}; expected one of {', '.join((*known, 'semantic', 'mix'))}.")
    weights = settings.weights or (dict(SEMANTIC_MIX) if task == "semantic" else {})
    names = set(weights) | {name for name in (settings.first, settings.after_all) if name}
    usable = names <= set(known) and all(weight >= 0 for weight in weights.values()) and any(weights.values())
    if not usable:
        raise ValueError(f"`weights` and `first` must name some of {', '.join(known)}, got {sorted(names)}.")
    return {cast(Task, name): weight for name, weight in weights.items()}


def _visits(
    example: Example,
    weights: dict[Task, float],
    settings: TaskSettings,
    templates: Templates,
    seed: int,
    quality: int,
    notes: Notes,
) -> Iterator[Sample]:
    """All samples of one example."""
    number = 0
    example = _mended(example, settings, notes)
    if "referring" in weights and "generalized" not in weights:
        for referent in (referent for referent in example.referents if not referent.mask.any()):
            notes.add("without a target (the task `generalized` asks for it)", f"{example.id}: {referent.phrases[0]}")
    for visit in range(settings.repeats):
        rng = random.Random(f"{seed} {example.id}" + (f" {visit}" if visit else ""))
        seen = crop(example, settings.crops, rng, quality) if settings.crops else example
        if not settings.uniform and seen.mask is not None and seen.mask.min() == seen.mask.max():
            notes.add("crops of one single value", example.id)
            continue
        image = None
        for group in _turn_groups(seen, weights, Asker(settings, templates, rng)):
            image = image or _picture(seen, quality)
            turns, planes = zip(*group, strict=True)
            for turn in turns:
                check_turn(turn, f"{example.source} {example.id}{turn.id and f', {turn.id}'}")
            yield Sample(_key(example.id, number), image, tuple(turns), stacked(planes), example.source)
            number += 1
    if not number:
        notes.add("nothing to ask", example.id)


def _picture(example: Example, quality: int) -> bytes:
    return BLANK if example.image is None else jpeg_bytes(example.image, f"{example.source} {example.id}", quality)


def _turn_groups(example: Example, weights: dict[Task, float], asker: Asker) -> Iterator[list[Asked]]:
    """The samples of one example, each a list of turns with their planes."""
    settings, rng = asker.settings, asker.rng
    only = next(iter(weights)) if len(weights) == 1 and settings.first is None else None
    if only == "text":
        yield from [_dialogue(example)] if example.dialogue else []
        return
    if only is not None and only in REFERRING:
        yield from groups(only, example, asker)
        return
    fresh = list(askable(example, "generalized" if "generalized" in weights else "referring"))
    rng.shuffle(fresh)
    group: list[Asked] = []
    for number in range(settings.turns):
        if number == 0 and settings.first:
            task = cast(Task, settings.first)
        elif settings.after_all and group and group[-1][0].task == "all":
            task = cast(Task, settings.after_all)
        else:
            task = rng.choices(list(weights), list(weights.values()))[0]
        if task in REFERRING:
            if fresh:
                referent = fresh.pop()
                task = task if referent.mask.any() else "generalized"
                group.append(refer(task, [(referent, rng.choice(referent.phrases))], asker))
        elif example.mask is not None:
            turn = semantic(task, example, asker)
            group += [turn] if turn else []
    if group:
        yield group


def _dialogue(example: Example) -> list[Asked]:
    plane = np.zeros(example.size, np.uint8)
    said = example.references or ((),) * len(example.dialogue)
    return [
        (Turn(question, answer, (OTHERS,), "text", references=people), plane)
        for (question, answer), people in zip(example.dialogue, said, strict=True)
    ]


def _mended(example: Example, settings: TaskSettings, notes: Notes) -> Example:
    """An example whose labels a descriptor can carry, as `separators` has it."""
    if settings.separators == "escape":
        labels = (OTHERS, *map(escaped, example.labels[1:]))
        referents = tuple(replace(r, phrases=tuple(map(escaped, r.phrases))) for r in example.referents)
        before, after = (_words(example.labels, example.referents), _words(labels, referents))
        for word in (old for old, new in zip(before, after, strict=True) if old != new):
            notes.add("separators escaped", f"{example.id}: {word}")
        return replace(example, labels=labels, referents=referents)
    if settings.separators == "skip":
        kept = []
        for referent in example.referents:
            phrases = tuple(phrase for phrase in referent.phrases if _carried(phrase, example, notes))
            kept += [replace(referent, phrases=phrases)] if phrases else []
        return replace(example, referents=tuple(kept))
    return example


def _words(labels: tuple[str, ...], referents: tuple[Referent, ...]) -> list[str]:
    return [*labels, *(phrase for referent in referents for phrase in referent.phrases)]


def _carried(phrase: str, example: Example, notes: Notes) -> bool:
    try:
        check_labels((phrase,))
    except ValueError:
        notes.add("separators skipped", f"{example.id}: {phrase}")
        return False
    return True


def _key(example_id: str, number: int) -> str:
    """A shard key: what stands before the first dot names a record, so dots and slashes must go."""
    plain = re.sub(r"[^0-9A-Za-z_-]+", "_", example_id)
    if plain != example_id:  # `a.b` and `a_b` are two records
        plain += f"-{zlib.crc32(example_id.encode()):08x}"
    return f"{plain}-{number:03d}"
