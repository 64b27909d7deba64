"""Tiny random checkpoints in the layout of the real ones, written to a folder; nothing is downloaded."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import open_clip
import torch
from PIL import Image
from reference.qwen_words import write_words
from reference.weights import drawn_all
from safetensors.torch import save_file
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
    InternVLConfig,
    InternVLForConditionalGeneration,
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

REFERENCE = Path(__file__).parent / "reference"
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
# The chat of InternVL2.5 and later: content comes in parts, the image's place is one token.
INTERNVL = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% for part in m.content %}{% if part.type == 'image' %}<IMG_CONTEXT>\n{% else %}{{ part.text }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# Of the kind that lies beside published InternVL2 weights; read, never run.
CONVERSATIONS = """
raise RuntimeError("nobody runs this")
register_conv_template(Conversation(name='internlm2-chat', system_template='<|im_start|>system\\n{system_message}',
    system_message='Be exact.', roles=('<|im_start|>user\\n', '<|im_start|>assistant\\n'),
    sep_style=SeparatorStyle.MPT, sep='<|im_end|>'))
register_conv_template(Conversation(name='Hermes-2', system_template='<|im_start|>system\\n{system_message}',
    system_message='Be exact.', roles=('<|im_start|>user\\n', '<|im_start|>assistant\\n'),
    sep_style=SeparatorStyle.MPT, sep='<|im_end|>', stop_str='</s>'))
register_conv_template(Conversation(name='phi3-chat', system_template='<|system|>\\n{system_message}',
    system_message='Be exact.', roles=('<|user|>\\n', '<|assistant|>\\n'), sep_style=SeparatorStyle.MPT, sep='<|end|>'))
register_conv_template(Conversation(name='internvl2_5', system_template='<|im_start|>system\\n{system_message}',
    system_message='Be exact.', roles=('<|im_start|>user\\n', '<|im_start|>assistant\\n'),
    sep_style=SeparatorStyle.MPT, sep='<|im_end|>\\n'))
