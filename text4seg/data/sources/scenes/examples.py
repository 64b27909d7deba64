"""The scenes source: the i-th picture is a pure function of (settings, seed, i).

python -m text4seg.shards build --source scenes --out DIR options.count=1000
"""

from __future__ import annotations

import io
import random
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from text4seg.data.sources.scenes import phrases
from text4seg.data.sources.scenes.drawing import draw
from text4seg.data.sources.scenes.things import COLOURS, SHAPES, Thing, place
from text4seg.data.sources.settings import ScenesSettings
from text4seg.data.sources.share import WHOLE, Share
from text4seg.data.types import Example, Referent

VISIBLE = 0.6
"""A thing may be asked for when this share of it is not hidden."""
JPEG_QUALITY = 92
MOST_PIXELS = 64_000_000
"""What the data room decodes at most (`text4seg.data.image`)."""
TRIES = 5
"""Draws of an expression before a question is given up."""
SCHEMES = ("shape", "colour", "both")
DRAWN = {"either": SCHEMES[:2], "any": SCHEMES}


def examples(settings: ScenesSettings, seed: int, share: Share = WHOLE) -> Iterator[Example]:
    """Draw ``settings.count`` pictures.

    Raises:
        ValueError: an unknown expression kind, class scheme, or an impossible range.
    """
    _check(settings)
    return map(partial(scene, settings, seed), share.of(range(settings.count)))


def scene(settings: ScenesSettings, seed: int, index: int) -> Example:
    """The picture number `index`."""
    for attempt in range(100):
        rng = random.Random(f"scenes {seed} {index} {attempt}")
        things = place(rng, rng.randint(*settings.objects), settings.textured, frozenset(settings.exclude_pairs))
        if len(things) < settings.objects[0]:
            continue
        height, width = settings.size
        picture, owners, areas = draw(things, height, width, settings.noise, rng)
        askable = _askable(areas, owners, settings)
        referents = tuple(_referents(things, askable, owners, settings, rng))
        if referents:
            labels, mask = _semantic(things, owners, settings.classes, rng)
            buffer = io.BytesIO()
            Image.fromarray(picture).save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
            return Example(
                id=f"scene-{seed}-{index:07d}",
                image=buffer.getvalue(),
                size=(height, width),
                source="scenes",
                labels=labels,
                mask=mask,
                referents=referents,
            )
    raise ValueError(
        f"scene {index}: no picture in 100 tries has {settings.objects[0]} things with one of {settings.target_share} "
        f"of the frame; widen `target_share` or ask for fewer `objects`."
    )


def _check(settings: ScenesSettings) -> None:
    known = {"attribute", "size", "texture", "relation", "position", "several", "none"}
    unknown = set(settings.kinds) - known
    if unknown or min(settings.kinds.values(), default=0) < 0 or not any(settings.kinds.values()):
        raise ValueError(f"`kinds` must weigh some of {sorted(known)}, got {settings.kinds}.")
    if settings.classes not in (*SCHEMES, *DRAWN):
        raise ValueError(f"`classes` must be one of {', '.join((*SCHEMES, *DRAWN))}, got {settings.classes!r}.")
    if len(settings.objects) != 2 or not 1 <= settings.objects[0] <= settings.objects[1]:
        raise ValueError(f"`objects` must be [fewest, most] with 1 <= fewest <= most, got {settings.objects}.")
    if len(settings.size) != 2 or min(settings.size) < 1 or settings.size[0] * settings.size[1] > MOST_PIXELS:
        raise ValueError(f"`size` must be [height, width] with at most {MOST_PIXELS} pixels, got {settings.size}.")
    shares = settings.target_share
    if len(shares) != 2 or not 0 <= shares[0] <= shares[1] <= 1:
        raise ValueError(f"`target_share` must be [least, most] with 0 <= least <= most <= 1, got {shares}.")
    for name in ("distractor_share", "textured"):
        if not 0 <= getattr(settings, name) <= 1:
            raise ValueError(f"`{name}` is a share from 0 to 1, got {getattr(settings, name)}.")
    known_pairs = {f"{colour} {shape}" for colour in COLOURS for shape in SHAPES}
    if not set(settings.exclude_pairs) < known_pairs:
        raise ValueError(
            f"`exclude_pairs` must name some, not all, of a colour and a shape, e.g. 'red circle', got "
            f"{settings.exclude_pairs}."
        )
    for name in ("count", "questions"):
        if getattr(settings, name) < 1:
            raise ValueError(f"`{name}` must be 1 or more, got {getattr(settings, name)}.")


def _askable(areas: Sequence[int], owners: NDArray[np.uint8], settings: ScenesSettings) -> list[int]:
    low, high = settings.target_share
    visible = np.bincount(owners.ravel(), minlength=len(areas) + 1)[1:]
    return [
        i for i, area in enumerate(areas) if low <= visible[i] / owners.size <= high and visible[i] >= VISIBLE * area
    ]


def _referents(
    things: Sequence[Thing], askable: list[int], owners: NDArray[np.uint8], settings: ScenesSettings, rng: random.Random
) -> Iterator[Referent]:
    asked: set[str] = set()
    for _ in range(settings.questions):
        # Drawn once a question: drawing anew after a failure would favour the commoner sort.
        with_twin = rng.random() < settings.distractor_share
        for _ in range(TRIES):
            phrase, found = _ask(things, askable, with_twin, settings, rng)
            if phrase is not None and phrase.text() not in asked:
                asked.add(phrase.text())
                mask = np.isin(owners, [i + 1 for i in found]) if found else np.zeros(owners.shape, bool)
                yield Referent((phrase.text(),), mask, id="+".join(str(i) for i in sorted(found)))
                break


def _ask(
    things: Sequence[Thing], askable: list[int], with_twin: bool, settings: ScenesSettings, rng: random.Random
) -> tuple[phrases.Phrase | None, set[int]]:
    """A phrase with its targets; None where the drawn kind of expression does not fit the scene."""
    kind = rng.choices(list(settings.kinds), list(settings.kinds.values()))[0]
    if kind == "none":
        return phrases.nothing(things, rng), set()
    if kind == "several":
        drawn = phrases.several(things, rng)
        return drawn if drawn and drawn[1] <= set(askable) else (None, set())
    pool = [i for i in askable if has_distractor(i, things) == with_twin]
    if not pool:
        return None, set()
    index = rng.choice(pool)
    return phrases.single(kind, index, things, rng), {index}


def has_distractor(index: int, things: Sequence[Thing]) -> bool:
    """Whether another thing has the same shape or the same colour."""
    me = things[index]
    return any(t is not me and (t.shape == me.shape or t.colour == me.colour) for t in things)


def _semantic(
    things: Sequence[Thing], owners: NDArray[np.uint8], classes: str, rng: random.Random
) -> tuple[tuple[str, ...], NDArray[np.uint8]]:
    if classes in DRAWN:
        classes = rng.choice(DRAWN[classes])
    names = {
        "shape": SHAPES,
        "colour": tuple(COLOURS),
        "both": tuple(f"{c} {s}" for c in COLOURS for s in SHAPES),
    }[classes]
    labels = ("others", *names)
    lookup = np.zeros(len(things) + 1, np.uint8)
    for i, thing in enumerate(things, 1):
        name = {"shape": thing.shape, "colour": thing.colour, "both": f"{thing.colour} {thing.shape}"}[classes]
        lookup[i] = labels.index(name)
    return labels, lookup[owners]
