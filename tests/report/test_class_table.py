"""What a report says of each class."""

from __future__ import annotations

import numpy as np
from fake_item import FakeItem

from text4seg.descriptors import encode, parse, rasterize
from text4seg.metrics.board import ScoreBoard
from text4seg.report.page import _classes
from text4seg.report.questions import Question
from text4seg.report.record import record
from text4seg.report.summary import summarise


def test_background_has_no_iou_without_background():
    mask = np.zeros((32, 32), np.uint8)
    mask[:16, :16], mask[16:, 16:] = 1, 2
    item = FakeItem(mask, ("others", "cat", "dog"), task="conditioned")
    text = encode(rasterize(mask.T[::-1].copy(), item.labels, item.size))
    decoded = parse(text, item.size, item.codec, item.labels[1:])
    line = record(Question(item), decoded, ScoreBoard(merged=False).update(decoded, item), 40)  # type: ignore[arg-type]
    rows = {row["label"]: row["iou_nobg"] for row in summarise([line])["classes"]}
    assert rows.pop("others") is None
    assert set(rows) == {"cat", "dog"}
    assert all(0 <= value <= 1 for value in rows.values())
    assert _classes(summarise([line])["classes"]).count("<td") >= 3 * 6
