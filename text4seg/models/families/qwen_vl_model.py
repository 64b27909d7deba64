"""Qwen-VL-Chat (2023) as a native model: LLaVA's shape with a Qwen2 as its decoder, ViT's layers in its tower.

transformers has no class for it. New here are how patches enter the tower and the resampler, which turns any number of
patches into a fixed number of image tokens by cross attention. Published weights are put into their native names and
shapes on loading and back on saving, without a number changing.

Beyond the length that it was trained with (2048 tokens) the published code stretches positions and attention, by the
length of the whole batch; here longer texts are refused instead.

Source: Qwen-VL (arXiv 2308.12966), section 2.1; held against the published code by `tests/models/test_qwen_vl.py`.
Axis legend: B batch, P patches, C width of the tower, Q image tokens, D width of the decoder, S side in pixels.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    AutoModelForImageTextToText,
    LlavaForConditionalGeneration,
    LlavaModel,
    Qwen2Model,
    ViTConfig,
)
from transformers.conversion_mapping import register_checkpoint_conversion_mapping
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.llava.modeling_llava import LlavaPreTrainedModel
from transformers.models.vit.modeling_vit import ViTLayer, ViTPreTrainedModel

from text4seg.models.families.qwen_vl_config import HEAD, QUERIES, QwenVLConfig
from text4seg.models.families.qwen_vl_layout import FUSED, RENAMED


def resized(table_PC: Tensor, patches: int) -> Tensor:
    """A square table of positions for another number of patches, bicubic in float32."""
    before, after = math.isqrt(len(table_PC)), math.isqrt(patches)
    if before == after:
        return table_PC
    square = table_PC.float().unflatten(0, (before, before)).permute(2, 0, 1)[None]
    grown = functional.interpolate(square, (after, after), mode="bicubic", align_corners=False)
    return grown[0].flatten(1).T.to(table_PC.dtype)


class QwenVLTower(ViTPreTrainedModel):
    """ViT without class token: pictures ``[B, 3, S, S]`` -> patches ``[B, P, C]``, not normalised at the end."""

    config_class = ViTConfig
    main_input_name = "pixel_values"

    def __init__(self, config: ViTConfig) -> None:
        super().__init__(config)
        width, patch = config.hidden_size, config.patch_size
        assert isinstance(patch, int)
        self.conv1 = nn.Conv2d(3, width, patch, stride=patch, bias=False)
        self.positional_embedding = nn.Parameter(torch.zeros(QUERIES, width))
        self.ln_pre = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.layers = nn.ModuleList(ViTLayer(config) for _ in range(config.num_hidden_layers))
        self.post_init()

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Patches of pictures."""
        patches_BPC = self.conv1(pixel_values.to(self.conv1.weight.dtype)).flatten(2).transpose(1, 2)
        placed_BPC = patches_BPC + resized(self.positional_embedding, patches_BPC.shape[1])
        hidden_BPC = self.ln_pre(placed_BPC)
        for layer in self.layers:
            hidden_BPC = layer(hidden_BPC)
        return hidden_BPC


class Resampler(nn.Module):
    """Learnt queries look at all patches once: ``[B, P, C]`` -> ``[B, Q, D]``, in the decoder's space."""

    def __init__(self, config: QwenVLConfig) -> None:
        super().__init__()
        width, eps = config.hidden_size, config.vision_config.layer_norm_eps
        self.kv_proj = nn.Linear(config.vision_config.hidden_size, width, bias=False)
        self.query = nn.Parameter(torch.zeros(config.image_seq_length, width))
        self.register_buffer("pos_embed", torch.zeros(config.image_seq_length, width))
        self.ln_q, self.ln_kv, self.ln_post = (nn.LayerNorm(width, eps=eps) for _ in range(3))
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (nn.Linear(width, width) for _ in range(4))
        self.proj = nn.Parameter(torch.zeros(width, width))

    def forward(self, patches_BPC: Tensor) -> Tensor:
        """Image tokens."""
        seen_BPD = self.ln_kv(self.kv_proj(patches_BPC))
        places_QD = self.get_buffer("pos_embed")
        asked_QD = self.q_proj(self.ln_q(self.query) + places_QD)
        keys_BPD = self.k_proj(seen_BPD + resized(places_QD, seen_BPD.shape[1]))
        parts = (asked_QD.expand(len(seen_BPD), -1, -1), keys_BPD, self.v_proj(seen_BPD))
        query, key, value = (part.unflatten(-1, (-1, HEAD)).transpose(1, 2) for part in parts)
        found_BQD = functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        return self.ln_post(self.o_proj(found_BQD)) @ self.proj


class QwenVLModel(LlavaModel):
    """Tower, resampler and decoder, without the language-model head."""

    config_class = QwenVLConfig

    def __init__(self, config: QwenVLConfig) -> None:
        LlavaPreTrainedModel.__init__(self, config)  # LlavaModel's own would build LLaVA's parts
        self.vision_tower = QwenVLTower(config.vision_config)
        self.multi_modal_projector: nn.Module = Resampler(config)  # pyrefly: ignore[bad-override]
        self.language_model = Qwen2Model(config.text_config)
        self.post_init()

    def get_image_features(self, pixel_values: Tensor, **_: Any) -> BaseModelOutputWithPooling:
        """Image tokens as `pooler_output` ``[B, Q, D]``."""
        patches_BPC = self.vision_tower(pixel_values)
        tokens_BQD = self.multi_modal_projector(patches_BPC)
        return BaseModelOutputWithPooling(
            last_hidden_state=patches_BPC,
            pooler_output=tuple(tokens_BQD),  # pyrefly: ignore[bad-argument-type]  # one a picture, as LLaVA's
        )


class QwenVLForConditionalGeneration(LlavaForConditionalGeneration):
    """The model with its language-model head."""

    config_class = QwenVLConfig

    def __init__(self, config: QwenVLConfig) -> None:
        LlavaPreTrainedModel.__init__(self, config)
        self.model = QwenVLModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()


AutoModelForImageTextToText.register(QwenVLConfig, QwenVLForConditionalGeneration)
register_checkpoint_conversion_mapping(QwenVLForConditionalGeneration.__name__, [*RENAMED, *FUSED])
