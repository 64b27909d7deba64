"""Validation: every question of a set by itself, in order, dealt out to the ranks; prompts ready for generation."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from torch.utils.data import IterableDataset

from text4seg.data.image import open_image
from text4seg.data.items import Item, Items, conversation, items
from text4seg.data.settings import DataSettings
from text4seg.data.shards.index import Index
from text4seg.data.shards.read import records
from text4seg.data.shards.remote import Folder
from text4seg.data.stream import Seat
from text4seg.data.types import Sample
from text4seg.data.variants import Curriculum
from text4seg.models.processor import Encoded, Processor

Asked = tuple[Item, Encoded, Encoded]
"""An item, its prompt, and its prompt with the right answer."""


class ScoredItems(IterableDataset[dict[str, Any]]):
    """Batches of items, once through.

    Each batch holds ``items``, ``prompts`` (left-padded tensors that end where the answer starts) and ``answers``
    (right-padded tensors with labels, for the loss). A rank may have a batch more than another; nothing is repeated.

    Args:
        folder: where the shards lie.
        index: what they hold.
        settings: spelling, batch size, how many samples, what a broken record does.
        processor: makes tensors.
        seat: this rank.

    Raises:
        ValueError: a broken record when `on_error` is raise.
    """

    def __init__(self, folder: Folder, index: Index, settings: DataSettings, processor: Processor, seat: Seat) -> None:
        super().__init__()
        self.folder, self.index, self.settings, self.processor, self.seat = folder, index, settings, processor, seat
        self.variant = Curriculum(settings).usual

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """This rank's batches."""
        held: list[Asked] = []
        for sample in islice(self._samples(), self.seat.rank, None, self.seat.world):
            held += sample
            while len(held) >= self.settings.val_batch_size:
                yield self._batch(held[: self.settings.val_batch_size])
                held = held[self.settings.val_batch_size :]
        if held:
            yield self._batch(held)

    def _samples(self) -> Iterator[list[Asked]]:
        return islice(self._readable(), self.settings.val.limit)

    def _readable(self) -> Iterator[list[Asked]]:
        for entry in self.index.shards:
            for record in records(self.folder / entry.name):
                try:
                    yield self._encode(record.sample())
                except ValueError as error:
                    if self.settings.on_error == "raise":
                        raise
                    warnings.warn(f"left out of the scores: {error}", stacklevel=2)

    def _encode(self, sample: Sample) -> list[Asked]:
        image = open_image(sample.image, sample.key)
        pairs = conversation(sample, self.variant, self.settings.format_hint)
        encode = self.processor.encode
        return [
            (item, encode(image, [(item.question, None)]), encode(image, [pairs[item.turn]]))
            for item in items(sample, self.variant, self.settings.format_hint)
        ]

    def _batch(self, held: Sequence[Asked]) -> dict[str, Any]:
        asked, prompts, answers = zip(*held, strict=True)
        return {
            "items": Items(asked),
            "prompts": self.processor.collate(prompts, side="left"),
            "answers": self.processor.collate(answers),
        }
