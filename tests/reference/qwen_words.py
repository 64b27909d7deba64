"""A small vocabulary in the file format of Qwen-VL-Chat's own, for both sides of a comparison."""

from __future__ import annotations

import base64
from pathlib import Path

WORDS = "others| segment| image| the| Picture| user| assistant| system| helpful| seg>| *1|| car| caf\u00e9| \u56fe|\n "


def tokens() -> list[bytes]:
    """All bytes, then every word letter by letter, so that each token is made of an earlier one and a byte."""
    known = dict.fromkeys(bytes([value]) for value in range(256))
    for word in WORDS.split("|"):
        known |= dict.fromkeys(word.encode()[:length] for length in range(2, len(word.encode()) + 1))
    return list(known)


def write_words(folder: str | Path) -> int:
    """Write `qwen.tiktoken`; gives the number of its tokens."""
    found = tokens()
    lines = [f"{base64.b64encode(token).decode()} {rank}\n" for rank, token in enumerate(found)]
    (Path(folder) / "qwen.tiktoken").write_text("".join(lines), encoding="ascii")
    return len(found)
