"""Weights that two programs make alike without sharing a file: numbers drawn for the name of each tensor."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence

import numpy as np


def drawn(name: str, shape: Sequence[int]) -> np.ndarray:
    """Float32 in +-0.2; around 1 for the weights of norms, which would silence everything otherwise."""
    noise = np.random.default_rng(zlib.crc32(name.encode())).random(tuple(shape)) - 0.5
    centre = 1.0 if len(shape) == 1 and name.endswith("weight") else 0.0
    return (centre + 0.4 * noise).astype(np.float32)


def drawn_all(shapes: Mapping[str, Sequence[int]]) -> dict[str, np.ndarray]:
    """All tensors of a checkpoint."""
    return {name: drawn(name, shape) for name, shape in shapes.items()}


def picture(side: int) -> np.ndarray:
    """Normalised pixels ``[1, 3, S, S]``."""
    return np.random.default_rng(5).normal(size=(1, 3, side, side)).astype(np.float32)
