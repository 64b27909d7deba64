r"""The language of descriptors for serving engines (vLLM, SGLang, llama.cpp): as EBNF, and as a regular expression.

The EBNF is exact. A row adds up because there is one rule for each width that may remain::

    c3 ::= label " *" ("1| " c2 | "2| " c1 | "3")

The regular expression is exact for `full` only; of run lengths it leaves the sums open (a regular expression that adds
up has a branch for every way to fill a row), and the parser mends what does not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from text4seg.descriptors import OTHERS, check_labels
from text4seg.descriptors.codecs import BAR, BREAK, STAR, check_codec, check_size
from text4seg.descriptors.exact import CLOSE, OPEN

WIDEST = 256
"""Cells of a line for which rules are written; they are half its square in number."""
LETTERS = 200
"""Letters of the sentence before the descriptor."""


def ebnf(size: tuple[int, int], codec: str, labels: Sequence[str], letters: int = LETTERS) -> str:
    """The grammar of an answer in the dialect of xgrammar and llama.cpp.

    Args:
        size: ``(rows, cols)``.
        codec: one of the codecs.
        labels: what may be written beside ``others``.
        letters: most letters of the sentence before the descriptor; it holds no ``<``.

    Raises:
        ValueError: for an empty size, an unknown codec, a label that cannot be written, or a line that is too wide.
    """
    names = _checked(size, codec, labels)
    rows, cols = (1, size[0] * size[1]) if codec == "irle" else size
    if codec != "full" and cols > WIDEST:
        raise ValueError(
            f"a line of {cols} cells would take {cols * (cols + 1) // 2} rules, got size={size} with {codec}: at most "
            f"{WIDEST} cells a line; take rrle, or full."
        )
    rules = [
        f"root ::= sentence {_quoted(OPEN)} body {_quoted(BREAK[0] + CLOSE)}",
        f"sentence ::= [^<]{{0,{letters}}}" if letters else 'sentence ::= ""',
        "body ::= line" + (f" ({_quoted(BREAK)} line){{{rows - 1}}}" if rows > 1 else ""),
        f"label ::= {' | '.join(map(_quoted, names))}",
    ]
    if codec == "full":
        rules.append("line ::= label" + (f" ({_quoted(BAR)} label){{{cols - 1}}}" if cols > 1 else ""))
    else:
        rules.append(f"line ::= c{cols}")
        rules += [_remaining(width) for width in range(cols, 0, -1)]
    return "\n".join(rules) + "\n"


def regex(size: tuple[int, int], codec: str, labels: Sequence[str], letters: int = LETTERS) -> str:
    """The same as a regular expression without look-around; see above for what it leaves open.

    Raises:
        ValueError: for an empty size, an unknown codec or a label that cannot be written.
    """
    names = _checked(size, codec, labels)
    rows, cols = (1, size[0] * size[1]) if codec == "irle" else size
    label = f"({'|'.join(map(_escaped, names))})"
    bar, broken = _escaped(BAR), _escaped(BREAK)
    if codec == "full":
        line = f"{label}({bar}{label}){{{cols - 1}}}"
    else:
        run = f"{label}{_escaped(STAR)}[1-9][0-9]{{0,{len(str(cols)) - 1}}}"
        line = f"{run}({bar}{run}){{0,{cols - 1}}}"
    body = f"{line}({broken}{line}){{{rows - 1}}}{_escaped(BREAK[0])}"
    return f"[^<]{{0,{letters}}}{OPEN}{body}{CLOSE}"


def _remaining(width: int) -> str:
    """The rule of a line that lacks so many cells."""
    counts = [f"{_quoted(f'{count}{BAR}')} c{width - count}" for count in range(1, width)]
    return f"c{width} ::= label {_quoted(STAR)} ({' | '.join([*counts, _quoted(str(width))])})"


def _checked(size: tuple[int, int], codec: str, labels: Sequence[str]) -> tuple[str, ...]:
    check_size(size)
    check_codec(codec)
    check_labels(labels)
    return tuple(dict.fromkeys((OTHERS, *labels)))


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _escaped(text: str) -> str:
    return re.sub(r"([\\.^$*+?{}\[\]|()/])", r"\\\1", text).replace("\n", "\\n")
