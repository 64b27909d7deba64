"""Things -> pixels: one mask a shape, two tones a texture, a shaded and noisy ground.

Axis legend: H, W pixels.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from text4seg.data.sources.scenes.things import COLOURS, Thing

Plane = NDArray[np.float32]

# Each shape in its own frame: the thing's centre is (0, 0), its radius 1, y grows downwards.
SHAPE_MASKS: dict[str, Callable[[Plane, Plane], NDArray[np.bool_]]] = {
    "circle": lambda x, y: x * x + y * y < 0.92,
    "square": lambda x, y: np.maximum(abs(x), abs(y)) < 0.82,
    "triangle": lambda x, y: (y < 0.75) & (y > 2.1 * abs(x) - 1.05),
    "diamond": lambda x, y: abs(x) + abs(y) < 1.1,
    "cross": lambda x, y: (np.minimum(abs(x), abs(y)) < 0.42) & (np.maximum(abs(x), abs(y)) < 1.0),
    "ring": lambda x, y: (x * x + y * y < 1.0) & (x * x + y * y > 0.14),
    "star": lambda x, y: _star(x, y),
    "bar": lambda x, y: (abs(x) < 1.0) & (abs(y) < 0.5),
}


def _star(x: Plane, y: Plane) -> NDArray[np.bool_]:
    # Five points: inside when at least four of the pentagram's five half planes hold.
    hits = np.zeros(x.shape, np.int8)
    for k in range(5):
        angle = 2 * np.pi * k / 5
        hits += (np.cos(angle) * -y + np.sin(angle) * x) > -0.44
    return hits >= 4


def draw(
    things: Sequence[Thing], height: int, width: int, noise: float, rng: random.Random
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], list[int]]:
    """Paint a scene.

    Returns:
        The picture, uint8 ``[H, W, 3]``; the owners, uint8 ``[H, W]``: 0 ground, i the i-th thing (from 1), where it
        is not hidden by a later one; and how many pixels each thing would cover alone.
    """
    side = min(height, width)
    ys = (np.arange(height, dtype=np.float32) + 0.5)[:, None]
    xs = (np.arange(width, dtype=np.float32) + 0.5)[None]
    base = rng.uniform(70, 190)
    tint = np.array([base + rng.uniform(-20, 20) for _ in range(3)], np.float32)
    ramp = (xs / width - 0.5) * rng.uniform(-40, 40) + (ys / height - 0.5) * rng.uniform(-40, 40)
    picture = tint + ramp[..., None]
    owners = np.zeros((height, width), np.uint8)
    areas = []
    for number, thing in enumerate(things, 1):
        reach = thing.radius * side * 1.3
        top, left = max(0, int(thing.y * height - reach)), max(0, int(thing.x * width - reach))
        box = (slice(top, int(thing.y * height + reach) + 2), slice(left, int(thing.x * width + reach) + 2))
        v = (ys[box[0]] - thing.y * height) / (thing.radius * side)
        u = (xs[:, box[1]] - thing.x * width) / (thing.radius * side)
        u, v = np.broadcast_arrays(u, v)
        inside = SHAPE_MASKS[thing.shape](u, v)
        areas.append(int(inside.sum()))
        owners[box][inside] = number
        picture[box][inside] = _tones(thing, u, v, rng)[inside]
    if noise > 0:
        grain = np.random.default_rng(rng.getrandbits(32)).standard_normal(picture.shape, dtype=np.float32)
        picture += noise * grain
    return np.clip(picture, 0, 255).astype(np.uint8), owners, areas


def _tones(thing: Thing, u: Plane, v: Plane, rng: random.Random) -> NDArray[np.float32]:
    colour = np.array(COLOURS[thing.colour], np.float32) + rng.uniform(-12, 12)
    # The second tone stays well on the same side of the colour, so that a striped red thing is still red.
    second = colour * 0.6 if thing.colour != "black" else colour + 60
    if thing.texture == "striped":
        odd = np.floor((u + v) * 3.0) % 2 > 0
    elif thing.texture == "dotted":
        odd = (((u * 2.5) % 1 - 0.5) ** 2 + ((v * 2.5) % 1 - 0.5) ** 2) < 0.09
    else:
        odd = np.zeros(u.shape, bool)
    return np.where(odd[..., None], second, colour)