register_conv_template(Conversation(name='old', roles=('USER', 'ASSISTANT'), sep_style=SeparatorStyle.PHOENIX, sep=''))
"""
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


def write_llava_original(folder: Path, layout: str = "merged", pieces: int = 1) -> str:
    """LLaVA-1.5 as its first authors publish it, names and shapes from their code: merged, lora or projector.

    The tower lies in ``clip``, the base of the last two in ``base`` beside the folder that is returned.
    """
    fixture = json.loads((REFERENCE / "llava.json").read_text(encoding="utf-8"))
    weights = {name: torch.from_numpy(value) for name, value in drawn_all(fixture["shapes"]).items()}
    tower = {name: torch.from_numpy(value) for name, value in drawn_all(fixture["clip_shapes"]).items()}
    clip, base, out = folder / "clip", folder / "base", folder / layout
    for made in (clip, base, out):
        made.mkdir(parents=True)
    save_file(tower, clip / "model.safetensors")
    (clip / "config.json").write_text(json.dumps({"model_type": "clip_vision_model", **fixture["clip"]}))
    write_statistics(clip)
    config = {**fixture["config"], "mm_vision_tower": str(clip)}
    (out / "config.json").write_text(json.dumps({**config, "_name_or_path": str(base)}))
    llama = {key: value for key, value in config.items() if not key.startswith("mm_")}
    (base / "config.json").write_text(json.dumps({**llama, "model_type": "llama"}))
    tokenizer = byte_tokenizer()
    tokenizer.save_pretrained(out if layout == "merged" else base)
    projector = {name: value for name, value in weights.items() if "mm_projector" in name}
    if layout == "merged":
        _save_bin(weights, out, pieces)
        return str(out)
    _save_bin({name: value for name, value in weights.items() if name not in projector}, base, pieces)
    if layout == "projector":
        torch.save(projector, out / "mm_projector.bin")
        return str(out)
    torch.save(
        {f"base_model.model.{name}": value for name, value in projector.items()}, out / "non_lora_trainables.bin"
    )
    generator = torch.Generator().manual_seed(0)
    adapter = {
        f"base_model.model.{name.removesuffix('.weight')}.lora_{part}.weight": torch.randn(shape, generator=generator)
        / 8
        for name, value in weights.items()
        if name.endswith("_proj.weight")
        for part, shape in (("A", (2, value.shape[1])), ("B", (value.shape[0], 2)))
    }
    torch.save(adapter, out / "adapter_model.bin")
    stated = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "base_model_name_or_path": str(base)}
    (out / "adapter_config.json").write_text(json.dumps(stated))
    return str(out)


def _save_bin(weights: dict[str, torch.Tensor], folder: Path, pieces: int) -> None:
    if pieces == 1:
        torch.save(weights, folder / "pytorch_model.bin")
        return
    where = {name: f"pytorch_model-{n % pieces + 1:05d}-of-{pieces:05d}.bin" for n, name in enumerate(weights)}
    for file in set(where.values()):
        torch.save({name: value for name, value in weights.items() if where[name] == file}, folder / file)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": where}))


def write_internvl2(folder: Path, size: str) -> str:
    """InternVL2 as published: names and shapes from its own code, with a tokenizer and a conversation of each kind."""
    fixture = json.loads((REFERENCE / "internvl2.json").read_text(encoding="utf-8"))
    model = fixture["models"][size]
    shapes = {k: [440 if n == 300 else n for n in shape] for k, shape in model["shapes"].items()}
    config = {**model["config"], "llm_config": {**model["config"]["llm_config"], "vocab_size": 440}}
    config["llm_config"] |= {"max_position_embeddings": 1024}
    if size == "4b":  # beyond that length all rows of a batch turn otherwise
        config["llm_config"] |= {"original_max_position_embeddings": 512}
    folder.mkdir(parents=True)
    save_file({k: torch.from_numpy(v) for k, v in drawn_all(shapes).items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoConfig": "configuration_x.Y"}}))
    (folder / "conversation.py").write_text(CONVERSATIONS, encoding="utf-8")
    write_statistics(folder)
    if config["template"] == "internlm2-chat":
        write_internlm2_tokenizer(folder, "internlm2-plain.model")
        return str(folder)
    special = ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>", "<img>", "</img>", "<IMG_CONTEXT>")
    tokenizer = byte_tokenizer(None, special)
    tokenizer.save_pretrained(folder)
    kind = {"phi3-chat": "LlamaTokenizer", "Hermes-2": "Qwen2Tokenizer"}[config["template"]]
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "tokenizer_class": kind}))
    return str(folder)


def write_internlm2_tokenizer(folder: Path, model: str) -> None:
    """A sentencepiece model with InternLM2's special tokens behind its pieces, under a class that is unknown here."""
    (folder / "tokenizer.model").write_bytes((REFERENCE / model).read_bytes())
    special = ["<|im_end|>", "<|im_start|>", "<img>", "</img>", "<IMG_CONTEXT>"]
    places = {0: "<unk>", 1: "<s>", 2: "</s>", **{420 + n: token for n, token in enumerate(special)}}
    flags = {"lstrip": False, "rstrip": False, "single_word": False, "normalized": False, "special": True}
    values = {
        "tokenizer_class": "InternLM2Tokenizer",
        "auto_map": {"AutoTokenizer": ["tokenization_internlm2.InternLM2Tokenizer", None]},
        "added_tokens_decoder": {str(n): {"content": token, **flags} for n, token in places.items()},
        "additional_special_tokens": special,
        "bos_token": "<s>",
        "eos_token": "</s>",
        "pad_token": "</s>",
        "unk_token": "<unk>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(values))


def write_qwen_vl(folder: Path) -> str:
    """Qwen-VL-Chat as published: numbers, names and shapes from its own code, in two pieces; gives its path."""
    fixture = json.loads((REFERENCE / "qwen_vl.json").read_text(encoding="utf-8"))
    weights = {name: torch.from_numpy(value) for name, value in drawn_all(fixture["shapes"]).items()}
    folder.mkdir(parents=True)
    where = {name: f"model-{n % 2 + 1:05d}-of-00002.safetensors" for n, name in enumerate(weights)}
    for file in sorted(set(where.values())):
        piece = {name: value for name, value in weights.items() if where[name] == file}
        save_file(piece, folder / file, {"format": "pt"})
    index = {"metadata": {"total_size": 0}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    auto = {"AutoConfig": "configuration_qwen.QWenConfig", "AutoModelForCausalLM": "modeling_qwen.QWenLMHeadModel"}
    (folder / "config.json").write_text(json.dumps({**fixture["config"], "auto_map": auto, "torch_dtype": "float32"}))
    words = {
        "tokenizer_class": "QWenTokenizer",
        "auto_map": {"AutoTokenizer": ["tokenization_qwen.QWenTokenizer", None]},
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(words))
    generation = {"chat_format": "chatml", "eos_token_id": 1, "max_window_size": 6144, "do_sample": True, "top_p": 0.5}
    (folder / "generation_config.json").write_text(json.dumps(generation))
    (folder / "modeling_qwen.py").write_text('raise RuntimeError("nobody runs this")\n')
    write_words(folder)
    return str(folder)


def write_internvl_hf(folder: Path) -> str:
    """InternVL3 as its `-hf` checkpoints have it: a Qwen2 and a template that wants lists of parts."""
    named = {"start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<IMG_CONTEXT>"}
    tokenizer = byte_tokenizer(INTERNVL, tuple(named.values()))
    text = {**SIZES, "model_type": "qwen2", "vocab_size": VOCABULARY, "num_key_value_heads": 2}
    config = InternVLConfig(
        vision_config={**SIZES, "model_type": "internvl_vision", "image_size": 56, "layer_scale_init_value": 1.0},
        text_config={**text, "max_position_embeddings": 1024, "bos_token_id": 1, "eos_token_id": 4},
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=4,
        tie_word_embeddings=False,
    )
    torch.manual_seed(0)
    shake(InternVLForConditionalGeneration(config)).save_pretrained(folder)
    tokenizer.init_kwargs["model_specific_special_tokens"] = {**named, "video_token": "<IMG_CONTEXT>"}
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
