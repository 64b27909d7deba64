"""A label of any words, for questions that do not say which labels there are: part of a language's table of bytes.

Words of visible letters with one blank between them. What a strict parser refuses is out (separators, tags, blanks at
the ends, the background word in another case), and so are, for the sake of a small table, the letters that UTF-8 writes
with C2 or E2 at the front (signs, odd blanks, curly quotes) and labels that begin with ``Ot`` or ``oT``.
"""

from __future__ import annotations

START, INSIDE, SPACED = range(3)
_ONE_MORE, _TWO_MORE, _THREE_MORE, _AFTER_E0, _AFTER_E1, _AFTER_E3, _AFTER_ED, _AFTER_F0 = range(3, 11)
_CAPITAL_O, _SMALL_O = range(11, 13)
BROKEN = frozenset(range(_ONE_MORE, _CAPITAL_O))
"""Places inside a letter of several bytes."""

_MORE = range(0x80, 0xC0)
_LETTERS = {
    **{byte: INSIDE for byte in range(0x21, 0x7F) if byte not in b"|*<>"},
    **dict.fromkeys(range(0xC3, 0xE0), _ONE_MORE),
    **dict.fromkeys((*range(0xE4, 0xED), 0xEE, 0xEF), _TWO_MORE),
    **dict.fromkeys(range(0xF1, 0xF4), _THREE_MORE),
    0xE0: _AFTER_E0,
    0xE1: _AFTER_E1,
    0xE3: _AFTER_E3,
    0xED: _AFTER_ED,
    0xF0: _AFTER_F0,
}
_BLANK = ord(" ")


def open_label() -> tuple[list[dict[int, int]], set[int]]:
    """The table of a label: byte -> next place for each place, and the places at which the label may be over."""
    inside = {**_LETTERS, _BLANK: SPACED}
    nodes = [
        {**_LETTERS, ord("O"): _CAPITAL_O, ord("o"): _SMALL_O},
        inside,
        dict(_LETTERS),
        dict.fromkeys(_MORE, INSIDE),
        dict.fromkeys(_MORE, _ONE_MORE),
        dict.fromkeys(_MORE, _TWO_MORE),
        dict.fromkeys(range(0xA0, 0xC0), _ONE_MORE),  # what is below has a shorter form
        {byte: _ONE_MORE for byte in _MORE if byte != 0x9A},  # U+1680 is a blank
        {byte: _ONE_MORE for byte in _MORE if byte != 0x80},  # U+3000 too
        dict.fromkeys(range(0x80, 0xA0), _ONE_MORE),  # what is above are halves of a letter
        dict.fromkeys(range(0x90, 0xC0), _TWO_MORE),  # what is below has a shorter form
        {byte: place for byte, place in inside.items() if byte not in b"tT"},
    ]
    # `others` letter by letter: written otherwise (also with a long s, C5 BF) it would be read as `others`.
    for letter in b"thers":
        wrong = (letter - 32, 0xC5) if letter == ord("s") else (letter - 32,)
        nodes.append({byte: place for byte, place in inside.items() if byte not in wrong})
        nodes[-1][letter] = len(nodes) if letter != ord("s") else INSIDE
    whole = {INSIDE, *range(_CAPITAL_O, len(nodes))}
    return nodes, whole
