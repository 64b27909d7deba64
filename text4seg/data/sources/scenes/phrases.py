"""Expressions and what they mean: a phrase is a predicate, and its targets are whatever satisfies it.

A phrase is kept only when its targets are exactly the intended ones and nothing is borderline, so every question of
a scene is true and unambiguous by construction.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

from text4seg.data.sources.scenes.things import COLOURS, SHAPES, Thing

MARGIN = 0.06
"""Two positions closer than this (share of the side) are neither left nor right, above nor below."""
# name: (axis, sign); `left of` holds when the thing's x is smaller than the anchor's.
RELATIONS = {"left of": ("x", -1), "right of": ("x", 1), "above": ("y", -1), "below": ("y", 1)}
EXTREMES = {"leftmost": ("x", -1), "rightmost": ("x", 1), "topmost": ("y", -1), "lowest": ("y", 1)}


@dataclass(frozen=True)
class Phrase:
    """What a thing must be; None means anything."""

    shape: str | None = None
    colour: str | None = None
    size: str | None = None
    texture: str | None = None
    relation: str | None = None
    anchor: Phrase | None = None
    extreme: str | None = None
    several: bool = False

    def text(self) -> str:
        """The words, e.g. ``large red circle``, ``circle left of the blue square``, ``all red objects``."""
        noun = self.shape or "object"
        if self.several:
            noun = {"cross": "crosses"}.get(noun, noun + "s")
        words = [self.extreme, self.size, self.texture, self.colour, noun]
        text = " ".join(w for w in words if w)
        if self.several:
            text = f"all {text}"
        return f"{text} {self.relation} the {self.anchor.text()}" if self.relation and self.anchor else text

    def fits(self, thing: Thing) -> bool:
        """Whether the attributes (not the relation or the extreme) hold for `thing`."""
        return all(
            wanted is None or wanted == got
            for wanted, got in (
                (self.shape, thing.shape),
                (self.colour, thing.colour),
                (self.size, thing.size),
                (self.texture, thing.texture),
            )
        )


def targets(phrase: Phrase, things: Sequence[Thing]) -> set[int] | None:
    """Indices of the things that satisfy `phrase`; None when it is borderline or its anchor is not unique."""
    found = {i for i, thing in enumerate(things) if phrase.fits(thing)}
    if phrase.relation and phrase.anchor:
        anchors = targets(phrase.anchor, things)
        if anchors is None or len(anchors) != 1:
            return None
        anchor = things[next(iter(anchors))]
        axis, sign = RELATIONS[phrase.relation]
        gaps = {i: sign * (getattr(things[i], axis) - getattr(anchor, axis)) for i in found - anchors}
        if any(abs(gap) < MARGIN for gap in gaps.values()):
            return None
        found = {i for i, gap in gaps.items() if gap > 0}
    if phrase.extreme and found:
        axis, sign = EXTREMES[phrase.extreme]
        ranked = sorted(found, key=lambda i: -sign * getattr(things[i], axis))
        values = [getattr(things[i], axis) for i in ranked]
        if len(ranked) < 2 or abs(values[0] - values[1]) < MARGIN:
            return None
        found = {ranked[0]}
    return found


def single(kind: str, index: int, things: Sequence[Thing], rng: random.Random) -> Phrase | None:
    """A phrase of one kind whose only target is ``things[index]``; None when the scene has none."""
    candidates = list(_candidates(kind, things[index], things))
    rng.shuffle(candidates)
    for phrase in candidates:
        if targets(phrase, things) == {index}:
            return phrase
    return None


def several(things: Sequence[Thing], rng: random.Random) -> tuple[Phrase, set[int]] | None:
    """A phrase with two or more targets, e.g. ``all red objects``."""
    options = [Phrase(shape=s, several=True) for s in SHAPES] + [Phrase(colour=c, several=True) for c in COLOURS]
    rng.shuffle(options)
    for phrase in options:
        found = targets(phrase, things)
        if found and len(found) > 1:
            return phrase, found
    return None


def nothing(things: Sequence[Thing], rng: random.Random) -> Phrase | None:
    """A phrase that nothing satisfies, though its shape or its colour is there."""
    options = [Phrase(shape=s, colour=c) for s, c in product(SHAPES, COLOURS)]
    rng.shuffle(options)
    for phrase in options:
        near = any(t.shape == phrase.shape or t.colour == phrase.colour for t in things)
        if near and not targets(phrase, things):
            return phrase
    return None


def _candidates(kind: str, thing: Thing, things: Sequence[Thing]) -> Iterator[Phrase]:
    full = Phrase(shape=thing.shape, colour=thing.colour)
    partial = [full, full, Phrase(shape=thing.shape), Phrase(colour=thing.colour)]
    if kind == "attribute":
        yield from partial
    elif kind == "size":
        yield from (replace(p, size=thing.size) for p in partial[1:])
    elif kind == "texture" and thing.texture != "plain":
        yield from (replace(p, texture=thing.texture) for p in partial[1:])
    elif kind == "position":
        bases = [*partial[2:], Phrase()]
        yield from (replace(p, extreme=extreme) for p, extreme in product(bases, EXTREMES))
    elif kind == "relation":
        # Only where the bare words would not do: a relation that could be left out teaches nothing.
        bases = [p for p in partial[2:] if len(targets(p, things) or ()) > 1]
        anchors = [Phrase(shape=t.shape, colour=t.colour) for t in things if t is not thing]
        yield from (replace(p, relation=r, anchor=a) for p, r, a in product(bases, RELATIONS, anchors))
