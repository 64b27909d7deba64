"""LLaVA-1.5 through transformers' own class; checkpoints of that layout load, and those of the first authors.

Source: LLaVA-1.5 (arXiv 2310.03744); checkpoints such as ``llava-hf/llava-1.5-7b-hf``.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModel,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
)

from text4seg.models.backbone import Backbone
from text4seg.models.families.llava_original import is_original, load_original, read_original
from text4seg.models.families.towers import run_tower
from text4seg.models.loading import load_model, load_tokenizer, local_or_hub, read_config
from text4seg.models.processor import ImageGeometry, Processor, image_statistics
from text4seg.models.settings import ModelSettings

DEFAULT = "llava-hf/llava-1.5-7b-hf"


def processor(settings: ModelSettings) -> Processor:
    """Tokenizer and image geometry, without the weights.

    Raises:
        ValueError: the checkpoint cannot be found, is not LLaVA, or `image_size` is not its own.
    """
    path = settings.path or DEFAULT
    raw = read_config(path)
    if is_original(raw):
        found = read_original(settings, path, raw)
        return _processor(settings, found.config, found.tokenizer, found.vision)
    config = local_or_hub(AutoConfig, path)
    if config.model_type != "llava":
        raise ValueError(f"`model.path` {path!r} holds a {config.model_type} checkpoint; family llava needs a LLaVA.")
    return _processor(settings, config, load_tokenizer(path), path)


def load(settings: ModelSettings) -> Backbone:
    """Model and processor.

    Raises:
        ValueError: as `processor`; or weights are missing, unknown or of other shapes.
    """
    path = settings.path or DEFAULT
    raw = read_config(path)
    if is_original(raw):
        found = read_original(settings, path, raw)
        model, loaded = load_original(found, settings)
        made = _processor(settings, found.config, found.tokenizer, found.vision)
    else:
        model, loaded = load_model(LlavaForConditionalGeneration, path, settings)
        made = processor(settings)
    files = {"processor_config.json": _processor_config(model.config, made)}
    return Backbone(model, made, loaded=loaded, files=files)


def _processor(
    settings: ModelSettings, config: LlavaConfig, tokenizer: PreTrainedTokenizerBase, vision: str
) -> Processor:
    """Put together from the model's configuration, its tokenizer, and where the image's statistics are."""
    side = config.vision_config.image_size  # type: ignore[union-attr]
    if settings.image_size not in (None, side):
        raise ValueError(
            f"`model.image_size` must be {side} for {settings.path or DEFAULT!r}, got {settings.image_size}; "
            "`compose` is free."
        )
    geometry = ImageGeometry(side, _image_tokens(config), *image_statistics(vision))
    return Processor(tokenizer, geometry, config.image_token_id, settings.chat, settings.image_place)


def _processor_config(config: PreTrainedConfig, made: Processor) -> dict[str, Any]:
    """What transformers' own processor needs in order to count a picture's tokens as the model does."""
    vision: Any = config.vision_config
    patch, strategy = vision.patch_size, config.vision_feature_select_strategy
    return {
        "processor_class": "LlavaProcessor",
        "image_token": made.tokenizer.convert_ids_to_tokens(made.image_token_id),
        "patch_size": patch,
        "vision_feature_select_strategy": strategy,
        # Beside the patches; with `default` it takes one off again, as the model does.
        "num_additional_image_tokens": made.geometry.num_tokens
        - (made.geometry.side // patch) ** 2
        + (strategy == "default"),
    }


@torch.no_grad()
def _image_tokens(config: LlavaConfig) -> int:
    """A picture's tokens, counted on a tower without weights.

    The configuration's own number is 576 wherever a checkpoint states none, as those on the hub do.
    """
    with torch.device("meta"):
        vision: Any = config.vision_config
        tower, side = AutoModel.from_config(vision).eval(), vision.image_size
        out_BTC = run_tower(tower, torch.zeros(1, 3, side, side, dtype=tower.dtype))
    return out_BTC.shape[1] - (config.vision_feature_select_strategy == "default")
