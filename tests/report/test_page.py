"""What a report's page says of the answers as a whole."""

from __future__ import annotations

import math

import numpy as np
import pytest
from fake_item import FakeItem

from text4seg.descriptors import parse
from text4seg.metrics.board import ScoreBoard
from text4seg.report.page import _answers
from text4seg.report.questions import Question
from text4seg.report.record import record
from text4seg.report.summary import summarise


def line(confidence: float | None) -> dict:
    item = FakeItem(np.zeros((8, 8), np.uint8))
    decoded = parse("others *4\n" * 4, item.size, item.codec, item.labels[1:])
    score = ScoreBoard(merged=False).update(decoded, item)
    return record(Question(item), decoded, score, 9, confidence=confidence)  # type: ignore[arg-type]


@pytest.mark.parametrize(("grammar", "told"), [("off", False), ("report", True), ("on", True), (None, True)])
def test_who_did_not_look_does_not_say_that_nothing_was_found(grammar, told):
    made = {"left_out": [], "timing": {"per_mask": {}}, "settings": {"decoding": {"grammar": grammar}}}
    assert ("left the language" in _answers(summarise([line(0.5)]) | made)) is told


def test_a_confidence_that_is_no_number_is_left_out():
    lines = [line(math.nan), line(0.25), line(None)]
    assert [one["confidence"] for one in lines] == [None, 0.25, None]
    assert summarise(lines)["confidence"]["mean"] == 0.25
