"""What decoding can be told. Plain dataclasses; importing this pulls in nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class DecodingSettings:
    """Greedy generation of descriptors."""

    max_new_tokens: int | None = None
    """null: from the grid's worst case and the labels asked for."""
    paint: str = "nearest"
    """How a grid is brought to the image's size: nearest or smooth."""
