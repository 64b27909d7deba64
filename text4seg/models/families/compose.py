"""Family `compose`: any vision encoder of transformers or open_clip, a new projector, any causal language model.

`model.vision` and `model.language` name the parts; `model.path` a composed checkpoint that was saved earlier.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from text4seg.models.backbone import Backbone
from text4seg.models.chat import render
from text4seg.models.families.composed import ComposeForConditionalGeneration
from text4seg.models.families.composed_config import ComposeConfig
from text4seg.models.families.languages import image_token, language_config, load_language
from text4seg.models.families.open_clip_tower import (
    PREFIX,
    OpenClipVisionConfig,
    load_open_clip,
    open_clip_config,
    open_clip_statistics,
)
from text4seg.models.families.towers import TowerFacts, tower_facts, tower_side
from text4seg.models.features import FeatureCache
from text4seg.models.integrity import refuse_incomplete
from text4seg.models.loading import load_model, local_or_hub, quiet
from text4seg.models.processor import ImageGeometry, Processor, image_statistics
from text4seg.models.settings import ModelSettings

SEED = 0
"""Of the new projector (and of a tower without weights): a run's adapter is put back on the very same weights."""


@dataclass(frozen=True)
class Parts:
    """Everything about a composition that can be known without weights."""

    vision: str
    language: str
    vision_config: PreTrainedConfig
    text_config: PreTrainedConfig
    side: int
    facts: TowerFacts
    tokenizer: PreTrainedTokenizerBase
    image_token_id: int


def processor(settings: ModelSettings) -> Processor:
    """Tokenizer and image geometry, without the weights.

    Raises:
        ValueError: a part is not named, cannot be found or cannot be composed, or the tokenizer has no chat template.
    """
    if settings.path:
        return _saved_processor(settings, settings.path)
    return _processor(settings, _parts(settings))


def load(settings: ModelSettings) -> Backbone:
    """Model and processor. A new projector is random, and so is an open_clip tower without tag; `loaded` says so.

    Raises:
        ValueError: as `processor`; or weights are missing, or the language model's logits are made in an unknown way.
    """
    if settings.path:
        return _saved(settings, settings.path)
    if settings.quantize or settings.device_map:
        raise ValueError(
            "`model.quantize` and `model.device_map` are for a composed checkpoint (`model.path`), not parts."
        )
    parts = _parts(settings)
    made = _processor(settings, parts)
    dtype = getattr(torch, settings.dtype)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        tower, tower_from = _load_tower(parts, dtype)
        causal = load_language(parts.language, parts.text_config, parts.image_token_id, dtype)
        config = ComposeConfig(
            vision_config=tower.config,
            text_config=causal.config,
            image_token_id=parts.image_token_id,
            image_size=parts.side,
            patches=parts.facts.patches,
            vision_width=parts.facts.width,
            prefix=parts.facts.prefix,
            norm=parts.facts.norm,
            merge=settings.merge,
            vision=parts.vision,
            language=parts.language,
        )
        model = ComposeForConditionalGeneration.join(config, tower, causal, dtype)
    _keep_features(model, settings)
    layers = f" of the first {settings.language_layers} layers" if settings.language_layers else ""
    loaded = f"{parts.vision}: {tower_from}; {parts.language}: all weights{layers} loaded; projector: RANDOM, new"
    return Backbone(model, made, loaded=loaded)


def _saved_processor(settings: ModelSettings, path: str) -> Processor:
    config = local_or_hub(AutoConfig, path)
    if config.model_type != ComposeConfig.model_type:
        raise ValueError(
            f"`model.path` {path!r} holds a {config.model_type} checkpoint; family compose takes what it saved itself. "
            "Name the parts of a new model with `model.vision` and `model.language`."
        )
    if settings.image_size not in (None, config.image_size):
        raise ValueError(f"`model.image_size` must be {config.image_size} for {path!r}, got {settings.image_size}.")
    layers = config.text_config.num_hidden_layers
    if settings.language_layers not in (None, layers):
        raise ValueError(f"`model.language_layers` must be {layers} for {path!r}, got {settings.language_layers}.")
    if settings.merge not in (1, config.merge):
        raise ValueError(f"`model.merge` must be {config.merge} for {path!r}, got {settings.merge}.")
    geometry = ImageGeometry(config.image_size, config.patches // config.merge**2, *image_statistics(path))
    tokenizer = local_or_hub(AutoTokenizer, path)
    words = settings.chat, settings.image_place
    return _checked(Processor(tokenizer, geometry, config.image_token_id, *words, row_ends=settings.row_ends))


def refuse_side(backbone: Backbone, side: int) -> None:
    """Look at pictures of another side before a training comes to the stage that shows them.

    Raises:
        ValueError: the tower does not take them.
    """
    config: Any = backbone.core.config
    tower_facts(config.vision_config, side, config.vision)


def _saved(settings: ModelSettings, path: str) -> Backbone:
    made = _saved_processor(settings, path)
    model, loaded = load_model(ComposeForConditionalGeneration, path, settings)
    _keep_features(model, settings)
    return Backbone(model, made, loaded=loaded)


def _keep_features(model: PreTrainedModel, settings: ModelSettings) -> None:
    if settings.cache_features:
        assert isinstance(model, ComposeForConditionalGeneration)
        model.model.cache = FeatureCache(Path(settings.cache_features), model.model.vision_tower)


def _parts(settings: ModelSettings) -> Parts:
    vision, language = settings.vision, settings.language
    if not vision or not language:
        raise ValueError(
            "family compose needs `model.vision` and `model.language`, or the `model.path` of a saved one."
        )
    if vision.startswith(PREFIX):
        vision_config = open_clip_config(vision, settings.image_size)
    else:
        vision_config = local_or_hub(AutoConfig, vision)
        vision_config = getattr(vision_config, "vision_config", vision_config)  # a whole CLIP holds its tower
    side = tower_side(vision_config, settings.image_size, vision)
    facts = tower_facts(vision_config, side, vision)
    across = math.isqrt(facts.patches)
    if across % settings.merge:
        raise ValueError(f"`model.merge` must divide the {across} patches a side of {vision!r}, got {settings.merge}.")
    text_config = language_config(language, settings.language_layers)
    tokenizer = local_or_hub(AutoTokenizer, language)
    return Parts(vision, language, vision_config, text_config, side, facts, tokenizer, image_token(tokenizer))


def _processor(settings: ModelSettings, parts: Parts) -> Processor:
    of = open_clip_statistics if parts.vision.startswith(PREFIX) else image_statistics
    geometry = ImageGeometry(parts.side, parts.facts.patches // settings.merge**2, *of(parts.vision))
    words = settings.chat, settings.image_place
    return _checked(Processor(parts.tokenizer, geometry, parts.image_token_id, *words, row_ends=settings.row_ends))


def _checked(made: Processor) -> Processor:
    render([("", None)], made.tokenizer, made.chat)  # a missing chat template shows here, not at the first picture
    return made


def _load_tower(parts: Parts, dtype: torch.dtype) -> tuple[PreTrainedModel, str]:
    if isinstance(parts.vision_config, OpenClipVisionConfig):
        return load_open_clip(parts.vision, parts.vision_config, dtype)
    with quiet():  # a whole CLIP's text tower would be listed
        tower, info = local_or_hub(
            AutoModel, parts.vision, config=parts.vision_config, output_loading_info=True, dtype=dtype
        )
    # What pools the patches is not used.
    refuse_incomplete(parts.vision, [k for k in info["missing_keys"] if not k.startswith(("pooler.", "head."))])
    return tower, "all weights loaded"
