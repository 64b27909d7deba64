"""Random square crops of an example, the picture and all its masks alike.

Source: published COCO-Stuff and ADE20K builders of Text4Seg (sides 256, 336, 392, 448).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from text4seg.data.image import cropped
from text4seg.data.types import Example, Referent


def crop(example: Example, sides: Sequence[int], rng: random.Random, quality: int) -> Example:
    """A square window of a drawn side at a drawn place; the shorter side of the picture where none of them fits.

    Referents whose target lies outside are left out, since expressions such as `the left one` may still be true of
    something else.

    Raises:
        ValueError: the picture cannot be read.
    """
    if example.image is None:
        return example
    height, width = example.size
    side = rng.choice([side for side in sides if side <= min(height, width)] or [min(height, width)])
    top, left = rng.randint(0, height - side), rng.randint(0, width - side)
    window = slice(top, top + side), slice(left, left + side)
    cut = (
        Referent(r.phrases, r.mask[window], r.id, None if r.void is None else r.void[window])  # its box is no more
        for r in example.referents
        if r.mask[window].any() or not r.mask.any()
    )
    return replace(
        example,
        image=cropped(example.image, (left, top, side, side), f"{example.source} {example.id}", quality),
        size=(side, side),
        mask=None if example.mask is None else example.mask[window],
        referents=tuple(cut),
    )
