"""Open vocabulary: which asked-for label an answer means by a word that nobody asked for.

The parser takes a word for a label when they are equal, or equal but for case, punctuation and blanks. What is left is
tried here, in this order: synonyms (a list of the user's), then the nearest label in meaning, if it is near enough.
Every match that is not exact is told, for the report to list.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from text4seg.data.sources.folder import text_lines
from text4seg.descriptors import Decoded, LabelGrid, Repair
from text4seg.descriptors.labels import normalise

from .settings import MatchSettings

Nearest = Callable[[str, Sequence[str]], tuple[str, float]]


class Match(NamedTuple):
    """A word that was read as a label: how it was found, and how near it is (similarity only)."""

    word: str
    label: str
    how: str
    near: float | None = None


class Matcher:
    """Reads an answer's unknown words as the labels that they mean.

    Args:
        settings: synonyms, text model, threshold.
        nearest: takes the place of the text model (None: the one that the settings name, if they name one).

    Raises:
        ValueError: a list of synonyms or a text model that cannot be read.
    """

    def __init__(self, settings: MatchSettings, nearest: Nearest | None = None) -> None:
        self.threshold = settings.threshold
        self.groups = _groups(Path(settings.synonyms)) if settings.synonyms else {}
        self.nearest = nearest
        if nearest is None and settings.similarity:
            from .similarity import TextSimilarity

            self.nearest = TextSimilarity(settings.similarity).nearest

    def __call__(self, decoded: Decoded, asked: int) -> tuple[Decoded, list[Match]]:
        """The answer with its words matched, and every match that is not exact.

        Args:
            decoded: an answer, parsed with the labels that were asked for.
            asked: how many labels these are, ``others`` included.
        """
        names = decoded.grid.labels
        labels = names[1:asked]
        matches = [Match(word, label, "normalised") for word, label in decoded.renamed if label in labels]
        found = {word: self._match(word, labels) for word in names[asked:]} if labels else {}
        new = [match for match in found.values() if match is not None]
        if not new:
            return decoded, matches
        kept = (*names[:asked], *(word for word in names[asked:] if found[word] is None))
        table = [kept.index(match.label if (match := found.get(word)) else word) for word in names]
        grid = LabelGrid(np.array(table, np.int32)[decoded.grid.ids], kept)
        repairs = tuple(Repair(-1, f"label {m.word[:60]!r} read as {m.label!r} ({m.how})") for m in new)
        status = "repaired" if decoded.status == "ok" else decoded.status
        return replace(decoded, grid=grid, status=status, repairs=decoded.repairs + repairs), matches + new

    def _match(self, word: str, labels: Sequence[str]) -> Match | None:
        meant = self.groups.get(normalise(word), set())
        if len(meant) > 1:  # it says nothing, whichever of its classes were asked for
            return None
        same = [label for label in labels if meant & self.groups.get(normalise(label), set())]
        if len(same) == 1:
            return Match(word, same[0], "synonym")
        if same or self.nearest is None:
            return None
        label, near = self.nearest(word, labels)
        return Match(word, label, "similarity", round(near, 4)) if near >= self.threshold else None


def _groups(path: Path) -> dict[str, set[str]]:
    """Normalised word -> the classes that it stands for; a line is `name, synonym, synonym`, of a class by its name."""
    groups: dict[str, set[str]] = {}
    for _, line in text_lines(path):
        words = [word for word in map(normalise, line.split(",")) if word]
        for word in words:
            groups.setdefault(word, set()).add(words[0])
    return groups
