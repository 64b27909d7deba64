"""From weighted guesses of text to a tree of tokens: the likeliest tokens first, shared beginnings once.

Each token of the tree has the summed chance of all guesses that go through it. Taking them in that order gives, for
any number of tokens, the tree whose verification is expected to accept most (as far as the chances are right).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from heapq import heappop, heappush
from itertools import count
from typing import Any, NamedTuple

from text4seg.decoding.contract import Draft

FLOOR = 2e-3
"""Tokens less likely than this are not worth their place."""


class Guess(NamedTuple):
    """A piece of text that may come next.

    Attributes:
        chance: how likely, given what it follows.
        tokens: its tokens, at least one.
        state: where the text stands behind it; handed to whoever knows what follows.
    """

    chance: float
    tokens: tuple[int, ...]
    state: Any


def grow(first: Iterable[Guess], follow: Callable[[Any, float], Iterable[Guess]], width: int, branches: int) -> Draft:
    """Lay guesses, and what follows them, into a tree.

    Args:
        first: what may follow the accepted tokens.
        follow: what may follow a state; guesses below the chance that it is given are not needed.
        width: most tokens of the tree.
        branches: most leaves; 1 gives a chain.
    """
    draft, heap, order = Draft(), [], count()
    has_child: set[int] = set()
    leaves = 0

    def offer(guesses: Iterable[Guess], mass: float, at: int, parent: int) -> None:
        """Queue the tokens at one position of guesses that share everything before it."""
        shared: dict[int, list[Guess]] = {}
        sums: dict[int, float] = {}
        for guess in guesses:
            token = guess.tokens[at]
            shared.setdefault(token, []).append(guess)
            sums[token] = sums.get(token, 0.0) + guess.chance
        for token, chance in sums.items():
            if mass * chance >= FLOOR:
                heappush(heap, (-mass * chance, next(order), token, mass, at, parent, shared[token]))

    offer(first, 1.0, 0, -1)
    while heap and len(draft.tokens) < width:
        _, _, token, mass, at, parent, guesses = heappop(heap)
        if parent < 0 or parent in has_child:  # a new leaf; otherwise the parent stops being one
            if leaves == branches:
                continue
            leaves += 1
        has_child.add(parent)
        own = len(draft.tokens)
        draft.tokens.append(token)
        draft.parents.append(parent)
        longer = [guess for guess in guesses if len(guess.tokens) > at + 1]
        if longer:
            offer(longer, mass, at + 1, own)
        for guess in guesses:
            if len(guess.tokens) == at + 1:
                share = mass * guess.chance
                offer(follow(guess.state, FLOOR / share), share, 0, own)
    return draft
