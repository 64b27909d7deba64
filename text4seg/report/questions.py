"""The questions of an evaluation in their order, in batches that do not depend on how many processes share the work.

A question is known by its sample's key, its turn there and its wording. Batch number b goes to rank ``b % ranks``, so
every answer comes from the same batch whatever the number of ranks, and none is asked for twice.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import groupby, islice
from typing import Any, NamedTuple

from text4seg.data.items import Item, items, text_items
from text4seg.data.settings import DataSettings
from text4seg.data.shards.index import Index
from text4seg.data.shards.read import records
from text4seg.data.shards.remote import Folder
from text4seg.data.types import IGNORE
from text4seg.data.variants import Curriculum
from text4seg.templates import DEFAULT, FAMILIES, JOINER, Templates, hint

from .asking import options_of
from .settings import ALL, STORED, check_wording
from .swap import partners, swapped

UNWORDED = ("parts", "text")
"""`parts` names in its question what its labels do not: the whole; words pass through as they are."""


class Question(NamedTuple):
    """One thing to ask: the item, and the number of its wording (None: as the shards have it)."""

    item: Item
    wording: int | None = None


class Batch(NamedTuple):
    """Questions that are answered together."""

    number: int
    questions: tuple[Question, ...]


class Questions:
    """The questions of a set of shards.

    Args:
        folder: where the shards lie.
        data: spelling, whether questions name it, how many samples, what a broken record does.
        wording: ``stored``, ``all`` (of the families that occur as many as the shortest list has, so that each wording
            is of the same questions), or a number: each list of questions has its own, counted round.
        swap: ask for another object of the same picture (see :mod:`.swap`).

    Attributes:
        broken: what could not be read in the last pass, one line a record.

    Raises:
        ValueError: an unknown wording, or one for swapped questions, or of lists of questions that are not there any
            more; no shards; a broken record when `data.on_error` is raise.
    """

    def __init__(self, folder: Folder, data: DataSettings, wording: str = STORED, swap: bool = False) -> None:
        check_wording(wording, swap)
        self.folder, self.data, self.wording, self.swap = folder, data, wording, swap
        self.index = Index.load(folder)
        self.variant = Curriculum(data).usual
        self.templates = _templates(options_of(self.index.recipe), wording)
        self.broken: list[str] = []

    def __iter__(self) -> Iterator[Question]:
        """Every question, in the order of the shards."""
        self.broken = []
        found = partners(self._items()) if self.swap else None
        for item in self._items():
            if found is None:
                yield from self._worded(item)
            elif (item.key, item.turn) in found:
                yield Question(swapped(item, found[item.key, item.turn]))
        if not self.swap and "text" in self.index.tasks:
            yield from map(Question, self._items(words=True))

    def batches(self, size: int) -> Iterator[Batch]:
        """All questions in batches of ``size``; the last one may be smaller, and the last before those in words."""
        number = 0
        for _, stream in groupby(self, key=lambda question: question.item.task == "text"):
            while questions := tuple(islice(stream, size)):
                yield Batch(number, questions)
                number += 1

    def total(self) -> int | None:
        """How many questions there are, where the index tells."""
        if self.swap or self.data.val.limit is not None:
            return None
        return sum(turns * len(self._wordings(task)) for task, turns in self.index.tasks.items())

    def _items(self, words: bool = False) -> Iterator[Item]:
        """The questions that are answered by a mask, or those that are answered in words."""
        for found in islice(self._samples(words), self.data.val.limit):
            yield from found

    def _samples(self, words: bool) -> Iterator[list[Item]]:
        for entry in self.index.shards:
            for record in records(self.folder / entry.name):
                try:
                    sample = record.sample()
                    yield text_items(sample) if words else items(sample, self.variant, self.data.format_hint)
                except ValueError as error:
                    if self.data.on_error == "raise":
                        raise
                    if str(error) in self.broken:  # shards are read once more for words, and for swapping
                        continue
                    self.broken.append(str(error))
                    warnings.warn(f"left out of the scores: {error}", stacklevel=2)

    def _wordings(self, task: str) -> list[int | None]:
        if self.wording == STORED or task in UNWORDED:
            return [None]
        if self.wording != ALL:
            return [int(self.wording)]
        families = {FAMILIES[other] for other in self.index.tasks if other not in UNWORDED}
        return list(range(min(len(self.templates.questions[family]) for family in families)))

    def _listed(self, item: Item) -> tuple[str, ...]:
        """What a question names: its labels, and `others` before them where the stored question has it there.

        Raises:
            ValueError: more labels than a mask of 8 bits can number, of which those that show come first in the shards:
                asked in that order they would give the answer away.
        """
        whole, rest = (self.templates.joiner.join(labels) for labels in (item.labels, item.labels[1:]))
        if len(item.labels) > IGNORE and rest not in item.question:
            raise ValueError(
                f"`wording` must be {STORED} for questions about {len(item.labels) - 1} classes: of more than "
                f"{IGNORE - 1} the shards do not keep the order."
            )
        return item.labels if whole in item.question else item.labels[1:]

    def _worded(self, item: Item) -> Iterable[Question]:
        for wording in self._wordings(item.task):
            if wording is None:
                yield Question(item)
                continue
            question, _ = self.templates.fixed(item.task, self._listed(item), wording)
            question += hint(item.codec, item.size) if self.data.format_hint else ""
            yield Question(replace(item, question=question), wording)


def _templates(options: Mapping[str, Any], wording: str) -> Templates:
    """The lists of questions that shards were built with; their file is read where a wording asks for it."""
    path, lists = options.get("templates"), DEFAULT
    if path and wording != STORED:
        try:
            lists = Templates.load(path)
        except ValueError as error:
            raise ValueError(
                f"wording={wording} asks the questions of the lists that the shards were built with: {error} Put them "
                "back, or take wording=stored."
            ) from error
    return replace(lists, joiner=options.get("joiner", JOINER))
