"""Reading with patience: any text to lines of runs, whatever became of its separators.

A run is a pair (word, count); the count is ``None`` where none could be read. Nothing here raises, and no count,
however long, costs memory: counts stop at :data:`HUGE`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from .exact import OPEN

HUGE = 10_000_000
"""Counts are cut here; far above any grid."""

Run = tuple[str, int | None]

_TAG = re.compile(r"<\s{0,3}(/\s{0,3})?seg\s{0,3}>", re.IGNORECASE)
_CUT_TAG = re.compile(r"<(?:/(?:s(?:e(?:g)?)?)?)?\Z")
_DIALECT = re.compile(r"(\*[0-9]+)([,;])")
_COUNT = re.compile(r"\s*([+-]?[0-9]*)")
_COUNTS = {str(n): n for n in range(1000)}


def find_bodies(text: str) -> Iterator[tuple[str, bool, bool]]:
    """What may be the descriptor in any text, the likeliest first.

    A text may speak of the tags before it uses them: a body begins at the last opening tag before its closing one. A
    stray tag may stand inside of it: those from the first one on come at the end.

    Yields:
        a body without tags and with plain newlines; whether an opening tag was there; whether the text may have
        been cut off in the middle (no closing tag, no newline at its end).
    """
    tags = list(_TAG.finditer(text)) if "<" in text else []
    tagged = any(not tag[1] for tag in tags)
    starts = [] if tagged else [0]
    longer: list[str] = []
    for tag in tags:
        if not tag[1]:
            starts.append(tag.end())
        elif starts:
            yield _plain(text[starts[-1] : tag.start()]), tagged, False
            if len(starts) > 1:
                longer.append(text[starts[0] : tag.start()])
            starts = []
    if starts:
        body = _plain(_CUT_TAG.sub("", text[starts[0] :]))
        yield body, tagged, not body.endswith("\n")
    for body in longer:
        yield _plain(body), tagged, False


def _plain(body: str) -> str:
    body = body.replace(OPEN, " ").replace("\r\n", "\n").replace("\r", "\n")
    if "\\n" in body and "\n" not in body:  # a model or a JSON file that spells the newline out
        body = body.replace("\\n", "\n")
    if "," in body or ";" in body:  # the Mapillary dialect: "sky *2, tree *2; road *4;"
        body = _DIALECT.sub(lambda run: run[1] + ("|" if run[2] == "," else "\n"), body)
    return body


def read_line(line: str, bare_counts: bool) -> list[Run]:
    """The runs of one line.

    Args:
        line: text without newlines.
        bare_counts: whether ``car 3`` (the star got lost) is a run of three; never in the ``full`` codec, where it
            is a label.
    """
    runs: list[Run] = []
    for token in line.split("|"):
        word, _, digits = token.rpartition("*")
        word = word.strip()
        if word and digits in _COUNTS and "*" not in word:  # as it should be
            runs.append((word, _COUNTS[digits]))
        else:
            _read_token(token, bare_counts, runs)
    return runs


def _read_token(token: str, bare_counts: bool, runs: list[Run]) -> None:
    """Whatever stands between two bars: no run, half a run, or several whose bars got lost."""
    word, *parts = token.split("*")
    word = word.strip()
    for part in parts:
        match = _COUNT.match(part)
        assert match is not None  # every piece of the pattern may be empty
        count = _count(match[1])
        if word:
            runs.append((word, count))
        elif runs and count is not None:  # a count without a word lengthens the run before it
            before, known = runs[-1]
            runs[-1] = (before, min((known or 0) + count, HUGE))
        word = part[match.end() :].strip()
    # after a count only letters make a label whose star got lost; "1.5" leaves no label ".5"
    if word and (not parts or any(map(str.isalpha, word))):
        runs.append(_bare(word) if bare_counts else (word, None))


def _bare(word: str) -> Run:
    left, _, right = word.rpartition(" ")
    left = left.strip()
    if left and right.isascii() and right.isdigit():
        return left, _count(right)
    return word, None


def _count(digits: str) -> int | None:
    """``None`` for no number and for a negative one."""
    digits = digits.removeprefix("+")
    if not digits or digits[0] in "+-":
        return None
    digits = digits.lstrip("0") or "0"
    return int(digits) if len(digits) <= 7 else HUGE
