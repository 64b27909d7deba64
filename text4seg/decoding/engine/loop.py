"""Draft and verify: each pass of the model confirms as many guessed tokens as were right, for a whole batch at once.

Lossless: a guess is taken only where it is what the model itself would write there, so the text is that of one token a
pass. That holds for sampling too: at each place one token is drawn from the model's own distribution, and a guess is
right when it is that token (this is rejection sampling with a draft that has no doubts: it is accepted with the
probability that the model gives it, and otherwise what remains is drawn from).
Axis legend: B answers, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from text4seg.decoding.confidence import chance
from text4seg.decoding.engine.answering import Answering
from text4seg.decoding.engine.cache import RaggedCache
from text4seg.decoding.engine.once import looked_at_once
from text4seg.decoding.engine.prefill import prefill
from text4seg.decoding.engine.prefix import by_picture, rows_of, shared
from text4seg.decoding.engine.verify import Branches, Verifier

if TYPE_CHECKING:
    from text4seg.models.backbone import Backbone

Adjust = Callable[[int, Sequence[int], Tensor], Tensor]
"""(number of the answer, its tokens so far, logits ``[V]``) -> other logits, as a logits processor of `generate`."""

TOGETHER = 4
"""New prompts are read when this part of the slots is free: 4 is a quarter."""


class Choice(Protocol):
    """How a token is chosen."""

    def __call__(self, number: int, logits_V: Tensor) -> int:
        """The next token of answer `number`."""
        ...


class Widths(Protocol):
    """How much to guess."""

    def width(self, answers: int) -> int:
        """Tokens to draft for each of so many answers that share a pass."""
        ...

    def learn(self, asked: int, depth: int, accepted: int) -> None:
        """Of a draft that might have had `asked` tokens, and had `depth` in its longest branch, so many were right."""
        ...


def greedy(number: int, logits_V: Tensor) -> int:
    """The likeliest token, the first of several."""
    return int(logits_V.argmax())


class Fixed:
    """Drafts of one width."""

    def __init__(self, width: int) -> None:
        self._width = width

    def width(self, answers: int) -> int:
        """Always the same."""
        return self._width

    def learn(self, asked: int, depth: int, accepted: int) -> None:
        """Nothing to learn."""


class Engine:
    """Writes answers.

    Args:
        backbone: model and processor; a verifiable one (see `fitness.unfit`).
        widths: how much to guess.
        branches: of a draft, at most.
        choose: a token from logits that the language has been applied to.
        adjust: changes logits before that.

    Attributes:
        steps: passes so far, behind the prompts.
    """

    def __init__(
        self,
        backbone: Backbone,
        widths: Widths,
        branches: int = 1,
        choose: Choice = greedy,
        adjust: Adjust | None = None,
    ) -> None:
        self._backbone = backbone
        self._verify = Verifier(backbone)
        self._widths = widths
        self._branches = branches
        self._choose = choose
        self._adjust = adjust
        self.steps = 0

    def run(self, prompts: dict[str, Tensor], answers: Sequence[Answering], slots: int | None = None) -> None:
        """Write the answers to a batch of left-padded prompts; they hold their tokens afterwards.

        Args:
            prompts: ``input_ids`` and ``attention_mask`` ``[B, T]`` with the images' tensors, on any device.
            answers: nothing written yet, B of them.
            slots: so many are written at a time, and the next ones begin as soon as some are finished; None: all.
        """
        waiting = by_picture(prompts)
        slots = slots or len(answers)
        cache: RaggedCache | None = None
        active: list[Answering] = []
        while active or waiting:
            # A prompt costs much more than a pass: some are read together.
            if waiting and len(active) <= slots - max(1, slots // TOGETHER):
                rows, waiting = waiting[: slots - len(active)], waiting[slots - len(active) :]
                begun = [answers[row] for row in rows]
                read = self._read(rows_of(prompts, rows), begun)
                begun = _going(read, begun)
                if cache is None or not active:
                    cache = read
                elif begun:
                    cache.join(read)
                active += begun
            if active:
                assert cache is not None
                self._step(cache, active)
                active = _going(cache, active)

    def _read(self, prompts: dict[str, Tensor], answers: Sequence[Answering]) -> RaggedCache:
        """Let the model read prompts, what several have in common once."""
        device = next(self._backbone.model.parameters()).device
        prompts = {name: part.to(device) for name, part in prompts.items()}
        parts = shared(prompts, self._backbone.processor.image_token_id) if self._backbone.shared_prefix else None
        if parts is None:
            with looked_at_once(self._backbone.part("vision")):
                read = prefill(self._backbone, prompts)
            for answer, logits_V, start in zip(answers, read.logits_BV, read.starts, strict=True):
                answer.start = start
                self._take(answer, logits_V)
            return read.cache
        read = prefill(self._backbone, parts.prefixes)
        read.cache.select(parts.group)
        for answer, group, rest in zip(answers, parts.group, parts.rests, strict=True):
            answer.start, answer.pending = read.starts[group], rest
        return read.cache

    def _step(self, cache: RaggedCache, active: Sequence[Answering]) -> None:
        """One pass: verify a draft of each answer, accept what is right and the model's own token behind it."""
        width = self._widths.width(len(active))
        rows = [_branches(answer, width, self._branches) for answer in active]
        starts = [tuple(axis + answer.seen for axis in answer.start) for answer in active]
        logits = self._verify(cache, rows, starts)
        self.steps += 1
        for number, (answer, row, logits_NV) in enumerate(zip(active, rows, logits, strict=True)):
            kept = self._walk(answer, row, logits_NV)
            cache.accept(number, kept)
            answer.seen += len(kept)
            drafted, accepted = len(row.tokens) - row.pending, len(kept) - row.pending
            self._widths.learn(width, row.depth, accepted)
            answer.counts.passes += 1
            answer.counts.fed += len(row.tokens)
            answer.counts.drafted += drafted
            answer.counts.accepted += accepted

    def _walk(self, answer: Answering, row: Branches, logits_NV: Tensor) -> list[int]:
        """Follow the model's choices through a row's draft; gives the places of the tokens that it went over."""
        kept = list(range(row.pending))
        place = row.pending - 1
        while True:
            token = self._take(answer, logits_NV[place - row.pending + 1])
            below = [child for child in row.children(place) if row.tokens[child] == token]
            if answer.finished or not below:
                return kept
            place = below[0]
            kept.append(place)
            answer.pending = []

    def _take(self, answer: Answering, logits_V: Tensor) -> int:
        if self._adjust is not None:
            logits_V = self._adjust(answer.number, answer.tokens, logits_V)
        allowed = answer.tracker.allowed()
        if allowed is not None:
            logits_V = logits_V.masked_fill(~allowed.to(logits_V.device), -torch.inf)
        token = self._choose(answer.number, logits_V)
        answer.take(token, chance(logits_V, token))
        answer.pending = [token]
        return token


def _going(cache: RaggedCache, answers: Sequence[Answering]) -> list[Answering]:
    """Those that are not finished; the others cost nothing any more."""
    for answer in answers:
        answer.take_certain()
    rows = [row for row, answer in enumerate(answers) if not answer.finished]
    if rows:
        cache.select(rows)
    return [answers[row] for row in rows]


def _branches(answer: Answering, width: int, branches: int) -> Branches:
    pending = len(answer.pending)
    draft = answer.draft(width, branches)
    parents = [*range(-1, pending - 1), *(parent + pending for parent in draft.parents)]
    return Branches([*answer.pending, *draft.tokens], parents, pending)
