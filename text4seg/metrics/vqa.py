"""VQA accuracy of a written answer against what people answered.

Source: VQA (arXiv 1505.00468), section 5, in the form of its published evaluation (VQA v2): the mean over leaving out
one person at a time of min(1, how many of the others said the same / 3), after both sides are processed (marks, number
words, articles, contractions). Where all people say the same, the published program compares to the letter (`Yes` is
wrong about ten times `yes`), since what it is given has been processed; here both sides are processed then, too. It is
made for ten answers a question: where two or three people answered, the 3 stays, and a right answer on which all agree
has 1/3 or 2/3.

A single reference is no opinion of several people, and the published evaluation knows none: there an answer is right or
wrong, after both sides are made comparable by rules of this project (:func:`comparable`).
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

_MARKS = ';/[]"{}()=+\\_-><@`,?!'
"""Not among them: `:`, `'`, `%`, `&`, `#` and `$`, which stay."""
_THOUSANDS = re.compile(r"\d,\d", re.ASCII)
_PERIOD = re.compile(r"\.(?!\d)", re.ASCII)
_PERIODS = 32
"""The published call has a flag of this value in the place of the count: later periods stay."""
_SHORTENED = {
    "n't": "ai are ca could did does do had has have is might must need ought sha should was were wo would",
    "'ve": "could might must not should they we what where who would you",
    "'d": "he how it someone something there they where who you",
    "'s": "he how somebody someone that there what when where who why",
    "'ll": "how it somebody someone something they what who why you",
    "'re": "there they what why you",
    "n't've": "could had might should would",
    "'d've": "he it she somebody someone something there they we who you",
    "": "ma'am o'clock 'twas 'ow's'at y'all y'all'll y'all'd've",
}


def _slips() -> dict[str, str]:
    """Contractions that lack one apostrophe -> whole ones."""
    whole = [word + end for end, words in _SHORTENED.items() for word in words.split()]
    slips = {word[:at] + word[at + 1 :]: word for word in whole for at, sign in enumerate(word) if sign == "'"}
    return slips | {"somebody'd": "somebodyd"}  # the wrong way round as published


_WHOLE = _slips()


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


def processed(answer: str) -> str:
    """An answer as the published evaluation compares it where people disagree; it may be empty.

    >>> processed("The two T-shirts, dont know (50%).")
    "2 t shirts don't know 50%"
    """
    words = [_NUMBERS.get(word, word) for word in _without_marks(answer).lower().split()]
    return " ".join(_WHOLE.get(word, word) for word in words if word not in _ARTICLES)


def _without_marks(text: str) -> str:
    """A mark that stands beside a blank anywhere goes everywhere, and so do all beside a thousand's comma."""
    number = _THOUSANDS.search(text) is not None
    instead = {mark: "" if number or f"{mark} " in text or f" {mark}" in text else " " for mark in _MARKS}
    return _PERIOD.sub("", text.translate(str.maketrans(instead)), count=_PERIODS)


def vqa_accuracy(answer: str, references: Sequence[str]) -> float:
    """Accuracy of one answer, 0..1.

    Args:
        answer: what was written.
        references: what people answered, one entry a person; below four of them no answer of several people reaches 1.

    Raises:
        ValueError: without a reference.

    >>> vqa_accuracy("Yes.", ["yes", "yes", "no", "no", "no"])
    0.5333333333333333
    >>> vqa_accuracy("Yes.", ["yes"] * 10), vqa_accuracy("Yes.", ["yes"])
    (1.0, 1.0)
    """
    if not references:
        raise ValueError("`references` is empty: an answer needs at least one reference to be compared with.")
    if len(references) == 1:
        return float(comparable(answer) == comparable(references[0]))
    said, *people = (re.sub(r"[\n\t]", " ", text).strip() for text in (answer, *references))
    if len(set(people)) > 1:
        said, *people = map(processed, (said, *people))
    else:  # an empty answer is not the letter of an option
        said, *people = (processed(text) or text.lower() for text in (said, *people))
    agree = [said == one for one in people]
    others = [sum(agree) - one for one in agree]
    return sum(min(_ENOUGH, count) for count in others) / (_ENOUGH * len(others))
