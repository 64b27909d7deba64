"""Most vision-language models that transformers knows, through its Auto classes: a new family costs one YAML.

What differs between families is taken from the checkpoint's own processor: the text that stands for a picture, the
tensors that the model wants beside ``pixel_values``, and how tokens are marked. Pictures are stretched to one square
side first, so image tokens and the mask's grid align and every picture has the same number of tokens.
docs/backbones.md has the recipe and the families that were tried.
"""

from __future__ import annotations

import inspect
import math
import re
from typing import Any

from torch import Tensor
from transformers import (
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    AutoConfig,
    AutoModelForImageTextToText,
    AutoProcessor,
    PreTrainedConfig,
    PreTrainedModel,
)

from text4seg.models.backbone import Backbone
from text4seg.models.chat import LLAVA, Layout
from text4seg.models.families.auto_processor import AutoGeometry, OwnProcessor, token_types
from text4seg.models.families.languages import finish_logits
from text4seg.models.loading import load_model, local_or_hub
from text4seg.models.settings import ModelSettings

PARTS = {
    "vision": ("model.vision_tower", "model.vision_model", "model.visual.blocks"),
    "projector": ("model.multi_modal_projector", "model.connector", "model.aligner", "model.visual.merger"),
    "language": ("model.language_model", "model.text_model"),
}
"""What transformers' classes call their parts. Qwen's merger lies inside its tower, here named by its blocks."""
BESIDE = {
    "vision": (r"model\.visual\.(patch_embed|pos_embed)", r"model\.high_res_vision_(model|neck|proj|alpha)"),
    "projector": (r"model\.visual\.deepstack_merger_list\.\d+", r"model\.image_newline"),
}
"""What belongs to a part beside that, where a model has it: modules, and weights that lie in none. Lists of modules are
taken apart, for PEFT keeps no copy of a list."""
CELLS = 16
"""Image tokens a side where a checkpoint takes any size: as many as the mask's grid has by default."""


class AutoBackbone(Backbone):
    """A backbone whose own class may scale or cap logits behind its head (Gemma 2, PaliGemma 2)."""

    def logits(self, hidden_ND: Tensor, words: Tensor | None = None) -> Tensor:
        """Logits ``[N, V]`` of some positions only, or ``[N, W]``, as the model's own class makes them."""
        return finish_logits(self.core.config.get_text_config(), super().logits(hidden_ND, words))


def processor(settings: ModelSettings) -> OwnProcessor:
    """The checkpoint's own processor, without the weights.

    Raises:
        ValueError: no path; the checkpoint cannot be found or is no vision-language model that transformers knows; or
            `image_size`, `image_options` or `template` does not fit it.
    """
    if settings.path is None:
        raise ValueError("`model.family: auto` needs `model.path`, the hub name or folder of a checkpoint.")
    config = local_or_hub(AutoConfig, settings.path)
    own = local_or_hub(AutoProcessor, settings.path)
    return from_parts(settings, config, own)


def from_parts(
    settings: ModelSettings, config: PreTrainedConfig, own: Any, layout: Layout = LLAVA, longer: bool = False
) -> OwnProcessor:
    """A processor from a configuration and transformers' own processor.

    Args:
        settings: of the model.
        config: the checkpoint's.
        own: transformers' processor.
        layout: what `text4seg_v1` means for this family.
        longer: stretch pictures to their own longer side and leave the side to the processor.

    Raises:
        ValueError: as `processor`; or transformers' processor answers in a way that is not understood here.
    """
    if type(config) not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        raise ValueError(
            f"`model.path` {settings.path!r} holds a {config.model_type} checkpoint, which transformers does not know "
            "as a vision-language model."
        )
    try:
        return _asked(settings, config, own, layout, longer)
    except (AttributeError, TypeError, LookupError) as error:  # what it lacks of the others, or cannot take
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ValueError(
            f"`model.path` {settings.path!r}: its {type(own).__name__} cannot be used by family {settings.family}, "
            f"which asks it what it makes of a picture ({reason})."
        ) from error


