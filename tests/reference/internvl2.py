"""Records what the published InternVL2 code computes, so that the native model can be held against it.

    git clone https://github.com/OpenGVLab/InternVL
    python -m venv ref && ref/bin/pip install torch transformers==4.44.2 peft==0.12 timm einops sentencepiece protobuf
    ref/bin/python tests/reference/internvl2.py InternVL tests/reference/internvl2.json

Writes configurations, names and shapes of weights, logits of tiny models (weights from `weights.py`), token ids of the
sentencepiece models that lie beside this file, and chat text. Nothing of the published code is kept.
"""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import torch
from weights import drawn_all, picture

HERE = Path(__file__).parent
IMAGE = 290
SHOWN = [0, 1, 7, 50, 123, 200, 257, 299]
TEXTS = [
    "Where is the red car?",
    "<seg>others *2| red car *2\n others *4\n</seg>",
    " two  blanks, and a leading one",
    "<|im_start|>user\n<img><IMG_CONTEXT></img>\nthe dog<|im_end|><|im_start|>assistant\n",
    "é漢字\t\n\n",
]
VISION = {
    "architectures": ["InternVisionModel"],
    "model_type": "intern_vit_6b",
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 56,
    "patch_size": 14,
    "qkv_bias": True,
    "qk_normalization": False,
    "norm_type": "layer_norm",
    "initializer_factor": 1.0,
    "use_flash_attn": False,
}
VISION_6B = {**VISION, "qkv_bias": False, "qk_normalization": True, "norm_type": "rms_norm", "initializer_factor": 0.1}
TEXT = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 300,
    "max_position_embeddings": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 2,
    "attn_implementation": "eager",
}
DYNAMIC = {"type": "dynamic", "factor": 2.0}
INTERNLM2 = {
    **TEXT,
    "architectures": ["InternLM2ForCausalLM"],
    "model_type": "internlm2",
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-5,
    "rope_theta": 1e6,
    "rope_scaling": DYNAMIC,
    "bias": False,
}
QWEN2 = {
    **TEXT,
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1e6,
}
PHI3 = {
    **TEXT,
    "architectures": ["Phi3ForCausalLM"],
    "model_type": "phi3",
    "num_key_value_heads": 4,
    "original_max_position_embeddings": 32,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-5,
    "rope_scaling": {"type": "su", "short_factor": [1.0, 1.05, 1.1, 1.3], "long_factor": [1.0, 1.5, 3.0, 9.0]},
}
MODELS = {
    "1b": (VISION, QWEN2, "Hermes-2"),
    "2b": (VISION, INTERNLM2, "internlm2-chat"),
    "4b": (VISION, PHI3, "phi3-chat"),
    "26b": (VISION_6B, INTERNLM2, "internlm2-chat"),
}


def ids_of(length: int) -> list[int]:
    """A question about one picture of four tokens."""
    rest = [3 + 7 * n % 280 for n in range(length - 5)]
    return [1, *[IMAGE] * 4, *rest]


def import_clone(clone: Path) -> Any:
    """The published classes."""
    sys.path.insert(0, str(clone / "internvl_chat"))
    # The clone's own package imports everything that training needs.
    for name in ("internvl.model", "internvl.model.internvl_chat"):
        package = types.ModuleType(name)
        package.__path__ = [str(clone / "internvl_chat" / Path(*name.split(".")))]
        sys.modules[name] = package
    from internvl.model.internvl_chat import configuration_internvl_chat, modeling_internvl_chat

    return configuration_internvl_chat.InternVLChatConfig, modeling_internvl_chat.InternVLChatModel


@torch.no_grad()
def record(config_class: Any, model_class: Any, name: str) -> dict[str, Any]:
    """One tiny model: its configuration, the shapes of its weights, and its logits."""
    vision, text, template = MODELS[name]
    raw = {
        "architectures": ["InternVLChatModel"],
        "model_type": "internvl_chat",
        "vision_config": vision,
        "llm_config": text,
        "downsample_ratio": 0.5,
        "force_image_size": 56,
        "ps_version": "v2",
        "select_layer": -1,
        "template": template,
    }
    model = model_class(config_class(**json.loads(json.dumps(raw))), use_flash_attn=False).float().eval()
    model.img_context_token_id = IMAGE
    shapes = {key: list(value.shape) for key, value in model.state_dict().items()}
    weights = drawn_all(shapes)
    model.load_state_dict({key: torch.from_numpy(value) for key, value in weights.items()})
    found = {}
    for length in (20, 40):
        out = model(
            pixel_values=torch.from_numpy(picture(56)),
            input_ids=torch.tensor([ids_of(length)]),
            attention_mask=torch.ones(1, length, dtype=torch.long),
            image_flags=torch.ones(1, 1, dtype=torch.long),
        )
        logits = out.logits[0].float().numpy()
        found[str(length)] = {
            "logits": np.round(logits[:, SHOWN].astype(np.float64), 6).tolist(),
            "logsumexp": np.round(np.logaddexp.reduce(logits.astype(np.float64), axis=-1), 6).tolist(),
        }
    return {"config": raw, "shapes": shapes, "outputs": found}


def tokens() -> dict[str, Any]:
    """Token ids and decoded text of the published tokenizer for each sentencepiece model here."""
    from internvl.model.internlm2.tokenization_internlm2 import InternLM2Tokenizer

    found = {}
    for path in sorted(HERE.glob("internlm2-*.model")):
        special = ["<|im_end|>", "<|im_start|>", "<img>", "</img>", "<IMG_CONTEXT>"]
        tokenizer = InternLM2Tokenizer(str(path))
        tokenizer.add_special_tokens({"additional_special_tokens": special})
        rows = [tokenizer(text)["input_ids"] for text in TEXTS]
        found[path.name] = {"special": special, "ids": dict(zip(TEXTS, rows, strict=True))}
    return found


def prompts() -> dict[str, str]:
    """Two turns in each published conversation, with a system text of this project's."""
    from internvl.conversation import get_conv_template

    found = {}
    for name in ("Hermes-2", "internlm2-chat", "phi3-chat", "internvl2_5"):
        chat = get_conv_template(name)
        chat.system_message = "Be exact."
        for text in ("Q1", "A1", "Q2", None):
            chat.append_message(chat.roles[len(chat.messages) % 2], text)
        found[name] = chat.get_prompt()
    return found


def train_tokenizers() -> None:
    """Two small sentencepiece models, trained on this project's own words: with and without a blank put in front."""
    import sentencepiece

    files = sorted((HERE.parents[1] / "text4seg" / "models").glob("*.py"))
    lines = [line for path in files for line in path.read_text().splitlines(keepends=True)]
    for name, prefix in (("internlm2-plain", False), ("internlm2-prefixed", True)):
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_prefix=str(HERE / name),
            model_type="bpe",
            vocab_size=420,
            byte_fallback=True,
            add_dummy_prefix=prefix,
            remove_extra_whitespaces=False,
            normalization_rule_name="identity",
            user_defined_symbols=["\n"],
            split_digits=True,
        )
        (HERE / f"{name}.vocab").unlink()


def main() -> None:
    """Write the fixture."""
    clone, out = Path(sys.argv[1]), Path(sys.argv[2])
    if not list(HERE.glob("internlm2-*.model")):
        train_tokenizers()
    classes = import_clone(clone)
    fixture: dict[str, Any] = {"shown": SHOWN, "image": IMAGE, "models": {}}
    for name in MODELS:
        fixture["models"][name] = record(*classes, name)
    fixture["tokens"] = tokens()
    fixture["prompts"] = prompts()
    out.write_text(json.dumps(fixture, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
