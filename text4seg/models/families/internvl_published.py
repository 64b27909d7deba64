"""Published InternVL checkpoints (``model_type: internvl_chat``) in the words of transformers' own InternVL class.

They come with code of their own and with other names; here their configuration and the names and shapes of their
weights are put into the native ones, so that none of that code has to run. The language model is an InternLM2 (a Llama
whose queries, keys and values lie in one matrix, grouped by key head), a Qwen2 or 3, a Phi-3 or a Llama.

An adapter is trained on the split matrices; one that others trained on InternLM2's fused matrix does not fit.

Source: InternVL2 (OpenGVLab, 2024); checked against the published code by `tests/models/test_internvl.py`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, InternVLConfig, InternVLForConditionalGeneration, LlamaConfig, PreTrainedConfig
from transformers.conversion_mapping import register_checkpoint_conversion_mapping
from transformers.core_model_loading import Chunk, ConversionOps, WeightConverter, WeightRenaming

PUBLISHED = "internvl_chat"
"""The `model_type` of published checkpoints."""
NATIVE = {
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
    "Phi3ForCausalLM": "phi3",
    "LlamaForCausalLM": "llama",
}
KEPT = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "hidden_act",
    "max_position_embeddings",
    "original_max_position_embeddings",
    "initializer_range",
    "rms_norm_eps",
    "rope_theta",
    "rope_scaling",
    "attention_bias",
    "attention_dropout",
    "sliding_window",
    "use_sliding_window",
    "max_window_layers",
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
)
"""What a language model is made of; the rest of a published configuration is about its own code."""


def native_config(raw: dict[str, Any], image_token_id: int) -> InternVLConfig:
    """The native configuration of a published checkpoint.

    Args:
        raw: what its `config.json` holds.
        image_token_id: of ``<IMG_CONTEXT>`` in its tokenizer.

    Raises:
        ValueError: a part that the native class does not have: another layer than the last one of the tower, the first
            pixel shuffle, or an unknown language model.
    """
    if raw.get("select_layer", -1) != -1 or raw.get("ps_version", "v1") != "v2":
        raise ValueError(
            "only checkpoints with `select_layer: -1` and `ps_version: v2` fit the native InternVL class, got "
            f"{raw.get('select_layer', -1)} and {raw.get('ps_version', 'v1')}: this is an InternVL of before 1.5."
        )
    ratio, side = raw.get("downsample_ratio", 0.5), tile_side(raw)
    return InternVLConfig(
        vision_config=_vision(raw["vision_config"]),
        text_config=_text(raw["llm_config"]),
        image_token_id=image_token_id,
        image_seq_length=int((side // raw["vision_config"].get("patch_size", 14)) ** 2 * ratio**2),
        downsample_ratio=ratio,
        tie_word_embeddings=raw["llm_config"].get("tie_word_embeddings", False),
    )


def tile_side(raw: dict[str, Any]) -> int:
    """Side in pixels of the square that the model looks at."""
    return int(raw.get("force_image_size") or raw["vision_config"]["image_size"])


def _vision(raw: dict[str, Any]) -> dict[str, Any]:
    return {
        "model_type": "internvl_vision",
        "hidden_size": raw["hidden_size"],
        "intermediate_size": raw["intermediate_size"],
        "num_hidden_layers": raw["num_hidden_layers"],
        "num_attention_heads": raw["num_attention_heads"],
        "attention_bias": raw.get("qkv_bias", False),
        "use_qk_norm": raw.get("qk_normalization", True),
        "norm_type": raw.get("norm_type", "rms_norm"),
        "hidden_act": raw.get("hidden_act", "gelu"),
        "layer_norm_eps": raw.get("layer_norm_eps", 1e-6),
        "image_size": raw["image_size"],
        "patch_size": raw.get("patch_size", 14),
    }


def _text(raw: dict[str, Any]) -> PreTrainedConfig:
    kept = {key: raw[key] for key in KEPT if raw.get(key) is not None}
    kept["tie_word_embeddings"] = raw.get("tie_word_embeddings", False)
    name = raw["architectures"][0]
    if name == "InternLM2ForCausalLM":
        return LlamaConfig(**{**kept, "attention_bias": raw.get("bias", False)})
    if name not in NATIVE:
        raise ValueError(
            f"an InternVL with a {name} is not known here; known: InternLM2ForCausalLM, {', '.join(NATIVE)}."
        )
    if name == "Phi3ForCausalLM" and kept.get("rope_scaling"):  # its long contexts; `su` is the name of the time
        # Both switch a whole batch to `long_factor` when its longest row passes the original length.
        kept["rope_scaling"] = {
            **kept["rope_scaling"],
            "type": "longrope",
            "factor": raw["max_position_embeddings"] / raw["original_max_position_embeddings"],
            "original_max_position_embeddings": raw["original_max_position_embeddings"],
        }
    return AutoConfig.for_model(NATIVE[name], **kept)


class SplitGrouped(ConversionOps):
    """InternLM2's one matrix into three: for each key head lie its query heads, then the key head, then the value head.

    ``[Hk * (G + 2) * d, D]`` -> ``[Hk * G * d, D]``, ``[Hk * d, D]``, ``[Hk * d, D]`` (Hk key heads, G query heads a
    key head, d width of a head).
    """

    def convert(
        self, input_dict: dict[str, Any], source_patterns: list[str], target_patterns: list[str], **kwargs: Any
    ) -> dict[str, Any]:
        """Split; transformers hands over one tensor, and the model's configuration by name."""
        (tensors,) = input_dict.values()
        text = kwargs["config"].get_text_config()
        parts = split_grouped(
            tensors[0] if isinstance(tensors, list) else tensors, text.num_attention_heads, text.num_key_value_heads
        )
        return dict(zip(target_patterns, parts, strict=True))


