"""Text as a tokenizer writes it: the bytes of each token, and the tokens of a piece that follows other text.

A continuation only helps as a draft when it is cut into tokens the way the model would cut it, so a piece is never
tokenised alone: it is read behind a short context that ends as the text before it does, and the context is taken off.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

CONTEXTS = ("x *1\n", "x *1|", "x *1", "x")
"""What may stand before a piece; the first behind which the piece begins with a token of its own is taken."""


class Spelling:
    """One tokenizer, seen as bytes and pieces; what was looked up is remembered.

    Args:
        tokenizer: a fast Hugging Face tokenizer, byte-level or sentencepiece.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._special = set(tokenizer.all_special_ids)
        self._byte_level = "ByteLevel" in repr(tokenizer.backend_tokenizer.decoder)
        self.tokens = lru_cache(maxsize=1 << 16)(self._tokens)
        self.piece = lru_cache(maxsize=None)(self._piece)

    def _piece(self, token: int) -> bytes:
        """The bytes that a token stands for; none for a special token."""
        if token in self._special:
            return b""
        name = self._tokenizer.convert_ids_to_tokens(token)
        if name is None:
            return b""
        if self._byte_level:
            return b"".join(_BYTE[c] if c in _BYTE else c.encode() for c in name)
        if len(name) == 6 and name.startswith("<0x") and name.endswith(">"):
            return bytes([int(name[3:5], 16)])
        return name.replace("\u2581", " ").encode()

    def _encode(self, text: str) -> list[int]:
        return self._tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids

    def _tokens(self, text: str, before: str = CONTEXTS[0]) -> tuple[int, ...]:
        """The tokens of a text that stands behind `before`."""
        for context in (before, *CONTEXTS):
            lead, both = self._encode(context), self._encode(context + text)
            if both[: len(lead)] == lead:
                return tuple(both[len(lead) :])
        return tuple(self._encode(text))


def _byte_alphabet() -> dict[str, bytes]:
    """The printable stand-ins that byte-level tokenizers use for bytes (GPT-2's table)."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {chr(byte): bytes([byte]) for byte in plain}
    rest = [byte for byte in range(256) if byte not in plain]
    return table | {chr(256 + i): bytes([byte]) for i, byte in enumerate(rest)}


_BYTE = _byte_alphabet()
