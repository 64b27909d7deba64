"""Answers to a batch of prompts by Hugging Face's own ``generate``: what every other way of decoding is held against.

Axis legend: B prompts, L tokens.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from transformers import LogitsProcessor, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList

from text4seg.decoding.confidence import Chances
from text4seg.decoding.engine.answering import Counts
from text4seg.decoding.engine.prefix import rows_of
from text4seg.decoding.engine.sampling import Sampling, sampling_of
from text4seg.decoding.engine.structured import Written
from text4seg.decoding.language.mask import Follower, GrammarMask, LanguageEnds
from text4seg.decoding.language.tracker import trackers
from text4seg.decoding.settings import ON, DecodingSettings
from text4seg.decoding.stop import AnswerEnds
from text4seg.models.ends import end_tokens

if TYPE_CHECKING:
    from text4seg.data.items import Item, Items
    from text4seg.models.backbone import Backbone


def write_plainly(
    backbone: Backbone,
    prompts: dict[str, torch.Tensor],
    items: Items,
    bound: int,
    settings: DecodingSettings,
    slots: int | None = None,
) -> Written:
    """Answer a batch of prompts, in the mode and with the generation settings that the model has.

    Args:
        backbone: model and processor.
        prompts: left-padded ``input_ids`` and ``attention_mask`` ``[B, L]`` with the images' tensors.
        items: what each prompt asks for, B of them.
        bound: most new tokens of an answer.
        settings: the grammar's mode, and how tokens are chosen.
        slots: answers that are written together; None: all.
    """
    begin = time.perf_counter()
    device = next(backbone.model.parameters()).device
    asked = list(items)
    size = min(slots or len(asked), len(asked))
    rows: list[list[int]] = []
    sure: list[float] = []
    spent = Counts()
    for start in range(0, len(asked), size):
        these = range(start, min(start + size, len(asked)))
        some = prompts if size == len(asked) else rows_of(prompts, these)
        some = {name: part.to(device) for name, part in some.items()}
        made, confidence = _together(backbone, some, [asked[n] for n in these], bound, settings)
        rows += made
        sure += confidence
        behind = [len(row) - 1 for row in made]  # the prompt's own pass gives the first token
        spent.add(Counts(sum(map(len, made)), passes=sum(behind), steps=max(behind), fed=sum(behind)))
    spent.seconds = time.perf_counter() - begin
    return Written(rows, spent, sure)


def _together(
    backbone: Backbone, prompts: dict[str, torch.Tensor], items: Sequence[Item], bound: int, settings: DecodingSettings
) -> tuple[list[list[int]], list[float]]:
    """Tokens and confidence of answers that are all written at once."""
    model: Any = backbone.model
    core = model.get_base_model() if hasattr(model, "get_base_model") else model
    tokenizer, length = backbone.processor.tokenizer, prompts["input_ids"].shape[1]
    ends: StoppingCriteria = AnswerEnds(tokenizer, items)
    masks = LogitsProcessorList()
    if settings.grammar == ON:
        vocabulary = core.get_output_embeddings().weight.shape[0]
        follower = Follower(trackers(tokenizer, items, settings, vocabulary, ()), length)
        ends = LanguageEnds(follower)
        masks.append(GrammarMask(follower))
    chances = Chances()
    masks.append(chances)
    draw = sampling_of(settings, items)
    if draw is not None:
        masks.append(_Drawn(draw))
    stops = frozenset(end_tokens(core, tokenizer))
    lengths = _Lengths(ends, stops, chances, len(items))
    with torch.inference_mode():
        out = model.generate(
            **prompts,
            max_new_tokens=bound,
            logits_processor=masks,
            stopping_criteria=StoppingCriteriaList([lengths]),
        )
    rows = [row[:n] for row, n in zip(out[:, length:].tolist(), lengths.tokens, strict=True)]
    return rows, [total / max(1, n) for total, n in zip(lengths.chances, lengths.tokens, strict=True)]


class _Drawn(LogitsProcessor):
    """Leaves each answer the token that is drawn for it, so that greedy generation takes it."""

    def __init__(self, draw: Sampling) -> None:
        self._draw = draw

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        tokens = [self._draw(row, logits_V) for row, logits_V in enumerate(scores)]
        drawn = torch.tensor(tokens, device=scores.device)[:, None]
        return torch.full_like(scores, -torch.inf).scatter(1, drawn, 0.0)


class _Lengths(StoppingCriteria):
    """Counts each answer's tokens, and sums up their chances, until it is over; what follows in a batch is padding."""

    def __init__(self, ends: StoppingCriteria, stops: frozenset[int], looked: Chances, answers: int) -> None:
        self._ends, self._stops, self._looked = ends, stops, looked
        self.chances = [0.0] * answers
        self._over = [False] * answers
        self.tokens = [0] * answers

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **_: Any) -> torch.Tensor:
        ended = self._ends(input_ids, scores).tolist()
        last = input_ids[:, -1].tolist()
        for row, (token, chance) in enumerate(zip(last, self._looked.of(last), strict=True)):
            self.tokens[row] += not self._over[row]
            self.chances[row] += 0.0 if self._over[row] else chance
            self._over[row] |= ended[row] or token in self._stops
        return torch.tensor(self._over, device=input_ids.device)
