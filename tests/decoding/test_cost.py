"""Draft widths: a flat cost curve asks for wide drafts, a steep one for none, and what was right counts."""

from __future__ import annotations

import pytest
from fake_backbone import backbone_of, random_llama
from transformers import GPT2Config, GPT2LMHeadModel

from text4seg.decoding.engine.cost import COUNTS, WIDTHS, Measured, Shared, measured, step_curve
from text4seg.models.backbone import Backbone

FLAT = dict.fromkeys(COUNTS, 1.0)
STEEP = {count: float(count) for count in COUNTS}
CPU = {1: 1.0, 4: 1.05, 8: 1.1, 16: 1.4, 48: 2.95}


def test_a_pass_of_a_size_is_shared_by_its_answers():
    shared = Shared(64, 16)
    assert [shared.width(answers) for answers in (1, 4, 8, 32, 64, 100)] == [16, 15, 7, 1, 0, 0]
    shared.learn(16, 16, 0)
    assert shared.width(1) == 16


def test_free_tokens_are_all_taken_and_dear_ones_are_not() -> None:
    assert Measured(FLAT).width(1) == WIDTHS[-1]
    assert Measured(STEEP).width(1) == 0


def test_what_was_right_decides() -> None:
    good, bad = Measured(CPU), Measured(CPU)
    for _ in range(200):
        good.learn(48, 48, 40)
        bad.learn(8, 8, 0)
    assert good.width(1) >= 32
    assert bad.width(1) == 0


def test_answers_that_share_a_pass_share_its_room() -> None:
    widths = Measured(CPU)
    for _ in range(60):
        widths.learn(48, 48, 20)
    chosen = [widths.width(answers) for answers in (1, 4, 16)]
    assert chosen == sorted(chosen, reverse=True)
    assert chosen[0] > chosen[-1]


def test_a_draft_that_was_right_to_its_end_says_little_about_longer_ones() -> None:
    cut, over = Measured(CPU), Measured(CPU)
    for _ in range(60):
        cut.learn(4, 4, 4)  # it was not allowed more
        over.learn(48, 4, 4)  # there was no more
    assert cut.width(1) > 4
    assert over.width(1) == 4


def test_between_the_measured_points_and_beyond() -> None:
    widths = Measured({1: 1.0, 4: 0.9, 8: 3.0})
    assert widths.seconds(4) == 1.0, "more tokens never cost less"
    assert widths.seconds(6) == pytest.approx(2.0)
    assert widths.seconds(16) == pytest.approx(6.0)


def test_a_model_is_timed_once(monkeypatch) -> None:
    model = random_llama()
    backbone = Backbone(model, backbone_of(model).processor, language="model")
    curve = step_curve(backbone, (1, 8))
    assert list(curve) == [1, 8]
    assert all(seconds > 0 for seconds in curve.values())
    assert measured(backbone) is measured(backbone)


@pytest.mark.parametrize(("positions", "timed"), [(200, COUNTS), (60, COUNTS), (20, (1, 4, 8, 16))])
def test_no_pass_is_timed_behind_the_end_of_a_table_of_positions(positions, timed) -> None:
    sizes = {"n_embd": 16, "n_layer": 1, "n_head": 2, "vocab_size": 258, "bos_token_id": 1, "eos_token_id": 1}
    model = GPT2LMHeadModel(GPT2Config(n_positions=positions, **sizes))
    backbone = Backbone(model, backbone_of(model).processor, language="transformer")
    assert tuple(step_curve(backbone)) == timed
