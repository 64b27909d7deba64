"""How sure a model was: the same whatever the way of decoding, with a worked case, and what it says in a report."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from fake_item import FakeItem
from test_engine import BOUND, asked, in_double, prompts_for, teacher_of

from text4seg.decoding.confidence import chance
from text4seg.decoding.engine.structured import Plan, write
from text4seg.decoding.generate import respond
from text4seg.decoding.settings import DecodingSettings
from text4seg.report.summary import _confidence


def test_a_worked_case() -> None:
    logits = torch.tensor([0.0, 0.0, -torch.inf, torch.log(torch.tensor(2.0))])
    assert chance(logits, 3) == pytest.approx(0.5)
    assert chance(logits, 0) == pytest.approx(0.25)
    assert chance(torch.tensor([-torch.inf, 3.0]), 1) == 1


@pytest.mark.parametrize("changes", [{}, {"grammar": "on", "preamble": 4}, {"temperature": 1.5, "seed": 3}])
@pytest.mark.parametrize("slots", [None, 1])
def test_drafts_and_plain_generation_are_equally_sure(checkpoints, changes, slots) -> None:
    backbone = in_double(checkpoints.settings("llava"))
    settings = DecodingSettings(max_new_tokens=BOUND, grammar="off", repeatable=True)
    settings = replace(settings, **changes)
    prompts = prompts_for(backbone)
    one, other = (
        respond(backbone, prompts, asked(4), replace(settings, engine=engine), slots) for engine in ("structured", "hf")
    )
    assert one.texts == other.texts
    assert one.confidence == pytest.approx(other.confidence, rel=1e-5)
    assert len({round(sure, 6) for sure in one.confidence}) == 4
    assert all(0 < sure < 1 for sure in one.confidence)


def test_what_pads_a_finished_answer_counts_for_nothing(checkpoints) -> None:
    backbone = in_double(checkpoints.settings("llava"))
    items = [FakeItem(np.zeros((8, 8), np.uint8), size=size) for size in ((1, 1), (2, 3), (4, 4), (1, 2))]
    settings = DecodingSettings(grammar="on", preamble=2)
    prompts = prompts_for(backbone)
    one, other = (
        respond(backbone, prompts, items, replace(settings, engine=engine)) for engine in ("structured", "hf")
    )
    assert len({len(text) for text in one.texts}) > 1
    assert one.texts == other.texts
    assert one.confidence == pytest.approx(other.confidence, rel=1e-5)
    assert max(other.confidence) <= 1


def test_who_is_told_what_to_say_is_sure_of_it(checkpoints) -> None:
    backbone = in_double(checkpoints.settings("llava"))
    prompts = prompts_for(backbone)
    sure = [
        write(backbone, prompts, asked(4), 20, Plan(adjust=teacher_of(backbone, prompts, loud=loud).adjust)).confidence
        for loud in (1e3, 1.2)
    ]
    assert sure[0] == pytest.approx([1.0] * 4)
    assert max(sure[1]) < 0.9


def test_a_report_says_how_well_it_ranks() -> None:
    lines = [{"confidence": sure, "iou": iou} for sure, iou in ((0.9, 0.8), (0.7, 0.5), (0.8, 0.6), (0.2, 0.7))]
    found = _confidence(lines)
    assert found["mean"] == pytest.approx(0.65)
    assert found["ranks_iou"] == pytest.approx(0.4)  # ranks 4 2 3 1 against 4 1 2 3: 1 - 6 * 6 / 60
    assert _confidence([{"confidence": None, "iou": 1.0}]) == {"mean": None, "ranks_iou": None}
    assert _confidence(lines[:1]) == {"mean": 0.9, "ranks_iou": None}
