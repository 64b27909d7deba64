"""LLaVA-1.5 through transformers' own class; any checkpoint of that layout loads.

Source: LLaVA-1.5 (arXiv 2310.03744); checkpoints such as ``llava-hf/llava-1.5-7b-hf``.
"""

from __future__ import annotations

import torch
from transformers import AutoConfig, AutoTokenizer, LlavaForConditionalGeneration

from text4seg.models.backbone import Backbone
from text4seg.models.loading import local_or_hub, refuse_missing
from text4seg.models.processor import ImageGeometry, Processor, image_statistics
from text4seg.models.settings import ModelSettings

DEFAULT = "llava-hf/llava-1.5-7b-hf"


def processor(settings: ModelSettings) -> Processor:
    """Tokenizer and image geometry, without the weights.

    Raises:
        ValueError: the checkpoint cannot be found, is not LLaVA, or `image_size` is not its own.
    """
    path = settings.path or DEFAULT
    config = local_or_hub(AutoConfig, path)
    if config.model_type != "llava":
        raise ValueError(f"`model.path` {path!r} holds a {config.model_type} checkpoint; family llava needs a LLaVA.")
    side = config.vision_config.image_size
    if settings.image_size not in (None, side):
        raise ValueError(
            f"`model.image_size` must be {side} for {path!r}, got {settings.image_size}; `compose` is free."
        )
    geometry = ImageGeometry(side, config.image_seq_length, *image_statistics(path))
    return Processor(local_or_hub(AutoTokenizer, path), geometry, config.image_token_id, settings.chat)


def load(settings: ModelSettings) -> Backbone:
    """Model and processor.

    Raises:
        ValueError: as `processor`; or weights are missing from the checkpoint.
    """
    path = settings.path or DEFAULT
    model, info = local_or_hub(
        LlavaForConditionalGeneration, path, output_loading_info=True, dtype=getattr(torch, settings.dtype)
    )
    refuse_missing(path, info["missing_keys"])
    return Backbone(model, processor(settings), loaded=f"{path}, all weights loaded")
