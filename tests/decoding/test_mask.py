"""The grammar in Hugging Face's ``generate``: whatever a random model says is well formed, alone and in a batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fake_backbone import Reciter, backbone_of, byte_tokenizer, prompts_of, tiny_config
from fake_item import FakeItem
from transformers import LlamaForCausalLM, LogitsProcessorList

from text4seg.decoding.generate import respond
from text4seg.decoding.language.mask import Follower, GrammarMask
from text4seg.decoding.language.tracker import trackers
from text4seg.decoding.settings import DecodingSettings
from text4seg.descriptors import parse

ON = DecodingSettings(grammar="on", preamble=4)


def item(size, codec="rrle", labels=("others", "red car")) -> FakeItem:
    question = f"Where are {', '.join(labels[1:])}?"
    return FakeItem(np.zeros((8, 8), np.uint8), size=size, codec=codec, labels=labels, question=question)


ITEMS = [
    item((2, 3)),
    item((1, 1)),
    item((3, 4), "irle", ("others", "red", "red car")),
    item((2, 2), "full", ("others", "é")),
]
QUESTIONS = ["a", "Where?", "Where is it, behind the house?", "é"]


def random_llama(seed: int) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    model = LlamaForCausalLM(tiny_config(initializer_range=0.4)).double().eval()
    model.generation_config.eos_token_id = None
    return model


@pytest.mark.parametrize("seed", range(3))
def test_a_random_model_writes_well_formed_answers_only(seed):
    backbone = backbone_of(random_llama(seed))
    together = respond(backbone, prompts_of(QUESTIONS), ITEMS, ON)
    for asked, question, text in zip(ITEMS, QUESTIONS, together.texts, strict=True):
        read = parse(text, asked.size, asked.codec, asked.labels[1:])
        assert read.status == "ok"
        assert set(read.grid.labels) <= set(asked.labels)
        assert respond(backbone, prompts_of([question]), [asked], ON).texts == [text]
    assert together.left == [None] * 4


def test_the_mask_takes_the_best_token_that_is_allowed():
    model, asked = random_llama(0), ITEMS[0]
    ids = byte_tokenizer()("a", return_tensors="pt")["input_ids"]
    (tracker,) = trackers(byte_tokenizer(), [asked], ON, 258, ())
    written = []
    while not tracker.done:
        with torch.no_grad():
            logits = model(input_ids=ids).logits[0, -1]
        best = logits.where(tracker.allowed(), -torch.inf).argmax()
        assert tracker.accept(int(best))
        written.append(int(best))
        ids = torch.cat([ids, best[None, None]], 1)
    assert respond(backbone_of(model), prompts_of(["a"]), [asked], ON).texts == [byte_tokenizer().decode(written)]


def test_tokens_that_are_taken_back_are_followed():
    model, asked = random_llama(1), item((6, 5))
    prompts = prompts_of(["others *2| red car *3\n others *5\n"])
    texts = []
    for ahead in (None, 4):
        follower = Follower(trackers(byte_tokenizer(), [asked], ON, 258, ()), prompts["input_ids"].shape[1])
        out = model.generate(
            **prompts,
            logits_processor=LogitsProcessorList([GrammarMask(follower)]),
            max_new_tokens=60,
            do_sample=False,
            prompt_lookup_num_tokens=ahead,
            pad_token_id=0,
        )
        texts.append(byte_tokenizer().decode(out[0]))
    assert texts[0] == texts[1]
    assert "<seg>" in texts[0]


def test_a_report_leaves_the_text_alone_and_says_where_it_left():
    texts = ["Yes:\n<seg>others *3\n red car *3\n</seg>", "Yes:\n<seg>others *4\n</seg>", "Yes.<eos>"]
    found = respond(backbone_of(Reciter(texts)), prompts_of(["a", "b", "c"]), [ITEMS[0]] * 3, DecodingSettings())
    assert found.texts == [*texts[:2], "Yes."]
    assert found.left == [None, texts[1].index("4"), len("Yes.")]
    assert found.counts.tokens == sum(map(len, texts[:2])) + len("Yes.") + 1
    assert found.counts.passes == found.counts.tokens - 3
    assert found.counts.seconds > 0


def test_nobody_looks_when_the_grammar_is_off():
    text = "No.<eos>"
    found = respond(backbone_of(Reciter([text])), prompts_of(["a"]), ITEMS[:1], DecodingSettings(grammar="off"))
    assert found.left == [None]
