"""One line of ``items.jsonl``: what was asked, what was printed, what became of it; masks as COCO RLE."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from text4seg.decoding.confidence import written
from text4seg.descriptors import Decoded
from text4seg.metrics.board import ItemScore
from text4seg.metrics.tally import to_json

from .coco import coco_rle
from .matching import Match
from .questions import Question


def record(
    question: Question,
    decoded: Decoded,
    score: ItemScore,
    tokens: int,
    matches: Sequence[Match] = (),
    left: int | None = None,
    confidence: float | None = None,
) -> dict[str, Any]:
    """The line of one answer.

    Args:
        question: what was asked.
        decoded: the answer as it was read.
        score: what it is worth.
        tokens: its length.
        matches: words that were read as labels which they are not exactly.
        left: token at which it left the language of descriptors, where it did and somebody looked.
        confidence: how sure the model was, 0 to 1.
    """
    item = question.item
    found = [i for i in range(1, len(item.labels)) if (score.mask == i).any()]
    overlap = score.tally.views[""].overlap
    return {
        "key": item.key,
        "turn": item.turn,
        "wording": question.wording,
        "picture": hashlib.sha256(item.image).hexdigest()[:16],
        "task": item.task,
        "question": item.question,
        "labels": list(item.labels),
        "iou": score.iou,
        "ceiling": score.ceiling,
        "intersection": overlap[0],
        "union": overlap[1],
        "status": decoded.status,
        "repairs": [f"row {repair.row}: {repair.what}" for repair in decoded.repairs],
        "unmatched": score.tally.unmatched,
        "matches": [list(match) for match in matches],
        "text": decoded.text,
        "tokens": tokens,
        "left": left,
        "confidence": written(confidence),
        "predicted": [{"label": item.labels[i], **coco_rle(score.mask == i)} for i in found],
        "tally": to_json(score.tally),
    }


def stored_mask(line: dict[str, Any], shape: tuple[int, int]) -> NDArray[np.uint16]:
    """The mask of a line, ids into its ``labels``, ``[H, W]``."""
    drawn = np.zeros(shape, np.uint16)
    for found in line["predicted"]:
        drawn[coco.decode(found["rle"]) > 0] = line["labels"].index(found["label"])
    return drawn
