"""The grammar for plain ``generate``: scores of tokens outside the language become -inf, answers end with the language.

Both classes look at the tokens that are there, not at how often they were called, so that ways of decoding which ask
for several positions and take some back are followed too.
Axis legend: B answers, L tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor, StoppingCriteria

from text4seg.decoding.language.tracker import AnswerTracker


class Follower:
    """Keeps trackers in step with the tokens of a batch.

    Args:
        trackers: one an answer, at its beginning.
        start: length of the prompts.
    """

    def __init__(self, trackers: Sequence[AnswerTracker], start: int) -> None:
        self.trackers = trackers
        self._start = start
        self._taken: list[list[int]] = [[] for _ in trackers]

    def follow(self, input_ids: Tensor) -> None:
        """Step over tokens that are new, and back where others stand now; ``[B, L]``, prompts included."""
        for tracker, taken, tokens in zip(
            self.trackers, self._taken, input_ids[:, self._start :].tolist(), strict=True
        ):
            if tokens[: len(taken)] != taken:
                same = next(i for i, (a, b) in enumerate(zip([*tokens, -1], taken, strict=False)) if a != b)
                tracker.rollback(len(taken) - same)
                del taken[same:]
            for token in tokens[len(taken) :]:
                if tracker.done:  # what follows fills the batch up
                    break
                fits = tracker.accept(token)
                assert fits, f"token {token} was chosen though the grammar does not allow it"
                taken.append(token)


class GrammarMask(LogitsProcessor):
    """Leaves only tokens of the language."""

    def __init__(self, follower: Follower) -> None:
        self._follower = follower

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Mask the scores ``[B, V]`` of the tokens that follow `input_ids`."""
        self._follower.follow(input_ids)
        masked = torch.full_like(scores, -torch.inf)
        for row, tracker in enumerate(self._follower.trackers):
            ids, allowed = tracker.ids(), None
            if ids is None:
                allowed = tracker.allowed()
            if ids is not None:
                ids = ids.to(scores.device)
                masked[row, ids] = scores[row, ids]
            elif allowed is not None:
                masked[row] = scores[row].masked_fill(~allowed.to(scores.device), -torch.inf)
            else:
                masked[row] = scores[row]
        return masked


class LanguageEnds(StoppingCriteria):
    """Stops each answer behind its ``</seg>``."""

    def __init__(self, follower: Follower) -> None:
        self._follower = follower

    def __call__(self, input_ids: Tensor, scores: Tensor, **_: Any) -> Tensor:
        """Which answers are finished, bool ``[B]``."""
        self._follower.follow(input_ids)
        return torch.tensor([tracker.done for tracker in self._follower.trackers], device=input_ids.device)
