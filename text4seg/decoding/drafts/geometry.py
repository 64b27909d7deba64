"""Drafts from the geometry of the answer: the rows above, carried down and laid into a tree of tokens.

A draft is checked by the model in one forward pass, so it can only save passes and never change the text. It sees the
accepted tokens, the query's labels and the grid's size. What happens: :mod:`.reading` finds the cells so far,
:mod:`.forecast` says which run may come next and how likely it is, :mod:`.spelling` writes it as the model would, and
:mod:`.tree` keeps the likeliest tokens, through as many rows as the width allows. Before ``<seg>`` the known openings
of answers are guessed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from text4seg.decoding.contract import Draft
from text4seg.decoding.drafts.forecast import LEAST, Forecast, Run
from text4seg.decoding.drafts.habits import Habits
from text4seg.decoding.drafts.reading import BODY, OPENING, Reading
from text4seg.decoding.drafts.spelling import Spelling
from text4seg.decoding.drafts.tree import Guess, grow
from text4seg.decoding.language.grammar import labels_asked
from text4seg.descriptors.codecs import BAR, BREAK, STAR
from text4seg.descriptors.exact import CLOSE, OPEN
from text4seg.templates import DEFAULT, FAMILIES

if TYPE_CHECKING:
    from text4seg.data.items import Item

_AFTER_TAG, _IN_LINE, _NEW_LINE = f"x\n{OPEN}", "x *1|", "x *1\n"
"""What stands before a piece, as far as tokens can depend on it."""


_TRIED = 8
"""So many of the likeliest pieces are compared byte by byte."""


class _Piece(NamedTuple):
    """A text that may come next, what stands before it, how likely it is, and what lies behind it: the cells so far
    and the run that is added; None when nothing follows."""

    text: str
    before: str
    chance: float
    behind: tuple[list[int], Run | None] | None


class GeometryDrafter:
    """Guesses how one answer goes on.

    Args:
        spelling: the tokenizer; shared by all answers.
        labels: the query's labels.
        size: rows and columns of the grid.
        codec: spelling of the grid.
        openers: sentences with which an answer may open, without ``<seg>``.
        habits: how outlines move; give all drafters of a run the same to learn from every answer.
    """

    def __init__(
        self,
        spelling: Spelling,
        labels: Sequence[str],
        size: tuple[int, int],
        codec: str = "rrle",
        openers: Iterable[str] = (),
        habits: Habits | None = None,
    ) -> None:
        self._spelling, self._codec, self._openers = spelling, codec, tuple(openers)
        self._total = size[0] * size[1]
        self._line = self._total if codec == "irle" else size[1]
        self._forecast = Forecast(size[1], self._line, Habits() if habits is None else habits)
        self._reading = Reading(spelling, labels, size, codec, self._forecast)

    @classmethod
    def of_item(cls, spelling: Spelling, item: Item, habits: Habits | None = None) -> GeometryDrafter:
        """The drafter of an item's answer; it may open as the project's own templates do.

        Where the question does not name the item's labels, they are the truth's and not used.
        """
        family = FAMILIES.get(item.task)
        openers: list[str] = []
        if family is not None:
            for found, count in ((True, len(DEFAULT.answers[family])), (False, len(DEFAULT.no_target_answers))):
                openers += [DEFAULT.fixed(item.task, item.labels[1:], i, found=found)[1] for i in range(count)]
        return cls(spelling, labels_asked(item) or (), item.size, item.codec, dict.fromkeys(openers), habits)

    def propose(self, accepted: Sequence[int], width: int, branches: int = 1) -> Draft:
        """At most ``width`` tokens in at most ``branches`` branches, the likeliest first; may be empty."""
        if width < 1 or branches < 1:
            return Draft()
        self._reading.follow(accepted)
        if self._reading.stage not in (OPENING, BODY):
            return Draft()
        return grow(self._first(), self._follow, width, branches)

    def _first(self) -> list[Guess]:
        """Guesses that agree with the piece that is being written, without what is already there."""
        read = self._reading
        opening = read.stage == OPENING
        pieces = self._openings() if opening else list(self._pieces(read.cells, read.last, self._begun()))
        guesses = self._same_tokens(pieces) or self._same_text(pieces)
        if opening and not guesses:
            guesses = self._tag()
        total = sum(guess.chance for guess in guesses)
        return [guess._replace(chance=guess.chance / total) for guess in guesses]

    def _same_tokens(self, pieces: Sequence[_Piece]) -> list[Guess]:
        """The usual case: what is there was cut into tokens as expected."""
        if self._reading.given is None:
            return []
        given = tuple(self._reading.given)
        count = len(given)
        spelled = [(piece, self._spelling.tokens(piece.text, piece.before)) for piece in pieces]
        return [
            Guess(piece.chance, tokens[count:], piece.behind)
            for piece, tokens in spelled
            if len(tokens) > count and tokens[:count] == given
        ]

    def _same_text(self, pieces: Sequence[_Piece]) -> list[Guess]:
        """What is there was cut in another way, or a token lies across the piece's beginning: go by the bytes."""
        unit = self._reading.unit
        if self._reading.stage == OPENING:
            unit = unit.lstrip()
        guesses = []
        for piece in sorted(pieces, key=lambda piece: -piece.chance)[:_TRIED]:
            data = piece.text.encode()
            if data.startswith(unit) and len(data) > len(unit):
                rest = data[len(unit) :].decode("utf-8", "ignore")
                if len(rest.encode()) == len(data) - len(unit):  # not inside a character
                    tokens = self._spelling.tokens(rest, "x *1" if unit[-1:].isdigit() else "x")
                    guesses.append(Guess(piece.chance, tokens, piece.behind))
        return [guess for guess in guesses if guess.tokens]

    def _openings(self) -> list[_Piece]:
        return [_Piece(f"{text}\n{OPEN}", _NEW_LINE, 1 / len(self._openers), ([], None)) for text in self._openers]

    def _tag(self) -> list[Guess]:
        """An unknown sentence that has come to a colon, or to a part of the tag."""
        unit, wanted = self._reading.unit, f"\n{OPEN}"
        for there in range(len(wanted) - 1, 0, -1):
            if unit.endswith(wanted[:there].encode()):
                return [Guess(1.0, self._spelling.tokens(wanted[there:], "x" + wanted[:there]), ([], None))]
        return [Guess(1.0, self._spelling.tokens(wanted, "x:"), ([], None))] if unit.endswith(b":") else []

    def _follow(self, behind: tuple[list[int], Run | None] | None, least: float) -> Iterator[Guess]:
        """What may follow a piece with at least this chance."""
        if behind is None:
            return
        cells, run = behind
        last = None
        if run is not None:
            cells = cells + [run.label] * (run.end - len(cells))
            last = None if run.end % self._line == 0 else run.label
        for piece in self._pieces(cells, last, range(len(self._reading.names)), least):
            tokens = self._spelling.tokens(piece.text, piece.before)
            if tokens:  # none: a tokenizer that drops what it does not know
                yield Guess(piece.chance, tokens, piece.behind)

    def _begun(self) -> Collection[int]:
        """The labels that the piece which is being written may be of."""
        names, unit = self._reading.names, self._reading.unit.lstrip()
        if not unit:
            return range(len(names))
        written = [(number, f"{name}{STAR}".encode()) for number, name in enumerate(names)]
        return {number for number, text in written if text.startswith(unit) or unit.startswith(text)}

    def _pieces(
        self, cells: list[int], last: int | None, labels: Collection[int], least: float = LEAST
    ) -> Iterator[_Piece]:
        """Runs (in the codec ``full``: cells) of these labels that may come behind the cells, or the answer's end."""
        begun = len(cells)
        if begun == self._total:
            yield _Piece(CLOSE, _NEW_LINE, 1.0, None)
            return
        lead, before = (" ", _NEW_LINE if last is None else _IN_LINE) if begun else ("", _AFTER_TAG)
        names, full = self._reading.names, self._codec == "full"
        guess = self._forecast.cell if full else self._forecast.runs
        for run in guess(cells, last, labels, least):
            count = "" if full else f"{STAR}{run.end - begun}"
            separator = BAR[0] if run.end % self._line else BREAK[0]
            yield _Piece(f"{lead}{names[run.label]}{count}{separator}", before, run.chance, (cells, run))
