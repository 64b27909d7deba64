"""`Example` -> `Sample`: put questions to an annotated image.

Every draw comes from a generator seeded by (seed, example id), so a sample does not depend on the order in which
examples arrive or on which process handles them.
Source: task families and their mixture, Text4Seg (arXiv 2410.09855), section 3.2.
"""

from __future__ import annotations

import random
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import cast, get_args

import numpy as np
from numpy.typing import NDArray

from text4seg.data.image import jpeg_bytes
from text4seg.data.sources.settings import TaskSettings
from text4seg.data.types import IGNORE, Example, Referent, Sample, Task, Turn
from text4seg.descriptors import OTHERS, check_labels
from text4seg.templates import DEFAULT, Templates

SEMANTIC_MIX: dict[Task, float] = {"all": 1.0, "partial": 3.0, "conditioned": 6.0}
REFERRING: tuple[Task, ...] = ("referring", "generalized")
Plane = NDArray[np.uint8]


def samples(
    examples: Iterable[Example], task: str, settings: TaskSettings, seed: int, quality: int = 90
) -> Iterator[Sample]:
    """Turn examples into samples, in order.

    Args:
        task: a task family, `semantic` (1 all : 3 partial : 6 conditioned) or `mix` (``settings.weights``).
        quality: JPEG quality for images that are not JPEG already.

    Raises:
        ValueError: an unknown task or option, a label with a separator in it (the example is named), a broken image.
    """
    weights = _weights(task, settings)
    _check_settings(settings)
    if not 1 <= quality <= 100:
        raise ValueError(f"`quality` must be 1 to 100, got {quality}.")
    templates = Templates.load(settings.templates) if settings.templates else DEFAULT
    for example in examples:
        rng = random.Random(f"{seed} {example.id}")
        groups = _turn_groups(example, weights, settings, templates, rng)
        image = None
        for number, group in enumerate(groups):
            image = image or jpeg_bytes(example.image, f"{example.source} {example.id}", quality)
            turns, planes = zip(*group, strict=True)
            for turn in turns:
                check_turn(turn, f"{example.source} {example.id}{turn.id and f', {turn.id}'}")
            yield Sample(_key(example.id, number), image, tuple(turns), np.stack(planes), example.source)


def _weights(task: str, settings: TaskSettings) -> dict[Task, float]:
    known: tuple[Task, ...] = get_args(Task)
    if task in known:
        return {cast(Task, task): 1.0}
    if task not in ("semantic", "mix"):
        raise ValueError(f"unknown task {task!r}; expected one of {', '.join((*known, 'semantic', 'mix'))}.")
    weights = settings.weights or (dict(SEMANTIC_MIX) if task == "semantic" else {})
    names = set(weights) | ({settings.first} if settings.first else set())
    usable = names <= set(known) and all(weight >= 0 for weight in weights.values()) and any(weights.values())
    if not usable:
        raise ValueError(f"`weights` and `first` must name some of {', '.join(known)}, got {sorted(names)}.")
    return {cast(Task, name): weight for name, weight in weights.items()}


def _check_settings(settings: TaskSettings) -> None:
    if settings.turns < 1:
        raise ValueError(f"`task_options.turns` must be 1 or more, got {settings.turns}.")
    if settings.phrases not in ("random", "all"):
        raise ValueError(f"`task_options.phrases` must be random or all, got {settings.phrases!r}.")
    for name in ("absent", "others_listed"):
        if not 0 <= getattr(settings, name) <= 1:
            raise ValueError(f"`task_options.{name}` is a share from 0 to 1, got {getattr(settings, name)}.")


def _turn_groups(
    example: Example, weights: dict[Task, float], settings: TaskSettings, templates: Templates, rng: random.Random
) -> Iterator[list[tuple[Turn, Plane]]]:
    """The samples of one example, each a list of turns with their planes."""
    only = next(iter(weights)) if len(weights) == 1 and settings.first is None else None
    if only in REFERRING:
        asks = [(r, p) for r in _askable(example, only) for p in _phrases(r, settings, rng)]
        rng.shuffle(asks)
        for start in range(0, len(asks), settings.turns):
            yield [_refer(only, r, p, settings, templates, rng) for r, p in asks[start : start + settings.turns]]
        return
    fresh = list(_askable(example, "generalized" if "generalized" in weights else "referring"))
    rng.shuffle(fresh)
    group = []
    for number in range(settings.turns):
        if number == 0 and settings.first:
            task = cast(Task, settings.first)
        else:
            task = rng.choices(list(weights), list(weights.values()))[0]
        if task in REFERRING:
            if fresh:
                referent = fresh.pop()
                task = task if referent.mask.any() else "generalized"
                group.append(_refer(task, referent, rng.choice(referent.phrases), settings, templates, rng))
        elif example.mask is not None:
            turn = _semantic(task, example, settings, templates, rng)
            group += [turn] if turn else []
    if group:
        yield group


