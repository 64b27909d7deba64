"""Masks drawn over pictures.

Axis legend: H, W pixels.
"""

from __future__ import annotations

import colorsys
import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from text4seg.data.types import ignore_value

Colour = tuple[int, int, int]

_GOLDEN = 0.618033988749895


def palette(count: int) -> list[Colour]:
    """Colours that stay apart however many are taken; the first ones never change.

    >>> palette(1)
    [(255, 51, 41)]
    """
    colours = []
    for i in range(count):
        hue = (0.008 + i * _GOLDEN) % 1.0
        red, green, blue = colorsys.hsv_to_rgb(hue, (0.84, 0.62, 0.95)[i // 5 % 3], (1.0, 0.9, 0.72)[i // 3 % 3])
        colours.append((round(red * 255), round(green * 255), round(blue * 255)))
    return colours


def overlay(
    image: Image.Image,
    mask: NDArray[np.generic],
    colours: Sequence[Colour] | None = None,
    alpha: float = 0.45,
    outline: int | None = None,
) -> Image.Image:
    """Tint what a mask marks.

    Args:
        image: any picture.
        mask: bool or integer ids ``[H, W]`` of the picture's size; 0 is not drawn. What 8 and 16 bits have as their
            highest number is left out of scores, and hatched grey; in other types every number is a label's.
        colours: the colour of id 1, 2, ...; default :func:`palette`.
        alpha: how strong the tint is, 0..1.
        outline: width in pixels of the border drawn inside each region; None: by the picture's size; 0: no border.

    Returns:
        a new RGB picture.

    Raises:
        ValueError: when the mask has another size than the picture.
    """
    planes = np.asarray(mask)
    ids = planes.astype(np.int64)
    if ids.shape != (image.height, image.width):
        raise ValueError(
            f"`mask` must have the picture's size {(image.height, image.width)}, got {ids.shape}: paint it that large."
        )
    pixels = np.asarray(image.convert("RGB"), dtype=np.float32)
    void = planes == ignore_value(planes) if planes.dtype in (np.uint8, np.uint16) else np.zeros(ids.shape, bool)
    ids = np.where(void, 0, ids)
    table = np.array([(0, 0, 0), *(colours or palette(int(ids.max())))], dtype=np.float32)
    tint = table[np.minimum(ids, len(table) - 1)]
    drawn = np.where((ids > 0)[..., None], pixels * (1 - alpha) + tint * alpha, pixels)
    width = max(1, round(max(ids.shape) / 250)) if outline is None else outline
    if width:
        edge = (ids > 0) & _inner_edge(ids, width)
        drawn = np.where(edge[..., None], tint, drawn)
    if void.any():
        rows, cols = np.indices(ids.shape)
        drawn = np.where((void & ((rows + cols) % 8 < 2))[..., None], 128.0, drawn)
    return Image.fromarray(drawn.round().clip(0, 255).astype(np.uint8))


def _inner_edge(ids_HW: NDArray[np.int64], width: int) -> NDArray[np.bool_]:
    """Pixels within ``width`` of a pixel with another id, along rows or columns."""
    edge = np.zeros(ids_HW.shape, dtype=bool)
    for step in range(1, width + 1):
        down = ids_HW[step:] != ids_HW[:-step]
        edge[step:] |= down
        edge[:-step] |= down
        right = ids_HW[:, step:] != ids_HW[:, :-step]
        edge[:, step:] |= right
        edge[:, :-step] |= right
    return edge


def open_picture(data: bytes) -> Image.Image:
    """Decode image bytes to RGB."""
    with Image.open(io.BytesIO(data)) as picture:
        return picture.convert("RGB")
