"""Answers to a batch of prompts by Hugging Face's own ``generate``: what every other way of decoding is held against.

Axis legend: B prompts, L tokens.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import torch
from transformers import LogitsProcessorList, StoppingCriteria, StoppingCriteriaList

from text4seg.decoding.engine.answering import Counts
from text4seg.decoding.language.mask import Follower, GrammarMask, LanguageEnds
from text4seg.decoding.language.tracker import trackers
from text4seg.decoding.settings import ON, DecodingSettings
from text4seg.decoding.stop import AnswerEnds, end_tokens

if TYPE_CHECKING:
    from text4seg.data.items import Items
    from text4seg.models.backbone import Backbone


def write_plainly(
    backbone: Backbone, prompts: dict[str, torch.Tensor], items: Items, bound: int, settings: DecodingSettings
) -> tuple[list[list[int]], Counts]:
    """Answer a batch of prompts, in the mode and with the generation settings that the model has.

    Args:
        backbone: model and processor.
        prompts: left-padded ``input_ids`` and ``attention_mask`` ``[B, L]`` with the images' tensors.
        items: what each prompt asks for, B of them.
        bound: most new tokens of an answer.
        settings: the grammar's mode.

    Returns:
        each answer's tokens, the end token included where the model wrote one; and what they cost.
    """
    begin = time.perf_counter()
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
    stops = frozenset(end_tokens(core, tokenizer))
    lengths = _Lengths(ends, stops, len(items))
    with torch.inference_mode():
        out = model.generate(
            **prompts,
            max_new_tokens=bound,
            logits_processor=masks,
            stopping_criteria=StoppingCriteriaList([lengths]),
        )
    rows = [row[:n] for row, n in zip(out[:, length:].tolist(), lengths.tokens, strict=True)]
    behind = sum(lengths.tokens) - len(rows)  # the prompt's own pass gives the first token
    return rows, Counts(sum(lengths.tokens), passes=behind, fed=behind, seconds=time.perf_counter() - begin)


class _Lengths(StoppingCriteria):
    """Counts each answer's tokens until it is over; what follows in a batch is padding."""

    def __init__(self, ends: StoppingCriteria, stops: frozenset[int], answers: int) -> None:
        self._ends, self._stops = ends, stops
        self._over = [False] * answers
        self.tokens = [0] * answers

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **_: Any) -> torch.Tensor:
        ended = self._ends(input_ids, scores).tolist()
        for row, token in enumerate(input_ids[:, -1].tolist()):
            self.tokens[row] += not self._over[row]
            self._over[row] |= ended[row] or token in self._stops
        return torch.tensor(self._over, device=input_ids.device)
