"""Where one answer stands: before the descriptor, in it, behind it, or outside the language.

Places are never changed, only followed by others, so that going back means forgetting the last ones.
Axis legend: V vocabulary.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from text4seg.decoding.language.automaton import State
from text4seg.decoding.language.grammar import Grammar, UnwritableError, grammar_for, tail
from text4seg.decoding.settings import ON, PREAMBLE, DecodingSettings
from text4seg.descriptors.exact import CLOSE

if TYPE_CHECKING:
    from text4seg.data.items import Item

_CLOSE = CLOSE.encode()


class _Step(NamedTuple):
    """Behind one token.

    Attributes:
        state: where the descriptor stands; None before it, and outside the language.
        tail: the last letters, as far as they may be the beginning of a tag.
        left: index of the token with which the language was left.
        done: whether the answer is over.
    """

    state: State | None
    tail: bytes = b""
    left: int | None = None
    done: bool = False


class AnswerTracker:
    """Follows one answer; a :class:`.contract.Tracker`.

    Args:
        grammar: the language on the model's vocabulary.
        vocabulary: entries of the model's logits, which may be more than there are tokens.
        mode: on: a token outside the language is refused; off and report: it is followed.
        preamble: most tokens of the sentence before the descriptor.
        ends: ids of the end tokens.
    """

    def __init__(
        self, grammar: Grammar, vocabulary: int, mode: str = ON, preamble: int = PREAMBLE, ends: Collection[int] = ()
    ) -> None:
        self._grammar, self._vocabulary, self._on = grammar, vocabulary, mode == ON
        self._preamble, self._ends = preamble, frozenset(ends)
        self._steps = [_Step(None if preamble else grammar.forced(b""))]

    def ids(self) -> Tensor | None:
        """Ids of the tokens that may follow in a descriptor, int64 ``[n]``; None: see `allowed`.

        Raises:
            ValueError: none may.
        """
        last = self._steps[-1]
        return None if last.state is None or last.done or not self._on else self._fitting(last.state)

    def allowed(self) -> Tensor | None:
        """Tokens that may follow, bool ``[V]``; None: any.

        Raises:
            ValueError: none may.
        """
        last = self._steps[-1]
        if last.done or not self._on:
            return None
        if last.state is None:
            return self._grammar.sentence(last.tail, self._vocabulary)
        mask = torch.zeros(self._vocabulary, dtype=torch.bool)
        mask[self._fitting(last.state)] = True
        return mask

    def _fitting(self, state: State) -> Tensor:
        ids = self._grammar.fitting(state)
        if not len(ids):  # any token would do then: the likeliest of none is the first
            labels = ", ".join(map(repr, self._grammar.language.labels)) or "any words"
            raise UnwritableError(f"what has to follow in a descriptor of {labels:.200}")
        return ids

    def accept(self, token: int) -> bool:
        """Step over a token; False, and no step taken, when the mode is on and the language does not allow it."""
        last = self._steps[-1]
        piece = self._grammar.piece(token)
        closed = _CLOSE in last.tail + piece
        after = tail(last.tail + piece)
        if last.left is None and not last.done:
            place = self._grammar.step(last.tail if last.state is None else last.state, piece)
            if isinstance(place, bytes) and len(self._steps) >= self._preamble:
                place = self._grammar.forced(place)
            if place is not None:
                self._steps.append(_Step(place if isinstance(place, State) else None, after, None, closed))
                return True
        if self._on:
            return False
        left = len(self._steps) - 1 if last.left is None and not last.done else last.left
        self._steps.append(_Step(None, after, left, last.done or closed or token in self._ends))
        return True

    def rollback(self, count: int) -> None:
        """Take the last ``count`` tokens back.

        Raises:
            ValueError: so many were not accepted.
        """
        if not 0 <= count < len(self._steps):
            raise ValueError(f"`count` must lie in 0..{len(self._steps) - 1}, the tokens accepted, got {count}.")
        del self._steps[len(self._steps) - count :]

    @property
    def accepted(self) -> int:
        """How many tokens were accepted."""
        return len(self._steps) - 1

    @property
    def done(self) -> bool:
        """Whether the answer is over: ``</seg>`` is complete, or the end token was taken."""
        return self._steps[-1].done

    @property
    def left_at(self) -> int | None:
        """Index of the token with which the text left the language, in the modes that let it."""
        return self._steps[-1].left


def trackers(
    tokenizer: Any, items: Iterable[Item], settings: DecodingSettings, vocabulary: int, ends: Collection[int]
) -> list[AnswerTracker]:
    """A tracker at the beginning of each item's answer; arguments as :class:`AnswerTracker`'s.

    Raises:
        ValueError: the mode is on, and the tokens cannot write a label that is asked for.
    """
    grammars = [grammar_for(tokenizer, item) for item in items]
    for grammar in grammars if settings.grammar == ON else ():
        grammar.check()
    return [AnswerTracker(grammar, vocabulary, settings.grammar, settings.preamble, ends) for grammar in grammars]
