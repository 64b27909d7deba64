"""Answers to a batch of prompts by draft and verify, as the settings say it: languages, geometric drafts, widths."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch

from text4seg.decoding.contract import Drafter
from text4seg.decoding.drafts.geometry import GeometryDrafter
from text4seg.decoding.drafts.habits import Habits
from text4seg.decoding.drafts.spelling import Spelling
from text4seg.decoding.engine.cost import Shared, measured
from text4seg.decoding.engine.loop import Fixed, Widths, greedy
from text4seg.decoding.engine.sampling import sampling_of
from text4seg.decoding.engine.structured import Plan, Written, write
from text4seg.decoding.language.tracker import trackers
from text4seg.decoding.settings import ON, DecodingSettings

if TYPE_CHECKING:
    from text4seg.data.items import Items
    from text4seg.models.backbone import Backbone

BRANCHES = 10
"""Of a draft on a GPU, where a wide pass costs no more than a narrow one; a CPU pays for every token."""

NARROW, WIDE = (64, 16), (1024, 64)
"""Tokens of a pass over all its answers, and of a draft, where scores have to come again: on a CPU, and on a GPU."""

_LEARNT: WeakKeyDictionary[torch.nn.Module, tuple[Spelling, Habits]] = WeakKeyDictionary()
"""Of each model: its tokens as pieces of text, and how the outlines that it draws behave."""


def write_drafted(
    backbone: Backbone,
    prompts: dict[str, torch.Tensor],
    items: Items,
    bound: int,
    settings: DecodingSettings,
    slots: int | None = None,
) -> Written:
    """Answer a batch of prompts, in the mode that the model is in.

    Args:
        backbone: model and processor; `fitness.unfit` says whether it can be used.
        prompts: left-padded ``input_ids`` and ``attention_mask`` ``[B, L]`` with the images' tensors.
        items: what each prompt asks for, B of them.
        bound: most new tokens of an answer.
        settings: the grammar's mode; width and branches of drafts; how tokens are chosen.
        slots: answers that are written at a time; None: all.
    """
    tokenizer = backbone.processor.tokenizer
    head: Any = backbone.core.get_output_embeddings()
    table: torch.Tensor = head.weight
    followed = trackers(tokenizer, items, settings, len(table), ()) if settings.grammar == ON else []
    wide = table.device.type == "cuda"
    branches = settings.branches or (BRANCHES if wide else 1)
    choose = sampling_of(settings, items) or greedy
    drafters = _drafters(backbone, items, settings)
    plan = Plan(followed, drafters, _widths(backbone, settings, wide), branches, slots, choose)
    return write(backbone, prompts, items, bound, plan)


def _widths(backbone: Backbone, settings: DecodingSettings, wide: bool) -> Widths:
    if settings.width is not None:
        return Fixed(settings.width)
    return Shared(*(WIDE if wide else NARROW)) if settings.repeatable else measured(backbone)


def _drafters(backbone: Backbone, items: Items, settings: DecodingSettings) -> list[Drafter]:
    """None where the tokenizer does not show how it cuts text."""
    tokenizer = backbone.processor.tokenizer
    if not tokenizer.is_fast:
        return []
    spelling, habits = _LEARNT.setdefault(backbone.core, (Spelling(tokenizer), Habits()))
    if settings.repeatable or settings.width is not None:
        habits = Habits()
    return [GeometryDrafter.of_item(spelling, item, habits) for item in items]
