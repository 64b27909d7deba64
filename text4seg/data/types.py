"""The plain data that travels between rooms: `Example` (annotated image), `Turn` and `Sample` (what a shard holds).

Axis legend: H, W pixels of the original image; T turns of a sample.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

IGNORE = 255
"""Mask value of pixels that are neither taught nor scored (65535 in 16-bit masks is folded onto it by the sources)."""

Task = Literal["referring", "generalized", "all", "partial", "conditioned"]


@dataclass(frozen=True, eq=False)
class Referent:
    """Something that can be asked for by words.

    Attributes:
        phrases: one or more expressions that mean the same target.
        mask: bool ``[H, W]``; all False when the picture holds no such target.
        id: the annotation's id in its source.
    """

    phrases: tuple[str, ...]
    mask: NDArray[np.bool_]
    id: str = ""


@dataclass(frozen=True, eq=False)
class Example:
    """One annotated image, no question yet.

    Attributes:
        id: unique inside its source.
        image: encoded JPEG / PNG bytes, or the path of the file.
        size: ``(H, W)`` in pixels.
        source: name of the data set.
        labels: names of the values of ``mask``; ``labels[0] == "others"``. Only for semantic annotation.
        mask: int ``[H, W]`` indices into ``labels``, 255 = ignore; None when there is no semantic annotation.
        referents: targets for referring questions; empty when there are none.
        split: e.g. ``train``.
    """

    id: str
    image: bytes | Path
    size: tuple[int, int]
    source: str
    labels: tuple[str, ...] = ("others",)
    mask: NDArray[np.integer] | None = None
    referents: tuple[Referent, ...] = ()
    split: str = "train"


@dataclass(frozen=True)
class Turn:
    """One question with its answer's opening sentence; the descriptor itself is made from the turn's mask plane.

    Attributes:
        question: the text asked.
        answer_prefix: the sentence that the answer opens with, before the newline and ``<seg>``.
        labels: names of the plane's values, ``labels[0] == "others"``; holds everything asked for, present or not.
        task: which template family the question came from.
        id: which annotation is asked about, where the source tells.
    """

    question: str
    answer_prefix: str
    labels: tuple[str, ...]
    task: Task
    id: str = ""


@dataclass(frozen=True, eq=False)
class Sample:
    """What a shard holds under one key.

    Attributes:
        key: shard key, without dots or slashes; unique in a data set.
        image: encoded JPEG bytes, original size.
        turns: one or more questions.
        masks: integer ``[T, H, W]``, one plane a turn; plane t holds indices into ``turns[t].labels``, 255 = ignore.
        source: name of the data set.
    """

    key: str
    image: bytes
    turns: tuple[Turn, ...]
    masks: NDArray[np.uint8]
    source: str = ""
