"""Backbone families by name; a family's code is imported when it is first used."""

from __future__ import annotations

import importlib
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from text4seg.models.backbone import Backbone
from text4seg.models.ends import end_as_learnt
from text4seg.models.processor import Processor
from text4seg.models.settings import FAMILIES, ModelSettings


def load_processor(settings: ModelSettings) -> Processor:
    """Tokenizer and image geometry of a backbone, without its weights.

    Raises:
        ValueError: unknown family, or its checkpoint cannot be read.
    """
    return _family(settings).processor(settings)


def load_backbone(settings: ModelSettings) -> Backbone:
    """Model and processor, without adapters.

    Raises:
        ValueError: unknown family, its checkpoint cannot be read, or it has no such attention.
    """
    attention = _attention(settings)
    backbone: Backbone = _family(settings).load(settings)
    if attention:
        try:
            backbone.core.set_attn_implementation(attention)
        except (ValueError, ImportError) as error:
            raise ValueError(f"`model.attention` {attention!r} cannot be used: {error}") from error
    end_as_learnt(backbone)
    return backbone


def _attention(settings: ModelSettings) -> str | None:
    """Which attention to set, None: the family's choice.

    transformers' eager attention takes its softmax in float32, where float64's lowest number, with which it masks, is
    minus infinity: a token that may look at nothing (the padding on the left) becomes NaN, and with it whatever stands
    in the same batch. Fused attention stays in float64.
    """
    if settings.dtype != "float64":
        return settings.attention
    if settings.attention == "eager":
        raise ValueError("`model.attention` eager is no float64 (its softmax is float32): leave it open, or take sdpa.")
    return settings.attention or "sdpa"


def load_skeleton(settings: ModelSettings) -> Backbone:
    """The model without weights (on the meta device) and without a processor, to count and to name its parts.

    Its numbers come from the checkpoint's folder, or from `model.architecture` where only a hub name is given. A family
    may read a folder in its own way (`skeleton_config`, None where there is none) and name the parts (`parts_of`).

    Raises:
        ValueError: neither is there, or they make no model.
    """
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText

    family = _family(settings)
    try:
        own = family.skeleton_config(settings) if hasattr(family, "skeleton_config") else None
        config = own or _stated_config(settings, AutoConfig)
        with torch.device("meta"):
            model = AutoModelForImageTextToText.from_config(config)
    except (TypeError, KeyError, RuntimeError) as error:
        raise ValueError(f"`model.architecture` makes no model: {str(error).splitlines()[0]}") from error
    if hasattr(family, "ATTENTION"):
        model.set_attn_implementation(family.ATTENTION)
    parts = family.parts_of(model) if hasattr(family, "parts_of") else {}
    return Backbone(model, processor=None, **parts)  # type: ignore[arg-type]


def _stated_config(settings: ModelSettings, reader: Any) -> Any:
    if settings.path and Path(settings.path).is_dir():
        return reader.from_pretrained(settings.path)
    numbers = dict(settings.architecture)
    if not numbers or numbers.pop("checkpoint", None) != settings.path:
        raise ValueError(
            "neither a folder in `model.path` nor `model.architecture` (of that very `checkpoint`) says how large the "
            "model is."
        )
    return reader.for_model(numbers.pop("model_type", ""), **numbers)


def _family(settings: ModelSettings) -> Any:
    if settings.family not in FAMILIES:
        near = get_close_matches(settings.family, FAMILIES, n=1)
        raise ValueError(
            f"`model.family` must be one of {', '.join(FAMILIES)}, got {settings.family!r}"
            + (f"; did you mean {near[0]!r}?" if near else ".")
        )
    return importlib.import_module(f"text4seg.models.families.{settings.family}")
