"""LLaVA-1.5 in the layouts of its first authors, put into transformers' own class.

Three of them, told apart by the files in `model.path`:
* merged: language model and projector in one checkpoint (the tower may be in it as well);
* LoRA: `adapter_model.*` and `non_lora_trainables.bin` (the projector) on a base: the authors of Text4Seg publish so;
* projector: `mm_projector.bin` on a base: a Vicuna, as LLaVA's second stage of training starts.

The base is `model.language`, else what the adapter or the configuration names; the CLIP tower is `model.vision`, else
what the configuration names. An adapter is folded into the weights when it is read.

Source: LLaVA-1.5 (arXiv 2310.03744); checked against the original code by `tests/models/test_llava_original.py`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import (
    AutoConfig,
    CLIPVisionModel,
    LlamaConfig,
    LlamaTokenizer,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TokenizersBackend,
)

from text4seg.models.families.languages import image_token
from text4seg.models.integrity import refuse_incomplete
from text4seg.models.loading import find_file, held, local_or_hub, quiet, read_config
from text4seg.models.settings import ModelSettings

PROJECTOR, LORA, EXTRAS = "mm_projector.bin", "adapter_config.json", "non_lora_trainables.bin"
UNFOLDED = ("rank_pattern", "alpha_pattern", "use_dora", "fan_in_fan_out", "lora_bias", "modules_to_save")
"""What an adapter may say that makes it more than ``B A alpha / r``."""
WHOLE = ("model.safetensors", "pytorch_model.bin")
CHAT = (
    "{{ bos_token }}{% for m in messages %}{{ 'USER: ' if m.role == 'user' else 'ASSISTANT: ' }}"
    "{% if m.content is string %}{{ m.content }}{% else %}{% for part in m.content %}"
    "{{ '<image>\\n' if part.type == 'image' else part.text }}{% endfor %}{% endif %}"
    "{{ ' ' if m.role == 'user' else eos_token }}{% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)
"""LLaVA's own layout without a system text."""


@dataclass(frozen=True)
class Original:
    """What is known of such a checkpoint without its weights."""

    path: str
    base: str
    vision: str
    config: LlavaConfig
    tokenizer: PreTrainedTokenizerBase


def is_original(raw: dict[str, Any]) -> bool:
    """Whether a `config.json` is that of an original layout."""
    return "mm_vision_tower" in raw


