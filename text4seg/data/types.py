"""The plain data that travels between rooms: `Example` (annotated image), `Turn` and `Sample` (what a shard holds).

Axis legend: H, W pixels of the original image; T turns of a sample.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

IGNORE = 255
"""Value of pixels that are neither taught nor scored, in masks of 8 bits."""
IGNORE_16 = 65535
"""The same in masks of 16 bits, which are used where 254 classes are not enough."""

Task = Literal["referring", "generalized", "all", "partial", "conditioned", "parts", "text"]
"""`parts`: an object and all its parts; `text`: an answer in words, without a mask."""
Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels: the edges, so that a single pixel at the origin has (0, 0, 1, 1)."""


def ignore_value(mask: NDArray[Any]) -> int:
    """The value of ignored pixels in a mask, by its type."""
    return IGNORE_16 if mask.dtype == np.uint16 else IGNORE


@dataclass(frozen=True, eq=False)
class Referent:
    """Something that can be asked for by words.

    Attributes:
        phrases: one or more expressions that mean the same target.
        mask: bool ``[H, W]``; all False when the picture holds no such target.
        id: the annotation's id in its source.
        void: bool ``[H, W]``, pixels that are neither target nor background; None when there are none.
        box: as it was annotated, apart from the mask; None where no box was.
    """

    phrases: tuple[str, ...]
    mask: NDArray[np.bool_]
    id: str = ""
    void: NDArray[np.bool_] | None = None
    box: Box | None = None


@dataclass(frozen=True, eq=False)
class Example:
    """One annotated image, no question yet.

    Attributes:
        id: unique inside its source.
        image: encoded JPEG / PNG bytes, or the path of the file; None for words without a picture.
        size: ``(H, W)`` in pixels.
        source: name of the data set.
        labels: names of the values of ``mask``; ``labels[0] == "others"``. Only for semantic annotation.
        mask: uint8 (255 = ignore) or uint16 (65535 = ignore) ``[H, W]`` indices into ``labels``; None when there is no
            semantic annotation.
        referents: targets for referring questions; empty when there are none.
        split: e.g. ``train``.
        synonyms: other words for each label, in the order of ``labels``; empty when the source knows none.
        absent: labels that were looked for and are not there, where not every label was (LVIS); None: all were.
        wholes: for each label the object that it is a part of, ``""`` for what is no part; empty: nothing is.
        dialogue: questions and answers in words, passed on as they are.
        references: for each question of the dialogue what several people answered; empty: nobody else was asked.
    """

    id: str
    image: bytes | Path | None
    size: tuple[int, int]
    source: str
    labels: tuple[str, ...] = ("others",)
    mask: NDArray[np.integer] | None = None
    referents: tuple[Referent, ...] = ()
    split: str = "train"
    synonyms: tuple[tuple[str, ...], ...] = ()
    absent: tuple[int, ...] | None = None
    wholes: tuple[str, ...] = ()
    dialogue: tuple[tuple[str, str], ...] = ()
    references: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class Turn:
    """One question with its answer's opening sentence; the descriptor itself is made from the turn's mask plane.

    A `text` turn has no descriptor: its opening sentence is the whole answer, its plane is empty.

    Attributes:
        question: the text asked.
        answer_prefix: the sentence that the answer opens with, before the newline and ``<seg>``.
        labels: names of the plane's values, ``labels[0] == "others"``; holds everything asked for, present or not.
        task: which template family the question came from.
        id: which annotation is asked about, where the source tells.
        box: annotated around the one thing that is asked about; None where there is none.
        references: answers of several people to a question in words; empty: only `answer_prefix` is known.
    """

    question: str
    answer_prefix: str
    labels: tuple[str, ...]
    task: Task
    id: str = ""
    box: Box | None = None
    references: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Sample:
    """What a shard holds under one key.

    Attributes:
        key: shard key, without dots or slashes; unique in a data set.
        image: encoded JPEG bytes, original size.
        turns: one or more questions.
        masks: uint8 (255 = ignore) or uint16 (65535 = ignore) ``[T, H, W]``, one plane a turn; plane t holds indices
            into ``turns[t].labels``.
        source: name of the data set.
    """

    key: str
    image: bytes
    turns: tuple[Turn, ...]
    masks: NDArray[np.unsignedinteger]
    source: str = ""
