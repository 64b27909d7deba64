"""Evaluate a run: answer every item of a set, score it, and write scores, items and pictures down."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from text4seg.callbacks.pictures import sheet_entry
from text4seg.callbacks.score import Scored, score_batch
from text4seg.config import Config
from text4seg.data.settings import SplitSettings
from text4seg.metrics.board import ScoreBoard

from .coco import coco_rle
from .overlay import open_picture
from .run import load_run
from .settings import EvaluateSettings
from .sheet import draw_sheet
from .swap import partners, swapped

if TYPE_CHECKING:
    from text4seg.data.items import Item
    from text4seg.models.backbone import Backbone

SPREAD = "spread"
"""All GPUs of this machine together, for a model that one does not hold."""
DEVICES = ("auto", "cpu", "cuda", "mps", SPREAD)


class Evaluation(NamedTuple):
    """What an evaluation found: scores by name, IoU by class (class questions only), items scored, where it lies."""

    scores: dict[str, float]
    classes: dict[str, float]
    items: int
    folder: Path


def evaluate_run(settings: EvaluateSettings, tell: Callable[[int], None] | None = None) -> Evaluation:
    """Score a run and write ``RUN/eval/NAME/{metrics.json, items.jsonl, sheet.png}``.

    Args:
        settings: which run, on what.
        tell: called with the number of items scored so far, after each batch.

    Raises:
        ValueError: when the run or the shards cannot be read, or no item is left to score.
    """
    assert settings.run is not None
    which = "base" if settings.before else settings.which
    config, backbone = load_run(settings.run, which, settings.device == SPREAD)
    folder = Path(settings.run) / "eval" / settings.name
    folder.mkdir(parents=True, exist_ok=True)
    device = place(backbone, settings.device)
    changed = {name: value for name, value in vars(settings.decoding).items() if value is not None}
    decoding = replace(config.decoding, **changed)
    board = ScoreBoard(decoding.paint)
    drawn = _Sample(settings.sheet)
    items = 0
    partial = folder / "items.jsonl.partial"
    with partial.open("w", encoding="utf-8") as lines:
        for batch in _batches(config, settings, backbone):
            batch["prompts"] = {name: tensor.to(device) for name, tensor in batch["prompts"].items()}
            for scored in score_batch(backbone, batch, board, decoding):
                lines.write(json.dumps(record(scored)) + "\n")
                drawn.add(scored)
                items += 1
            if tell is not None:
                tell(items)
    if not items:
        raise ValueError("there is no item to score: " + _why_none(settings))
    partial.replace(folder / "items.jsonl")
    scores = {f"{settings.name}/{name}": value for name, value in board.compute().items()}
    (folder / "metrics.json").write_text(json.dumps({**scores, f"{settings.name}/items": items}, indent=2) + "\n")
    if drawn.kept:
        draw_sheet([sheet_entry(scored) for scored in drawn.kept]).save(folder / "sheet.png")
    classes = {name: row.iou for name, row in board.by_class().items() if row.true}
    return Evaluation(scores, classes, items, folder)


def place(backbone: Backbone, name: str) -> torch.device:
    """Put a model on the device of that name; gives the one that its inputs go to."""
    if name == SPREAD:  # loaded in its places already
        return next(backbone.model.parameters()).device
    device = torch.device(pick_device(name))
    backbone.to(device)
    return device


def pick_device(name: str) -> str:
    """The device that ``auto`` stands for; any other name as it is.

    Raises:
        ValueError: an unknown device, or one that is not there.
    """
    if name not in DEVICES:
        raise ValueError(f"`device` must be one of {', '.join(DEVICES)}, got {name!r}.")
    if name in ("cuda", "mps") and not getattr(torch, name).is_available():
        raise ValueError(f"`device` is {name}, but PyTorch sees no such device here; auto takes what there is.")
    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"


def record(scored: Scored) -> dict[str, Any]:
    """One line of ``items.jsonl``: what was asked, what was printed, what became of it; masks as COCO RLE."""
    item, decoded, score = scored
    found = [i for i in range(1, len(item.labels)) if (score.mask == i).any()]
    return {
        "key": item.key,
        "turn": item.turn,
        "task": item.task,
        "question": item.question,
        "labels": list(item.labels),
        "iou": score.iou,
        "ceiling": score.ceiling,
        "intersection": score.tally.views[""].overlap[0],
        "union": score.tally.views[""].overlap[1],
        "status": decoded.status,
        "repairs": [f"row {repair.row}: {repair.what}" for repair in decoded.repairs],
        "unmatched": score.tally.unmatched,
        "text": decoded.text,
        "predicted": [{"label": item.labels[i], **coco_rle(score.mask == i)} for i in found],
    }


def _batches(config: Config, settings: EvaluateSettings, backbone: Backbone) -> Iterator[dict[str, Any]]:
    """Validation batches with ``prompts`` and ``items``, questions swapped where that is asked for."""
    if not settings.swap_questions:
        yield from _loader(config, settings, backbone)
        return
    found = partners(item for batch in _loader(config, settings, backbone) for item in batch["items"])
    for batch in _loader(config, settings, backbone):
        places = [(item, found.get((item.key, item.turn))) for item in batch["items"]]
        items = [swapped(item, partner) for item, partner in places if partner is not None]
        if items:
            yield {"prompts": prompts_for(backbone, items), "items": items}


def prompts_for(backbone: Backbone, items: Iterable[Item]) -> dict[str, torch.Tensor]:
    """Left-padded prompts that ask each item's question about its image."""
    processor = backbone.processor
    encoded = [processor.encode(open_picture(item.image), [(item.question, None)]) for item in items]
    return processor.collate(encoded, side="left")


def _loader(config: Config, settings: EvaluateSettings, backbone: Backbone) -> Iterable[dict[str, Any]]:
    from text4seg.data.datamodule import ShardDataModule

    data = config.data
    split = data.val
    if settings.shards is not None:
        split = SplitSettings(shards=settings.shards, limit=settings.limit)
    elif settings.limit is not None:
        split = replace(split, limit=settings.limit)
    data = replace(
        data,
        val=split,
        codec=settings.codec or data.codec,
        grid=settings.grid or data.grid,
        val_batch_size=settings.batch_size or data.val_batch_size,
    )
    module = ShardDataModule(data, backbone.processor, config.seed)
    module.setup("validate")
    return module.val_dataloader()


def _why_none(settings: EvaluateSettings) -> str:
    if settings.swap_questions:
        return "swap_questions needs pictures with at least two questions about one target each."
    return f"{settings.shards or 'the validation set of the run'} is empty."


class _Sample:
    """A few items drawn evenly from a stream of unknown length, the same ones every time."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.seen = 0
        self.kept: list[Scored] = []
        self._random = random.Random(0)

    def add(self, scored: Scored) -> None:
        self.seen += 1
        place = self._random.randrange(self.seen)
        if len(self.kept) < self.size:
            self.kept.append(scored)
        elif place < self.size:
            self.kept[place] = scored
