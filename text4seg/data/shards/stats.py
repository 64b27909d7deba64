"""What a grid costs a folder of shards: objects that a rule loses, ceilings, lengths, what is too long, duplicates.

Everything is counted record by record; in memory stay counts, lengths and 8-byte hashes.
Axis legend: T turns of a sample, H, W pixels.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice, product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from text4seg.data.items import conversation
from text4seg.data.settings import DataSettings
from text4seg.data.shards.index import Index
from text4seg.data.shards.read import records
from text4seg.data.types import Sample, Turn, ignore_value
from text4seg.data.variants import Variant
from text4seg.descriptors import answer, ceiling, encode, rasterize

Tokens = Callable[[str], int]
"""How many tokens a text has."""
SHARES = {"median": 0.5, "90 %": 0.9, "99 %": 0.99, "longest": 1.0}


@dataclass(frozen=True)
class Training:
    """What a configuration makes of a sample: conversations, and tokens of these.

    Attributes:
        data: the configuration's data settings (codec, hint, one turn or all); grid and rule are the statistics' own.
        tokens: how many a conversation has, with the picture's and those of the chat around it.
    """

    data: DataSettings
    tokens: Callable[[Sequence[tuple[str, str]]], int]

    def lengths(self, sample: Sample, side: int, rule: str) -> list[int]:
        """Tokens of each conversation that training can draw of a sample."""
        variant = Variant(self.data.codec, (side, side), rule)
        drawn = [sample]
        if self.data.turns == "one":
            pairs = range(len(sample.turns))
            drawn = [replace(sample, turns=(sample.turns[n],), masks=sample.masks[n : n + 1]) for n in pairs]
        return [self.tokens(conversation(each, variant, self.data.format_hint)) for each in drawn]


@dataclass
class Tally:
    """Counts for one data set, grid and rule.

    Attributes:
        objects: labels that a mask shows.
        lost: those that the grid does not.
        hits: summed intersections of a perfect grid with the masks, pixels, background left out.
        area: summed unions.
        ious: of each question, and how many there are.
        lengths: of the answers, opening sentence and tags included, in tokens (characters without a tokenizer).
        whole: of the conversations that training makes, where a configuration is given.
    """

    objects: int = 0
    lost: int = 0
    hits: int = 0
    area: int = 0
    ious: float = 0.0
    lengths: array[int] = field(default_factory=lambda: array("I"))
    whole: array[int] = field(default_factory=lambda: array("I"))

    def add(
        self, turn: Turn, plane: NDArray[Any], size: tuple[int, int], rule: str, tokens: Tokens, codec: str = "rrle"
    ) -> None:
        """Count one question."""
        void = ignore_value(plane)
        grid = rasterize(plane, turn.labels, size, rule, void)
        shown = {int(i) for i in np.unique(plane) if i not in (0, void)}
        self.objects += len(shown)
        self.lost += len(shown - set(np.unique(grid.ids).tolist()))
        overlap = ceiling(plane, turn.labels, size, rule, void)
        hits, area = int(overlap.intersection[1:].sum()), int(overlap.union[1:].sum())
        self.hits, self.area = self.hits + hits, self.area + area
        self.ious += hits / area if area else 1.0
        self.lengths.append(tokens(answer(turn.answer_prefix, encode(grid, codec))))

    def plain(self, max_length: int) -> dict[str, Any]:
        """The figures, as JSON has them; `max_length` in the unit of the lengths."""
        count = len(self.lengths)
        found = {
            "questions": count,
            "objects": self.objects,
            "lost": self.lost,
            "ceiling_cIoU": self.hits / self.area if self.area else 1.0,
            "ceiling_gIoU": self.ious / count if count else 1.0,
            **_spread(self.lengths, max_length),
        }
        return found | ({"conversations": _spread(self.whole, max_length)} if self.whole else {})


def _spread(lengths: array[int], max_length: int) -> dict[str, Any]:
    ranked = sorted(lengths) or [0]
    shares = {name: ranked[round(share * (len(ranked) - 1))] for name, share in SHARES.items()}
    return {"length": shares, "longer": sum(length > max_length for length in ranked) / len(ranked)}


def statistics(
    folder: Path,
    grids: Sequence[int],
    rules: Sequence[str],
    tokens: Tokens = len,
    max_length: int = 2048,
    limit: int | None = None,
    training: Training | None = None,
) -> dict[str, Any]:
    """Figures of a folder by data set, grid and rule.

    Args:
        grids: cells a side.
        tokens: counts the tokens of an answer.
        max_length: answers and conversations that are longer are counted.
        limit: look at so many samples only.
        training: what makes conversations of samples; None: they are not counted.

    Raises:
        ValueError: there is no index that can be read, or no question with a mask.
    """
    index = Index.load(folder)
    tallies: dict[tuple[str, int, str], Tally] = {}
    images, questions, unreadable = array("Q"), array("Q"), Counter[str]()
    for sample in islice(_readable(folder, index, unreadable), limit):
        images.append(_hash(sample.image))
        if training:
            for side, rule in product(grids, rules):
                tally = tallies.setdefault((sample.source, side, rule), Tally())
                tally.whole.extend(training.lengths(sample, side, rule))
        for turn, plane in zip(sample.turns, sample.masks, strict=True):
            questions.append(_hash(sample.image + plane.tobytes() + "\n".join(turn.labels).encode()))
            for side, rule in product(grids, rules) if turn.task != "text" else ():
                tally = tallies.setdefault((sample.source, side, rule), Tally())
                tally.add(turn, plane, (side, side), rule, tokens, training.data.codec if training else "rrle")
    if not any(tally.lengths for tally in tallies.values()):
        raise ValueError(f"{folder} holds no readable question that a mask answers.")
    return {
        "folder": str(folder),
        "samples": len(images),
        "unreadable": unreadable.total(),
        "repeated_images": len(images) - len(np.unique(images)),
        "repeated_questions": len(questions) - len(np.unique(questions)),
        "max_length": max_length,
        "left_out": index.notes,
        "grids": [
            {"source": source, "grid": side, "rule": rule, **tally.plain(max_length)}
            for (source, side, rule), tally in sorted(tallies.items())
        ],
    }


def _readable(folder: Path, index: Index, unreadable: Counter[str]) -> Iterator[Sample]:
    for entry in index.shards:
        for record in records(folder / entry.name):
            try:
                yield record.sample()
            except ValueError:
                unreadable[entry.name] += 1


def _hash(data: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")
