"""Tokenizer and chat text of Qwen-VL-Chat (2023), without running the code that comes with it.

`qwen.tiktoken` lists the byte-pair tokens; the special ones stand in code behind them, in a fixed order. Regular
expression and normalisation are those that Qwen2's tokenizer kept.
"""

from __future__ import annotations

import base64
import binascii
from pathlib import Path

from transformers import Qwen2Tokenizer
from transformers.convert_slow_tokenizer import TikTokenConverter

from text4seg.models.loading import find_file

WORDS = "qwen.tiktoken"
FRAME = ("Picture 1:<img>", "</img>")
"""What the published code writes around a chat's first image."""
END_OF_TEXT, END_OF_TURN = "<|endoftext|>", "<|im_end|>"
EXTRAS = 205
SPECIAL = (
    END_OF_TEXT,
    "<|im_start|>",
    END_OF_TURN,
    *(f"<|extra_{number}|>" for number in range(EXTRAS)),
    *(f"<{slash}{kind}>" for kind in ("ref", "box", "quad", "img") for slash in ("", "/")),
    "<imgpad>",
)
TEMPLATE = (
    "{% for m in messages %}"
    "{% if loop.first and m.role != 'system' %}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
    "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


class Ranks(TikTokenConverter):
    """transformers' reader of such files, which has the package tiktoken open them otherwise."""

    @staticmethod
    def load_tiktoken_bpe(tiktoken_url: str) -> dict[bytes, int]:
        """Tokens and their ranks."""
        lines = Path(tiktoken_url).read_bytes().splitlines()
        pairs = (line.split() for line in lines if line)
        return {base64.b64decode(token, validate=True): int(rank) for token, rank in pairs}


def published_tokenizer(path: str, image_token_id: int) -> Qwen2Tokenizer:
    """The tokenizer of a published checkpoint, with its chat text as a template.

    Args:
        path: folder or hub name.
        image_token_id: of ``<imgpad>``, as the checkpoint's `config.json` implies it.

    Raises:
        ValueError: `qwen.tiktoken` is missing or damaged, or is not of this checkpoint.
    """
    file = find_file(path, WORDS)
    if file is None:
        raise ValueError(f"{path!r} has no {WORDS}; copy the file from where the checkpoint came from.")
    try:
        words, merges = Ranks().extract_vocab_merges_from_model(str(file))
    except (ValueError, binascii.Error) as error:
        raise ValueError(f"{file} is damaged: {error}. Copy it again from where the checkpoint came from.") from error
    words |= {token: number for number, token in enumerate(SPECIAL, start=len(words))}
    if words["<imgpad>"] != image_token_id:
        raise ValueError(
            f"{file} has {len(words) - len(SPECIAL)} tokens, which makes <imgpad> {words['<imgpad>']}; by config.json "
            f"(`visual.image_start_id`) it is {image_token_id}. The two files are of different checkpoints."
        )
    tokenizer = Qwen2Tokenizer(
        vocab=words,
        merges=merges,  # pyrefly: ignore[bad-argument-type]  # pairs, as tokenizers takes them
        eos_token=END_OF_TURN,
        pad_token=END_OF_TEXT,
        additional_special_tokens=list(SPECIAL),
        chat_template=TEMPLATE,
        name_or_path=path,
    )
    # A piece of text that is a token is that token, also where no merges lead to it.
    tokenizer.backend_tokenizer.model.ignore_merges = True
    return tokenizer
