"""How sure a model was of an answer: the mean chance that it gave the tokens it wrote, 0 to 1.

The chances are the model's own at temperature 1, among the tokens that the language allowed; a token that nothing else
was allowed beside counts 1. On photographs it ranks answers by their IoU (docs/decoding.md).
Axis legend: B prompts, L tokens, V vocabulary.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from transformers import LogitsProcessor

if TYPE_CHECKING:
    from collections.abc import Sequence


def chance(logits_V: Tensor, token: int) -> float:
    """The probability of a token."""
    return float(torch.softmax(logits_V.float(), -1)[token])


def written(confidence: float | None) -> float | None:
    """A confidence as files hold it; None where nobody knows, and where the model's own numbers were none.

    >>> written(1 / 3), written(math.nan)
    (0.333333, None)
    """
    return None if confidence is None or math.isnan(confidence) else round(confidence, 6)


class Chances(LogitsProcessor):
    """Looks at the logits of a step of ``generate``; :meth:`of` then tells the chances of the tokens taken."""

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Keep ``[B, V]``, change nothing."""
        self._scores = scores
        return scores

    def of(self, tokens: Sequence[int]) -> list[float]:
        """Of one token a prompt, in the step that was last looked at."""
        return [chance(logits_V, token) for logits_V, token in zip(self._scores, tokens, strict=True)]
