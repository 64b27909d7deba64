"""What a build left out, mended or noticed: counted by kind, the first few named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

NAMED = 20
"""So many cases of a kind are named; the others are only counted."""


class Notes:
    """A tally of findings, small whatever the size of the data.

    Attributes:
        counts: kind -> how often.
        named: kind -> the first cases.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.named: dict[str, list[str]] = {}

    def add(self, kind: str, case: str) -> None:
        """Count one case."""
        self.counts[kind] += 1
        named = self.named.setdefault(kind, [])
        if len(named) < NAMED:
            named.append(case)

    def merge(self, plain: Mapping[str, Any]) -> None:
        """Add what another tally said (`as_plain`)."""
        for kind, found in plain.items():
            self.counts[kind] += found["count"]
            named = self.named.setdefault(kind, [])
            named += found["named"][: NAMED - len(named)]

    def as_plain(self) -> dict[str, Any]:
        """kind -> {count, named}, as JSON has it."""
        return {kind: {"count": self.counts[kind], "named": self.named[kind]} for kind in sorted(self.counts)}
