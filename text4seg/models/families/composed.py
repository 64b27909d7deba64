"""The composed model: any vision tower, a new MLP projector, any causal language model; LLaVA-shaped.

Source: LLaVA-1.5 (arXiv 2310.03744), section 3.2, for the projector.
Axis legend: B batch, T tokens, S side in pixels, P patches, C width of the tower, D width of the language model.
"""

from __future__ import annotations

import inspect
import math
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    GenerationMixin,
    PreTrainedModel,
)
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast

from text4seg.models.families.composed_config import ComposeConfig
from text4seg.models.families.languages import finish_logits
from text4seg.models.families.towers import run_tower
from text4seg.models.features import FeatureCache


class Projector(nn.Module):
    """Linear, GELU, Linear: ``[..., C]`` -> ``[..., D]``."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(width_in, width_out)
        self.act = nn.GELU()
        self.linear_2 = nn.Linear(width_out, width_out)

    def forward(self, features: Tensor) -> Tensor:
        """Map features to token embeddings."""
        return self.linear_2(self.act(self.linear_1(features)))


def merge_patches(patches_BPC: Tensor, merge: int) -> Tensor:
    """Put the features of ``merge * merge`` neighbours side by side: ``[B, P, C]`` -> ``[B, P / m^2, m^2 * C]``.

    Args:
        patches_BPC: a square of patches, row by row.
        merge: divides the side of the square.
    """
    if merge == 1:
        return patches_BPC
    side = math.isqrt(patches_BPC.shape[1]) // merge
    cells = patches_BPC.unflatten(1, (side, merge, side, merge)).transpose(2, 3)
    return cells.flatten(3).flatten(1, 2)


def _width(language_model: PreTrainedModel) -> int:
    table = language_model.get_input_embeddings().weight
    assert isinstance(table, Tensor)
    return int(table.shape[1])


class ComposePreTrainedModel(PreTrainedModel):
    """What both composed classes tell transformers about themselves."""

    config_class = ComposeConfig
    base_model_prefix = "model"
    input_modalities = ["image", "text"]
    supports_gradient_checkpointing = True
    _skip_keys_device_placement = ["past_key_values"]
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True


class ComposeModel(ComposePreTrainedModel):
    """Tower, projector and decoder, without the language-model head."""

    def __init__(self, config: ComposeConfig, language_model: PreTrainedModel) -> None:
        super().__init__(config)
        self.vision_tower = AutoModel.from_config(config.vision_config)
        self.multi_modal_projector = Projector(config.vision_width * config.merge**2, _width(language_model))
        self.language_model = language_model
        self.cache: FeatureCache | None = None
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The decoder's table of token embeddings."""
        return self.language_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the decoder's table."""
        self.language_model.set_input_embeddings(value)

    def patch_features(self, pixels: Tensor) -> Tensor:
        """Patches ``[B, P, C]`` behind the tower's final norm, without class token and registers."""
        return self.cache(pixels, self._look) if self.cache else self._look(pixels)

    def _look(self, pixels: Tensor) -> Tensor:
        tower = self.vision_tower
        out_BTC = run_tower(tower, pixels.to(tower.dtype))
        patches_BPC = out_BTC[:, self.config.prefix :]
        return tower.get_submodule(self.config.norm)(patches_BPC) if self.config.norm else patches_BPC

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        pixel_values: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: Tensor | None = None,
        **options: Any,
    ) -> BaseModelOutputWithPast:
        """Hidden states of text and pictures, ``last_hidden_state`` ``[B, T, D]``.

        Raises:
            ValueError: pictures and image tokens do not match.
        """
        if inputs_embeds is None:
            assert input_ids is not None
            inputs_embeds = self._embed(input_ids, pixel_values)
        if position_ids is not None and "position_ids" in inspect.signature(self.language_model.forward).parameters:
            options["position_ids"] = position_ids
        out = self.language_model(
            inputs_embeds=inputs_embeds, attention_mask=attention_mask, past_key_values=past_key_values, **options
        )
        return BaseModelOutputWithPast(
            last_hidden_state=out.last_hidden_state,
            past_key_values=getattr(out, "past_key_values", None),
            hidden_states=getattr(out, "hidden_states", None),
            attentions=getattr(out, "attentions", None),
        )

    def _embed(self, ids_BT: Tensor, pixels: Tensor | None) -> Tensor:
        table = self.get_input_embeddings()
        if pixels is None:  # an image token that the model itself has written is a word like any other
            return table(ids_BT)
        image_BT = ids_BT == self.config.image_token_id
        # Whatever stands at image positions is overwritten: the image token's own row is not read.
        embeds_BTD = table(ids_BT.masked_fill(image_BT, 0))
        merged_BPC = merge_patches(self.patch_features(pixels), self.config.merge)
        tokens_BPD = self.multi_modal_projector(merged_BPC)
        if int(image_BT.sum()) != tokens_BPD.shape[0] * tokens_BPD.shape[1]:
            raise ValueError(
                f"{int(image_BT.sum())} image tokens for {tokens_BPD.shape[0]} pictures of {tokens_BPD.shape[1]} each."
            )
        return embeds_BTD.masked_scatter(image_BT[..., None], tokens_BPD.to(embeds_BTD.dtype))


