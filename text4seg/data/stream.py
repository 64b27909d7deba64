"""The endless training stream: shards -> shuffled records -> conversations -> batches, each batch with its position.

Everything that chance decides is a pure function of (seed, epoch, rank, worker) and of the sample's place, so skipping
by count finds any position again. Broken records are counted and named, or raise, as `on_error` says.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image
from torch.utils.data import IterableDataset, get_worker_info

from text4seg.data.augment import augmented
from text4seg.data.image import open_image
from text4seg.data.items import conversation, flawed_conversation, shown_cells
from text4seg.data.lanes import Lane, Read, lane_shards, read
from text4seg.data.order import generator
from text4seg.data.position import Cursor, Place, Position
from text4seg.data.settings import DataSettings
from text4seg.data.shards.read import Record
from text4seg.data.types import Sample
from text4seg.data.variants import Curriculum, Variant
from text4seg.descriptors import ROW_CODECS, LabelGrid, Span
from text4seg.models.processor import Encoded, Processor, Turns

NAMED = 5
"""So many skipped records are named per batch; the others are only counted."""
PATIENCE = 10
"""So many epochs in a row have to be without a usable record where a process reads other shards in each."""


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


class Usable:
    """Notices that no record of a lane can be used: the stream would search for one without end.

    An epoch without one says so where a process reads the whole lane. Where it reads a few shards they may be the
    damaged ones, and the next epoch brings others.
    """

    def __init__(self, lanes: Sequence[Lane], start: Sequence[Place], places: int) -> None:
        self.lanes, self.epochs = lanes, [epoch for epoch, _ in start]
        self.any = [behind > 0 for _, behind in start]
        self.empty = [0] * len(lanes)
        self.most = [1 if places == 1 or len(lane.shards) < places else PATIENCE for lane in lanes]

    def reached(self, found: Read, reasons: Sequence[str]) -> None:
        """Note that a record has come, maybe the first one of an epoch.

        Raises:
            ValueError: the epoch before it had no usable record, nor had those before.
        """
        lane, before = found.lane, self.epochs[found.lane]
        if found.epoch > before:
            self.empty[lane] = 0 if self.any[lane] else self.empty[lane] + 1
            if self.empty[lane] == self.most[lane]:
                where = f"epoch {before}" if self.most[lane] == 1 else f"{PATIENCE} epochs up to number {before}"
                raise ValueError(
                    f"{self.lanes[lane].name}: not one usable record in {where}"
                    + (f" ({reasons[-1]})" if reasons else "")
                    + "; `python -m text4seg.shards verify` names the damage."
                )
            self.epochs[lane], self.any[lane] = found.epoch, False

    def found(self, found: Read) -> None:
        """Note that a record could be used."""
        self.any[found.lane] = True


class TrainStream(IterableDataset[dict[str, Any]]):
    """Batches without end.

    Args:
        lanes: the shards, mixed by ratio where there are several lanes.
        settings: batch size, spelling, shuffling.
        processor: makes tensors.
        seed: of the run.
        seat: this rank.
        position: where to start.
        progress: batch number of this rank -> share of training done, 0..1 (for the curriculum).
        cells: image tokens name their cells (`loss.cells`).

    Each batch is what `Processor.collate` gives, with an `Origin` under ``origin``.

    Raises:
        ValueError: fewer shards than processes; wrong rows with a tokenizer that knows no characters; a broken record
            when `on_error` is raise; no usable record at all (`Usable`).
    """

    def __init__(
        self,
        lanes: Sequence[Lane],
        settings: DataSettings,
        processor: Processor,
        seed: int,
        seat: Seat,
        position: Position,
        progress: Callable[[int], float],
        cells: bool = False,
    ) -> None:
        super().__init__()
        self.lanes, self.settings, self.processor = lanes, settings, processor
        self.seed, self.seat, self.position, self.progress = seed, seat, position, progress
        self.curriculum = Curriculum(settings)
        variants = self.curriculum.variants.values()
        sized = {side: processor.at(side) for side in (way.image_size for way in variants) if side is not None}
        self.processors = {None: processor, **sized}
        self.across = {side: made.geometry.tokens_a_side for side, made in self.processors.items() if cells}
        if settings.wrong_rows and not processor.tokenizer.is_fast:
            raise ValueError(
                "`data.wrong_rows` needs a fast tokenizer, one that says which characters a token covers; set it to 0."
            )
        for lane in lanes:
            lane_shards(lane, seed, 0, 0, seat.world * len(position.cursors), len(lanes) > 1)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Batches of this loading process, from its position on."""
        info = get_worker_info()
        workers = len(self.position.cursors)
        # Batches are taken from the processes in turn: after a resume the turn may be another one's.
        worker = ((info.id if info else 0) + self.position.batches) % workers
        cursor = self.position.cursors[worker]
        cursor, delivered = replace(cursor, batches=cursor.batches - cursor.delivered, delivered=0), cursor.delivered
        size = self.settings.batch_size * self.settings.length_window
        held: list[tuple[str, Encoded]] = []
        reasons: list[str] = []
        usable = Usable(self.lanes, cursor.lanes, self.seat.world * workers)
        for found in self._records(cursor, worker):
            usable.reached(found, reasons)
            try:
                held.append(
                    (found.record.key, self._encode(found.record, found.epoch, cursor.batches * workers + worker))
                )
            except ValueError as error:
                if self.settings.on_error == "raise":
                    raise
                reasons.append(str(error))
                continue
            usable.found(found)
            if len(held) == size:
                drawn, skipped = cursor.drawn + size + len(reasons), cursor.skipped + len(reasons)
                behind = Cursor(found.lanes, drawn, cursor.batches + self.settings.length_window, skipped)
                for number, group in enumerate(self._cut(held, worker, cursor.batches), 1):
                    last = number == self.settings.length_window
                    at = behind if last else replace(cursor, batches=cursor.batches + number, delivered=number)
                    if number > delivered:
                        yield self._batch(group, worker, at, reasons if number == 1 else [])
                cursor, delivered, held, reasons = behind, 0, [], []

    def _records(self, cursor: Cursor, worker: int) -> Iterator[Read]:
        workers = len(self.position.cursors)
        place, places = self.seat.rank * workers + worker, self.seat.world * workers
        return read(self.lanes, cursor.lanes, cursor.drawn, self.seed, place, places, self.settings.shuffle_buffer)

    def _cut(self, held: list[tuple[str, Encoded]], worker: int, batch: int) -> list[list[tuple[str, Encoded]]]:
        """A window's samples as batches of similar lengths, in drawn order; a window of one batch stays as it is."""
        size, window = self.settings.batch_size, self.settings.length_window
        if window > 1:
            held = sorted(held, key=lambda pair: len(pair[1].input_ids))
        groups = [held[start : start + size] for start in range(0, len(held), size)]
        if window > 1:
            generator("window", self.seed, self.seat.rank, worker, batch).shuffle(groups)
        return groups

    def _batch(
        self, held: Sequence[tuple[str, Encoded]], worker: int, cursor: Cursor, reasons: Sequence[str]
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

    def _encode(self, record: Record, epoch: int, batch: int) -> Encoded:
        sample = record.sample()
        rng = generator("sample", self.seed, epoch, record.key)
        # A batch has one variant: answers of unlike grids would be padded to the longest, pictures have one size.
        place = generator("variant", self.seed, self.seat.rank, batch)
        variant = self.curriculum.draw(self.progress(batch), place)
        processor = self.processors[variant.image_size]
        least = processor.geometry.side if self.settings.reduced_jpeg else None
        image = open_image(sample.image, sample.key, least=least)
        if self.settings.turns == "one":
            turn = rng.choice(variant.turns(sample))
            sample = replace(sample, turns=sample.turns[turn : turn + 1], masks=sample.masks[turn : turn + 1])
        augment = generator("augment", self.seed, epoch, record.key)
        image, sample = augmented(image, sample, self.settings.augment, augment)
        turns, wrong = self._conversation(sample, variant, generator("rows", self.seed, epoch, record.key))
        across = None if sample.turns[0].task == "text" else self.across.get(variant.image_size)
        cells = None if across is None else shown_cells(sample, variant, across)
        return encode_checked(processor, image, sample.key, turns, self.settings.max_length, cells, wrong)

    def _conversation(self, sample: Sample, variant: Variant, rng: random.Random) -> tuple[Turns, list[list[Span]]]:
        share, hint = self.settings.wrong_rows, self.settings.format_hint
        if not variant.answer:
            return [(conversation(sample, variant, hint)[0][0], None)], []
        if share and variant.codec in ROW_CODECS:
            return flawed_conversation(sample, variant, hint, share, rng)
        return conversation(sample, variant, hint), []


def encode_checked(
    processor: Processor,
    image: Image.Image,
    key: str,
    turns: Turns,
    max_length: int,
    cells: LabelGrid | None = None,
    unlearnt: Sequence[Sequence[Span]] = (),
) -> Encoded:
    """Tokenise a conversation and refuse one that is too long.

    Raises:
        ValueError: naming the key: more than `max_length` tokens.
    """
    encoded = processor.encode(image, turns, cells, unlearnt)
    if len(encoded.input_ids) > max_length:
        raise ValueError(
            f"{key}: {len(encoded.input_ids)} tokens, the limit is {max_length}; raise `data.max_length`, take fewer "
            "turns or a coarser grid."
        )
    return encoded
