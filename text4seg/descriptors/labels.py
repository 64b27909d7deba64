"""Labels as words: which ones a descriptor can carry, and which asked-for label a word that was read stands for.

The descriptor text knows no escapes, so a label that holds a separator would be read back as something else. It is
refused when the text is written, never mended silently.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Iterable

from .grid import OTHERS

SEPARATORS = ("|", "*", "\n", "\r", "<seg>", "</seg>")
"""What no label may hold: the separators of the text and its tags."""

_ONE = r"(?![ oO])[^|*<>\x00-\x1f\x7f-\xa0\u1680\u2000-\u3000]+(?<! )"
"""A label without fault, but for those that this does not decide: with odd blanks, or beginning like `others`."""
_PLAIN = re.compile(_ONE)
_PLAIN_LINES = re.compile(rf"{OTHERS}(?:\n{_ONE})*")
_NO_WORD = ("P", "Z", "C", "Sk")
"""Unicode categories that tell no words apart: punctuation, blanks, controls, accents without a letter. Marks do, which
are vowels in Indic scripts, and so do symbols (C++)."""


class _Kept(dict[int, str]):
    """For `str.translate`: a letter as it is, or a blank; each is looked up once."""

    def __missing__(self, code: int) -> str:
        kept = " " if unicodedata.category(chr(code)).startswith(_NO_WORD) else chr(code)
        return self.setdefault(code, kept)


_KEPT = _Kept()


def reads_as_others(word: str) -> bool:
    """Whether a word is the background word in another case, such as ``Others``."""
    return word != OTHERS and word.casefold() == OTHERS


def fault(label: str) -> str | None:
    """Why a label cannot stand in a descriptor, or ``None`` when it can.

    >>> fault("red car"), fault("a|b")
    (None, "holds the separator '|'")
    """
    if _PLAIN.fullmatch(label):  # nearly all labels
        return None
    if not label:
        return "is empty"
    if label != label.strip():
        return "begins or ends with a blank"
    for separator in SEPARATORS:
        if separator in label:
            return f"holds the separator {separator!r}"
    if reads_as_others(label):
        return f"would be read as the background word {OTHERS!r}"
    return None


def check_labels(labels: Iterable[str]) -> None:
    """Refuse labels that a descriptor cannot carry.

    Raises:
        ValueError: naming the label and what is wrong with it.
    """
    labels = tuple(labels)
    lines = "\n".join(labels)
    if _PLAIN_LINES.fullmatch(lines) and lines.count("\n") < len(labels):  # nearly all grids, at one look
        return
    for label in labels:
        wrong = fault(label)
        if wrong is not None:
            raise ValueError(
                f"label {label!r} {wrong}. A label is one line of text without {', '.join(map(repr, SEPARATORS))}, "
                "without blanks at its ends: rename it (or strip it) in the data source."
            )


def check_queries(queries: Iterable[str]) -> None:
    """Refuse what cannot be asked for: labels that a descriptor cannot carry, and the background word.

    Raises:
        ValueError: naming the query and what is wrong with it.
    """
    queries = tuple(queries)
    check_labels(queries)
    if OTHERS in queries:
        raise ValueError(
            f"{OTHERS!r} cannot be asked for: in a descriptor it stands for whatever was not asked for. Name a thing."
        )


def normalise(word: str) -> str:
    """A word without case, punctuation and doubled blanks, for matching.

    >>> normalise(" The Red-Car. ")
    'the red car'
    """
    return " ".join(unicodedata.normalize("NFC", word.casefold()).translate(_KEPT).split())


class Vocabulary:
    """The labels of one grid while it is being read: a word goes in, an id comes out.

    A word is an expected label when it equals it, else when both are equal after :func:`normalise` (the first such
    label in the given order), else it becomes a new label behind the expected ones.

    Attributes:
        names: the labels so far; ``names[0]`` is ``"others"``, then the expected ones in their order.
        index: word as read -> id.
        matched: (word as read, label it was taken for) where the two differ.
    """

    def __init__(self, expected: Iterable[str] | None = None) -> None:
        self.names = list(dict.fromkeys((OTHERS, *(expected or ()))))
        self.index = {name: i for i, name in enumerate(self.names)}
        self.matched: list[tuple[str, str]] = []
        self._expected = len(self.names) if expected else 0
        self._normal: dict[str, int] | None = None

    def id_of(self, word: str) -> int:
        """The id of a word; a word never seen before is matched or added."""
        found = self.index.get(word)
        if found is None:
            found = self._match(word)
            if found is None:
                found = len(self.names)
                self.names.append(word)
            else:
                self.matched.append((word, self.names[found]))
            self.index[word] = found
        return found

    def unit(self, word: str) -> bytes:
        """The id of a word as the four bytes of an int32, so that a run of cells is ``unit * count``."""
        return self.id_of(word).to_bytes(4, sys.byteorder)

    def knows(self, word: str) -> bool:
        """Whether a word is ``others`` or one of the expected labels, exactly or after :func:`normalise`."""
        return word in self.index or self._match(word) is not None

    def _match(self, word: str) -> int | None:
        if reads_as_others(word):
            return 0
        if not self._expected:
            return None
        if self._normal is None:
            self._normal = {}
            for i, name in enumerate(self.names[: self._expected]):
                self._normal.setdefault(normalise(name), i)
            self._normal.pop("", None)
        return self._normal.get(normalise(word))
