"""When an answer is finished: at ``</seg>``, at an end token, or when it is plainly going round in circles.

The tag is plain text that a tokenizer may cut in any way, so the text is watched, not token ids.
Axis legend: B answers of the batch, L tokens.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from transformers import StoppingCriteria

if TYPE_CHECKING:
    from text4seg.data.items import Item

OPEN, CLOSE = "<seg>", "</seg>"
_SEPARATOR = re.compile(r"[|*\n]")
_LETTERS = 512
"""So many letters without a separator are no label and no opening sentence, unless the labels themselves are long."""


class AnswerEnds(StoppingCriteria):
    """Stops each answer of a batch by itself.

    Args:
        tokenizer: a Hugging Face tokenizer.
        items: what each prompt asks for; the size, codec and labels of each count.
    """

    def __init__(self, tokenizer: Any, items: Iterable[Item]) -> None:
        self._tokenizer = tokenizer
        self._watches = [_Watch(item) for item in items]
        self._pieces: dict[int, str] = {}

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **_: Any) -> torch.Tensor:
        """Read the last token of each answer.

        Args:
            input_ids: ``[B, L]``, prompts and what was generated so far; called once a generated token.
            scores: not looked at.

        Returns:
            bool ``[B]``: which answers are finished.
        """
        done = [self.after(row, token) for row, token in enumerate(input_ids[:, -1].tolist())]
        return torch.tensor(done, dtype=torch.bool, device=input_ids.device)

    def after(self, row: int, token: int) -> bool:
        """Whether answer number `row` is finished with this token; to be told each token once."""
        return self._watches[row].ends(self._piece(token))

    def _piece(self, token: int) -> str:
        if token not in self._pieces:
            self._pieces[token] = self._tokenizer.decode(
                [token], skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
        return self._pieces[token]


class _Watch:
    """One answer. Of lines, runs in a line, and letters between separators it may have twice what a grid can take:
    so much surplus says that the model will not find the end, and the parser has no use for it."""

    def __init__(self, item: Item) -> None:
        height, width = item.size
        flat = item.codec == "irle"  # its runs go through all rows and know no lines
        self._most_lines = None if flat else 2 * height + 2
        self._most_runs = 2 * (height * width if flat else width) + 2
        self._most_letters = max(_LETTERS, 4 * len(", ".join(item.labels)))
        longest_run = max(map(len, item.labels)) + len(" *999| ")
        self._most_before = self._most_letters + self._most_runs * longest_run  # also a line of a grid without its tag
        self._in_words = item.task == "text"  # may have any lines and letters; ends where the model ends it
        self._tail = ""
        self._open = False
        self._lines = self._runs = self._letters = 0
        self._done = False

    def ends(self, piece: str) -> bool:
        """Whether the answer is finished with this piece of text; once it is, it stays so."""
        if not self._done:
            self._done = self._closed(piece) | (self._circles(piece) and not self._in_words)
        return self._done

    def _closed(self, piece: str) -> bool:
        text = self._tail + piece
        self._tail = text[-(len(CLOSE) - 1) :]
        self._open |= OPEN in text
        return CLOSE in text

    def _circles(self, piece: str) -> bool:
        self._lines += piece.count("\n")
        too_many_lines = self._most_lines is not None and self._lines > self._most_lines
        if not self._open:  # the sentence before the grid may name all labels, with `|` between them
            self._letters = len(piece) - piece.rfind("\n") - 1 + (0 if "\n" in piece else self._letters)
            return too_many_lines or self._letters > self._most_before
        self._runs = piece.count("|", piece.rfind("\n") + 1) + (0 if "\n" in piece else self._runs)
        last = max((match.end() for match in _SEPARATOR.finditer(piece)), default=None)
        self._letters = self._letters + len(piece) if last is None else len(piece) - last
        return too_many_lines or self._runs > self._most_runs or self._letters > self._most_letters
