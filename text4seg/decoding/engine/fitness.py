"""Whether drafts can be verified on a backbone exactly as its own ``generate`` would write, and why not."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from text4seg.models.backbone import Backbone

NEEDED = ("input_ids", "attention_mask", "position_ids", "past_key_values")
MASKED = ("sdpa", "eager")
"""Attention that takes any mask; flash attention takes causal ones only."""
KINDS = ("full_attention", "sliding_attention")
GROWING = ("longrope", "dynamic")
"""Rotary tables that change, for the whole batch, once one of its rows is longer than the model's first context."""


def unfit(backbone: Backbone, longest: int) -> str | None:
    """Why drafts cannot be verified on a backbone; None where they can.

    Args:
        backbone: model and its parts.
        longest: tokens of the longest prompt and of its answer together.
    """
    if not getattr(backbone, "tree_attention", False):
        return "its decoder takes no mask of another's making"
    language: Any = backbone.part("language")
    config: Any = backbone.core.config.get_text_config()
    lacking = [name for name in NEEDED if name not in inspect.signature(language.forward).parameters]
    if lacking:
        return f"its decoder takes no {lacking[0]}"
    if config._attn_implementation not in MASKED:
        return f"{config._attn_implementation} takes no mask of another's making; set model.attention to sdpa"
    unknown = set(getattr(config, "layer_types", None) or ()) - set(KINDS)
    if unknown:
        return f"{min(unknown)} keeps no keys and values that could be taken back"
    rope = getattr(config, "rope_parameters", None) or {}
    parts = [rope, *(part for part in rope.values() if isinstance(part, dict))]
    first = getattr(config, "original_max_position_embeddings", None) or config.max_position_embeddings
    if any(part.get("rope_type") in GROWING for part in parts) and longest > first:
        return f"beyond {first} tokens its rotary table changes for the whole batch"
    return None
