"""Tiny random checkpoints in the layout of the real ones, written to a folder; nothing is downloaded."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import open_clip
import torch
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPVisionConfig,
    CLIPVisionModel,
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    DINOv3ViTConfig,
    DINOv3ViTModel,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PhiConfig,
    PhiForCausalLM,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
    SiglipVisionConfig,
    SiglipVisionModel,
    ViTConfig,
    ViTModel,
)

SIDE, PATCH, LAYERS, VOCABULARY = 32, 8, 2, 300
MEAN, STD = [0.48, 0.46, 0.41], [0.27, 0.26, 0.28]
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# Of the kind that LLaVA-1.5 has: content comes in parts, images go first, generation starts behind ASSISTANT.
LLAVA = (
    "{% for m in messages %}{{ m.role | upper }}: "
    "{% for part in m.content if part.type == 'image' %}<image>\n{% endfor %}"
    "{% for part in m.content if part.type == 'text' %}{{ part.text }} {% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)
SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": LAYERS, "num_attention_heads": 4}
PICTURE = {"image_size": SIDE, "patch_size": PATCH}
DINO = {"hidden_size": 32, "num_hidden_layers": LAYERS, "num_attention_heads": 4, "mlp_ratio": 2, **PICTURE}


def picture(seed: int) -> Image.Image:
    """Noise of a size that no model has."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (24, 40, 3), dtype=np.uint8))


def byte_tokenizer(template: str | None = None, extra: tuple[str, ...] = ()) -> PreTrainedTokenizerFast:
    """One token a byte, with the special tokens of a chat model."""
    special = ["<pad>", "<s>", "</s>", "<|im_start|>", "<|im_end|>", *extra]
    vocabulary = {t: i for i, t in enumerate([*special, *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        additional_special_tokens=special[3:],
        chat_template=template,
    )


def write_statistics(folder: Path) -> None:
    """The part of a preprocessor's settings that is read."""
    values = {"image_processor_type": "CLIPImageProcessor", "image_mean": MEAN, "image_std": STD}
    (folder / "preprocessor_config.json").write_text(json.dumps(values))


def vision_model(kind: str) -> torch.nn.Module:
    """A tower by name."""
    if kind == "clip":
        return CLIPVisionModel(CLIPVisionConfig(**SIZES, **PICTURE))
    if kind == "clip_whole":
        return CLIPModel(
            CLIPConfig(
                vision_config={**SIZES, **PICTURE},
                text_config={**SIZES, "vocab_size": 99, "bos_token_id": 1, "eos_token_id": 2},
            )
        )
    if kind == "siglip":
        return SiglipVisionModel(SiglipVisionConfig(**SIZES, **PICTURE))
    if kind == "dinov2":
        return Dinov2Model(Dinov2Config(**DINO))
    if kind == "dinov2_registers":
        return Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**DINO, num_register_tokens=4))
    if kind == "dinov3":
        return DINOv3ViTModel(DINOv3ViTConfig(**SIZES, **PICTURE, num_register_tokens=4))
    assert kind == "vit"
    return ViTModel(ViTConfig(**SIZES, **PICTURE))


def language_model(kind: str, vocabulary: int = VOCABULARY, tied: bool = False) -> torch.nn.Module:
    """A decoder by name."""
    sizes = {
        **SIZES,
        "vocab_size": vocabulary,
        "max_position_embeddings": 1024,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "tie_word_embeddings": tied,
    }
    if kind == "llama":
        return LlamaForCausalLM(LlamaConfig(**sizes))
    if kind == "qwen3":
        return Qwen3ForCausalLM(Qwen3Config(**sizes, num_key_value_heads=2, head_dim=8))
    if kind == "neox":
        return GPTNeoXForCausalLM(GPTNeoXConfig(**sizes))
    if kind == "gpt2":
        return GPT2LMHeadModel(
            GPT2Config(n_embd=32, n_layer=LAYERS, n_head=4, vocab_size=vocabulary, bos_token_id=1, eos_token_id=2)
        )
    assert kind == "phi"
    return PhiForCausalLM(PhiConfig(**sizes))


def shake(model: torch.nn.Module, spread: float = 0.02) -> torch.nn.Module:
    """Move every weight, so that no norm or scale is the identity."""
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * spread)
    return model


def write_vision(folder: Path, kind: str) -> str:
    """A tower's checkpoint; gives its path."""
    torch.manual_seed(0)
    shake(vision_model(kind)).save_pretrained(folder)
    write_statistics(folder)
    return str(folder)


def write_language(
    folder: Path, kind: str, vocabulary: int = VOCABULARY, tied: bool = False, extra: tuple[str, ...] = ()
) -> str:
    """A decoder's checkpoint with its tokenizer; gives its path."""
    torch.manual_seed(1)
    shake(language_model(kind, vocabulary, tied)).save_pretrained(folder)
    byte_tokenizer(CHATML, extra).save_pretrained(folder)
    return str(folder)


def write_llava(folder: Path) -> str:
    """LLaVA-1.5 as the hub holds it: CLIP's penultimate layer, Llama, a template that wants lists of parts."""
    tokenizer = byte_tokenizer(LLAVA, ("<image>",))
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**SIZES, **PICTURE),
        text_config=LlamaConfig(
            **SIZES, vocab_size=VOCABULARY, max_position_embeddings=1024, bos_token_id=1, eos_token_id=2
        ),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=(SIDE // PATCH) ** 2,
    )
    torch.manual_seed(0)
    shake(LlavaForConditionalGeneration(config)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    write_statistics(folder)
    return str(folder)


def add_open_clip(folder: Path, name: str = "tiny-vit-test", **changes: object) -> str:
    """Teach open_clip a tiny model; gives its name."""
    vision = {"image_size": SIDE, "layers": 2, "width": 32, "patch_size": PATCH, "head_width": 8, **changes}
    text = {"context_length": 8, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps({"embed_dim": 16, "vision_cfg": vision, "text_cfg": text}))
    open_clip.add_model_config(path)
    return name
