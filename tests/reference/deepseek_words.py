"""Token ids of DeepSeek-VL's published chat processor, and a small tokenizer of the kind that its checkpoints have.

    git clone https://github.com/deepseek-ai/DeepSeek-VL
    python -m venv ref && ref/bin/pip install torch 'transformers<5' pillow
    ref/bin/python tests/reference/deepseek_words.py DeepSeek-VL tests/reference/deepseek_words.json [FOLDER]

`FOLDER` holds the tokenizer of a published checkpoint; without one the small one is taken. Its peculiarities are the
published one's: bytes with splits of its own, digits one by one, letters that are tokens apart because their code is
that of a byte no text has, and a configuration that calls it a Llama's.
"""

from __future__ import annotations

import importlib
import json
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

TOKENS = 9
"""Image tokens of a picture, few as the fixture is short."""
BEGIN, END = "<\uff5cbegin\u2581of\u2581sentence\uff5c>", "<\uff5cend\u2581of\u2581sentence\uff5c>"
IMAGE = "<image_placeholder>"
WORDS = (
    "\u0120others",
    "\u0120the",
    "\u0120car",
    "User",
    "Assistant",
    "\u0120*",
    "seg",
    "\u010a\u010a",
    "\u0120\u0120",
)
ODD = "\u00f8\u00f6\u00fa\u00ff\u00f5\u00f7\u00fb\u00fd\u00c0\u00f9\u00c1\u00fe\u00fc"
"""Letters whose codes are those of bytes that no UTF-8 has."""
SPLITS = (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", r"\s+$", r"[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+", r"\p{N}")
TEXTS = (
    "Where is the red car?",
    "Sure, the segmentation mask is:\n<seg>others *12| red car *4\n others *16\n</seg>",
    "F\u00fchrer, na\u00efve \u00d8rsted, caf\u00e9 cr\u00e8me",
    "\u4f60\u597d\uff0c\u6c7d\u8f66 123456 kg",
    "two  blanks\tand a tab,\n\n\na line or three",
    "\U0001f699\U0001f3fd on the \u200bzero\u00a0width \u0928\u092e\u0938\u094d\u0924\u0947",
    "</s> <s> <|im_end|> a|b *1|",
    "others *7| the person on the left *9\n others *16",
)


def write_words(folder: Path) -> None:
    """The small tokenizer, as `tokenizer.json` and its configuration."""
    merges, known = [], dict.fromkeys(sorted(set(pre_tokenizers.ByteLevel.alphabet()) - set(ODD)))
    for word in WORDS:
        for length in range(2, len(word) + 1):
            if word[:length] not in known:
                merges.append((word[: length - 1], word[length - 1]))
                known[word[:length]] = None
    tokenizer = Tokenizer(models.BPE({token: number for number, token in enumerate(known)}, merges))
    splits = [pre_tokenizers.Split(Regex(split), "isolated") for split in SPLITS]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*splits, pre_tokenizers.ByteLevel(False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([BEGIN, END])
    tokenizer.add_tokens([AddedToken(letter, normalized=True) for letter in ODD])
    tokenizer.save(str(folder / "tokenizer.json"))
    tokens = {"bos_token": BEGIN, "eos_token": END, "pad_token": END, "unk_token": None, "add_bos_token": True}
    settings = {"tokenizer_class": "LlamaTokenizerFast", "model_max_length": 16384, **tokens}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")


def published(clone: str) -> Any:
    """Their processor's module, without the package's own imports."""
    for name in ("deepseek_vl", "deepseek_vl.models", "deepseek_vl.utils"):
        package = types.ModuleType(name)
        package.__path__ = [str(Path(clone, *name.split(".")))]
        sys.modules[name] = package
    pictures = types.ModuleType("deepseek_vl.models.image_processing_vlm")
    pictures.VLMImageProcessor = object  # type: ignore[attr-defined]
    sys.modules[pictures.__name__] = pictures
    return importlib.import_module("deepseek_vl.models.processing_vlm")


def record(clone: str, folder: str) -> list[dict[str, Any]]:
    """For each text its ids, and those of a conversation that asks it and waits for the answer."""
    from transformers import LlamaTokenizerFast

    module = published(clone)
    module.ProcessorMixin.__init__ = lambda self, *parts, **rest: None
    tokenizer = LlamaTokenizerFast.from_pretrained(folder, legacy=True)
    pixels = types.SimpleNamespace(pixel_values=None)
    made = module.VLChatProcessor(lambda images, return_tensors: pixels, tokenizer, num_image_tokens=TOKENS)

    found = []
    for text in TEXTS:
        talk = [{"role": "User", "content": IMAGE + text}, {"role": "Assistant", "content": ""}]
        asked = made.process_one(conversations=talk, images=[]).input_ids.tolist()
        found.append({"text": text, "ids": tokenizer.encode(text, add_special_tokens=False), "asked": asked})
    return found


def main() -> None:
    """Write the fixture."""
    with tempfile.TemporaryDirectory() as name:
        write_words(Path(name))
        found = record(sys.argv[1], sys.argv[3] if len(sys.argv) > 3 else name)
    Path(sys.argv[2]).write_text(json.dumps(found) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
