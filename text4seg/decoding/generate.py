"""Answers to a batch of prompts: texts, what they cost, and whether they kept to the language of descriptors.

Whatever the backbone, and whether or not PEFT wraps it. Of a checkpoint's own generation config only the end tokens
count: sampling, penalties on repetition (which would forbid exactly what descriptors consist of), time limits and the
like are set aside, decoding is greedy.
Axis legend: B prompts, L tokens.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from transformers import GenerationConfig

from text4seg.decoding.bound import LONGEST, byte_bound, token_bound
from text4seg.decoding.drafted import write_drafted
from text4seg.decoding.engine.answering import Counts
from text4seg.decoding.engine.fitness import unfit
from text4seg.decoding.language.tracker import trackers
from text4seg.decoding.plain import write_plainly
from text4seg.decoding.settings import HF, ON, REPORT, DecodingSettings
from text4seg.models.ends import end_tokens

if TYPE_CHECKING:
    from text4seg.data.items import Items
    from text4seg.models.backbone import Backbone


@dataclass
class Answers:
    """What a model said to a batch of prompts.

    Attributes:
        texts: without special tokens, otherwise exactly as printed, up to and including ``</seg>``.
        counts: what the batch cost.
        left: for each text the token (from 0) at which it left the language of descriptors; None where it did not, and
            where nobody looked (`grammar: off`).
        confidence: of each, 0 to 1: the mean chance that the model gave the tokens it wrote.
    """

    texts: list[str]
    counts: Counts
    left: list[int | None]
    confidence: list[float]


def generate(
    backbone: Backbone, prompts: dict[str, torch.Tensor], items: Items, settings: DecodingSettings
) -> list[str]:
    """The texts of :func:`respond`."""
    return respond(backbone, prompts, items, settings).texts


def respond(
    backbone: Backbone,
    prompts: dict[str, torch.Tensor],
    items: Items,
    settings: DecodingSettings,
    slots: int | None = None,
) -> Answers:
    """Answer a batch of prompts.

    Args:
        backbone: model and processor; the model may be wrapped by PEFT.
        prompts: left-padded ``input_ids`` and ``attention_mask`` ``[B, L]`` with the images' tensors, on any device.
        items: what each prompt asks for, ``B`` of them; bounds the length of the answers.
        settings: the grammar's mode, and the bound on new tokens when it is given.
        slots: answers that are written at a time: the next begins where one is finished; None: all at once.

    Raises:
        ValueError: when prompts and items are not equally many, or a prompt fills the model's context.
    """
    ids = prompts["input_ids"]
    if len(items) != ids.shape[0]:
        raise ValueError(f"`items` must have one entry a prompt: expected {ids.shape[0]}, got {len(items)}.")
    if not items:
        return Answers([], Counts(), [], [])
    tokenizer = backbone.processor.tokenizer
    bound = settings.max_new_tokens or _bound(tokenizer, items, settings)
    model: Any = backbone.model
    with evaluating(model), _greedy(model, tokenizer):
        bound = min(bound, _room(model, ids.shape[1]))
        write = write_plainly if _plainly(backbone, settings, ids.shape[1] + bound) else write_drafted
        made = write(backbone, prompts, items, bound, settings, slots)
    texts = tokenizer.batch_decode(made.tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return Answers(texts, made.counts, _left(tokenizer, items, settings, made.tokens), made.confidence)


def _plainly(backbone: Backbone, settings: DecodingSettings, longest: int) -> bool:
    """Whether plain generation is asked for, or all that the model can do; the latter is said, once a reason."""
    if settings.engine == HF:
        return True
    reason = unfit(backbone, longest)
    if reason is not None:
        warnings.warn(f"decoding.engine is hf for this model: {reason}.", stacklevel=3)
    return reason is not None


def _bound(tokenizer: Any, items: Items, settings: DecodingSettings) -> int:
    """New tokens for the longest answer; a model that is kept to the language may still spell it letter by letter."""
    if settings.grammar == ON:
        return byte_bound(items, settings.preamble, LONGEST)
    return token_bound(tokenizer, items, LONGEST)


def _left(tokenizer: Any, items: Items, settings: DecodingSettings, rows: list[list[int]]) -> list[int | None]:
    """Where each answer left the language."""
    if settings.grammar != REPORT:
        return [None] * len(rows)
    followed = trackers(tokenizer, items, settings, len(tokenizer), ())
    for tracker, row in zip(followed, rows, strict=True):
        for token in row:
            tracker.accept(token)
    return [tracker.left_at for tracker in followed]


@contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Put a model in evaluation mode; afterwards every submodule is in the mode that it was in before."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def _greedy(model: Any, tokenizer: Any) -> Iterator[None]:
    """Exchange the checkpoint's generation config for a greedy one.

    Passing settings to ``generate`` would not do: whatever they leave open is taken from the checkpoint's.
    """
    core = model.get_base_model() if hasattr(model, "get_base_model") else model
    own = core.generation_config
    end = end_tokens(core, tokenizer) or None
    pad = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    core.generation_config = GenerationConfig(do_sample=False, use_cache=True, eos_token_id=end, pad_token_id=pad)
    try:
        yield
    finally:
        core.generation_config = own


def _room(model: Any, length: int) -> int:
    """New tokens that fit behind the prompts; models that name no context length take any."""
    config = getattr(model, "config", None)
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    context = getattr(text, "max_position_embeddings", None)
    if not isinstance(context, int):
        return LONGEST
    if length >= context:
        raise ValueError(
            f"the prompts have {length} tokens and the model's context is {context}: nothing is left for the answer. "
            "Ask with a shorter question or a smaller image, or take a model with a longer context."
        )
    return context - length
