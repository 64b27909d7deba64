"""Tiny random checkpoints of families that transformers knows, with their processors, as their hubs hold them."""

from __future__ import annotations

from pathlib import Path

import torch
from checkpoints import LAYERS, SIZES, byte_tokenizer, shake
from transformers import (
    Blip2Config,
    Blip2Processor,
    BlipImageProcessor,
    DeepseekVLConfig,
    DeepseekVLForConditionalGeneration,
    DeepseekVLHybridConfig,
    DeepseekVLHybridForConditionalGeneration,
    DeepseekVLHybridImageProcessor,
    DeepseekVLHybridProcessor,
    DeepseekVLImageProcessor,
    DeepseekVLProcessor,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3ImageProcessor,
    Gemma3Processor,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3ImageProcessor,
    Idefics3Processor,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionImageProcessor,
    LlavaOnevisionProcessor,
    LlavaOnevisionVideoProcessor,
    Mistral3Config,
    PaliGemmaConfig,
    PaliGemmaForConditionalGeneration,
    PaliGemmaProcessor,
    PixtralImageProcessor,
    PixtralProcessor,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    ProcessorMixin,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLImageProcessor,
    Qwen2VLProcessor,
    Qwen2VLVideoProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
    SiglipImageProcessor,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
    SmolVLMImageProcessor,
    SmolVLMProcessor,
    SmolVLMVideoProcessor,
)

VOCABULARY = 320
TEXT = {
    **SIZES,
    "vocab_size": VOCABULARY,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
SIGLIP = {**SIZES, "image_size": 32, "patch_size": 8}
VISION_START, VISION_END = "<|vision_start|>", "<|vision_end|>"
QWEN = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.content is string %}{{ m.content }}{% else %}"
    "{% for part in m.content %}{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ part.text }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SMOL = (
    "<|im_start|>{% for m in messages %}{{ m.role | capitalize }}{{ ':' if m.content[0].type == 'image' else ': ' }}"
    "{% for part in m.content %}{% if part.type == 'image' %}<image>{% else %}{{ part.text }}{% endif %}{% endfor %}"
    "<end_of_utterance>\n{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% for m in messages %}<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n"
    "{% for part in m.content %}{% if part.type == 'image' %}<start_of_image>{% else %}{{ part.text | trim }}"
    "{% endif %}{% endfor %}<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
