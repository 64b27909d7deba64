"""Prompts in pieces have the tokens of the whole prompt, also where a tokenizer puts a blank before every text."""

from __future__ import annotations

import json
from functools import cache

import pytest
from checkpoints import CHATML, LLAVA, byte_tokenizer
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import LlamaTokenizer, PreTrainedTokenizerFast

from text4seg.models.chat import IMAGE, render
from text4seg.models.joints import Joints
from text4seg.models.processor import ImageGeometry, Processor

MERGES = [
    ("▁", "▁"),
    ("A", "S"),
    ("AS", "S"),
    ("▁", "ASS"),
    ("U", "S"),
    ("▁", "US"),
    ("c", "a"),
    ("▁", "ca"),
    ("▁ca", "r"),
]
# Blanks at the ends of a question melt with those around it; special names are words here, and tokens in the whole, as
# would be the mark that stands for the image in pieces of a prompt.
LETTERS = st.characters(exclude_categories=["Cs"], exclude_characters="<>▁" + IMAGE[0])
QUESTION = (st.text(LETTERS, max_size=30) | st.text("car \n", max_size=8)).filter(
    lambda text: text.strip(" ") == text > ""
)


@cache
def llama(old: bool) -> PreTrainedTokenizerFast:
    """A tokenizer of Llama's kind; `old`: it begins anew behind special tokens, as files of 2023 do."""
    names = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *"ASUcarI?:."]
    names += ["".join(pair) for pair in MERGES]
    made = LlamaTokenizer(vocab={name: n for n, name in enumerate(names)}, merges=MERGES, legacy=False)
    content = json.loads(made.backend_tokenizer.to_str())
    if old:
        blanks = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
        content["normalizer"] = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, blanks]}
        content["pre_tokenizer"] = None
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(content)),
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<unk>",
        additional_special_tokens=["<image>", "<|im_start|>", "<|im_end|>"],
    )


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("style", ["text4seg_v1", "llava", "chatml"])
@pytest.mark.parametrize("place", ["first", "last"])
@given(question=QUESTION, turns=st.integers(1, 2))
def test_a_prompt_has_the_tokens_of_the_whole(old, style, place, question, turns) -> None:
    tokenizer = llama(old)
    tokenizer.chat_template = {"text4seg_v1": None, "llava": LLAVA, "chatml": CHATML}[style]
    image = tokenizer.convert_tokens_to_ids("<image>")
    chat = style if style == "text4seg_v1" else "checkpoint"
    made = Processor(tokenizer, ImageGeometry(8, 4), image, chat, place)
    said = [("car?", "")] * (turns - 1) + [(question, None)]
    pieces = render(said, tokenizer, chat, place)
    whole = "".join(piece.text for piece in pieces).replace(IMAGE, "<image>" * 4)
    assert made.tokens(said)[0] == tokenizer(whole, add_special_tokens=False)["input_ids"]


def test_an_answer_begins_as_generation_begins_it() -> None:
    for old in (False, True):
        tokenizer = llama(old)
        made = Processor(tokenizer, ImageGeometry(8, 4), tokenizer.convert_tokens_to_ids("<image>"), "text4seg_v1")
        ids, learnt = made.tokens([("car?", "car")])
        said = [token for token, kept in zip(ids, learnt, strict=True) if kept]
        assert tokenizer.convert_ids_to_tokens(said) == ["▁car", "</s>"]


@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), min_size=1, max_size=4))
def test_a_tokenizer_that_adds_nothing_is_left_alone(texts) -> None:
    tokenizer = byte_tokenizer()
    alone = tokenizer(texts, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    assert Joints(tokenizer).ids(texts, [True] * len(texts), plain=True) == alone
