"""Configuration of a composed model: those of its parts, and what was found out about the tower."""

from __future__ import annotations

from typing import Any

from transformers import AutoConfig, PreTrainedConfig


class ComposeConfig(PreTrainedConfig):
    """Configuration of a composed model.

    Args:
        vision_config: the tower's own.
        text_config: the language model's own.
        image_token_id: id that stands where patches go.
        image_size: side of the pictures in pixels.
        patches: a picture's patch tokens.
        vision_width: width of a patch token.
        prefix: tokens that the tower puts before its patches.
        norm: the tower's final norm, where it does not apply it to its patches.
        merge: so many by so many patches become one image token.
        vision: name of the tower's checkpoint.
        language: name of the language model's checkpoint.
    """

    model_type = "text4seg_compose"
    sub_configs = {"vision_config": AutoConfig, "text_config": AutoConfig}  # pyrefly: ignore[bad-override]

    def __init__(
        self,
        vision_config: PreTrainedConfig | dict[str, Any] | None = None,
        text_config: PreTrainedConfig | dict[str, Any] | None = None,
        image_token_id: int = 0,
        image_size: int = 224,
        patches: int = 0,
        vision_width: int = 0,
        prefix: int = 0,
        norm: str = "",
        merge: int = 1,
        vision: str = "",
        language: str = "",
        **common: Any,
    ) -> None:
        self.vision_config = _config(vision_config, "clip_vision_model")
        self.text_config = _config(text_config, "llama")
        self.image_token_id = image_token_id
        self.image_size = image_size
        self.patches = patches
        self.vision_width = vision_width
        self.prefix = prefix
        self.norm = norm
        self.merge = merge
        self.vision = vision
        self.language = language
        common["tie_word_embeddings"] = bool(getattr(self.text_config, "tie_word_embeddings", False))
        super().__init__(**common)


def _config(given: PreTrainedConfig | dict[str, Any] | None, default: str) -> PreTrainedConfig:
    if isinstance(given, PreTrainedConfig):
        return given
    return AutoConfig.for_model(**{"model_type": default, **(given or {})})


AutoConfig.register(ComposeConfig.model_type, ComposeConfig)
