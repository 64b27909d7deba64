"""The language of descriptors as an automaton over bytes: exactly R rows of exactly C cells, labels from a list.

A state is four numbers: a place in a table of fixed words (the tags, the labels, the blank behind a separator), the
count as far as it is read, the cells that the line lacks, and the lines that are to come. That a row adds up is
arithmetic on the state, not a rule for each remaining width, so that no grid, codec or list takes long to prepare.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from text4seg.decoding.language.open_labels import BROKEN, SPACED, open_label
from text4seg.descriptors import OTHERS, check_labels
from text4seg.descriptors.codecs import BAR, BREAK, STAR, check_codec, check_size
from text4seg.descriptors.exact import CLOSE, OPEN

LONGEST_LABEL = 64
"""Letters that a label of open words may have."""

_BAR, _NEWLINE = ord(BAR[0]), ord(BREAK[0])


class State(NamedTuple):
    """Where a text stands.

    Attributes:
        node: place in the table of fixed words.
        count: the count as far as it is read, 0 before its first digit; inside an open label, its letters.
        cells: cells that the line lacks; the run that is being read is not taken off yet.
        lines: lines that are not finished.
    """

    node: int
    count: int
    cells: int
    lines: int


class Language:
    """Every ``<seg>...</seg>`` of one size, codec and list of labels that the strict parser accepts.

    Args:
        size: ``(rows, cols)``.
        codec: one of the codecs.
        labels: what may be written beside ``others``; None: any words, see :mod:`.open_labels`.

    Attributes:
        labels: what may be written, ``others`` first; none: any words.
        start: before ``<seg>``.
        forced: before ``<seg>`` where a sentence was cut off: a line break may come first.
        body: behind ``<seg>``.
        end: behind ``</seg>``.

    Raises:
        ValueError: for an empty size, an unknown codec or a label that cannot be written.
    """

    def __init__(self, size: tuple[int, int], codec: str, labels: Sequence[str] | None) -> None:
        check_size(size)
        check_codec(codec)
        check_labels(labels or ())
        self.counted = codec != "full"
        self.labels = () if labels is None else tuple(dict.fromkeys((OTHERS, *labels)))
        self._line, lines = (size[0] * size[1], 1) if codec == "irle" else (size[1], size[0])
        self._nodes, whole = open_label() if labels is None else ([{}], set())
        self.open = frozenset(range(len(self._nodes))) if labels is None else frozenset()
        """The places that belong to an open label."""
        self._moves: dict[State, dict[int, State]] = {}
        if labels is None and self.counted:
            self._ends = {self._word(STAR[1:], SPACED)}
        elif labels is None:
            self._ends = whole
        else:
            self._ends = self._heads(self.labels)
        self._blank = self._before(" ", 0)
        end = self._add()
        self._close = self._before(CLOSE, end)
        opening = self._before(OPEN, 0)
        forced = self._before("\n" + OPEN, 0)
        self._nodes[forced] |= self._nodes[opening]
        self.start, self.forced, self.body = (State(node, 0, self._line, lines) for node in (opening, forced, 0))
        self.end = State(end, 0, 0, 0)

    def moves(self, state: State) -> dict[int, State]:
        """The bytes that may follow a state, and the state behind each."""
        found = self._moves.get(state)
        if found is None:
            found = self._moves[state] = self._find(state)
        return found

    def run(self, state: State, text: bytes) -> State | None:
        """The state behind a text, or None when it is outside the language."""
        for byte in text:
            after = self.moves(state).get(byte)
            if after is None:
                return None
            state = after
        return state

    def along(self, state: State, text: str) -> list[State]:
        """The states behind each byte of a text that belongs to the language."""
        states = [state]
        for byte in text.encode():
            states.append(self.moves(states[-1])[byte])
        return states[1:]

    def head(self, label: str) -> str:
        """A label as a run begins: with the star, where it has a count."""
        return label + STAR if self.counted else label

    def room(self, state: State) -> int:
        """Letters that an open label may still have."""
        return LONGEST_LABEL - state.count

    def needs(self, state: State) -> int:
        """Letters that an open label must have room for once it is here."""
        return state.count - self._spare(state.node)

    def _spare(self, node: int) -> int:
        """A blank that ends the longest label belongs to the star; where there is none, a letter must follow it."""
        return 0 if node != SPACED else 1 if self.counted else -1

    def _find(self, state: State) -> dict[int, State]:
        node, count, cells, lines = state
        found = {}
        for byte, after in self._nodes[node].items():
            letters = 0
            if after in self.open:
                letters = count + (node not in BROKEN) if node in self.open else 0
                if letters > LONGEST_LABEL + self._spare(after):
                    continue
            found[byte] = State(after, letters, cells, lines)
        if node in self._ends:
            found |= self._behind_label(state)
        return found

    def _behind_label(self, state: State) -> dict[int, State]:
        """A digit, the end of the run, or the end of the line."""
        node, count, cells, lines = state
        found = {}
        if self.counted:
            values = {ord("0") + digit: 10 * count + digit for digit in range(10)}
            found = {byte: State(node, value, cells, lines) for byte, value in values.items() if 0 < value <= cells}
        cells -= count if self.counted else 1
        if not (count or not self.counted):
            return found
        if cells:
            found[_BAR] = State(self._blank, 0, cells, lines)
        elif lines > 1:
            found[_NEWLINE] = State(self._blank, 0, self._line, lines - 1)
        else:
            found[_NEWLINE] = State(self._close, 0, 0, 0)
        return found

    def _heads(self, labels: Sequence[str]) -> set[int]:
        """Put the labels behind node 0; gives the places where one is complete."""
        if not self.counted:  # a label may be another one's beginning, so each has an end of its own
            return {self._word(label, 0) for label in labels}
        count = self._add()
        for label in labels:
            self._word(self.head(label), 0, count)
        return {count}

    def _word(self, text: str, node: int, last: int | None = None) -> int:
        """Write a word into the table from a node on; it ends in ``last``, or in a node that it gets."""
        *letters, final = text.encode()
        for byte in letters:
            node = self._nodes[node].setdefault(byte, len(self._nodes))
            if node == len(self._nodes):
                self._add()
        node = self._nodes[node].setdefault(final, len(self._nodes) if last is None else last)
        if node == len(self._nodes):
            self._add()
        return node

    def _before(self, text: str, last: int) -> int:
        """A new node from which a word leads to ``last``."""
        node = self._add()
        self._word(text, node, last)
        return node

    def _add(self) -> int:
        self._nodes.append({})
        return len(self._nodes) - 1
