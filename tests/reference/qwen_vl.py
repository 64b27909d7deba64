"""Records what the published Qwen-VL-Chat code computes, so that the native model can be held against it.

    # PUBLISHED: a folder with the Python files that come with the checkpoint Qwen/Qwen-VL-Chat
    python -m venv ref && ref/bin/pip install torch torchvision transformers==4.32.0 tiktoken einops matplotlib requests
    ref/bin/python tests/reference/qwen_vl.py PUBLISHED tests/reference/qwen_vl.json

Writes a configuration, names and shapes of weights, logits, chat text and token ids of a tiny model. Weights come from
`weights.py`, the vocabulary from `qwen_words.py`; nothing of the published code is kept.

    ref/bin/python tests/reference/qwen_vl.py PUBLISHED tests/reference/qwen_vl.json --words qwen.tiktoken TEXTS.json

writes the ids of texts under the published vocabulary to standard output instead.
"""

from __future__ import annotations

import importlib
import json
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

import torch
from qwen_words import write_words
from weights import drawn_all, picture

SIDE, LENGTHS, FIRST, SHOWN = 64, (290, 400), 254, [0, 1, 8, 50, 123, 200, 257, 299, 420, 511]
TEXTS = [
    "",
    "the others segment the image",
    "<seg>others *2| red car *2\n others *1| red car *3\n others *4\n</seg>",
    "  three   blanks\n\n\nand lines \r\n\ttabs ",
    "cafe\u0301 caf\u00e9 \u56fe\u50cf 1234 don't I'LL \U0001f600",
    "<|im_start|>user\nthe <ref>car</ref><box>(1,2),(3,4)</box><|im_end|><|endoftext|>",
    "<|extra_0|> and <|extra_204|>, <|extra_205|>",
]
SYSTEM = "You are a helpful assistant."


def published(folder: str) -> tuple[Any, Any, Any, Any]:
    """Their modules, as a package under a name of its own."""
    package = types.ModuleType("published")
    package.__path__ = [folder]
    sys.modules["published"] = package
    names = ("configuration_qwen", "modeling_qwen", "tokenization_qwen", "qwen_generation_utils")
    config, model, words, chat = (importlib.import_module(f"published.{name}") for name in names)
    return config, model, words, chat


def configuration(rows: int, ranks: int) -> dict[str, Any]:
    """Numbers of a tiny model; 32 patches a side, so that the tables of 16 a side are interpolated."""
    return {
        "model_type": "qwen",
        "architectures": ["QWenLMHeadModel"],
        "vocab_size": rows,
        "hidden_size": 256,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "kv_channels": 64,
        "layer_norm_epsilon": 1e-6,
        "rotary_emb_base": 10000,
        "rotary_pct": 1.0,
        "seq_length": 2048,
        "max_position_embeddings": 8192,
        "emb_dropout_prob": 0.0,
        "attn_dropout_prob": 0.0,
        "use_dynamic_ntk": True,
        "use_logn_attn": True,
        "use_flash_attn": False,
        "no_bias": True,
        "bf16": False,
        "fp16": False,
        "fp32": True,
        "tie_word_embeddings": False,
        "visual": {
            "heads": 2,
            "image_size": SIDE,
            "image_start_id": ranks + 3 + 205 + 6,
            "layers": 2,
            "mlp_ratio": 2.0,
            "output_dim": 256,
            "patch_size": 2,
            "width": 32,
        },
    }


@torch.inference_mode()
def record(config_module: Any, model_module: Any, raw: dict[str, Any]) -> dict[str, Any]:
    """Shapes and logits of a model."""
    model = model_module.QWenLMHeadModel(config_module.QWenConfig(**raw)).eval()
    shapes = {name: list(value.shape) for name, value in model.state_dict().items()}
    model.load_state_dict({name: torch.from_numpy(value) for name, value in drawn_all(shapes).items()})
    visual, start = model.transformer.visual, raw["visual"]["image_start_id"]
    visual.encode = lambda _paths: visual(torch.from_numpy(picture(SIDE)))
    outputs = {}
    for length in LENGTHS:
        words = [3 + 7 * n % 240 for n in range(length - 260)]
        ids = [1, 5, start, *[start + 2] * 256, start + 1, *words]
        theirs = torch.tensor([ids])
        theirs[0, 3] = ord("x")  # they keep a picture's address where its tokens go
        logits = model(input_ids=theirs).logits[0, FIRST:]
        whole = torch.logsumexp(logits.double(), -1)
        outputs[length] = {"ids": ids, "logits": logits[:, SHOWN].tolist(), "logsumexp": whole.tolist()}
    return {"config": raw, "shapes": shapes, "outputs": outputs, "shown": SHOWN, "first": FIRST}


def chats(chat: Any, tokenizer: Any) -> dict[str, Any]:
    """Text and ids of prompts that generation continues, with a picture's place empty in the text."""
    asked = tokenizer.from_list_format([{"image": "x"}, {"text": "Where is the car?"}])
    found = {}
    for name, history, query in (("one", [], asked), ("two", [(asked, "others")], "And the image?")):
        text, ids = chat.make_context(tokenizer, query, history=history, system=SYSTEM)
        found[name] = {"text": text.replace("<img>x</img>", "<img></img>"), "ids": ids}
    return found


def main() -> None:
    """Write the fixture."""
    config_module, model_module, words_module, chat = published(sys.argv[1])
    if sys.argv[3:]:
        tokenizer = words_module.QWenTokenizer(sys.argv[4])
        texts = json.loads(Path(sys.argv[5]).read_text(encoding="utf-8"))
        print(json.dumps([tokenizer.encode(text) for text in texts]))
        return
    with tempfile.TemporaryDirectory() as folder:
        ranks = write_words(folder)
        tokenizer = words_module.QWenTokenizer(str(Path(folder) / "qwen.tiktoken"))
    raw = configuration(len(tokenizer) + 4, ranks)
    fixture = {
        **record(config_module, model_module, raw),
        "tokens": {text: tokenizer.encode(text) for text in TEXTS},
        "chats": chats(chat, tokenizer),
    }
    Path(sys.argv[2]).write_text(json.dumps(fixture) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
