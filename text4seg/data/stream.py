"""The endless training stream: shards -> shuffled records -> conversations -> batches, each batch with its position.

Everything that chance decides is a pure function of (seed, epoch, rank, worker) and of the sample's place, so skipping
by count finds any position again. Broken records are counted and named, or raise, as `on_error` says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

from torch.utils.data import IterableDataset, get_worker_info

from text4seg.data.image import open_image
from text4seg.data.items import cell_labels, conversation
from text4seg.data.order import generator, shards_of, shuffled
from text4seg.data.position import Cursor, Position
from text4seg.data.settings import DataSettings
from text4seg.data.shards.index import Index
from text4seg.data.shards.read import Record, records
from text4seg.data.variants import Curriculum
from text4seg.models.processor import Encoded, Processor, Turns

NAMED = 5
"""So many skipped records are named per batch; the others are only counted."""


@dataclass(frozen=True)
class Seat:
    """Which part of the data a process reads.

    Attributes:
        rank: of `world` ranks.
        world: number of ranks.
    """

    rank: int = 0
    world: int = 1


class Origin:
    """Where a batch came from; a plain class, so that Lightning does not walk through it (see `data.items.Items`).

    Attributes:
        worker: logical number of the loading process.
        cursor: its position behind this batch.
        keys: keys of the samples, in order.
        skipped: reasons of the records skipped since the batch before (the first few).
        lost: how many were skipped.
    """

    def __init__(self, worker: int, cursor: Cursor, keys: tuple[str, ...], skipped: tuple[str, ...], lost: int) -> None:
        self.worker, self.cursor, self.keys, self.skipped, self.lost = worker, cursor, keys, skipped, lost


class TrainStream(IterableDataset[dict[str, Any]]):
    """Batches without end.

    Args:
        folder: where the shards lie.
        index: what they hold.
        settings: batch size, spelling, shuffling.
        processor: makes tensors.
        seed: of the run.
        seat: this rank.
        position: where to start.
        progress: batch number of this rank -> share of training done, 0..1 (for the curriculum).
        cells: image tokens name their cells (`loss.cells`).

    Each batch is what `Processor.collate` gives, with an `Origin` under ``origin``.

    Raises:
        ValueError: fewer shards than processes; a broken record when `on_error` is raise; an epoch without a single
            usable record.
    """

    def __init__(
        self,
        folder: Path,
        index: Index,
        settings: DataSettings,
        processor: Processor,
        seed: int,
        seat: Seat,
        position: Position,
        progress: Callable[[int], float],
        cells: bool = False,
    ) -> None:
        super().__init__()
        self.folder, self.index, self.settings, self.processor = folder, index, settings, processor
        self.seed, self.seat, self.position, self.progress = seed, seat, position, progress
        self.cells_a_side = processor.geometry.tokens_a_side if cells else None
        self.curriculum = Curriculum(settings)
        shards_of(index.shards, seed, 0, 0, seat.world * len(position.cursors))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Batches of this loading process, from its position on."""
        info = get_worker_info()
        workers = len(self.position.cursors)
        # Batches are taken from the processes in turn: after a resume the turn may be another one's.
        worker = ((info.id if info else 0) + self.position.batches) % workers
        start = self.position.cursors[worker]
        batches, skipped = start.batches, start.skipped
        held: list[tuple[str, Encoded]] = []
        reasons: list[str] = []
        for epoch in count(start.epoch):
            behind = start.index if epoch == start.epoch else 0
            usable = behind > 0
            for number, record in enumerate(self._epoch(epoch, worker), 1):
                if number <= behind:
                    continue
                try:
                    held.append((record.key, self._encode(record, epoch, batches * workers + worker)))
                except ValueError as error:
                    if self.settings.on_error == "raise":
                        raise
                    skipped += 1
                    reasons.append(str(error))
                    continue
                usable = True
                if len(held) == self.settings.batch_size:
                    batches += 1
                    yield self._batch(held, worker, Cursor(epoch, number, batches, skipped), reasons)
                    held, reasons = [], []
            if not usable:
                raise ValueError(
                    f"{self.folder}: not one usable record in epoch {epoch}"
                    + (f" ({reasons[-1]})" if reasons else "")
                    + "; `python -m text4seg.shards verify` names the damage."
                )

    def _batch(
        self, held: list[tuple[str, Encoded]], worker: int, cursor: Cursor, reasons: list[str]
    ) -> dict[str, Any]:
        keys, encoded = zip(*held, strict=True)
        batch: dict[str, Any] = dict(
            self.processor.collate(
                encoded,
                pad_to_multiple_of=self.settings.pad_to_multiple_of,
                max_length=self.settings.max_length,
            )
        )
        batch["origin"] = Origin(worker, cursor, keys, tuple(reasons[:NAMED]), len(reasons))
        return batch

    def _epoch(self, epoch: int, worker: int) -> Iterator[Record]:
        workers = len(self.position.cursors)
        place = self.seat.rank * workers + worker
        mine = shards_of(self.index.shards, self.seed, epoch, place, self.seat.world * workers)
        stream = (record for entry in mine for record in records(self.folder / entry.name))
        return shuffled(stream, self.settings.shuffle_buffer, generator("buffer", self.seed, epoch, place))

    def _encode(self, record: Record, epoch: int, batch: int) -> Encoded:
        sample = record.sample()
        rng = generator("sample", self.seed, epoch, record.key)
        # A batch has one variant: answers of unlike grids would be padded to the longest.
        place = generator("variant", self.seed, self.seat.rank, batch)
        variant = self.curriculum.draw(self.progress(batch), place)
        if self.settings.turns == "one":
            turn = rng.choice(variant.turns(sample))
            sample = replace(sample, turns=sample.turns[turn : turn + 1], masks=sample.masks[turn : turn + 1])
        turns: Turns = conversation(sample, variant, self.settings.format_hint)
        if not variant.answer:
            turns = [(turns[0][0], None)]
        side = None if sample.turns[0].task == "text" else self.cells_a_side
        cells = None if side is None else cell_labels(sample, variant, side)
        return encode_checked(self.processor, sample.image, sample.key, turns, self.settings.max_length, cells)


def encode_checked(
    processor: Processor,
    image: bytes,
    key: str,
    turns: Turns,
    max_length: int,
    cells: Sequence[str] | None = None,
) -> Encoded:
    """Tokenise a conversation and refuse one that is too long.

    Raises:
        ValueError: naming the key: a broken image, or more than `max_length` tokens.
    """
    encoded = processor.encode(open_image(image, key), turns, cells)
    if len(encoded.input_ids) > max_length:
        raise ValueError(
            f"{key}: {len(encoded.input_ids)} tokens, the limit is {max_length}; raise `data.max_length`, take fewer "
            "turns or a coarser grid."
        )
    return encoded
