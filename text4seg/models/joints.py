"""Pieces of one text, tokenised apart, as if they had been tokenised together.

Tokenizers in the manner of Llama's put a blank before whatever they are given, `old` ones also behind every special
token. A question that is tokenised by itself would so begin with a blank that the whole prompt does not have.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

SIGNS = ("\n", "\x02", ".")
"""What a text may be put behind; the first that never becomes one token with it is taken."""
PROBES = ("x", " x", "\nx", "\n\nx", ".x")


class Joints:
    """How a tokenizer begins a text.

    Args:
        tokenizer: a Hugging Face tokenizer.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    @cached_property
    def special(self) -> frozenset[int]:
        """Ids of the tokens that stand for no text."""
        added = self._tokenizer.added_tokens_decoder
        return frozenset((*self._tokenizer.all_special_ids, *(n for n, token in added.items() if token.special)))

    @property
    def blank(self) -> bool:
        """Whether a text that begins anew begins with a blank."""
        return self._sign is not None

    def goes_on(self, behind: int) -> bool:
        """Whether what stands behind this token goes on with a text; `old` tokenizers begin one behind special ones."""
        return behind not in self.special or not self._old

    def ids(self, texts: Sequence[str], going_on: Sequence[bool], plain: bool) -> list[list[int]]:
        """Token ids of each text, of those that go on with another without the blank of a beginning.

        Args:
            plain: whether names of special tokens are words.
        """
        if self._sign is None or not any(going_on):
            return self._of(texts, plain)
        head = len(self._of([self._sign], plain)[0])
        found = self._of([f"{self._sign}{t}" if on else t for t, on in zip(texts, going_on, strict=True)], plain)
        return [ids[head:] if on else ids for ids, on in zip(found, going_on, strict=True)]

    @cached_property
    def _sign(self) -> str | None:
        """None where texts begin as they go on."""
        newline, letter, both = self._of(["\n", "x", "\nx"], True)
        if newline + letter == both:
            return None
        for sign in SIGNS:
            head, *found = self._of([sign, *(sign + probe for probe in PROBES)], True)
            if all(ids[: len(head)] == head for ids in found):
                return sign
        return None

    @cached_property
    def _old(self) -> bool:
        token = self._tokenizer.eos_token or self._tokenizer.bos_token
        if token is None:
            return False
        alone, behind = self._of(["x", f"{token}x"], False)
        return behind[1:] == alone

    def _of(self, texts: Sequence[str], plain: bool) -> list[list[int]]:
        return self._tokenizer(list(texts), add_special_tokens=False, split_special_tokens=plain)["input_ids"]
