"""Image towers of open_clip as transformers modules, so that a composed model saves and loads them like any other.

A tower is named ``open_clip:MODEL``, ``open_clip:MODEL/TAG`` or ``open_clip:MODEL/path/of/weights.safetensors``.
Axis legend: B batch, S side in pixels, P patches, C width of the tower.
"""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from text4seg.models.processor import Triple

PREFIX = "open_clip:"


class OpenClipVisionConfig(PreTrainedConfig):
    """What an open_clip image tower is built from.

    Args:
        name: open_clip's name of the model and where its weights came from, as in ``model.vision``.
        embed_dim: width of open_clip's joint space; only its builder wants to know.
        vision_cfg: open_clip's own description of the tower.
        quick_gelu: the activation that OpenAI's weights were trained with.
        image_size: side of the images in pixels.
    """

    model_type = "text4seg_open_clip"

    def __init__(
        self,
        name: str = "",
        embed_dim: int = 0,
        vision_cfg: dict[str, Any] | None = None,
        quick_gelu: bool = False,
        image_size: int = 224,
        **common: Any,
    ) -> None:
        self.name = name
        self.embed_dim = embed_dim
        self.vision_cfg = vision_cfg or {}
        self.quick_gelu = quick_gelu
        self.image_size = image_size
        super().__init__(**common)


class OpenClipTower(PreTrainedModel):
    """Patches of the last layer behind the final norm; the class token is dropped by open_clip itself."""

    config_class = OpenClipVisionConfig
    main_input_name = "pixel_values"
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_attention_backend = True

    def __init__(self, config: OpenClipVisionConfig) -> None:
        super().__init__(config)
        # open_clip offers no public way to build the image tower without its text tower, which may need a hub.
        from open_clip.model import CLIPVisionCfg, _build_vision_tower

        visual: Any = _build_vision_tower(config.embed_dim, CLIPVisionCfg(**config.vision_cfg), config.quick_gelu)
        if hasattr(visual, "set_input_size") and config.image_size != config.vision_cfg.get("image_size"):
            visual.set_input_size(config.image_size)
        self.visual: Any = without_head(visual)
        self.post_init()

    @property
    def patch_size(self) -> int:
        """Side of a patch in pixels."""
        embed = getattr(getattr(self.visual, "trunk", None), "patch_embed", self.visual)
        return int(embed.patch_size[0])

    def forward(self, pixel_values: Tensor) -> BaseModelOutput:
        """``[B, 3, S, S]`` -> ``last_hidden_state`` ``[B, P, C]``."""
        out = self.visual.forward_intermediates(
            pixel_values, indices=1, normalize_intermediates=True, intermediates_only=True, output_fmt="NLC"
        )
        return BaseModelOutput(last_hidden_state=out["image_intermediates"][0])

    def _init_weights(self, module: nn.Module) -> None:
        """open_clip's own constructors have drawn the weights already."""


AutoConfig.register(OpenClipVisionConfig.model_type, OpenClipVisionConfig)
AutoModel.register(OpenClipVisionConfig, OpenClipTower)


def without_head(visual: Any) -> nn.Module:
    """A tower without the pooling and projection behind its patches; they would train without a gradient.

    Raises:
        ValueError: no transformer over patches, or one that has no norm over its patches or keeps tables outside
            its weights.
    """
    trunk = getattr(visual, "trunk", visual)
    blocks = getattr(trunk, "blocks", getattr(getattr(trunk, "transformer", None), "resblocks", None))
    if blocks is None or getattr(visual, "attn_pool", None) is not None:
        raise ValueError("it has no plain sequence of patches; take a ViT.")
    if isinstance(getattr(trunk, "norm", None), nn.Identity):
        raise ValueError("it normalises the pooled image only, not its patches.")
    if {name for name, _ in visual.named_buffers()} - set(visual.state_dict()):
        raise ValueError("it keeps tables that a checkpoint does not hold.")
    trunk.prune_intermediate_layers(1)
    if trunk is not visual:
        visual.head = nn.Identity()
    return visual


