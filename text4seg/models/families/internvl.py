"""InternVL through transformers' own class: 2.5, 3 and 3.5 as they are, 2 (and any `internvl_chat`) by conversion.

A picture is one square tile without thumbnail, as in the published training of Text4Seg: 448 pixels, 256 image tokens.

Source: InternVL2 (OpenGVLab, 2024); checkpoints such as ``OpenGVLab/InternVL2-8B`` and ``OpenGVLab/InternVL3-8B-hf``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import (
    AutoConfig,
    InternVLConfig,
    InternVLForConditionalGeneration,
    PreTrainedTokenizerBase,
)

from text4seg.models.backbone import Backbone
from text4seg.models.families.internvl_published import PUBLISHED, PublishedInternVL, native_config, tile_side
from text4seg.models.families.internvl_words import FRAME, IMAGE_TOKEN, published_tokenizer
from text4seg.models.loading import load_model, load_tokenizer, local_or_hub, read_config
from text4seg.models.processor import ImageGeometry, Processor, image_statistics
from text4seg.models.settings import ModelSettings

DEFAULT = "OpenGVLab/InternVL2-8B"


@dataclass(frozen=True)
class Checkpoint:
    """What is known of a checkpoint without its weights."""

    config: InternVLConfig
    tokenizer: PreTrainedTokenizerBase
    side: int
    published: bool


def processor(settings: ModelSettings) -> Processor:
    """Tokenizer and image geometry, without the weights.

    Raises:
        ValueError: the checkpoint cannot be found, is no InternVL, or `image_size` is not its own.
    """
    return _processor(settings, _checkpoint(settings))


def load(settings: ModelSettings) -> Backbone:
    """Model and processor.

    Raises:
        ValueError: as `processor`; or weights are missing, unknown or of other shapes.
    """
    found = _checkpoint(settings)
    made = _processor(settings, found)
    path = settings.path or DEFAULT
    if found.published:
        model, loaded = load_model(PublishedInternVL, path, settings, config=found.config)
        model.__class__ = InternVLForConditionalGeneration  # it differs in the name under which it was loaded
    else:
        model, loaded = load_model(InternVLForConditionalGeneration, path, settings)
    return Backbone(model, made, loaded=loaded, files=_files(made), saved_as_read=not found.published)


def skeleton_config(settings: ModelSettings) -> InternVLConfig | None:
    """The native configuration of a checkpoint's folder; None for a hub name.

    Raises:
        ValueError: as `processor`.
    """
    return _checkpoint(settings).config if settings.path and Path(settings.path).is_dir() else None


def _checkpoint(settings: ModelSettings) -> Checkpoint:
    path = settings.path or DEFAULT
    raw = read_config(path)
    if raw.get("model_type") == PUBLISHED:
        tokenizer = published_tokenizer(path, raw)
        image = tokenizer.get_vocab()[IMAGE_TOKEN]
        return Checkpoint(native_config(raw, image), tokenizer, tile_side(raw), published=True)
    if raw.get("model_type") != "internvl":
        raise ValueError(
            f"`model.path` {path!r} holds a {raw.get('model_type')} checkpoint; family internvl needs an InternVL."
        )
    config = local_or_hub(AutoConfig, path)
    return Checkpoint(config, load_tokenizer(path), config.vision_config.image_size[0], published=False)


def _processor(settings: ModelSettings, found: Checkpoint) -> Processor:
    if settings.image_size not in (None, found.side):
        raise ValueError(f"`model.image_size` must be {found.side} for this InternVL, got {settings.image_size}.")
    path = settings.path or DEFAULT
    geometry = ImageGeometry(found.side, found.config.image_seq_length, *image_statistics(path))
    # The published training of Text4Seg rendered InternVL2's own conversation: both styles are the same.
    return Processor(
        found.tokenizer, geometry, found.config.image_token_id, "checkpoint", settings.image_place, frame=FRAME
    )


def _files(made: Processor) -> dict[str, dict[str, Any]]:
    """What transformers' own processor needs in order to make one tile and count its tokens."""
    image = made.image_settings()
    # Its processor cuts pictures into tiles whatever `crop_to_patches` says here; one tile is the whole picture.
    tiles = {"image_processor_type": "GotOcr2ImageProcessor", "crop_to_patches": False, "max_patches": 1}
    return {
        "processor_config.json": {"processor_class": "InternVLProcessor", "image_seq_length": made.geometry.num_tokens},
        "preprocessor_config.json": {**image, **tiles},
        "video_preprocessor_config.json": {**image, "video_processor_type": "InternVLVideoProcessor"},
    }
