"""Which tokens of a vocabulary may follow, at every place of a language; found when first asked for, then kept.

Axis legend: V tokens.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from text4seg.decoding.language.automaton import Language, State
from text4seg.decoding.language.tokens import Tokens, tokens_of
from text4seg.descriptors.exact import CLOSE, OPEN

if TYPE_CHECKING:
    from text4seg.data.items import Item

KEPT = 64
"""Languages whose tables are kept: one for each size, codec and list of labels that is asked for at a time."""

UNNAMED = ("all", "parts")
"""Questions that do not say which labels there are."""

_OPEN, _CLOSE = OPEN.encode(), CLOSE.encode()
_BEFORE = "\n" + OPEN
Free = bytes
"""In the sentence before the descriptor: the last letters, as far as they may be the beginning of a tag."""
Place = Free | State
"""Where an answer stands."""


class UnwritableError(ValueError):
    """A vocabulary has no tokens for what a language asks for."""

    def __init__(self, what: str) -> None:
        super().__init__(f"this model's tokens cannot write {what}: take `decoding.grammar: report` (or off) for it.")


class Grammar:
    """A language on a vocabulary.

    Args:
        tokens: the vocabulary.
        language: what may be written.
    """

    def __init__(self, tokens: Tokens, language: Language) -> None:
        self.tokens = tokens
        self.language = language
        self._fitting: dict[State, Tensor] = {}
        self._sentences: dict[tuple[Free, int], Tensor] = {}
        self._inside: dict[int, tuple[Tensor, Tensor]] = {}
        self._unwritable: tuple[str, ...] | None = None

    def piece(self, token: int) -> bytes:
        """What a token writes; special tokens and those that are not there write nothing."""
        return (self.tokens.pieces[token] or b"") if token < len(self.tokens.pieces) else b""

    def step(self, place: Place, piece: bytes) -> Place | None:
        """The place behind a token, or None when it must not stand there."""
        if not piece:
            return None
        return self.language.run(place, piece) if isinstance(place, State) else self._sentence(place, piece)

    def fitting(self, state: State) -> Tensor:
        """Ids of the tokens that may follow in a descriptor, int64 ``[n]``."""
        # Lines further away than a token reaches look all alike.
        state = state._replace(lines=min(state.lines, self.tokens.breaks + 1))
        in_label = state.node in self.language.open
        found = self._fitting.get(state)
        if found is None:
            reader = self.tokens.marked if in_label else self.tokens.whole
            found = self._fitting[state] = _ids(i for i, _ in reader.fitting(state, self.language.moves))
        if not in_label:
            return found
        ids, letters = self._inside_label(state)
        return torch.cat([ids[letters <= self.language.room(state)], found])

    def check(self) -> None:
        """Refuse labels that cannot be written where a descriptor begins; looked for once.

        Raises:
            UnwritableError: naming the first of them.
        """
        if self._unwritable is None:
            self._unwritable = tuple(label for label in self.language.labels if not self._writes(label))
        if self._unwritable:
            raise UnwritableError(f"the label {self._unwritable[0]!r}")

    def _writes(self, label: str) -> bool:
        """Whether tokens lead over a label: the first may begin with the tag before it, the last end behind it."""
        language, text = self.language, _BEFORE + self.language.head(label)
        places = [language.forced, *language.along(language.forced, text)]
        only = {place: {byte: to} for place, byte, to in zip(places, text.encode(), places[1:], strict=False)}
        waiting = places[: len(_BEFORE) + 1]  # the tag itself is written, however tokens cut it
        seen = set(waiting)
        while waiting:
            for _, to in self.tokens.whole.fitting(waiting.pop(), lambda at: only.get(at) or language.moves(at)):
                if to not in only:
                    return True
                if to not in seen:  # the longest token comes last, and is followed first
                    seen.add(to)
                    waiting.append(to)
        return False

    def sentence(self, place: Free, vocabulary: int) -> Tensor:
        """Tokens that may follow in the sentence before a descriptor, bool ``[V]``.

        Any may but special ones, those that close a descriptor before one is open, and those that open one and go on
        as none does. Not to be changed.
        """
        found = self._sentences.get((place, vocabulary))
        if found is None:
            pieces = self.tokens.pieces
            wrong = (i for i in self.tokens.closing if self._sentence(place, self.piece(i)) is None)
            found = torch.zeros(vocabulary, dtype=torch.bool)
            found[_ids(i for i, piece in enumerate(pieces) if piece)] = True
            found[_ids(wrong)] = False
            self._sentences[place, vocabulary] = found
        return found

    def forced(self, place: Free) -> State:
        """Where a sentence stands that is cut off: the tag must come, or go on where it has begun."""
        begun = self.language.run(self.language.start, place)
        return begun if place and begun is not None else self.language.forced

    def _sentence(self, place: Free, piece: bytes) -> Place | None:
        text = place + piece
        opened, closed = text.find(_OPEN), text.find(_CLOSE)
        if closed >= 0 and not 0 <= opened < closed:
            return None
        if opened >= 0:
            return self.language.run(self.language.body, text[opened + len(_OPEN) :])
        return tail(text)

    def _inside_label(self, state: State) -> tuple[Tensor, Tensor]:
        """Tokens with which an open label goes on, and the letters that each needs room for."""
        found = self._inside.get(state.node)
        if found is None:
            language = self.language
            start = state._replace(count=0)
            after = [(i, to) for i, to in self.tokens.plain.fitting(start, language.moves) if to.node in language.open]
            needs = [language.needs(to) for _, to in after]
            found = self._inside[state.node] = _ids(i for i, _ in after), torch.tensor(needs, dtype=torch.int64)
        return found


def tail(text: bytes) -> Free:
    """The end of a text, as far as it may be the beginning of a tag."""
    start = text.rfind(b"<")
    rest = text[start:] if start >= 0 else b""
    return rest if _OPEN.startswith(rest) or _CLOSE.startswith(rest) else b""


def labels_asked(item: Item) -> tuple[str, ...] | None:
    """The labels that an answer may hold: those of the question, or None (any) when it does not name them all.

    Questions for all classes or for the parts of something are scored by labels that only the truth knows.
    """
    labels = tuple(item.labels[1:])
    named = item.task not in UNNAMED and all(label in item.question for label in labels)
    return labels if named else None


def grammar_for(tokenizer: Any, item: Item) -> Grammar:
    """The grammar of an item's answer; made once for each size, codec and list of labels."""
    return _made(tokens_of(tokenizer), tuple(item.size), item.codec, labels_asked(item))


@lru_cache(maxsize=KEPT)
def _made(tokens: Tokens, size: tuple[int, int], codec: str, labels: tuple[str, ...] | None) -> Grammar:
    return Grammar(tokens, Language(size, codec, labels))


def _ids(found: Iterable[int]) -> Tensor:
    return torch.tensor(list(found), dtype=torch.int64)
