"""Answers to a batch of prompts by draft and verify: the same text as plain generation, in fewer passes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import torch

from text4seg.decoding.contract import Drafter, Tracker
from text4seg.decoding.engine.answering import Answering, Counts, NoDrafts, NoLanguage
from text4seg.decoding.engine.loop import Adjust, Choice, Engine, Fixed, Widths, greedy
from text4seg.decoding.stop import AnswerEnds
from text4seg.models.ends import end_tokens

if TYPE_CHECKING:
    from text4seg.data.items import Items
    from text4seg.models.backbone import Backbone

WIDTH = 8
"""Tokens of a draft where nobody measured what they cost; cheap on anything but the smallest machines."""


class Written(NamedTuple):
    """Answers to a batch of prompts.

    Attributes:
        tokens: of each answer, the end token included where the model wrote one.
        counts: what they cost.
        confidence: of each answer (see :mod:`text4seg.decoding.confidence`).
    """

    tokens: list[list[int]]
    counts: Counts
    confidence: list[float]


@dataclass
class Plan:
    """How a batch is to be answered.

    Attributes:
        trackers: keep each answer to its language; empty: there is none to keep to.
        drafters: guess how each answer goes on; empty: one token a pass.
        widths: how much to guess.
        branches: of a draft, at most.
        slots: answers that are written at a time; None: all of the batch.
        choose: a token from logits.
        adjust: changes logits before the language does.
    """

    trackers: Sequence[Tracker] = ()
    drafters: Sequence[Drafter] = ()
    widths: Widths = field(default_factory=lambda: Fixed(WIDTH))
    branches: int = 1
    slots: int | None = None
    choose: Choice = greedy
    adjust: Adjust | None = None


def write(backbone: Backbone, prompts: dict[str, torch.Tensor], items: Items, bound: int, plan: Plan) -> Written:
    """Answer a batch of prompts, in the mode that the model is in.

    Args:
        backbone: model and processor; `fitness.unfit` says whether it can be used.
        prompts: left-padded ``input_ids`` and ``attention_mask`` ``[B, T]`` with the images' tensors.
        items: what each prompt asks for, B of them.
        bound: most new tokens of an answer.
        plan: languages, drafts and choices.
    """
    begin = time.perf_counter()
    tokenizer = backbone.processor.tokenizer
    # An answer that is kept to a language ends with it; only others can go round in circles.
    ends = None if plan.trackers else AnswerEnds(tokenizer, items)
    stops = frozenset(end_tokens(backbone.core, tokenizer))
    answers = [
        Answering(
            number,
            bound,
            partial(_ended, ends, stops, number),
            plan.trackers[number] if plan.trackers else NoLanguage(),
            plan.drafters[number] if plan.drafters else NoDrafts(),
        )
        for number in range(len(items))
    ]
    engine = Engine(backbone, plan.widths, plan.branches, plan.choose, plan.adjust)
    with torch.inference_mode():
        engine.run(prompts, answers, plan.slots)
    spent = Counts()
    for answer in answers:
        spent.add(answer.counts)
    spent.steps = engine.steps
    spent.seconds = time.perf_counter() - begin
    return Written([answer.tokens for answer in answers], spent, [answer.confidence for answer in answers])


def _ended(ends: AnswerEnds | None, stops: frozenset[int], number: int, token: int) -> bool:
    return (ends is not None and ends.after(number, token)) | (token in stops)
