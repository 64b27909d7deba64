"""Labels that a vocabulary has no tokens for: told before a model is asked, and never a dead end."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fake_backbone import backbone_of, prompts_of, tiny_config
from fake_item import FakeItem
from transformers import LlamaForCausalLM
from vocabularies import KINDS, letters_tokenizer, tokenizer_of

from text4seg.decoding.generate import respond
from text4seg.decoding.language.automaton import Language
from text4seg.decoding.language.grammar import Grammar, UnwritableError
from text4seg.decoding.language.tokens import Tokens, tokens_of
from text4seg.decoding.settings import DecodingSettings
from text4seg.descriptors import CODECS

LETTERS = [bytes((byte,)) for byte in b"\n !*/0123456789<>abcdefghijklmnopqrstuvwxyz|"]
LABELS = ("red", "red car", "café", "红色的车")


def checked(pieces: list[bytes], codec: str, *labels: str) -> Grammar:
    grammar = Grammar(Tokens(list(pieces)), Language((2, 3), codec, labels))
    grammar.check()
    return grammar


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("kind", ["tiny", "sentencepiece", *KINDS])
def test_vocabularies_with_bytes_write_every_label(kind, codec):
    Grammar(tokens_of(tokenizer_of(kind)), Language((2, 3), codec, LABELS)).check()


@pytest.mark.parametrize("codec", CODECS)
def test_a_label_without_tokens_is_named(codec):
    checked(LETTERS, codec, "red", "red car")
    for _ in range(2):
        with pytest.raises(UnwritableError, match=r"cannot write the label 'café': take `decoding.grammar: report`"):
            checked(LETTERS, codec, "red", "café", "naïve")
    checked([*LETTERS, "é".encode()], codec, "café")
    Grammar(Tokens(list(LETTERS)), Language((2, 3), codec, None)).check()


@pytest.mark.parametrize(
    ("piece", "codecs"),
    [
        ("café", CODECS),
        ("fé *", ("rrle", "irle")),
        ("é *3\n caf", ("rrle",)),
        (">café", CODECS),
        ("<seg>café *2", ("rrle", "irle")),
    ],
)
def test_tokens_may_begin_before_a_label_and_end_behind_it(piece, codecs):
    for codec in codecs:
        checked([*LETTERS, piece.encode()], codec, "café")


@pytest.mark.parametrize("piece", [" café", "caf", "é|x", "xé"])
def test_tokens_that_fit_nowhere_help_nothing(piece):
    with pytest.raises(UnwritableError, match="'café'"):
        checked([*LETTERS, piece.encode()], "rrle", "café")


def test_many_labels_are_checked_quickly_and_once(monkeypatch):
    grammar = checked(LETTERS, "rrle", *(f"class number {'x' * i}" for i in range(1, 135)))
    monkeypatch.setattr(Grammar, "_writes", lambda *_: pytest.fail("looked again"))
    grammar.check()


def asked(*labels: str) -> FakeItem:
    question = f"Where is {', '.join(labels)}?"
    return FakeItem(np.zeros((8, 8), np.uint8), labels=("others", *labels), question=question, size=(2, 2))


class Partial(LlamaForCausalLM):
    """Begins every label with a letter that it likes, if it may."""

    def __init__(self, token: int, vocabulary: int) -> None:
        config = tiny_config()
        config.vocab_size = vocabulary
        super().__init__(config)
        self.lm_head = torch.nn.Linear(16, vocabulary)
        self.lm_head.bias.data[token] = 100.0


@pytest.fixture
def backbone():
    tokenizer = letters_tokenizer(">café")
    model = Partial(tokenizer.convert_tokens_to_ids("c"), len(tokenizer)).eval()
    made = backbone_of(model)
    made.processor.tokenizer, made.processor.image_token_id = tokenizer, -1
    made.core, made.tree_attention, made.shared_prefix = model, True, False
    parts = {"language": model.model, "vision": torch.nn.Identity()}
    made.part, made.logits = parts.__getitem__, model.lm_head
    return made


@pytest.mark.filterwarnings("error:decoding.engine is hf")
@pytest.mark.parametrize("engine", ["structured", "hf"])
@pytest.mark.parametrize(
    ("label", "message"), [("naïve", "the label 'naïve'"), ("café", "what has to follow in .*'others', 'café'")]
)
def test_both_engines_say_so(backbone, engine, label, message):
    """`>café` can be written; but once `>` stands alone, the letters of the label lead nowhere."""
    on = DecodingSettings(grammar="on", preamble=0, engine=engine)
    prompts = prompts_of(["a", "b"])
    written = respond(backbone, prompts, [asked("cat"), asked("cat")], on).texts
    assert all(text.startswith(("\n<seg>cat *", "<seg>cat *")) for text in written)
    with pytest.raises(ValueError, match=f"this model's tokens cannot write {message}.*grammar: report"):
        respond(backbone, prompts, [asked("cat"), asked(label)], on)
    report = DecodingSettings(engine=engine, max_new_tokens=4)
    assert respond(backbone, prompts, [asked("cat"), asked(label)], report).left is not None
