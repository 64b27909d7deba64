"""DeepSeek-VL in its first authors' layout (``model_type: multi_modality``), put into transformers' own classes.

Their configuration names towers by a word (``siglip_large_patch16_384``, ``sam_b_downsample``) and says nothing of a
processor's chat template; weights have timm's names, with queries, keys and values of SigLIP in one matrix. What was
stored but never used (SigLIP's pooling head, two norms of the hybrid tower) is left out.

Source: DeepSeek-VL (arXiv 2403.05525); compared with the published code by `tests/models/test_deepseek_vl.py`.
"""

from __future__ import annotations

import re
from typing import Any

from torch import Tensor
from transformers import (
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    DeepseekVLConfig,
    DeepseekVLHybridConfig,
    DeepseekVLHybridImageProcessor,
    DeepseekVLHybridProcessor,
    DeepseekVLImageProcessor,
    DeepseekVLProcessor,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from text4seg.models.families.llava_original import read_weights
from text4seg.models.integrity import integrity, refuse_incomplete
from text4seg.models.loading import held, local_or_hub, quiet
from text4seg.models.settings import ModelSettings

IMAGE_TOKEN = "<image_placeholder>"
SIGLIP = {
    "siglip_large_patch16_384": {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "patch_size": 16,
    }
}
SAM = {
    "sam_b_downsample": {
        "hidden_size": 768,
        "mlp_dim": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "global_attn_indexes": [2, 5, 8, 11],
        "output_channels": 256,
        "patch_size": 16,
        "window_size": 14,
    }
}
"""Sizes of the towers that published checkpoints name."""
DROPPED = re.compile(r"\.attn_pool\.|^vision_model\.(high|low)_layer_norm\.")
LANGUAGE = [(r"^language_model\.lm_head\.", "lm_head."), (r"^language_model\.model\.", "model.language_model.")]
TOWER = [
    (r"^(?:vision_model\.vision_tower_low|vision_model)\.vision_tower\.", "model.vision_model."),
    (r"\.patch_embed\.proj\.", ".embeddings.patch_embedding."),
    (r"\.pos_embed$", ".embeddings.position_embedding.weight"),
    (r"\.blocks\.", ".encoder.layers."),
    (r"\.norm(\d)\.", r".layer_norm\1."),
    (r"\.attn\.proj\.", ".self_attn.out_proj."),
    (r"\.attn\.qkv\.", ".self_attn.qkv."),
    (r"\.norm\.", ".post_layernorm."),
]
HIGH = [
    (r"^vision_model\.vision_tower_high\.vision_tower\.", "model.high_res_vision_model.vision_encoder."),
    (r"\.patch_embed\.proj\.", ".patch_embed.projection."),
    (r"\.blocks\.", ".layers."),
    (r"\.norm(\d)\.", r".layer_norm\1."),
    (r"_model\.vision_encoder\.neck_hd\.", "_neck."),
    (r"_model\.vision_encoder\.downsamples\.0\.", "_proj.conv1."),
    (r"_model\.vision_encoder\.downsamples\.1\.", "_proj.conv2."),
    (r"_model\.vision_encoder\.hd_alpha_downsamples$", "_alpha"),
    (r"neck\.0\.", "neck.conv1."),
    (r"neck\.1\.", "neck.layer_norm1."),
    (r"neck\.2\.", "neck.conv2."),
    (r"neck\.3\.", "neck.layer_norm2."),
]
ALIGNER = [
    (r"^aligner\.high_up_proj\.", "model.aligner.high_res_vision_proj."),
    (r"^aligner\.low_up_proj\.", "model.aligner.vision_proj."),
    (r"^aligner\.layers\.0\.", "model.aligner.linear1."),
    (r"^aligner\.layers\.2\.", "model.aligner.linear2."),
    (r"^aligner\.layers\.1\.", "model.aligner.proj."),
]


def native_config(raw: dict[str, Any], image_token_id: int) -> DeepseekVLConfig | DeepseekVLHybridConfig:
    """The native configuration of a published checkpoint.

    Args:
        raw: what its `config.json` holds.
        image_token_id: of ``<image_placeholder>`` in its tokenizer.

    Raises:
        ValueError: a tower that is not known here.
    """
    params = raw["vision_config"]["params"]
    text = {**raw["language_config"], "model_type": "llama"}
    low = params.get("low_res_cfg", params)
    vision = {
        **_known(SIGLIP, low["model_name"]),
        "model_type": "siglip_vision_model",
        "image_size": low["image_size"],
        "hidden_act": "gelu",  # timm's, where SigLIP's own code has its tanh approximation
        "vision_use_head": False,
    }
    # transformers' own default would tie a head that is stored apart.
    tied = bool(text.get("tie_word_embeddings", False))
    if "high_res_cfg" not in params:
        return DeepseekVLConfig(
            text_config=text, vision_config=vision, image_token_id=image_token_id, tie_word_embeddings=tied
        )
    high = params["high_res_cfg"]
    return DeepseekVLHybridConfig(
        text_config=text,
        vision_config=vision,
        high_res_vision_config={
            **_known(SAM, high["model_name"]),
            "model_type": "sam_vision_model",
            "image_size": high["image_size"],
        },
        image_token_id=image_token_id,
        tie_word_embeddings=tied,
    )


def own_processor(raw: dict[str, Any], path: str, template: str) -> DeepseekVLProcessor | DeepseekVLHybridProcessor:
    """Transformers' processor for a published checkpoint, with `template` for chats.

    Raises:
        ValueError: its tokenizer cannot be read.
    """
    # Its configuration calls the tokenizer a Llama's, whose class has splits of its own; the file says what it is.
    named = {"image_token": IMAGE_TOKEN}
    tokenizer = local_or_hub(PreTrainedTokenizerFast, path, extra_special_tokens=named)
    params = raw["vision_config"]["params"]
    low = params.get("low_res_cfg", params)
    size = {"height": low["image_size"], "width": low["image_size"]}
    tokens = (low["image_size"] // _known(SIGLIP, low["model_name"])["patch_size"]) ** 2
    mean, std = low.get("pixel_mean", [0.5] * 3), low.get("pixel_std", [0.5] * 3)
    if "high_res_cfg" not in params:
        images = DeepseekVLImageProcessor(size=size, image_mean=mean, image_std=std)
        return DeepseekVLProcessor(images, tokenizer, chat_template=template, num_image_tokens=tokens)
    high = params["high_res_cfg"]
    images = DeepseekVLHybridImageProcessor(
        size=size,
        image_mean=mean,
        image_std=std,
        high_res_size={"height": high["image_size"], "width": high["image_size"]},
        high_res_image_mean=high["pixel_mean"],
        high_res_image_std=high["pixel_std"],
    )
    return DeepseekVLHybridProcessor(images, tokenizer, chat_template=template, num_image_tokens=tokens)


def load_original(path: str, config: PreTrainedConfig, settings: ModelSettings) -> tuple[PreTrainedModel, str]:
    """The native model with a published checkpoint's weights, and its line for the run stamp.

    Raises:
        ValueError: weights are missing, unknown or of other shapes; or `quantize` without its package.
    """
    kind: Any = MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING[type(config)]
    with quiet():  # transformers would list the same keys as a table
        model, info = kind.from_pretrained(
            None,
            config=config,
            state_dict=native_weights(read_weights(path)),
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            **held(settings),
        )
    refuse_incomplete(path, info["missing_keys"], info["unexpected_keys"], info["mismatched_keys"])
    return model, integrity(path, model)


def native_weights(published: dict[str, Tensor]) -> dict[str, Tensor]:
    """Published weights under transformers' names."""
    native = {}
    for name, weight in published.items():
        if DROPPED.search(name):
            continue
        key = _native_name(name)
        if ".self_attn.qkv." in key:
            for part, piece in zip("qkv", weight.chunk(3), strict=True):
                native[key.replace(".qkv.", f".{part}_proj.")] = piece.contiguous()
        else:
            native[key] = weight[0] if key.endswith("position_embedding.weight") else weight
    return native


def _native_name(name: str) -> str:
    if name.startswith("language_model."):
        rules = LANGUAGE
    elif name.startswith("aligner."):
        rules = ALIGNER
    else:
        rules = HIGH if ".vision_tower_high." in name else TOWER
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def _known(table: dict[str, dict[str, Any]], name: str) -> dict[str, Any]:
    if name not in table:
        raise ValueError(f"a DeepSeek-VL with the tower {name!r} is not known here; known: {', '.join(table)}.")
    return table[name]
