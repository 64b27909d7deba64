"""Source families by name; a family's code is imported when it is first used."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

from text4seg.data.sources.needs import Need
from text4seg.data.sources.options import from_options
from text4seg.data.sources.settings import (
    CocoSettings,
    DialogueSettings,
    FolderSettings,
    HubSettings,
    PanopticSettings,
    ReasonSettings,
    ReferSettings,
    RleSettings,
    ScenesSettings,
    SemanticSettings,
)
from text4seg.data.sources.share import WHOLE, Share
from text4seg.data.types import Example

SOURCES: dict[str, tuple[type, str]] = {
    "scenes": (ScenesSettings, "text4seg.data.sources.scenes.examples"),
    "folder": (FolderSettings, "text4seg.data.sources.folder"),
    "refer": (ReferSettings, "text4seg.data.sources.refer"),
    "semantic": (SemanticSettings, "text4seg.data.sources.semantic"),
    "coco": (CocoSettings, "text4seg.data.sources.coco"),
    "panoptic": (PanopticSettings, "text4seg.data.sources.panoptic"),
    "reason": (ReasonSettings, "text4seg.data.sources.reason"),
    "dialogue": (DialogueSettings, "text4seg.data.sources.dialogue"),
    "rle": (RleSettings, "text4seg.data.sources.rle"),
    "hub": (HubSettings, "text4seg.data.sources.hub"),
}

VERSIONS = dict.fromkeys(SOURCES, 1) | {"refer": 3, "dialogue": 2, "reason": 2, "coco": 2, "rle": 2, "hub": 2}
"""Raised when a family gives other examples for the same settings: sets built before are then built again."""


def source_settings(name: str, options: dict[str, Any]) -> Any:
    """The settings of the source family `name`, filled from `options`.

    Raises:
        ValueError: unknown family or option, or a value of the wrong type.
    """
    if name not in SOURCES:
        near = get_close_matches(name, SOURCES, n=1)
        raise ValueError(
            f"unknown source {name!r}; expected one of {', '.join(SOURCES)}"
            + (f" (did you mean {near[0]!r}?)" if near else "")
            + "."
        )
    return from_options(SOURCES[name][0], options, "options")


def examples(name: str, options: dict[str, Any], seed: int, share: Share = WHOLE) -> Iterator[Example]:
    """Stream the annotated images of a source, or a share of them.

    Raises:
        ValueError: unknown family or option, or annotations that cannot be read.
    """
    settings = source_settings(name, options)
    return importlib.import_module(SOURCES[name][1]).examples(settings, seed, share)


def needs(name: str, options: dict[str, Any]) -> list[Need]:
    """The files that a source reads; `scenes` reads none.

    Raises:
        ValueError: unknown family or option.
    """
    settings = source_settings(name, options)
    module = importlib.import_module(SOURCES[name][1])
    return module.needs(settings) if hasattr(module, "needs") else []
