"""Which of a source's records a process takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeVar

from text4seg.data.notes import Notes

T = TypeVar("T")


@dataclass(frozen=True)
class Share:
    """Every `count`-th record from `index` on, and where is noted what a source left out.

    A source takes its share of the bare records, before it opens a picture or draws a mask, and returns `map` over
    them: the examples are made on demand, and an error in one does not end the others.
    """

    index: int = 0
    count: int = 1
    notes: Notes = field(default_factory=Notes)

    def of(self, records: Iterable[T]) -> Iterator[T]:
        """This share of the records."""
        return islice(records, self.index, None, self.count)


WHOLE = Share()
