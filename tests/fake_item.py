"""A stand-in for a data item, without the data room."""

from __future__ import annotations

import io
from dataclasses import dataclass, field

import numpy as np
from PIL import Image


def jpeg(height: int, width: int, seed: int = 0) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).resize((width, height)).save(stream, "JPEG")
    return stream.getvalue()


@dataclass(eq=False)
class FakeItem:
    """The fields that scoring reads of a data item."""

    mask: np.ndarray
    labels: tuple[str, ...] = ("others", "red car")
    key: str = "a"
    turn: int = 0
    question: str = "Where is the red car?"
    size: tuple[int, int] = (4, 4)
    codec: str = "rrle"
    rule: str = "center"
    task: str = "referring"
    image: bytes = field(default=b"")
    box: tuple[float, float, float, float] | None = None

    def __post_init__(self) -> None:
        self.image = self.image or jpeg(*self.mask.shape)
