"""Questions that are answered in words (VQA): their lines in ``items.jsonl``, and what they amount to."""

from __future__ import annotations

import hashlib
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from text4seg.metrics.vqa import vqa_accuracy

from .questions import Question

TEXT = "text"
"""The task of such questions."""
MOST_SHOWN = 60


def word_record(question: Question, text: str, tokens: int) -> dict[str, Any]:
    """The line of one answer in words.

    Args:
        question: what was asked.
        text: what was printed.
        tokens: its length.
    """
    item = question.item
    return {
        "key": item.key,
        "turn": item.turn,
        "wording": None,
        "picture": hashlib.sha256(item.image).hexdigest()[:16],
        "task": item.task,
        "question": item.question,
        "references": list(item.references),
        "text": text.strip(),
        "accuracy": vqa_accuracy(text, item.references),
        "tokens": tokens,
    }


def apart(lines: Sequence[Mapping[str, Any]]) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    """The lines of masks, and those of words."""
    return [line for line in lines if line["task"] != TEXT], [line for line in lines if line["task"] == TEXT]


def word_summary(lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean accuracy (:func:`.vqa.vqa_accuracy`) and the worst answers; empty without a line."""
    if not lines:
        return {}
    worst = sorted(lines, key=lambda line: line["accuracy"])[:MOST_SHOWN]
    shown = [{name: line[name] for name in ("question", "text", "references", "accuracy")} for line in worst]
    return {"items": len(lines), "VQA": statistics.fmean(line["accuracy"] for line in lines), "worst": shown}
