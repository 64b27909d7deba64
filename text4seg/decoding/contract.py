"""What the parts of the decoding engine ask of each other: a tracker that knows the language, a drafter that guesses.

Axis legend: V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch


@dataclass(frozen=True)
class Draft:
    """A tree of guessed tokens.

    Attributes:
        tokens: the guesses.
        parents: ``parents[i]`` is the index of token i's parent in ``tokens`` (always < i); -1 is the last accepted
            token. A single draft is the chain -1, 0, 1, ...
    """

    tokens: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)

    def agreeing(self, right: Sequence[int]) -> int:
        """How many of its tokens are accepted when the text goes on as `right`."""
        children = {(parent, token): i for i, (token, parent) in enumerate(zip(self.tokens, self.parents, strict=True))}
        node = -1
        for count, token in enumerate(right):
            if (node, token) not in children:
                return count
            node = children[node, token]
        return len(right)


class Tracker(Protocol):
    """Where one answer stands in the language of its grid."""

    def allowed(self) -> torch.Tensor | None:
        """bool ``[V]``: tokens that may follow; None: any (mode off or report, or the free opening sentence)."""
        ...

    def accept(self, token: int) -> bool:
        """Step over a token.

        Returns:
            False, and no step taken, when it is outside the language and the mode is on. In mode report the tracker
            steps out, remembers where, and returns True.
        """
        ...

    def rollback(self, count: int) -> None:
        """Take the last ``count`` accepted tokens back."""
        ...

    @property
    def done(self) -> bool:
        """Whether ``</seg>`` is complete (a plain-text tag, however tokens cut it) or the end token was taken."""
        ...

    @property
    def left_at(self) -> int | None:
        """Index of the token at which the text left the language (mode report)."""
        ...


class Drafter(Protocol):
    """Guesses what one answer goes on with, from its accepted tokens, the query's labels and the grid's size only."""

    def propose(self, accepted: Sequence[int], width: int, branches: int = 1) -> Draft:
        """At most ``width`` tokens in at most ``branches`` branches, best first. May be empty."""
        ...
