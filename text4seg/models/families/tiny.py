"""The embedded default: a LLaVA of under four million weights with its own eyes and its own small BPE.

It was pre-trained by this project on procedural scenes (conf/tiny-pretrain.yaml). `path: random` starts anew.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from text4seg.models.backbone import Backbone
from text4seg.models.families import llava
from text4seg.models.families.conv_tower import ConvTowerConfig
from text4seg.models.families.vocabulary import tiny_tokenizer
from text4seg.models.loading import local_or_hub
from text4seg.models.processor import ImageGeometry, Processor
from text4seg.models.settings import ModelSettings

EMBEDDED = Path(__file__).resolve().parents[2] / "assets" / "tiny"
RANDOM = "random"
SIZES = {
    "image": 128,
    "patch": 16,
    "width": 192,
    "vision_layers": 1,
    "language_layers": 6,
    "heads": 4,
    "vocabulary": 0,
    "seed": 0,
}
"""Options of random weights. `vocabulary`: words of the head, where they are to be more than the tokenizer's."""
ATTENTION = "eager"
"""At this size a step in bfloat16 takes half the time that it takes with PyTorch's fused attention on a CPU."""
IMAGE_PLACE = "last"
"""Behind the question: a model this small learns to write masks only when its image tokens know what is asked for."""
TEXT_SPREAD = 0.06
"""Standard deviation of the random text weights: at this width 0.02 leaves the residual stream too quiet to learn."""


def processor(settings: ModelSettings) -> Processor:
    """Tokenizer and image geometry, without the weights."""
    if settings.path != RANDOM:
        return llava.processor(_embedded(settings))
    tokenizer = tiny_tokenizer()
    sizes = _sizes(settings.options)
    geometry = ImageGeometry(sizes["image"], (sizes["image"] // sizes["patch"]) ** 2)
    return Processor(
        tokenizer, geometry, tokenizer.get_vocab()["<image>"], settings.chat, settings.image_place or IMAGE_PLACE
    )


def load(settings: ModelSettings) -> Backbone:
    """The embedded checkpoint, one at `settings.path`, or random weights.

    Raises:
        ValueError: the checkpoint is missing or an option is unknown.
    """
    if settings.path != RANDOM:
        backbone = llava.load(_embedded(settings))
        backbone.core.set_attn_implementation(ATTENTION)
        return backbone
    made = processor(settings)
    sizes = _sizes(settings.options)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(sizes["seed"])
        model = LlavaForConditionalGeneration(_config(sizes, made))
        model.set_attn_implementation(ATTENTION)
        _start(model)
    for weight in model.parameters():  # `model.to` would also round the rotary tables
        weight.data = weight.data.to(getattr(torch, settings.dtype))
    return Backbone(model, made, loaded="RANDOM weights")


def skeleton_config(settings: ModelSettings) -> Any:
    """The configuration of the embedded checkpoint, of one at `settings.path`, or of random weights."""
    if settings.path == RANDOM:
        return _config(_sizes(settings.options), processor(settings))
    return local_or_hub(AutoConfig, str(settings.path or EMBEDDED))


def _embedded(settings: ModelSettings) -> ModelSettings:
    return settings if settings.path else replace(settings, path=str(EMBEDDED))


def _sizes(options: dict[str, Any]) -> dict[str, int]:
    unknown = set(options) - set(SIZES)
    if unknown:
        raise ValueError(f"`model.options` of a random tiny model may hold {', '.join(SIZES)}, got {sorted(unknown)}.")
    return {**SIZES, **options}


def _config(sizes: dict[str, int], made: Processor) -> LlavaConfig:
    width, heads, tokenizer = sizes["width"], sizes["heads"], made.tokenizer
    vision = ConvTowerConfig(
        hidden_size=width,
        num_hidden_layers=sizes["vision_layers"],
        image_size=sizes["image"],
        patch_size=sizes["patch"],
    )
    text = LlamaConfig(
        vocab_size=max(len(tokenizer), sizes["vocabulary"]),
        hidden_size=width,
        intermediate_size=width * 8 // 3,
        num_hidden_layers=sizes["language_layers"],
        num_attention_heads=heads,
        max_position_embeddings=8192,
        initializer_range=TEXT_SPREAD,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
    )
    return LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=made.image_token_id,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        tie_word_embeddings=True,
        image_seq_length=made.geometry.num_tokens,
    )


@torch.no_grad()
def _start(model: LlavaForConditionalGeneration) -> None:
    """A projector that carries: transformers' start of 0.02 would all but silence the image at this width."""
    for module in model.model.multi_modal_projector.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=module.in_features**-0.5)
