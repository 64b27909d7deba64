"""One answer that is being written: its tokens, what the model has not seen of them yet, and when it is finished."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from text4seg.decoding.contract import Draft, Drafter, Tracker


@dataclass
class Counts:
    """What answers cost. Everything is summed over answers, `steps` and `seconds` over batches.

    Attributes:
        tokens: that were written.
        passes: of the model behind the prompt; one that verifies several answers counts once for each.
        steps: the same passes, each counted once.
        fed: tokens that went into those passes.
        drafted: of them, guesses.
        accepted: guesses that were right.
        certain: tokens that the language left no choice about, which no pass was spent on.
        seconds: of wall time, prompts included.
    """

    tokens: int = 0
    passes: int = 0
    steps: int = 0
    fed: int = 0
    drafted: int = 0
    accepted: int = 0
    certain: int = 0
    seconds: float = 0.0

    def add(self, other: Counts) -> None:
        """Sum up."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    def per_mask(self, answers: int) -> dict[str, float]:
        """Tokens, passes and seconds of a mask, means over so many answers."""
        values = {"tokens": self.tokens, "passes": self.passes, "seconds": self.seconds}
        return {name: round(value / max(answers, 1), 4) for name, value in values.items()}


class NoLanguage:
    """A tracker that allows everything and never ends an answer."""

    def allowed(self) -> torch.Tensor | None:
        """Any token may follow."""
        return None

    def accept(self, token: int) -> bool:
        """Nothing to follow."""
        return True

    def rollback(self, count: int) -> None:
        """Nothing to take back."""

    @property
    def done(self) -> bool:
        """Only other rules end an answer."""
        return False

    @property
    def left_at(self) -> int | None:
        """There is no language to leave."""
        return None


class NoDrafts:
    """A drafter without ideas: one token a pass."""

    def propose(self, accepted: Sequence[int], width: int, branches: int = 1) -> Draft:
        """Nothing."""
        return Draft()


@dataclass
class Answering:
    """An answer on its way.

    Attributes:
        number: which of the batch's.
        bound: most tokens it may have.
        ends: is told each token; whether the answer ends with it.
        tracker: where it stands in the language.
        drafter: guesses how it goes on.
        tokens: accepted so far.
        pending: the last of them, those that the model has not seen.
        seen: tokens that the model has seen behind the prompt as it was first read.
        start: position of the first token behind that prompt, one number an axis.
        finished: nothing is to come.
        chances: sum of the probabilities that the model gave its tokens.
    """

    number: int
    bound: int
    ends: Callable[[int], bool]
    tracker: Tracker = field(default_factory=NoLanguage)
    drafter: Drafter = field(default_factory=NoDrafts)
    tokens: list[int] = field(default_factory=list)
    pending: list[int] = field(default_factory=list)
    seen: int = 0
    start: tuple[int, ...] = (0,)
    finished: bool = False
    chances: float = 0.0
    counts: Counts = field(default_factory=Counts)

    @property
    def confidence(self) -> float:
        """Mean probability of its tokens."""
        return self.chances / max(1, len(self.tokens))

    def take(self, token: int, chance: float = 1.0) -> None:
        """Accept a token that the model gave such a probability."""
        self.tokens.append(token)
        self.chances += chance
        self.tracker.accept(token)
        over = self.ends(token)
        self.finished = over or self.tracker.done or len(self.tokens) >= self.bound
        self.counts.tokens += 1

    def take_certain(self) -> None:
        """Accept what the language leaves no choice about: no pass is needed to know it."""
        while not self.finished:
            allowed = self.tracker.allowed()
            if allowed is None or int(allowed.sum()) != 1:
                return
            token = int(allowed.int().argmax())
            self.take(token)
            self.pending.append(token)
            self.counts.certain += 1

    def draft(self, width: int, branches: int) -> Draft:
        """A guess of at most `width` tokens, none beyond the bound: the last token of an answer is never fed."""
        width = min(width, self.bound - len(self.tokens) - 1)
        return self.drafter.propose(self.tokens, width, branches) if width > 0 else Draft()
