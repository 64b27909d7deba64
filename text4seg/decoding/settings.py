"""What decoding can be told. Plain dataclasses; importing this pulls in nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass

OFF, ON, REPORT = "off", "on", "report"
GRAMMARS = (OFF, ON, REPORT)
PREAMBLE = 48


@dataclass
class DecodingSettings:
    """Greedy generation of descriptors."""

    max_new_tokens: int | None = None
    """null: from the grid's worst case and the labels asked for."""
    paint: str = "nearest"
    """How a grid is brought to the image's size: nearest or smooth."""
    grammar: str = REPORT
    """off: the text is left alone. report: as off, and it is said at which token an answer left the language of descriptors (exactly so many rows and cells, the question's labels). on: no token that leaves it can be chosen, so every answer is well formed."""
    preamble: int = PREAMBLE
    """Most tokens of the sentence before the descriptor; with `grammar: on`, `<seg>` is forced then."""
