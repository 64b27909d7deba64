"""The first pass over a batch of prompts, by the family's own steps of ``generate``.

Families differ in what they do to a prompt (positions in three axes, image tokens that see each other, marks on
tokens), so transformers prepares and runs this pass; what it leaves behind is all that the passes after it need.
Axis legend: B prompts, T tokens, V vocabulary, A axes of the position ids.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import DynamicCache

from text4seg.decoding.engine.cache import RaggedCache

if TYPE_CHECKING:
    from text4seg.models.backbone import Backbone


@dataclass
class Prefilled:
    """Prompts that the model has read.

    Attributes:
        cache: their keys and values.
        logits_BV: of the first token of each answer, float32.
        starts: position of that token, per prompt one number an axis.
    """

    cache: RaggedCache
    logits_BV: Tensor
    starts: list[tuple[int, ...]]


def prefill(backbone: Backbone, prompts: dict[str, Tensor]) -> Prefilled:
    """Read left-padded prompts.

    Args:
        backbone: model and processor.
        prompts: ``input_ids`` and ``attention_mask`` ``[B, T]`` with the images' tensors.
    """
    core: Any = backbone.core
    # Without a configuration the cache keeps all positions of windowed layers too; their masks are made alike.
    kept = DynamicCache()
    logits_BV, positions = core.generate(
        **prompts, past_key_values=kept, custom_generate=_first_pass, max_new_tokens=1, do_sample=False
    )
    cache = RaggedCache(kept, prompts["attention_mask"])
    if positions is None:
        return Prefilled(cache, logits_BV, [(length,) for length in cache.lengths])
    last_AB = positions.reshape(-1, *positions.shape[-2:])[..., -1].expand(-1, logits_BV.shape[0]) + 1
    return Prefilled(cache, logits_BV, [tuple(column) for column in last_AB.T.tolist()])


def _first_pass(
    model: Any,
    input_ids: Tensor,
    logits_processor: Any = None,
    stopping_criteria: Any = None,
    generation_config: Any = None,
    **prepared: Any,
) -> tuple[Tensor, Tensor | None]:
    """What ``generate`` calls once everything is prepared: the last positions' logits, and the position ids."""
    inputs = model.prepare_inputs_for_generation(input_ids, is_first_iteration=True, **prepared)
    out = model(**inputs, return_dict=True)
    return out.logits[:, -1].to(torch.float32, copy=True), inputs.get("position_ids")
