"""Published names and shapes of Qwen-VL-Chat's weights: where each goes in the native model, and back.

The decoder's queries, keys and values lie in one matrix one after the other, as the resampler's; the tower's lie side
by side for each head. transformers applies these rules on loading and their inverse on saving.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.core_model_loading import Chunk, ConversionOps, WeightConverter, WeightRenaming

PARTS = 3
"""Queries, keys, values."""


def split_heads(fused: Tensor, heads: int) -> tuple[Tensor, ...]:
    """``[heads * 3 * d, ...]``, for each head its query, key and value rows -> three ``[heads * d, ...]``."""
    return tuple(part.flatten(0, 1).contiguous() for part in fused.unflatten(0, (heads, PARTS, -1)).unbind(1))


def join_heads(parts: tuple[Tensor, ...], heads: int) -> Tensor:
    """The inverse of `split_heads`."""
    return torch.stack([part.unflatten(0, (heads, -1)) for part in parts], dim=1).flatten(0, 2)


class SplitHeads(ConversionOps):
    """`split_heads` with the tower's heads, for transformers."""

    def convert(
        self, input_dict: dict[str, Any], source_patterns: list[str], target_patterns: list[str], **kwargs: Any
    ) -> dict[str, Any]:
        """Split; transformers hands over one tensor, and the model's configuration by name."""
        (tensors,) = input_dict.values()
        parts = split_heads(_only(tensors), kwargs["config"].vision_config.num_attention_heads)
        return dict(zip(target_patterns, parts, strict=True))

    @property
    def reverse_op(self) -> ConversionOps:
        """What saving applies."""
        return JoinHeads()


class JoinHeads(ConversionOps):
    """`join_heads` with the tower's heads, for transformers."""

    def convert(
        self, input_dict: dict[str, Any], source_patterns: list[str], target_patterns: list[str], **kwargs: Any
    ) -> dict[str, Any]:
        """Join; transformers hands over three tensors by the pattern of their names."""
        parts = tuple(_only(input_dict[pattern]) for pattern in source_patterns)
        return {target_patterns[0]: join_heads(parts, kwargs["config"].vision_config.num_attention_heads)}

    @property
    def reverse_op(self) -> ConversionOps:
        """What loading applies."""
        return SplitHeads()


def _only(tensors: Any) -> Tensor:
    return tensors[0] if isinstance(tensors, list) else tensors


TOWER = "transformer.visual.transformer.resblocks.N.", "model.vision_tower.layers.N."
LAYER = "transformer.h.N.", "model.language_model.layers.N."
POOL = "transformer.visual.attn_pool.", "model.multi_modal_projector."
NAMES = (
    ("transformer.visual.conv1.", "model.vision_tower.conv1."),
    ("transformer.visual.positional_embedding", "model.vision_tower.positional_embedding"),
    ("transformer.visual.ln_pre.", "model.vision_tower.ln_pre."),
    ("transformer.visual.ln_post.", "model.multi_modal_projector.ln_post."),
    ("transformer.visual.proj", "model.multi_modal_projector.proj"),
    *((POOL[0] + name, POOL[1] + name) for name in ("kv_proj.", "query", "pos_embed", "ln_q.", "ln_kv.")),
    *((POOL[0] + name, POOL[1] + name) for name in ("attn.in_proj_weight", "attn.in_proj_bias")),
    (POOL[0] + "attn.out_proj.", POOL[1] + "o_proj."),
    (TOWER[0] + "ln_1.", TOWER[1] + "layernorm_before."),
    (TOWER[0] + "ln_2.", TOWER[1] + "layernorm_after."),
    (TOWER[0] + "attn.in_proj.", TOWER[1] + "attn.in_proj."),
    (TOWER[0] + "attn.out_proj.", TOWER[1] + "attention.o_proj."),
    (TOWER[0] + "mlp.c_fc.", TOWER[1] + "mlp.fc1."),
    (TOWER[0] + "mlp.c_proj.", TOWER[1] + "mlp.fc2."),
    (LAYER[0] + "ln_1.", LAYER[1] + "input_layernorm."),
    (LAYER[0] + "ln_2.", LAYER[1] + "post_attention_layernorm."),
    (LAYER[0] + "attn.c_attn.", LAYER[1] + "attn.c_attn."),
    (LAYER[0] + "attn.c_proj.", LAYER[1] + "self_attn.o_proj."),
    (LAYER[0] + "mlp.w1.", LAYER[1] + "mlp.up_proj."),
    (LAYER[0] + "mlp.w2.", LAYER[1] + "mlp.gate_proj."),
    (LAYER[0] + "mlp.c_proj.", LAYER[1] + "mlp.down_proj."),
    ("transformer.wte.", "model.language_model.embed_tokens."),
    ("transformer.ln_f.", "model.language_model.norm."),
)
"""What published and native names begin with, N for a number. None begins like another, on either side: the rules are
applied one after the other, forwards on loading and backwards on saving. What is fused is split by `FUSED`."""


def _pattern(name: str) -> str:
    return "^" + name.replace(".", r"\.").replace("N", r"(\d+)")


def _fused(source: str, target: str, ending: str, operation: ConversionOps) -> WeightConverter:
    targets = [f"{target}{part}_proj{ending}" for part in "qkv"]
    return WeightConverter(source_patterns=source, target_patterns=targets, operations=[operation])


RENAMED = [WeightRenaming(_pattern(published), _pattern(native)) for published, native in NAMES]
FUSED = [
    _fused(r"\.attn\.c_attn\.", ".self_attn.", ".", Chunk(dim=0)),
    _fused(r"\.attn\.in_proj\.", ".attention.", ".", SplitHeads()),
    _fused(r"_projector\.attn\.in_proj_weight", "_projector.", ".weight", Chunk(dim=0)),
    _fused(r"_projector\.attn\.in_proj_bias", "_projector.", ".bias", Chunk(dim=0)),
]
