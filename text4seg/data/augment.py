"""Flips and crops of training pictures, together with their masks.

Each picture has a fixed, small set of crops: what is computed of a picture once (see `models.features`) is then of use
in every epoch. Questions that speak of places or sizes would become wrong, so only semantic questions are touched.
Source: this project's own measurement (docs/grounding.md); Text4Seg itself crops at random when it builds its data.
"""

from __future__ import annotations

import random
import re
from dataclasses import replace

import numpy as np
from PIL import Image

from text4seg.data.order import generator
from text4seg.data.settings import AugmentSettings
from text4seg.data.types import Sample

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels."""

SEMANTIC = ("all", "partial", "conditioned")
SIDED = re.compile(r"\b(left|right)", re.IGNORECASE)
"""A `left arm` is a right arm in the mirror."""
NUMBERED = re.compile(r" \d+$")
"""Instances are numbered from left to right: `dog 2` is another one in the mirror, and may be the first of a crop."""


def augmented(
    image: Image.Image, sample: Sample, settings: AugmentSettings, rng: random.Random
) -> tuple[Image.Image, Sample]:
    """A picture and its sample, cropped and flipped as `rng` draws.

    A crop that loses one of the labels that the sample's masks show is not taken: its answers would be about
    something else than its questions.

    Args:
        image: the sample's picture, decoded; it may have been decoded smaller than its masks.
        settings: what may be done.
        rng: draws one of the picture's variants.
    """
    labels = {label for turn in sample.turns for label in turn.labels}
    if any(turn.task not in SEMANTIC for turn in sample.turns) or any(map(NUMBERED.search, labels)):
        return image, sample
    number = rng.randint(0, settings.crops)
    flip = rng.random() < settings.flip and not any(map(SIDED.search, labels))
    masks = sample.masks
    if number:
        height, width = masks.shape[1:]
        box = crop_box((width, height), settings, sample.key, number)
        inside = masks[:, box[1] : box[3], box[0] : box[2]]
        if all(set(np.unique(a)) <= set(np.unique(b)) for a, b in zip(masks, inside, strict=True)):
            image, masks = _cut(image, box, (width, height)), inside
    if flip:
        image, masks = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), masks[:, :, ::-1]
    return image, replace(sample, masks=masks)


def crop_box(size: tuple[int, int], settings: AugmentSettings, key: str, number: int) -> Box:
    """One of a picture's crops: always the same for its key and number, whatever the run's seed.

    Args:
        size: width and height in pixels.
    """
    rng = generator("crop", key, number)
    share = rng.uniform(settings.smallest, 1.0)
    width, height = (max(1, round(side * share)) for side in size)
    left, top = rng.randint(0, size[0] - width), rng.randint(0, size[1] - height)
    return left, top, left + width, top + height


def _cut(image: Image.Image, box: Box, size: tuple[int, int]) -> Image.Image:
    """A box that is given in the masks' pixels, cut out of a picture of any size."""
    across, down = image.width / size[0], image.height / size[1]
    left, top = round(box[0] * across), round(box[1] * down)
    return image.crop((left, top, max(left + 1, round(box[2] * across)), max(top + 1, round(box[3] * down))))
