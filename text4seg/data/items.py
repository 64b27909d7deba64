"""Samples as conversations for training, and as items (one question each) for scoring."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from text4seg.data.types import Box, Sample, Turn, ignore_value
from text4seg.data.variants import Variant
from text4seg.descriptors import LabelGrid, Span, answer, encode, rasterize, row_spans, with_wrong_rows
from text4seg.templates import DEFAULT, hint

NO_GRID = (1, 1)
"""Stands for the grid of a question that asks for none."""


@dataclass(frozen=True, eq=False)
class Item:
    """One question with everything that scoring its answer needs.

    Attributes:
        key: the sample's key.
        turn: the question's number in the sample.
        question: as asked, format hint included.
        labels: names of the mask's values; ``labels[0] == "others"``.
        mask: uint8 ``[H, W]`` at the image's original size; 255 = ignore.
        image: encoded bytes.
        size: rows, columns of the grid asked for.
        codec: spelling asked for.
        rule: how the perfect grid is made from the mask.
        task: template family of the question; `text`: the answer is words, there is nothing to segment.
        box: annotated around the one thing that is asked about, (left, top, right, bottom); None: there is none.
        references: of a `text` question what people answered.
    """

    key: str
    turn: int
    question: str
    labels: tuple[str, ...]
    mask: NDArray[np.uint8]
    image: bytes
    size: tuple[int, int]
    codec: str
    rule: str
    task: str
    box: Box | None = None
    references: tuple[str, ...] = ()


class Items:
    """The items of a batch.

    No Sequence, on purpose: Lightning converts a batch's tensors by walking through every dict, sequence and
    dataclass, down to the single bytes of the images.
    """

    def __init__(self, items: Iterable[Item]) -> None:
        self._items = tuple(items)

    def __iter__(self) -> Iterator[Item]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, number: int) -> Item:
        return self._items[number]


def conversation(sample: Sample, variant: Variant, with_hint: bool) -> list[tuple[str, str]]:
    """Questions and answers of a sample, its masks written as `variant` says."""
    return [(question, said) for question, said, _ in _written(sample, variant, with_hint)]


def flawed_conversation(
    sample: Sample, variant: Variant, with_hint: bool, share: float, rng: random.Random
) -> tuple[list[tuple[str, str]], list[list[Span]]]:
    """The same with rows that are wrong on purpose (`data.wrong_rows`), and where they lie in each answer.

    Args:
        share: probability with which each row is wrong.
        rng: decides which rows, and how.
    """
    written = list(_written(sample, variant, with_hint, lambda grid: with_wrong_rows(grid, share, rng)))
    return [(question, said) for question, said, _ in written], [spans for *_, spans in written]


def _written(
    sample: Sample,
    variant: Variant,
    with_hint: bool,
    spoil: Callable[[LabelGrid], tuple[LabelGrid, list[int]]] = lambda grid: (grid, []),
) -> Iterator[tuple[str, str, list[Span]]]:
    for turn, plane in zip(sample.turns, sample.masks, strict=True):
        if turn.task == "text":
            yield turn.question, turn.answer_prefix, []
            continue
        if variant.plain and turn.task != "parts":  # a parts question names the whole, which its labels do not
            found = bool(np.isin(plane, (0, ignore_value(plane)), invert=True).any())
            question, opener = DEFAULT.fixed(turn.task, turn.labels[1:], found=found)
            turn = replace(turn, question=question, answer_prefix=opener)
        grid, wrong = spoil(rasterize(plane, turn.labels, variant.size, variant.rule, ignore_value(plane)))
        body = encode(grid, variant.codec)
        said = answer(turn.answer_prefix, body)
        yield _question(turn, variant, with_hint), said, row_spans(body, wrong, said.rindex(body)) if wrong else []


def shown_cells(sample: Sample, variant: Variant, side: int) -> LabelGrid:
    """What ``side * side`` image tokens show of the first question's labels."""
    return rasterize(sample.masks[0], sample.turns[0].labels, (side, side), variant.rule, ignore_value(sample.masks))


def items(sample: Sample, variant: Variant, with_hint: bool) -> list[Item]:
    """The questions of a sample that are answered by a mask, each by itself.

    Raises:
        ValueError: a picture shows more than 254 classes that one question asks for; scoring counts in 8 bits.
    """
    if sample.masks.dtype == np.uint16:
        raise ValueError(f"{sample.key} shows more than 254 classes in one question: score it with fewer at a time.")
    return [
        Item(
            key=sample.key,
            turn=number,
            question=_question(turn, variant, with_hint),
            labels=turn.labels,
            mask=plane,
            image=sample.image,
            size=variant.size,
            codec=variant.codec,
            rule=variant.rule,
            task=turn.task,
            box=turn.box,
        )
        for number, (turn, plane) in enumerate(zip(sample.turns, sample.masks, strict=True))
        if turn.task != "text"
    ]


def text_items(sample: Sample) -> list[Item]:
    """The questions of a sample that are answered in words, each by itself."""
    return [
        Item(
            key=sample.key,
            turn=number,
            question=turn.question,
            labels=turn.labels,
            mask=sample.masks[number],
            image=sample.image,
            size=NO_GRID,
            codec="rrle",
            rule="center",
            task=turn.task,
            references=turn.references or (turn.answer_prefix,),
        )
        for number, turn in enumerate(sample.turns)
        if turn.task == "text"
    ]


def _question(turn: Turn, variant: Variant, with_hint: bool) -> str:
    return turn.question + (hint(variant.codec, variant.size) if with_hint else "")