def split_grouped(fused: Tensor, heads: int, key_heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values of a fused weight ``[rows, D]`` or bias ``[rows]``; see `SplitGrouped`."""
    group = heads // key_heads
    grouped = fused.unflatten(0, (key_heads, group + 2, -1))
    parts = torch.split(grouped, [group, 1, 1], dim=1)
    query, key, value = (part.flatten(0, 2).contiguous() for part in parts)
    return query, key, value


class PublishedInternVL(InternVLForConditionalGeneration):
    """The native model under the published names, for as long as it takes to load it."""


def _renamed(*pairs: tuple[str, str]) -> list[WeightRenaming]:
    return [WeightRenaming(source_patterns=source, target_patterns=target) for source, target in pairs]


LANGUAGE = _renamed(
    (r"^language_model\.output\.", "lm_head."),
    (r"^language_model\.lm_head\.", "lm_head."),
    (r"^language_model\.model\.", "model.language_model."),
    (r"\.tok_embeddings\.", ".embed_tokens."),
    (r"\.attention\.wo\.", ".self_attn.o_proj."),
    (r"\.feed_forward\.w1\.", ".mlp.gate_proj."),
    (r"\.feed_forward\.w2\.", ".mlp.down_proj."),
    (r"\.feed_forward\.w3\.", ".mlp.up_proj."),
    (r"\.attention_norm\.", ".input_layernorm."),
    (r"\.ffn_norm\.", ".post_attention_layernorm."),
)
PROJECTOR = _renamed(
    (r"^mlp1\.0\.", "model.multi_modal_projector.layer_norm."),
    (r"^mlp1\.1\.", "model.multi_modal_projector.linear_1."),
    (r"^mlp1\.3\.", "model.multi_modal_projector.linear_2."),
)
VISION = _renamed(
    (r"^vision_model\.encoder\.layers\.", "model.vision_tower.encoder.layer."),
    (r"^vision_model\.", "model.vision_tower."),
    (r"\.embeddings\.class_embedding", ".embeddings.cls_token"),
    (r"\.embeddings\.patch_embedding\.", ".embeddings.patch_embeddings.projection."),
    (r"\.embeddings\.position_embedding", ".embeddings.position_embeddings"),
    (r"\.attn\.proj\.", ".attention.projection_layer."),
    (r"\.attn\.q_norm\.", ".attention.q_norm."),
    (r"\.attn\.k_norm\.", ".attention.k_norm."),
    (r"\.norm1\.", ".layernorm_before."),
    (r"\.norm2\.", ".layernorm_after."),
    (r"\.ls1", ".lambda_1"),
    (r"\.ls2", ".lambda_2"),
)
CONVERTED = [
    WeightConverter(
        source_patterns=r"\.attn\.qkv\.",
        target_patterns=[".attention.q_proj.", ".attention.k_proj.", ".attention.v_proj."],
        operations=[Chunk(dim=0)],
    ),
    WeightConverter(
        source_patterns=r"\.attention\.wqkv\.",
        target_patterns=[".self_attn.q_proj.", ".self_attn.k_proj.", ".self_attn.v_proj."],
        operations=[SplitGrouped()],
    ),
]
register_checkpoint_conversion_mapping("PublishedInternVL", [*LANGUAGE, *PROJECTOR, *VISION, *CONVERTED])
