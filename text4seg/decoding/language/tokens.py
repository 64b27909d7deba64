"""What each token of a vocabulary writes, in bytes, so that a language of texts can be asked which tokens fit.

Byte-level vocabularies (GPT-2's and after) and sentencepiece ones (LLaVA's) are read from their decoder; any other is
decoded token by token. Special tokens write nothing: they are never part of a descriptor.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any

Moves = Callable[[Any], dict[int, Any]]
"""State of an automaton -> the bytes that may follow, and the state behind each."""

_PROBE = "Sure:\n<seg>others *12| red-car (2) *3\n others *16\n</seg>"
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_SEPARATORS = re.compile(rb"[|*\n]")
_TORN = re.compile(rb"(?<=[^ ])\*|\*(?![0-9]|\Z)|\|(?! |\Z)|\n(?! |<|\Z)|\n \n|\n  ")
"""A separator inside a token that no descriptor has in such company: most of a vocabulary's are of programs."""


class Sorted:
    """Tokens in the order of their bytes: those that begin alike stand together."""

    def __init__(self, written: Iterable[tuple[bytes, int]]) -> None:
        ordered = sorted(written)
        self._words = [piece for piece, _ in ordered]
        self._ids = [i for _, i in ordered]

    def fitting(self, state: Any, moves: Moves) -> Iterator[tuple[int, Any]]:
        """Ids of the tokens whose bytes an automaton can take one after the other, and the state behind each."""
        yield from self._walk(state, moves, b"", 0, len(self._words))

    def _walk(self, state: Any, moves: Moves, prefix: bytes, low: int, high: int) -> Iterator[tuple[int, Any]]:
        words, depth = self._words, len(prefix)
        while low < high and len(words[low]) == depth:
            yield self._ids[low], state
            low += 1
        possible = moves(state)
        if high - low <= len(possible):  # fewer tokens than bytes: go by the tokens
            while low < high:
                after, end = possible.get(words[low][depth]), self._end(prefix, words[low][depth], low, high)
                if after is not None:
                    yield from self._walk(after, moves, words[low][: depth + 1], low, end)
                low = end
            return
        for byte, after in possible.items():
            longer = prefix + bytes((byte,))
            first = bisect_left(words, longer, low, high)
            if first < high and words[first].startswith(longer):
                yield from self._walk(after, moves, longer, first, self._end(prefix, byte, first, high))

    def _end(self, prefix: bytes, byte: int, low: int, high: int) -> int:
        """Where the words end that go on from a prefix with a byte."""
        return high if byte == 0xFF else bisect_left(self._words, prefix + bytes((byte + 1,)), low, high)


class Tokens:
    """The vocabulary of a tokenizer.

    Attributes:
        pieces: by token id, the bytes that it writes; None for special tokens, and where there is no token.
        whole: all that write something.
        plain: those of them without a star, a bar or a line break.
        marked: those with one that could stand in a descriptor.
        closing: ids of those with a ``>``, with which tags end.
        breaks: most line breaks that a token of a descriptor holds.
    """

    def __init__(self, pieces: list[bytes | None]) -> None:
        self.pieces = pieces
        written = [(piece, i) for i, piece in enumerate(pieces) if piece]
        marked = [(piece, i) for piece, i in written if _SEPARATORS.search(piece) and not _TORN.search(piece)]
        self.whole, self.marked = Sorted(written), Sorted(marked)
        self.plain = Sorted((piece, i) for piece, i in written if not _SEPARATORS.search(piece))
        self.closing = [i for piece, i in written if b">" in piece]
        self.breaks = max((piece.count(b"\n") for piece, _ in marked), default=0)


def tokens_of(tokenizer: Any) -> Tokens:
    """The vocabulary of a Hugging Face tokenizer, read once.

    Raises:
        ValueError: what its tokens write cannot be told one by one.
    """
    return _tokens_of(tokenizer, len(tokenizer))


@lru_cache(maxsize=8)
def _tokens_of(tokenizer: Any, size: int) -> Tokens:
    ids = tokenizer(_PROBE, add_special_tokens=False)["input_ids"]
    for read in (_by_decoder, _one_by_one):
        pieces = read(tokenizer)
        written = b"".join(pieces[i] or b"" for i in ids)
        if written.strip() == _PROBE.encode():  # sentencepiece puts a blank before the first word
            return Tokens(pieces)
    raise ValueError(
        f"the tokens of {type(tokenizer).__name__} do not add up to the text that they were made from (got "
        f"{written[:40]!r}...): decode with `decoding.grammar: off` and `decoding.engine: hf`."
    )


def _by_decoder(tokenizer: Any) -> list[bytes | None]:
    """Pieces as the tokenizer's own decoder understands them, where it is of a known kind."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    kinds = set() if backend is None else set(_kinds(json.loads(backend.to_str())["decoder"]))
    if "ByteLevel" in kinds:
        return _pieces(tokenizer, _byte_level)
    if kinds & {"ByteFallback", "Metaspace"}:
        return _without_doubles(tokenizer, _pieces(tokenizer, _sentencepiece))
    return _pieces(tokenizer, str.encode)


def _one_by_one(tokenizer: Any) -> list[bytes | None]:
    """Pieces as what decoding adds behind a letter; right where no token is a part of a letter."""
    anchor = tokenizer("a", add_special_tokens=False)["input_ids"][-1:]

    def decode(ids: list[int]) -> str:
        return tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)

    start = len(decode(anchor))
    return _pieces(tokenizer, lambda word: decode([*anchor, tokenizer.convert_tokens_to_ids(word)])[start:].encode())


def _pieces(tokenizer: Any, read: Callable[[str], bytes]) -> list[bytes | None]:
    vocabulary = tokenizer.get_vocab()
    added, special = tokenizer.added_tokens_decoder, set(tokenizer.all_special_ids)
    pieces: list[bytes | None] = [None] * (max(vocabulary.values()) + 1)
    for word, i in vocabulary.items():
        if i not in special and not (i in added and added[i].special):
            pieces[i] = str(added[i]).encode() if i in added else read(word)
    return pieces


def _without_doubles(tokenizer: Any, pieces: list[bytes | None]) -> list[bytes | None]:
    """Leave out the byte tokens of letters that have a token of their own.

    No text is ever cut into them, and next to a broken letter sentencepiece decodes them as broken too.
    """
    byte_tokens = {i for word, i in tokenizer.get_vocab().items() if _BYTE.fullmatch(word)}
    written = {piece for i, piece in enumerate(pieces) if i not in byte_tokens}
    return [None if i in byte_tokens and piece in written else piece for i, piece in enumerate(pieces)]


def _kinds(decoder: Any) -> Iterator[str]:
    if isinstance(decoder, dict):
        yield decoder["type"]
        for inner in decoder.get("decoders", ()):
            yield from _kinds(inner)


def _sentencepiece(word: str) -> bytes:
    byte = _BYTE.fullmatch(word)
    return bytes.fromhex(byte[1]) if byte else word.replace("\u2581", " ").encode()


def _byte_level(word: str) -> bytes:
    letters = _letters()
    return bytes(letters[letter] for letter in word) if all(letter in letters for letter in word) else word.encode()


@lru_cache(maxsize=1)
def _letters() -> dict[str, int]:
    """The byte that each letter of a byte-level vocabulary stands for: the visible ones for themselves."""
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in visible]
    return {chr(byte): byte for byte in visible} | {chr(256 + i): byte for i, byte in enumerate(rest)}
