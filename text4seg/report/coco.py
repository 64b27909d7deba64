"""Masks in COCO's compressed form, with box and area."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco


def coco_rle(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """Compress a mask.

    Args:
        mask: bool ``[H, W]``.

    Returns:
        ``rle`` (``size`` [H, W] and ``counts`` as text), ``bbox`` [x, y, width, height] and ``area`` in pixels, all
        ready for JSON.

    >>> coco_rle(np.array([[False, True], [False, True]]))["bbox"]
    [1.0, 0.0, 1.0, 2.0]
    """
    packed: Any = coco.encode(np.asfortranarray(mask, dtype=np.uint8))
    box, area = coco.toBbox(packed), coco.area(packed)
    rle = {"size": [int(n) for n in packed["size"]], "counts": packed["counts"].decode("ascii")}
    return {"rle": rle, "bbox": [float(n) for n in box], "area": int(area)}
