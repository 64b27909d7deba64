"""The things that a scene is made of, and where they are put.

Lengths are shares of the picture's shorter side, positions are (x, y) shares of width and height.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

SHAPES = ("circle", "square", "triangle", "diamond", "cross", "ring", "star", "bar")
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 40, 40),
    "green": (40, 160, 60),
    "blue": (45, 80, 220),
    "yellow": (240, 215, 50),
    "purple": (145, 55, 175),
    "orange": (243, 140, 35),
    "white": (245, 245, 245),
    "black": (25, 25, 25),
}
COPIES = 0.15
"""Share of things made like an earlier one; more would leave pictures without a thing that stands alone."""
TEXTURES = ("plain", "striped", "dotted")
RADII = {"small": (0.12, 0.155), "large": (0.19, 0.25)}


@dataclass(frozen=True)
class Thing:
    """One drawn thing."""

    shape: str
    colour: str
    texture: str
    size: str
    """small or large."""
    x: float
    y: float
    radius: float


def place(rng: random.Random, num: int, textured: float, exclude: frozenset[str]) -> list[Thing]:
    """Draw up to `num` things that overlap at most a little; later things lie over earlier ones.

    No two things share both shape and colour.
    """
    things: list[Thing] = []
    for _ in range(num * 3):
        if len(things) == num:
            break
        shape, colour = _kind(rng, things)
        texture = rng.choice(TEXTURES[1:]) if rng.random() < textured else "plain"
        size = rng.choice(tuple(RADII))
        if f"{colour} {shape}" in exclude or any(t.shape == shape and t.colour == colour for t in things):
            continue
        # The size is drawn once: drawing it anew with each place would leave only small things in a full picture.
        for _ in range(12):
            radius = rng.uniform(*RADII[size])
            x, y = rng.uniform(radius, 1 - radius), rng.uniform(radius, 1 - radius)
            thing = Thing(shape, colour, texture, size, x, y, radius)
            if all(_far(thing, t) for t in things):
                things.append(thing)
                break
    return things


def _kind(rng: random.Random, things: list[Thing]) -> tuple[str, str]:
    """A shape and a colour; sometimes one of the two is that of a thing already there."""
    shape, colour = rng.choice(SHAPES), rng.choice(tuple(COLOURS))
    if things and rng.random() < COPIES:
        twin = rng.choice(things)
        if rng.random() < 0.5:
            shape = twin.shape
        else:
            colour = twin.colour
    return shape, colour


def _far(a: Thing, b: Thing) -> bool:
    return (a.x - b.x) ** 2 + (a.y - b.y) ** 2 > (0.74 * (a.radius + b.radius)) ** 2
