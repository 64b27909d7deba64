"""DeepSeek-VL through transformers' own classes: 1.3B with SigLIP alone, 7B with SigLIP and SAM-B side by side.

Reads the community's layout (``deepseek-community/deepseek-vl-7b-chat``) and the first authors'
(``deepseek-ai/deepseek-vl-7b-chat``, see `deepseek_vl_original`). Pictures are stretched to a square of
their own longer side before the checkpoint's processor makes its sizes of it, and `text4seg_v1` is the chat text, both
as in the published training of Text4Seg.

Source: DeepSeek-VL (arXiv 2403.05525).
"""

from __future__ import annotations

from pathlib import Path

from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    AutoProcessor,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from text4seg.models.backbone import Backbone
from text4seg.models.chat import Layout
from text4seg.models.families import auto
from text4seg.models.families.auto_processor import OwnProcessor
from text4seg.models.families.deepseek_vl_original import load_original, native_config, own_processor
from text4seg.models.loading import load_model, local_or_hub, read_config
from text4seg.models.settings import ModelSettings

DEFAULT = "deepseek-community/deepseek-vl-7b-chat"
KINDS = ("deepseek_vl", "deepseek_vl_hybrid")
ORIGINAL = "multi_modality"
"""The `model_type` of the first authors' checkpoints."""
SYSTEM = (
    "You are a helpful language and vision assistant. You are able to understand the visual content that the user "
    "provides, and assist the user with a variety of tasks using natural language."
)
"""What the chat checkpoints were trained with; part of their interface."""
LAYOUT = Layout(start="{bos}" + SYSTEM + "\n\n", question="User: ", gap="", answer="\n\nAssistant:", end="{eos}")

TEMPLATE = (
    "{{ bos_token }}" + SYSTEM + "\n\n{% for m in messages %}{{ 'User: ' if m.role == 'user' else 'Assistant: ' }}"
    "{% for part in m.content %}{{ '<image_placeholder>' if part.type == 'image' else part.text }}{% endfor %}"
    "{{ '\n\n' if m.role == 'user' else eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)
"""For the first authors' checkpoints, which keep their chat text in code."""


def processor(settings: ModelSettings) -> OwnProcessor:
    """The checkpoint's own processor, without the weights.

    Raises:
        ValueError: the checkpoint cannot be found or is no DeepSeek-VL in transformers' layout, or `image_size` is not
            its own.
    """
    path = settings.path or DEFAULT
    raw = read_config(path)
    kind = raw.get("model_type")
    if kind == ORIGINAL:
        own = own_processor(raw, path, TEMPLATE)
        return auto.from_parts(settings, native_config(raw, own.image_token_id), own, LAYOUT, longer=True)
    if kind not in KINDS:
        raise ValueError(
            f"`model.path` {path!r} holds a {kind} checkpoint; family deepseek_vl needs "
            f"{', '.join(KINDS)} or {ORIGINAL}."
        )
    return auto.from_parts(
        settings, local_or_hub(AutoConfig, path), local_or_hub(AutoProcessor, path), LAYOUT, longer=True
    )


def load(settings: ModelSettings) -> Backbone:
    """Model and processor.

    Raises:
        ValueError: as `processor`; or weights are missing from the checkpoint.
    """
    made = processor(settings)
    path = settings.path or DEFAULT
    raw = read_config(path)
    if raw.get("model_type") == ORIGINAL:
        model, loaded = load_original(path, native_config(raw, made.image_token_id), settings)
        _end_as(model, made.tokenizer)
    else:
        model, loaded = load_model(AutoModelForImageTextToText, path, settings)
    return auto.backbone(model, made, loaded)


def _end_as(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Published configurations state no end token, and Llama's default number is an ordinary word here."""
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    model.generation_config = GenerationConfig(**ids)
    for name, number in ids.items():
        setattr(model.config.get_text_config(), name, number)


def skeleton_config(settings: ModelSettings) -> PreTrainedConfig | None:
    """The native configuration of a folder in the first authors' layout; None for any other.

    Raises:
        ValueError: as `processor`.
    """
    path = settings.path
    if path is None or not Path(path).is_dir():
        return None
    raw = read_config(path)
    if raw.get("model_type") != ORIGINAL:
        return None
    return native_config(raw, own_processor(raw, path, TEMPLATE).image_token_id)


parts_of = auto.parts_of
"""Its parts are called as in transformers."""