def _askable(example: Example, task: str) -> Iterator[Referent]:
    # A referring question has a target; only the generalized task may ask for what is not there.
    return (r for r in example.referents if task == "generalized" or r.mask.any())


def _phrases(referent: Referent, settings: TaskSettings, rng: random.Random) -> Sequence[str]:
    return referent.phrases if settings.phrases == "all" else (rng.choice(referent.phrases),)


def _words(
    task: str, asked: Sequence[str], found: bool, settings: TaskSettings, templates: Templates, rng: random.Random
) -> tuple[str, str]:
    if settings.fixed_template:
        return templates.fixed(task, asked, found=found)
    return templates.ask(task, asked, rng, found=found)


def _refer(
    task: Task, referent: Referent, phrase: str, settings: TaskSettings, templates: Templates, rng: random.Random
) -> tuple[Turn, Plane]:
    question, opener = _words(task, [phrase], bool(referent.mask.any()), settings, templates, rng)
    turn = Turn(question, opener, (OTHERS, phrase), task, referent.id)
    return turn, referent.mask.astype(np.uint8)


def _semantic(
    task: Task, example: Example, settings: TaskSettings, templates: Templates, rng: random.Random
) -> tuple[Turn, Plane] | None:
    """One semantic question: which classes it names, and the plane with the rest as `others`."""
    assert example.mask is not None
    present = [int(i) for i in np.unique(example.mask) if i not in (0, IGNORE)]
    if not present and not settings.named:
        return None
    listed_others = False
    if task == "all":
        asked = present
    elif settings.named:
        asked = [_index(name, example) for name in settings.named]
    else:
        asked = rng.sample(present, rng.randint(1, len(present)))
        if task == "conditioned":
            missing = [i for i in range(1, len(example.labels)) if i not in present]
            if missing and rng.random() < settings.absent:
                asked += rng.sample(missing, rng.randint(1, len(missing)))
            listed_others = rng.random() < settings.others_listed
        rng.shuffle(asked)
    lookup = np.zeros(256, np.uint8)
    lookup[IGNORE] = IGNORE
    for number, index in enumerate(asked, 1):
        lookup[index] = number
    plane = lookup[example.mask.astype(np.uint8)]
    names = [example.labels[i] for i in asked]
    words = rng.sample([*names, OTHERS], len(names) + 1) if listed_others else names
    found = bool(((plane > 0) & (plane < IGNORE)).any())
    question, opener = _words(task, words, found, settings, templates, rng)
    return Turn(question, opener, (OTHERS, *names), task), plane


def _index(name: str, example: Example) -> int:
    if name not in example.labels[1:]:
        raise ValueError(f"`named` asks for {name!r}, which {example.source} does not have: {example.labels[1:]}.")
    return example.labels.index(name)


def check_turn(turn: Turn, where: str) -> None:
    """Refuse a question whose answer no descriptor could carry.

    Raises:
        ValueError: naming `where` and the label or the text that is wrong.
    """
    try:
        check_labels(turn.labels)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    twice = [label for label, times in Counter(turn.labels).items() if times > 1]
    if twice:
        what = "asked for, yet names the background" if twice[0] == OTHERS else "asked for twice"
        raise ValueError(f"{where}: the label {twice[0]!r} is {what}: rename or remove it in the data source.")
    for text in (turn.question, turn.answer_prefix, *turn.labels):
        if any("\ud800" <= letter <= "\udfff" for letter in text):
            raise ValueError(f"{where}: {text!r} is no Unicode text: it holds half a surrogate pair.")


def _key(example_id: str, number: int) -> str:
    """A shard key: what stands before the first dot names a record, so dots and slashes must go."""
    plain = re.sub(r"[^0-9A-Za-z_-]+", "_", example_id)
    if plain != example_id:  # `a.b` and `a_b` are two records
        plain += f"-{zlib.crc32(example_id.encode()):08x}"
    return f"{plain}-{number:03d}"
