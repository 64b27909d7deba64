"""Text as a tokenizer writes it: the bytes of each token, and the tokens of a piece that follows other text.

A continuation only helps as a draft when it is cut into tokens the way the model would cut it, so a piece is never
tokenised alone: it is read behind a short context that ends as the text before it does, and the context is taken off.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from text4seg.decoding.language.tokens import tokens_of

CONTEXTS = ("x *1\n", "x *1|", "x *1", "x")
"""What may stand before a piece; the first behind which the piece begins with a token of its own is taken."""


class Spelling:
    """One tokenizer, seen as bytes and pieces; what was looked up is remembered.

    Args:
        tokenizer: a Hugging Face tokenizer.

    Raises:
        ValueError: what its tokens write cannot be told one by one.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._pieces = tokens_of(tokenizer).pieces
        self.tokens = lru_cache(maxsize=1 << 16)(self._tokens)

    def piece(self, token: int) -> bytes:
        """The bytes that a token stands for; none for a special token, and where there is no token."""
        return (self._pieces[token] if 0 <= token < len(self._pieces) else None) or b""

    def _encode(self, text: str) -> list[int]:
        return self._tokenizer(text, add_special_tokens=False)["input_ids"]

    def _tokens(self, text: str, before: str = CONTEXTS[0]) -> tuple[int, ...]:
        """The tokens of a text that stands behind `before`."""
        for context in (before, *CONTEXTS):
            lead, both = self._encode(context), self._encode(context + text)
            if both[: len(lead)] == lead:
                return tuple(both[len(lead) :])
        return tuple(self._encode(text))