def open_clip_config(spec: str, side: int | None) -> OpenClipVisionConfig:
    """Look an open_clip model up; reads no weights.

    Args:
        spec: what `model.vision` holds.
        side: of the images in pixels; None: the model's own.

    Raises:
        ValueError: no such model, or one without patches.
    """
    import open_clip

    name = _split(spec)[0]
    raw = open_clip.get_model_config(name) if name in open_clip.list_models() else None
    if raw is None:
        near = get_close_matches(name, open_clip.list_models(), n=3, cutoff=0.3)
        raise ValueError(f"open_clip has no model {name!r}; near to it are {', '.join(near) or 'none'}.")
    vision = dict(raw["vision_cfg"])
    if isinstance(vision.get("layers"), list):
        raise ValueError(f"`model.vision` {spec!r} is a ResNet, which has no patches; take a ViT.")
    own = vision.get("image_size", 224)
    if not isinstance(own, int):
        raise ValueError(f"`model.vision` {spec!r} takes images of {own}; only square ones are supported.")
    if "timm_model_name" not in vision:
        vision["image_size"] = side or own  # timm's towers are resized after they are built
    return OpenClipVisionConfig(spec, raw["embed_dim"], vision, raw.get("quick_gelu", False), side or own)


def load_open_clip(spec: str, config: OpenClipVisionConfig, dtype: torch.dtype) -> tuple[PreTrainedModel, str]:
    """Tower in `dtype` and, in words, where its weights came from.

    Raises:
        ValueError: an unknown tag, one whose activation is another than the model's, or unreadable weights.
    """
    import open_clip

    name, weights = _split(spec)
    if not weights:
        return _held_in(dtype, OpenClipTower(config)), "RANDOM"
    _check_weights(name, weights)
    try:
        full = open_clip.create_model(name, pretrained=weights, force_image_size=config.image_size)
    except Exception as error:  # open_clip and the hub's client raise a dozen kinds
        raise ValueError(f"`model.vision` {spec!r} cannot be loaded: {str(error).splitlines()[0]}") from error
    with torch.device("meta"):
        tower = OpenClipTower(config)
    tower.visual = without_head(full.visual)
    return _held_in(dtype, tower), "all weights loaded"


def _held_in(dtype: torch.dtype, tower: Any) -> PreTrainedModel:
    return tower.to(dtype)  # a tower without tables outside its weights, so nothing else is rounded


def open_clip_statistics(spec: str) -> tuple[Triple, Triple]:
    """Mean and standard deviation of a tag's images; of the model's first tag for weights from elsewhere."""
    import open_clip
    from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD

    name, tag = _split(spec)
    tags = open_clip.list_pretrained_tags_by_model(name)
    found: dict[str, Any] = open_clip.get_pretrained_cfg(name, tag) or (
        open_clip.get_pretrained_cfg(name, tags[0]) if tags else {}
    )
    mean, std = found.get("mean") or OPENAI_DATASET_MEAN, found.get("std") or OPENAI_DATASET_STD
    return (mean[0], mean[1], mean[2]), (std[0], std[1], std[2])


def _split(spec: str) -> tuple[str, str]:
    name, _, weights = spec.removeprefix(PREFIX).partition("/")
    return name, weights


def _check_weights(name: str, weights: str) -> None:
    import open_clip

    if Path(weights).is_file():
        return
    tags = open_clip.list_pretrained_tags_by_model(name)
    found = open_clip.get_pretrained_cfg(name, weights)
    if not found:
        near = get_close_matches(weights, tags, n=3, cutoff=0.3) or tags[:3]
        raise ValueError(f"{weights!r} is neither a file nor a tag of open_clip's {name}; tags are {', '.join(near)}.")
    quick = bool((open_clip.get_model_config(name) or {}).get("quick_gelu", False))
    if bool(found.get("quick_gelu", False)) != quick:
        other = name.removesuffix("-quickgelu") if quick else f"{name}-quickgelu"
        raise ValueError(
            f"open_clip's weights {weights!r} were trained with another activation: take {other}/{weights}."
        )