class ComposeForConditionalGeneration(ComposePreTrainedModel, GenerationMixin):
    """A composed model with its language-model head."""

    def __init__(self, config: ComposeConfig) -> None:
        super().__init__(config)
        causal = AutoModelForCausalLM.from_config(config.text_config)
        table = causal.get_input_embeddings().weight
        self.model = ComposeModel(config, causal.base_model)
        self.lm_head = _finished(causal.get_output_embeddings(), config)
        names = [n for n, p in self.model.language_model.named_parameters() if p is table]
        self._tied_weights_keys = {"lm_head.weight": f"model.language_model.{names[0]}"}
        self.post_init()

    @classmethod
    def join(
        cls, config: ComposeConfig, tower: PreTrainedModel, causal: PreTrainedModel, dtype: torch.dtype
    ) -> ComposeForConditionalGeneration:
        """Put parts together that were loaded in `dtype`; the projector is new and random."""
        with torch.device("meta"):
            model = cls(config)
        model.model.vision_tower = tower
        model.model.language_model = causal.base_model
        model.model.multi_modal_projector = Projector(config.vision_width * config.merge**2, _width(causal)).to(dtype)
        model.lm_head = _finished(causal.get_output_embeddings(), config)
        model.tie_weights()
        model.generation_config = causal.generation_config
        config.dtype = dtype
        return model.eval()

    def get_input_embeddings(self) -> nn.Module:
        """The decoder's table of token embeddings."""
        return self.model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the decoder's table."""
        self.model.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module:
        """The language-model head."""
        return self.lm_head

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        pixel_values: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: Tensor | None = None,
        logits_to_keep: int = 0,
        **options: Any,
    ) -> CausalLMOutputWithPast:
        """Logits of the last `logits_to_keep` positions, of all for 0."""
        out = self.model(
            input_ids, attention_mask, pixel_values, position_ids, past_key_values, inputs_embeds, **options
        )
        return CausalLMOutputWithPast(
            logits=self.lm_head(out.last_hidden_state[:, -logits_to_keep:]), past_key_values=out.past_key_values
        )


def _finished(head: Any, config: ComposeConfig) -> Any:
    """A head whose logits are the language model's own; by a hook, so that its weights keep their names."""
    head.register_forward_hook(partial(_finish, config.text_config))
    return head


def _finish(config: Any, head: nn.Module, given: Any, logits: Tensor) -> Tensor:
    return finish_logits(config, logits)


AutoModelForImageTextToText.register(ComposeConfig, ComposeForConditionalGeneration)
