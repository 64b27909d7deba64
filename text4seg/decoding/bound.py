"""How many tokens an answer can need, so that a model that does not stop is stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from text4seg.descriptors import answer, max_text

if TYPE_CHECKING:
    from text4seg.data.items import Item

LONGEST = 8192
"""No answer is given more new tokens than this, whatever its grid."""

_OPENING = 48
"""Tokens for the sentence before the descriptor, beside the labels that it may repeat."""


def token_bound(tokenizer: Any, items: Iterable[Item], limit: int = LONGEST) -> int:
    """New tokens that the longest well-formed answer to any of these items takes, at most ``limit``.

    Args:
        tokenizer: a Hugging Face tokenizer.
        items: what is asked; the size, codec and labels of each count.
        limit: upper end of the result.
    """
    longest = _longest(items, lambda text: len(tokenizer(text, add_special_tokens=False)["input_ids"]))
    return max(1, min(limit, longest + _OPENING))


def byte_bound(items: Iterable[Item], preamble: int, limit: int = LONGEST) -> int:
    """The same however the answer is cut into tokens: one a byte at worst, behind `preamble` of them."""
    return max(1, min(limit, preamble + _longest(items, lambda text: len(text.encode()))))


def _longest(items: Iterable[Item], length: Callable[[str], int]) -> int:
    kinds = {(tuple(item.size), item.codec, tuple(item.labels)) for item in items}
    texts = (answer(", ".join(labels), max_text(size, labels, codec, length)) for size, codec, labels in kinds)
    return max(map(length, texts), default=0)
