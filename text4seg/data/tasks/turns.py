"""One question with its mask plane: how words are drawn for it, and what no answer could carry."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from text4seg.data.tasks.settings import TaskSettings
from text4seg.data.types import IGNORE, IGNORE_16, Turn
from text4seg.descriptors import OTHERS, check_labels
from text4seg.templates import Templates

Plane = NDArray[np.unsignedinteger]
Asked = tuple[Turn, Plane]
LOOK_ALIKES = str.maketrans({"|": "¦", "*": "x", "\n": " ", "\r": " "})


@dataclass(frozen=True)
class Asker:
    """What every question is drawn with.

    Attributes:
        settings: of the task.
        templates: wordings.
        rng: the example's own source of chance.
    """

    settings: TaskSettings
    templates: Templates
    rng: random.Random

    def words(self, task: str, asked: Sequence[str], found: bool) -> tuple[str, str]:
        """A question and the opening of its answer."""
        found = found or not self.settings.tell_missing
        if self.settings.fixed_template:
            return self.templates.fixed(task, asked, found=found)
        return self.templates.ask(task, asked, self.rng, found=found)


def stacked(planes: Sequence[Plane]) -> Plane:
    """``[T, H, W]``, of 16 bits when any plane is."""
    if not any(plane.dtype == np.uint16 for plane in planes):
        return np.stack(planes)
    wide = [np.where(plane == IGNORE, IGNORE_16, plane) if plane.dtype == np.uint8 else plane for plane in planes]
    return np.stack(wide).astype(np.uint16)


def escaped(label: str) -> str:
    """A label with look-alike letters in place of the descriptor text's separators."""
    plain = " ".join(label.translate(LOOK_ALIKES).split())
    return plain.replace("<seg>", "(seg)").replace("</seg>", "(/seg)")


def check_turn(turn: Turn, where: str) -> None:
    """Refuse a question whose answer no descriptor could carry.

    Raises:
        ValueError: naming `where` and the label or the text that is wrong.
    """
    try:
        check_labels(turn.labels)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    twice = [label for label, times in Counter(turn.labels).items() if times > 1]
    if twice:
        what = "asked for, yet names the background" if twice[0] == OTHERS else "asked for twice"
        raise ValueError(f"{where}: the label {twice[0]!r} is {what}: rename or remove it in the data source.")
    for text in (turn.question, turn.answer_prefix, *turn.labels):
        if any("\ud800" <= letter <= "\udfff" for letter in text):
            raise ValueError(f"{where}: {text!r} is no Unicode text: it holds half a surrogate pair.")
