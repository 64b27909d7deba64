"""VQA accuracy of a written answer against what people answered.

Source: VQA (arXiv 1505.00468), section 5, in the form of its evaluation server: the mean over leaving out one person at
a time of min(1, how many of the others said the same / 3); both sides are first made comparable (case, punctuation,
articles, number words). It is made for the ten answers of VQAv2: where two or three people answered, the 3 stays, and a
right answer on which all agree has 1/3 or 2/3. With a single reference answer it is an exact match.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_NUMBERS = {word: str(value) for value, word in enumerate(_DIGITS)} | {"none": "0"}
_ARTICLES = {"a", "an", "the"}
_ENOUGH = 3
_INSIDE_NUMBER = re.compile(r"(?<=\d)[.,:](?=\d)")
_SIGNS = re.compile(r"[^\w\s.,:$'-]|[.,:](?!\d)|(?<!\d)[.,:]")


def comparable(answer: str) -> str:
    """An answer without case, punctuation, articles and doubled blanks, number words as digits.

    What would be left empty keeps its articles, and its punctuation if there is nothing else: the letter of an option
    is an answer, and no other than an empty one equals an empty one.

    >>> comparable("  The TWO red-ish cars. ")
    '2 red-ish cars'
    >>> comparable("(A)")
    'a'
    """
    plain = _SIGNS.sub(" ", answer.casefold().replace("\u2019", "'"))
    plain = _INSIDE_NUMBER.sub(lambda sign: "" if sign.group() == "," else sign.group(), plain)
    words = [_NUMBERS.get(word, word) for word in plain.split()]
    named = [word for word in words if word not in _ARTICLES]
    return " ".join(named or words) or answer.strip().casefold()


def vqa_accuracy(answer: str, references: Sequence[str]) -> float:
    """Accuracy of one answer, 0..1.

    Args:
        answer: what was written.
        references: what people answered, one entry a person; below four of them no answer of several people reaches 1.

    Raises:
        ValueError: without a reference.

    >>> vqa_accuracy("yes", ["yes", "Yes.", "no", "no", "no"])
    0.5333333333333333
    """
    if not references:
        raise ValueError("`references` is empty: an answer needs at least one reference to be compared with.")
    said = comparable(answer)
    agree = [said == comparable(one) for one in references]
    if len(agree) == 1:
        return float(agree[0])
    others = [sum(agree) - one for one in agree]
    return sum(min(_ENOUGH, count) for count in others) / (_ENOUGH * len(others))