def read_original(settings: ModelSettings, path: str, raw: dict[str, Any]) -> Original:
    """Find the parts, and put the configuration into transformers' words.

    Raises:
        ValueError: a part is missing, or the projector is not LLaVA-1.5's.
    """
    if raw.get("mm_projector_type") != "mlp2x_gelu":
        raise ValueError(f"{path!r} has a projector of type {raw.get('mm_projector_type')}; LLaVA-1.5's is mlp2x_gelu.")
    base = path if _whole(path) else _base(settings, path, raw)
    vision = settings.vision or raw["mm_vision_tower"]
    tower = local_or_hub(AutoConfig, vision)
    tower = getattr(tower, "vision_config", tower)
    tokenizer = _tokenizer(path if find_file(path, "tokenizer_config.json") else base)
    select = raw.get("mm_vision_select_feature", "patch")
    config = LlavaConfig(
        vision_config=tower,
        text_config=LlamaConfig(**_llama(read_config(base) if "hidden_size" not in raw else raw)),
        image_token_index=image_token(tokenizer),
        vision_feature_layer=raw.get("mm_vision_select_layer", -2),
        vision_feature_select_strategy="default" if select == "patch" else "full",
        image_seq_length=(tower.image_size // tower.patch_size) ** 2 + (select != "patch"),
        tie_word_embeddings=False,
    )
    text: Any = config.text_config
    text.vocab_size = max(text.vocab_size, config.image_token_id + 1)
    return Original(path, base, vision, config, tokenizer)


def load_original(found: Original, settings: ModelSettings) -> tuple[PreTrainedModel, str]:
    """The model, and its line for the run stamp.

    Raises:
        ValueError: weights are missing, unknown or of other shapes.
    """
    weights = _language_and_projector(found)
    with quiet():
        tower = local_or_hub(CLIPVisionModel, found.vision, dtype=getattr(torch, settings.dtype))
    named = {_hub_name(name): tensor for name, tensor in weights.items()}
    held_apart = not any(name.startswith("vision_tower.") for name in named)
    if held_apart:
        named |= {f"vision_tower.vision_model.{name}": tensor for name, tensor in tower.state_dict().items()}
    text: Any = found.config.text_config
    for name in ("language_model.model.embed_tokens.weight", "language_model.lm_head.weight"):
        if name in named:
            named[name] = _with_rows(named[name], text.vocab_size)
    with quiet():
        kind: Any = LlavaForConditionalGeneration
        model, info = kind.from_pretrained(
            None,
            config=found.config,
            state_dict=named,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            **held(settings),
        )
    refuse_incomplete(found.path, info["missing_keys"], info["unexpected_keys"], info["mismatched_keys"])
    total = sum(tensor.numel() for tensor in named.values())
    parts = [found.path, *([f"base {found.base}"] if found.base != found.path else [])]
    parts += [f"tower {found.vision}"] if held_apart else []
    return model, f"{', '.join(parts)}: all weights loaded ({total:,} parameters, {settings.dtype})"


def _language_and_projector(found: Original) -> dict[str, Tensor]:
    """Tensors under the original names, with an adapter folded in."""
    weights = read_weights(found.base)
    if found.base == found.path:
        return weights
    extras = find_file(found.path, EXTRAS)
    if find_file(found.path, LORA) is None:
        file = find_file(found.path, PROJECTOR)
        assert file is not None, "the base was chosen by it"
        return weights | _load(file)
    if extras is None:
        raise ValueError(f"{found.path!r} has no {EXTRAS}: without it the projector would be the base's, or random.")
    _fold(weights, found.path)
    return weights | {_plain(name): tensor for name, tensor in _load(extras).items()}


def read_weights(path: str) -> dict[str, Tensor]:
    """All tensors of a checkpoint, whether in one file or in pieces.

    Raises:
        ValueError: there are none, or they cannot be read.
    """
    for name in WHOLE:
        index, one = find_file(path, f"{name}.index.json"), find_file(path, name)
        if index is not None:
            pieces = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
            files = [find_file(path, piece) for piece in pieces]
            lost = [piece for piece, file in zip(pieces, files, strict=True) if file is None]
            if lost:
                raise ValueError(f"{path!r} lacks {lost[0]}, which its index names.")
            return {key: value for file in files if file for key, value in _load(file).items()}
        if one is not None:
            return _load(one)
    raise ValueError(f"{path!r} holds no weights: neither {' nor '.join(WHOLE)}, nor an index of their pieces.")


def _load(file: Path) -> dict[str, Tensor]:
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        return torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # safetensors, zip and the unpickler have no common class
        raise ValueError(
            f"{file} cannot be read: {str(error).splitlines()[0]}. Put a whole copy in its place."
        ) from error


def _fold(weights: dict[str, Tensor], path: str) -> None:
    """Add an adapter's ``B A alpha / r`` to the weights that it adapts, in float32.

    Raises:
        ValueError: its files are missing or damaged, it was made for another base, or it is more than that product.
    """
    file = find_file(path, "adapter_model.safetensors") or find_file(path, "adapter_model.bin")
    if file is None:
        raise ValueError(f"{path!r} has {LORA} but no adapter_model.safetensors or adapter_model.bin.")
    stated = find_file(path, LORA)
    assert stated is not None
    config, adapter = json.loads(stated.read_text(encoding="utf-8")), _load(file)
    if more := [name for name in UNFOLDED if config.get(name)]:
        raise ValueError(
            f"the adapter {path!r} has {' and '.join(more)} in its {LORA}, which is not folded into a base here: merge "
            "it with PEFT and give the whole model."
        )
    scale = config["lora_alpha"] / (config["r"] ** 0.5 if config.get("use_rslora") else config["r"])
    for name in [name for name in adapter if ".lora_A." in name]:
        target = _plain(name.partition(".lora_A.")[0]) + ".weight"
        if target not in weights:
            raise ValueError(f"the adapter {path!r} adapts {target}, which its base does not have: another base?")
        change = adapter[name.replace(".lora_A.", ".lora_B.")].float() @ adapter[name].float()
        if change.shape != weights[target].shape:
            raise ValueError(
                f"the adapter {path!r} was made for a {target} of {list(change.shape)}, its base has "
                f"{list(weights[target].shape)}: another base?"
            )
        weights[target] = (weights[target].float() + scale * change).to(weights[target].dtype)


def _plain(name: str) -> str:
    """A name without what PEFT's wrapper puts before it."""
    return name.removeprefix("base_model.").replace("model.model.", "model.", 1).replace("model.lm_head", "lm_head", 1)


def _hub_name(name: str) -> str:
    """What the same tensor is called in the checkpoints that transformers' class publishes."""
    for old, new in (
        ("model.mm_projector.0.", "multi_modal_projector.linear_1."),
        ("model.mm_projector.2.", "multi_modal_projector.linear_2."),
        ("model.vision_tower.vision_tower.", "vision_tower."),
        ("model.", "language_model.model."),
        ("lm_head.", "language_model.lm_head."),
    ):
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name


def _with_rows(table: Tensor, rows: int) -> Tensor:
    """A table ``[V, D]`` with rows for the image token behind it: the mean of the others, never a token of its own."""
    lacking = rows - table.shape[0]
    mean = table.float().mean(0, keepdim=True).to(table.dtype)
    return torch.cat([table, mean.expand(lacking, -1)]) if lacking > 0 else table


def _llama(raw: dict[str, Any]) -> dict[str, Any]:
    known = LlamaConfig().to_dict()
    kept = {key: value for key, value in raw.items() if key in known and value is not None}
    kept |= {key: raw[key] for key in ("rope_theta", "rope_scaling") if raw.get(key) is not None}
    for key in ("architectures", "model_type", "transformers_version", "dtype"):
        kept.pop(key, None)
    return kept


def _base(settings: ModelSettings, path: str, raw: dict[str, Any]) -> str:
    adapter = find_file(path, LORA)
    if adapter is None and find_file(path, PROJECTOR) is None:
        raise ValueError(f"{path!r} holds neither {' nor '.join(WHOLE)}, {LORA} or {PROJECTOR}: there are no weights.")
    stated = json.loads(adapter.read_text(encoding="utf-8")).get("base_model_name_or_path") if adapter else None
    base = settings.language or stated or raw.get("_name_or_path")
    if not base:
        raise ValueError(f"{path!r} is no whole model and names no base: give it as `model.language`.")
    return base


def _whole(path: str) -> bool:
    return any(find_file(path, name) or find_file(path, f"{name}.index.json") for name in WHOLE)


def _tokenizer(path: str) -> PreTrainedTokenizerBase:
    whole = find_file(path, "tokenizer.json") is not None
    tokenizer = local_or_hub(TokenizersBackend if whole else LlamaTokenizer, path)
    tokenizer.chat_template = tokenizer.chat_template or CHAT
    return tokenizer