ONEVISION = QWEN.replace("<|vision_start|><|image_pad|><|vision_end|>", "<image>\n")
PALIGEMMA = (
    "{% for m in messages %}{% for part in m.content %}{% if part.type == 'image' %}<image>{{ bos_token }}"
    "{% else %}{{ part.text }}{% endif %}{% endfor %}{{ '\n' if m.role == 'user' else eos_token }}{% endfor %}"
)
OPTIONS = {
    "qwen2_vl": {"image_size": 56},
    "qwen2_5_vl": {"image_size": 56},
    "qwen3_vl": {"image_size": 64},
    "smolvlm": {"image_options": {"do_image_splitting": False}},
    "idefics3": {"image_options": {"do_image_splitting": False}},
    "paligemma": {"template": PALIGEMMA},
}
"""Model settings that go with a checkpoint, as in its recipe."""
DEEPSEEK = (
    "You are tiny.\n\n{% for m in messages %}{{ 'User: ' if m.role == 'user' else 'Assistant: ' }}"
    "{% for part in m.content %}{% if part.type == 'image' %}<image_placeholder>{% else %}{{ part.text }}{% endif %}"
    "{% endfor %}{{ '\n\n' if m.role == 'user' else eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)


def _tokenizer(template: str | None, *extra: str, **named: str) -> PreTrainedTokenizerFast:
    """Bytes and special tokens; `named` ones become attributes, as processors want them."""
    special = tuple(dict.fromkeys([*extra, *named.values()]))
    return PreTrainedTokenizerFast(
        tokenizer_object=byte_tokenizer(template, special).backend_tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        chat_template=template,
        extra_special_tokens=named,
    )


def _qwen(kind: str) -> tuple[PreTrainedModel, ProcessorMixin]:
    tokenizer = _tokenizer(QWEN, VISION_START, VISION_END, image_token="<|image_pad|>", video_token="<|video_pad|>")
    ids = {
        f"{name}_token_id": tokenizer.convert_tokens_to_ids(token)
        for name, token in (
            ("image", "<|image_pad|>"),
            ("video", "<|video_pad|>"),
            ("vision_start", VISION_START),
            ("vision_end", VISION_END),
        )
    }
    text = {**TEXT, "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]}}
    patch = 16 if kind == "qwen3_vl" else 14
    images = Qwen2VLImageProcessor(patch_size=patch, merge_size=2)
    if kind == "qwen2_vl":
        vision = {"depth": 2, "embed_dim": 32, "hidden_size": 32, "num_heads": 2, "mlp_ratio": 2, "patch_size": patch}
        model = Qwen2VLForConditionalGeneration(Qwen2VLConfig(text_config=text, vision_config=vision, **ids))
        return model, Qwen2VLProcessor(images, tokenizer, Qwen2VLVideoProcessor(), chat_template=QWEN)
    vision = {"depth": 2, "hidden_size": 32, "num_heads": 2, "intermediate_size": 64, "out_hidden_size": 32}
    if kind == "qwen2_5_vl":
        vision |= {"patch_size": patch, "window_size": 56, "fullatt_block_indexes": [1]}
        model = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(text_config=text, vision_config=vision, **ids))
        return model, Qwen2_5_VLProcessor(images, tokenizer, Qwen2VLVideoProcessor(), chat_template=QWEN)
    # Added behind so many decoder layers as there are indexes; behind the last one no answer would look at it.
    vision |= {"patch_size": patch, "deepstack_visual_indexes": [0], "num_position_embeddings": 16}
    text |= {"head_dim": 8}
    text["rope_parameters"] = {**text["rope_parameters"], "mrope_interleaved": True}
    model = Qwen3VLForConditionalGeneration(Qwen3VLConfig(text_config=text, vision_config=vision, **ids))
    return model, Qwen3VLProcessor(images, tokenizer, Qwen3VLVideoProcessor(), chat_template=QWEN)


def _idefics(kind: str) -> tuple[PreTrainedModel, ProcessorMixin]:
    tokenizer = _tokenizer(
        SMOL,
        "<global-img>",
        image_token="<image>",
        fake_image_token="<fake_token_around_image>",
        global_image_token="<global-img>",
        end_of_utterance_token="<end_of_utterance>",
    )
    options = {
        "text_config": {**TEXT, "model_type": "llama"},
        "vision_config": SIGLIP,
        "image_token_id": tokenizer.convert_tokens_to_ids("<image>"),
        "scale_factor": 2,
        "pad_token_id": 0,
    }
    sizes = {"size": {"longest_edge": 64}, "max_image_size": {"longest_edge": 32}}
    if kind == "idefics3":
        model = Idefics3ForConditionalGeneration(Idefics3Config(**options))
        return model, Idefics3Processor(Idefics3ImageProcessor(**sizes), tokenizer, image_seq_len=4, chat_template=SMOL)
    model = SmolVLMForConditionalGeneration(SmolVLMConfig(**options))
    return model, SmolVLMProcessor(
        SmolVLMImageProcessor(**sizes),
        tokenizer,
        SmolVLMVideoProcessor(size={"longest_edge": 64}, max_image_size={"longest_edge": 32}),
        image_seq_len=4,
        chat_template=SMOL,
    )


def _paligemma() -> tuple[PreTrainedModel, ProcessorMixin]:
    tokenizer = _tokenizer(None, image_token="<image>")
    images = SiglipImageProcessor(size={"height": 32, "width": 32})
    images.image_seq_length = 16
    made = PaliGemmaProcessor(images, tokenizer)
    rows = len(tokenizer) + 8
    text = {**TEXT, "vocab_size": rows, "model_type": "gemma", "head_dim": 8}
    config = PaliGemmaConfig(
        text_config=text,
        vision_config={**SIGLIP, "model_type": "siglip_vision_model"},
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        projection_dim=32,
        vocab_size=rows,
    )
    return PaliGemmaForConditionalGeneration(config), made


def _gemma3() -> tuple[PreTrainedModel, ProcessorMixin]:
    tokenizer = _tokenizer(
        GEMMA,
        "<start_of_turn>",
        "<end_of_turn>",
        boi_token="<start_of_image>",
        eoi_token="<end_of_image>",
        image_token="<image_soft_token>",
    )
    config = Gemma3Config(
        text_config={
            **TEXT,
            "head_dim": 8,
            "sliding_window": 32,
            "layer_types": ["sliding_attention", "full_attention"],
        },
        vision_config=SIGLIP,
        mm_tokens_per_image=4,
        boi_token_index=tokenizer.convert_tokens_to_ids("<start_of_image>"),
        eoi_token_index=tokenizer.convert_tokens_to_ids("<end_of_image>"),
        image_token_index=tokenizer.convert_tokens_to_ids("<image_soft_token>"),
    )
    images = Gemma3ImageProcessor(size={"height": 32, "width": 32})
    made = Gemma3Processor(images, tokenizer, chat_template=GEMMA, image_seq_length=4)
    return Gemma3ForConditionalGeneration(config), made


def _onevision() -> tuple[PreTrainedModel, ProcessorMixin]:
    tokenizer = _tokenizer(ONEVISION, image_token="<image>", video_token="<video>")
    points = [[32, 32]]
    config = LlavaOnevisionConfig(
        text_config={**TEXT, "model_type": "qwen2"},
        vision_config={**SIGLIP, "model_type": "siglip_vision_model", "vision_use_head": False},
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        video_token_index=tokenizer.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=points,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
    )
    made = LlavaOnevisionProcessor(
        LlavaOnevisionImageProcessor(size={"height": 32, "width": 32}, image_grid_pinpoints=points),
        tokenizer,
        LlavaOnevisionVideoProcessor(size={"height": 32, "width": 32}),
        num_image_tokens=16,
        vision_feature_select_strategy="full",
        chat_template=ONEVISION,
    )
    return LlavaOnevisionForConditionalGeneration(config), made


def _deepseek(kind: str) -> tuple[PreTrainedModel, ProcessorMixin]:
    tokenizer = _tokenizer(DEEPSEEK, image_token="<image_placeholder>")
    image = tokenizer.convert_tokens_to_ids("<image_placeholder>")
    text = {**TEXT, "model_type": "llama"}
    siglip = {**SIGLIP, "model_type": "siglip_vision_model", "vision_use_head": False}
    if kind == "deepseek_vl":
        config = DeepseekVLConfig(text_config=text, vision_config=siglip, image_token_id=image)
        images = DeepseekVLImageProcessor(size={"height": 32, "width": 32})
        made = DeepseekVLProcessor(images, tokenizer, chat_template=DEEPSEEK, num_image_tokens=16)
        return DeepseekVLForConditionalGeneration(config), made
    high = {
        "hidden_size": 32,
        "mlp_dim": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": 64,
        "patch_size": 8,
        "output_channels": 16,
        "global_attn_indexes": [0, 1],
        "window_size": 0,
        "model_type": "sam_vision_model",
    }
    config = DeepseekVLHybridConfig(
        text_config=text, vision_config=siglip, high_res_vision_config=high, image_token_id=image
    )
    images = DeepseekVLHybridImageProcessor(size={"height": 32, "width": 32}, high_res_size={"height": 64, "width": 64})
    made = DeepseekVLHybridProcessor(images, tokenizer, chat_template=DEEPSEEK, num_image_tokens=16)
    return DeepseekVLHybridForConditionalGeneration(config), made


def _blip2() -> tuple[PreTrainedConfig, ProcessorMixin]:
    tokenizer = _tokenizer(ONEVISION, image_token="<image>")
    config = Blip2Config(image_token_index=tokenizer.convert_tokens_to_ids("<image>"))
    return config, Blip2Processor(BlipImageProcessor(), tokenizer, num_query_tokens=4)


def _pixtral() -> tuple[PreTrainedConfig, ProcessorMixin]:
    named = {"image_token": "[IMG]", "image_break_token": "[IMG_BREAK]", "image_end_token": "[IMG_END]"}
    tokenizer = _tokenizer(ONEVISION.replace("<image>", "[IMG]"), **named)
    vision = {**SIZES, "model_type": "pixtral", "image_size": 64, "patch_size": 8, "head_dim": 8}
    config = Mistral3Config(vision_config=vision, image_token_index=tokenizer.convert_tokens_to_ids("[IMG]"))
    images = PixtralImageProcessor(patch_size=8, size={"longest_edge": 64})
    return config, PixtralProcessor(images, tokenizer, patch_size=8, spatial_merge_size=2)


WITHOUT_WEIGHTS = {"blip2": _blip2, "pixtral": _pixtral}
MAKERS = {
    "qwen2_vl": lambda: _qwen("qwen2_vl"),
    "qwen2_5_vl": lambda: _qwen("qwen2_5_vl"),
    "qwen3_vl": lambda: _qwen("qwen3_vl"),
    "smolvlm": lambda: _idefics("smolvlm"),
    "idefics3": lambda: _idefics("idefics3"),
    "paligemma": _paligemma,
    "gemma3": _gemma3,
    "llava_onevision": _onevision,
    "deepseek_vl": lambda: _deepseek("deepseek_vl"),
    "deepseek_vl_hybrid": lambda: _deepseek("deepseek_vl_hybrid"),
}


def write_known(folder: Path, kind: str) -> str:
    """A checkpoint of a family that transformers knows; gives its path."""
    torch.manual_seed(0)
    model, processor = MAKERS[kind]()
    assert model.config.get_text_config().num_hidden_layers == LAYERS
    shake(model, 0.05).save_pretrained(folder)
    processor.save_pretrained(folder)
    return str(folder)


def write_without_weights(folder: Path, kind: str) -> str:
    """Configuration and processor of a model that family auto cannot take; gives its path."""
    for part in WITHOUT_WEIGHTS[kind]():
        part.save_pretrained(folder)
    return str(folder)
