"""Masks from COCO-style annotations: polygons, run lengths, or lists of either.

Axis legend: H, W pixels of the original image.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from text4seg.data.sources.records import field, short

FARTHEST = 10
"""Image sides that a polygon may lie outside: pycocotools walks every edge pixel by pixel, in 32-bit integers."""


def segment_mask(annotation: dict[str, Any], size: tuple[int, int], where: str) -> NDArray[np.bool_]:
    """Polygons, run lengths, or (refCLEF) a list of run lengths, as ``[H, W]``; slivers may cover no pixel at all."""
    given = field(annotation, "segmentation", (list, dict), where)
    mask_HW = np.zeros(size, bool)
    for part in given if isinstance(given, list) else [given]:
        mask_HW |= (run_lengths if isinstance(part, dict) else polygon)(part, size, where)
    return mask_HW


def polygon(points: Any, size: tuple[int, int], where: str) -> NDArray[np.bool_]:
    """The pixels ``[H, W]`` inside ``[x, y, x, y, …]``; a point or a line has none."""
    far = FARTHEST * max(size)  # NaN is not below it either
    numbers = isinstance(points, list) and all(isinstance(p, (int, float)) and abs(p) <= far for p in points)
    if numbers and len(points) < 6:  # a point or a line; pycocotools takes four numbers for a box
        return np.zeros(size, bool)
    if not numbers or len(points) % 2:
        raise ValueError(f"{where}: a polygon must be [x, y, x, y, …] in or near the image, got {short(points)}.")
    parts: Any = coco.frPyObjects([points], *size)
    return coco.decode(parts)[..., 0].astype(bool)


# Not `coco.decode`: run lengths that do not add up make pycocotools 2.0.11 return memory it never wrote, or crash.
def run_lengths(part: dict[str, Any], size: tuple[int, int], where: str) -> NDArray[np.bool_]:
    """The mask ``[H, W]`` of ``{size, counts}``, compressed or not."""
    counts = field(part, "counts", (list, str), where)
    runs = uncompressed(counts) if isinstance(counts, str) else counts
    whole = all(isinstance(run, int) and run >= 0 for run in runs)
    if part.get("size") != list(size) or not whole or sum(runs) != size[0] * size[1]:
        raise ValueError(f"{where}: run lengths of `size` {part.get('size')} do not fill {list(size)} pixels exactly.")
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(size[::-1]).T  # COCO counts down the columns


def uncompressed(text: str) -> list[int]:
    """Run lengths in COCO's text form: 5 bits a character, low ones first, and from the fourth run on differences."""
    runs: list[int] = []
    value = shift = 0
    for code in (ord(character) - 48 for character in text):
        if not 0 <= code < 64 or shift > 60:
            return []  # adds up to nothing, so the caller refuses it
        value |= (code & 31) << shift
        shift += 5
        if not code & 32:  # the last character of a number; its bit 16 is the sign
            value -= (code & 16) << (shift - 4)
            runs.append(value + runs[-2] if len(runs) > 2 else value)
            value = shift = 0
    return runs
