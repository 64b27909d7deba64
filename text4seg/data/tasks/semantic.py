"""Questions about classes: all of them, some, those on a list, or an object and its parts.

Source: Text4Seg (arXiv 2410.09855), section 3.2; synonyms as in its published COCO-Stuff builder.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from text4seg.data.tasks.turns import Asked, Asker, Plane
from text4seg.data.types import IGNORE, IGNORE_16, Example, Task, Turn, ignore_value
from text4seg.descriptors import OTHERS

Words = tuple[tuple[str, ...], ...]


def semantic(task: Task, example: Example, asker: Asker) -> Asked | None:
    """One question about the classes of an example, and the plane with the rest as `others`; None: nothing to ask."""
    assert example.mask is not None
    settings, rng = asker.settings, asker.rng
    present = [int(i) for i in np.unique(example.mask) if i not in (0, ignore_value(example.mask))]
    if task == "parts":
        return _parts(example, present, asker)
    if task != "all":
        present += [i for i in dict.fromkeys(_whole(part, example) for part in present) if i and i not in present]
    if not present and not settings.named and not settings.every:
        return None
    listed_others = False
    if task == "all":
        asked = present
    elif settings.every:
        asked = list(range(1, len(example.labels)))
        listed_others = task == "conditioned" and rng.random() < settings.others_listed
    elif settings.named:
        asked = [_index(name, example) for name in settings.named]
    else:
        asked = rng.sample(present, rng.randint(1, len(present)))
        if task == "conditioned":
            missing = _missing(present, example)
            if missing and rng.random() < settings.absent:
                asked += rng.sample(missing, rng.randint(1, len(missing)))
            listed_others = rng.random() < settings.others_listed
        rng.shuffle(asked)
    names = [_name(i, task, example, asker) for i in asked]
    words = list(dict.fromkeys(names))
    labels, plane = _plane(example, asked, names, present, asker)
    if listed_others:
        words = [OTHERS, *words] if settings.every else rng.sample([*words, OTHERS], len(words) + 1)
    question, opener = asker.words(task, words, bool(set(asked) & set(present)))
    return Turn(question, opener, labels, task), plane


def _missing(present: Sequence[int], example: Example) -> list[int]:
    """Classes that may be asked for as absent; one that lies wholly under others is there."""
    named = {phrase for referent in example.referents if referent.mask.any() for phrase in referent.phrases}
    known = range(1, len(example.labels)) if example.absent is None else example.absent
    return [i for i in known if i not in present and example.labels[i] not in named]


def _whole(part: int, example: Example) -> int:
    """The class that a part belongs to, 0 for none; of an object whose parts cover it nothing shows in the mask."""
    name = example.wholes[part] if example.wholes else ""
    return example.labels.index(name) if name in example.labels[1:] else 0


def _parts(example: Example, present: Sequence[int], asker: Asker) -> Asked | None:
    """An object and each of its parts that shows; labels say whose part it is, as in `head of dog`."""
    wholes = sorted({example.wholes[i] for i in present} - {""}) if example.wholes else []
    if not wholes:
        return None
    whole = asker.rng.choice(wholes)
    asked = [i for i in present if example.wholes[i] == whole]
    labels, plane = _plane(example, asked, [example.labels[i] for i in asked], present, asker)
    question, opener = asker.words("parts", [whole], True)
    return Turn(question, opener, labels, "parts"), plane


def _index(name: str, example: Example) -> int:
    if name not in example.labels[1:]:
        raise ValueError(f"`named` asks for {name!r}, which {example.source} does not have: {example.labels[1:]}.")
    return example.labels.index(name)


def _name(index: int, task: str, example: Example, asker: Asker) -> str:
    settings = asker.settings
    name = example.labels[index]
    if not settings.synonyms or task not in settings.synonyms_in or not example.synonyms:
        return name
    known = example.synonyms if settings.shared_synonyms else unshared(example.labels, example.synonyms)
    if not known[index] or asker.rng.random() >= settings.synonyms:
        return name
    return asker.rng.choice(known[index])


@lru_cache(maxsize=8)
def shared_words(labels: tuple[str, ...], synonyms: Words) -> dict[str, tuple[str, ...]]:
    """Words that stand for several classes -> the names of those classes."""
    users: dict[str, list[str]] = {}
    for name, others in zip(labels, synonyms, strict=True):
        for word in {name, *others}:
            users.setdefault(word, []).append(name)
    return {word: tuple(names) for word, names in sorted(users.items()) if len(names) > 1}


@lru_cache(maxsize=8)
def unshared(labels: tuple[str, ...], synonyms: Words) -> Words:
    """The synonyms of each class that no other class is called by."""
    shared = shared_words(labels, synonyms)
    return tuple(tuple(word for word in words if word not in shared) for words in synonyms)


def _plane(
    example: Example, asked: Sequence[int], names: Sequence[str], present: Sequence[int], asker: Asker
) -> tuple[tuple[str, ...], Plane]:
    """The labels of a question and the mask in their numbers; classes that are called alike become one.

    An object has the pixels of those of its parts that are not asked for.
    Where there are more labels than a plane of 8 bits can number, those that show come first; 16 bits are for pictures
    that show more than 254.
    """
    assert example.mask is not None
    twice = [example.labels[i] for i, times in Counter(asked).items() if times > 1]
    if twice:
        raise ValueError(f"{example.source} {example.id}: the label {twice[0]!r} is asked for twice.")
    shown = set(present)
    called = dict(zip(asked, names, strict=True))
    order = list(dict.fromkeys(names))
    if len(order) >= IGNORE:
        order = list(dict.fromkeys([called[i] for i in asked if i in shown] + order))
    number = {name: value for value, name in enumerate(order, 1)}
    owners = {i: i if i in called else _whole(i, example) for i in present}
    shows = [(i, number[called[owner]]) for i, owner in owners.items() if owner in called]
    wide = max((value for _, value in shows), default=0) >= IGNORE
    void = ignore_value(example.mask)
    lookup = np.zeros(void + 1, np.uint16 if wide else np.uint8)
    for index, value in shows:
        lookup[index] = value
    if asker.settings.void == "ignore":
        lookup[void] = IGNORE_16 if wide else IGNORE
    return (OTHERS, *order), lookup[example.mask.astype(np.uint8 if void == IGNORE else np.uint16)]