def _asked(settings: ModelSettings, config: PreTrainedConfig, own: Any, layout: Layout, longer: bool) -> OwnProcessor:
    model_class: Any = MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING[type(config)]
    names = tuple(inspect.signature(model_class.forward).parameters)
    for key, value in settings.image_options.items():
        if not hasattr(own.image_processor, key):
            raise ValueError(f"`model.image_options` names {key!r}, which {type(own.image_processor).__name__} lacks.")
        setattr(own.image_processor, key, value)
    own.chat_template = settings.template or own.chat_template or own.tokenizer.chat_template
    own.tokenizer.chat_template = own.chat_template
    image_token_id = int(getattr(config, "image_token_id", None) or config.image_token_index)
    side = _fix_side(settings, config, own.image_processor)
    geometry = AutoGeometry.of(own, side, image_token_id, names, longer)
    return OwnProcessor(own, geometry, image_token_id, settings, token_types(own, geometry, names), layout)


def load(settings: ModelSettings) -> Backbone:
    """Model and processor.

    Raises:
        ValueError: as `processor`; or weights are missing from the checkpoint.
    """
    made = processor(settings)
    assert settings.path is not None
    model, loaded = load_model(AutoModelForImageTextToText, settings.path, settings)
    return backbone(model, made, loaded)


def parts_of(model: PreTrainedModel) -> dict[str, Any]:
    """What vision, projector and language are called in a model, with weights or without, and what is beside them.

    Raises:
        ValueError: it has no part by any of the names that are known.
    """
    present = [name for name, _ in (*model.named_modules(), *model.named_parameters())]
    parts: dict[str, Any] = {}
    for part, names in PARTS.items():
        found = [name for name in names if name in present]
        if not found:
            raise ValueError(f"{type(model).__name__} has no {part} by the name of {' or '.join(names)}.")
        parts[part] = found[0]
    beside = {part: [n for n in present if any(re.fullmatch(p, n) for p in known)] for part, known in BESIDE.items()}
    return parts | {"beside": {part: tuple(names) for part, names in beside.items()}}


def backbone(model: PreTrainedModel, made: OwnProcessor, loaded: str) -> Backbone:
    """Name the parts of a loaded model.

    Raises:
        ValueError: as `parts_of`.
    """
    # DeepSeek-VL's second tower takes pictures as they come; the others cast by themselves.
    model.get_submodule("model").register_forward_pre_hook(_cast_pictures, with_kwargs=True)
    shared_prefix = model.config.model_type != "paligemma"  # whose image tokens see the question
    return AutoBackbone(model, made, loaded=loaded, shared_prefix=shared_prefix, **parts_of(model))


def _cast_pictures(model: Any, args: Any, given: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Hand pictures over in the type of the weights."""
    pictures = {key: part for key, part in given.items() if key.endswith("pixel_values") and part is not None}
    return args, given | {key: part.to(model.dtype) for key, part in pictures.items()}


def _fix_side(settings: ModelSettings, config: PreTrainedConfig, images: Any) -> int:
    """The side that pictures are stretched to; a processor for any size is told to keep it."""
    vision: Any = config.vision_config
    own = getattr(vision, "image_size", None)
    if isinstance(own, list | tuple) and len(set(own)) == 1:
        own = own[0]  # InternVL states height and width
    if isinstance(own, int):
        if settings.image_size not in (None, own):
            raise ValueError(f"`model.image_size` must be {own} for {settings.path!r}, got {settings.image_size}.")
        return own
    step = vision.patch_size * vision.spatial_merge_size
    side = settings.image_size or _kept_side(images.size) or CELLS * step
    if side % step:
        raise ValueError(f"`model.image_size` must be a multiple of {step} for {settings.path!r}, got {side}.")
    # Both bounds are areas: a square of this side lies exactly between them and stays as it is.
    images.size = {"shortest_edge": side * side, "longest_edge": side * side}
    return side


def _kept_side(size: Any) -> int | None:
    """The side that a checkpoint saved here was trained with; published ones leave room between their bounds."""
    low, high = size["shortest_edge"], size["longest_edge"]
    return math.isqrt(low) if low == high and math.isqrt(low) ** 2 == low else None
