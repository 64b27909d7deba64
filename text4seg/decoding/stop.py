"""When an answer is finished: at ``</seg>``, or when it has run far past the rows that were asked for.

The tag is plain text that a tokenizer may cut in any way, so the text is watched, not token ids.
Axis legend: B answers of the batch, L tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import StoppingCriteria

CLOSE = "</seg>"


class AnswerEnds(StoppingCriteria):
    """Stops each answer of a batch by itself.

    Args:
        tokenizer: a Hugging Face tokenizer.
        rows: for each answer, how many text lines it should have; None where the spelling has no lines.
    """

    def __init__(self, tokenizer: Any, rows: Sequence[int | None]) -> None:
        self._tokenizer = tokenizer
        # Twice the rows: so much surplus is a model going round in circles; the parser reads no more rows than asked.
        self._most = [None if n is None else 2 * n + 2 for n in rows]
        self._tails = [""] * len(rows)
        self._lines = [0] * len(rows)
        self._done = [False] * len(rows)
        self._pieces: dict[int, str] = {}

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **_: Any) -> torch.Tensor:
        """Read the last token of each answer.

        Args:
            input_ids: ``[B, L]``, prompts and what was generated so far; called once a generated token.
            scores: not looked at.

        Returns:
            bool ``[B]``: which answers are finished.
        """
        for i, token in enumerate(input_ids[:, -1].tolist()):
            if not self._done[i]:
                self._done[i] = self._ends(i, self._piece(token))
        return torch.tensor(self._done, dtype=torch.bool, device=input_ids.device)

    def _ends(self, i: int, piece: str) -> bool:
        text = self._tails[i] + piece
        self._tails[i] = text[-(len(CLOSE) - 1) :]
        self._lines[i] += piece.count("\n")
        most = self._most[i]
        return CLOSE in text or (most is not None and self._lines[i] > most)

    def _piece(self, token: int) -> str:
        if token not in self._pieces:
            self._pieces[token] = self._tokenizer.decode(
                [token], skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
        return self._pieces[token]
