"""Backbone families by name; a family's code is imported when it is first used."""

from __future__ import annotations

import importlib
from difflib import get_close_matches
from typing import Any

from text4seg.models.backbone import Backbone
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
    backbone: Backbone = _family(settings).load(settings)
    if settings.attention:
        try:
            backbone.core.set_attn_implementation(settings.attention)
        except (ValueError, ImportError) as error:
            raise ValueError(f"`model.attention` {settings.attention!r} cannot be used: {error}") from error
    return backbone


def _family(settings: ModelSettings) -> Any:
    if settings.family not in FAMILIES:
        near = get_close_matches(settings.family, FAMILIES, n=1)
        raise ValueError(
            f"`model.family` must be one of {', '.join(FAMILIES)}, got {settings.family!r}"
            + (f"; did you mean {near[0]!r}?" if near else ".")
        )
    return importlib.import_module(f"text4seg.models.families.{settings.family}")
