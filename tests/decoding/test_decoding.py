"""Greedy generation: same text alone and in a padded batch, stops where an answer ends, leaves the model as it was."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fake_backbone import Reciter, backbone_of, byte_tokenizer, prompts_of, random_llama
from fake_item import FakeItem
from hypothesis import example, given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from vocabularies import KINDS, tokenizer_of

from text4seg.decoding.bound import byte_bound, token_bound
from text4seg.decoding.generate import evaluating, generate
from text4seg.decoding.settings import DecodingSettings
from text4seg.decoding.stop import AnswerEnds
from text4seg.descriptors import CODECS, LabelGrid, answer, encode

GOOD = "Sure, here:\n<seg>others *4\n red car *4\n others *4\n others *4\n</seg>"


def items(count: int, **changes) -> list[FakeItem]:
    return [FakeItem(np.zeros((8, 8), np.uint8), **changes) for _ in range(count)]


def by_hand(model, question: str, steps: int) -> str:
    """Greedy decoding without cache, batch or padding."""
    ids = byte_tokenizer()(question, return_tensors="pt")["input_ids"]
    start = ids.shape[1]
    with torch.no_grad():
        for _ in range(steps):
            ids = torch.cat([ids, model(input_ids=ids).logits[:, -1:].argmax(-1)], 1)
    return byte_tokenizer().decode(ids[0, start:], skip_special_tokens=True, clean_up_tokenization_spaces=False)


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_padded_batch_equals_greedy_decoding_by_hand(wrapped):
    model = random_llama().eval()
    if wrapped:
        model = get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights=False)).eval()
    questions = ["Where?", "Where is the red car on the left side of the road?", "a"]
    texts = generate(backbone_of(model), prompts_of(questions), items(3), DecodingSettings(max_new_tokens=24))
    assert texts == [by_hand(model, question, 24) for question in questions]
    assert len(set(texts)) > 1


def test_each_answer_stops_at_its_own_closing_tag():
    texts = [GOOD, "Yes:\n<seg>others *1\n</seg>", GOOD]
    model = Reciter(texts)
    assert generate(backbone_of(model), prompts_of(["a", "bb", "c"]), items(3), DecodingSettings()) == texts
    assert model.passes == len(GOOD)


def test_blanks_and_newlines_come_through_exactly():
    text = "  A  B \n<seg> others *4\n\n  red car  *4 .\n</seg>"
    assert generate(backbone_of(Reciter([text])), prompts_of(["a"]), items(1), DecodingSettings()) == [text]


def test_an_answer_ends_at_the_end_token_too():
    model = Reciter(["I see none.<eos>more"])
    assert generate(backbone_of(model), prompts_of(["a"]), items(1), DecodingSettings()) == ["I see none."]
    assert model.passes == len("I see none.") + 1


def test_rows_without_end_are_stopped_long_before_the_bound():
    model = Reciter(["<seg>" + " others *4\n" * 500])
    bound = token_bound(byte_tokenizer(), items(1, size=(16, 16)))
    text = generate(backbone_of(model), prompts_of(["a"]), items(1, size=(16, 16)), DecodingSettings())[0]
    assert text.count("\n") == 2 * 16 + 3
    assert model.passes < bound / 4


@pytest.mark.parametrize(
    ("codec", "loop", "most"),
    [
        ("rrle", "red car below the red car ", 512),
        ("full", "red car below the red car ", 512),
        ("rrle", "others *2| ", len("others *2| ") * (2 * 16 + 4)),
        ("irle", "others *2| ", len("others *2| ") * (2 * 16 * 3 + 4)),
        ("full", "others|", len("others|") * (2 * 16 + 4)),
    ],
)
def test_a_line_without_end_is_stopped(codec, loop, most):
    asked = items(2, size=(3, 16), codec=codec)
    model = Reciter(["<seg>others *16\n " + loop * 2000, GOOD])
    text, good = generate(backbone_of(model), prompts_of(["a", "b"]), asked, DecodingSettings(max_new_tokens=9000))
    assert most - 2 * len(loop) <= len(text) <= most + 2 * len(loop) + 20
    assert good == GOOD


@pytest.mark.parametrize("codec", ["rrle", "irle", "full"])
def test_no_well_formed_answer_is_stopped(codec):
    rng = np.random.default_rng(0)
    label = "the second red car from the left, seen from behind, with its lights on, beside the long white wall"
    for words, size in (
        (" ".join([label] * 8), (1, 1)),
        (label, (1, 12)),
        (label, (5, 4)),
        ("a", (40, 1)),
        ("a", (9, 9)),
    ):
        labels = ("others", words)
        ids = np.arange(12)[None] % 2 if size == (1, 12) else rng.integers(0, 2, size)
        text = answer(f"Here is the mask of {words}:", encode(LabelGrid(ids, labels), codec))
        asked = items(1, size=size, codec=codec, labels=labels)
        assert generate(backbone_of(Reciter([text])), prompts_of(["a"]), asked, DecodingSettings()) == [text]


@pytest.mark.parametrize("joiner", ["|", ", "])
@pytest.mark.parametrize("tag", ["<seg>", ""])
def test_the_sentence_before_may_name_all_labels(joiner, tag):
    labels = ("others", *(f"class{number}" for number in range(150)))
    asked = items(1, size=(16, 16), labels=labels)
    grid = encode(LabelGrid(np.repeat(np.arange(16)[:, None], 16, 1), labels), "rrle")
    text = answer(f"Sure, here are {joiner.join(labels)}:", grid).replace("<seg>", tag)
    settings = DecodingSettings(max_new_tokens=len(text))
    assert generate(backbone_of(Reciter([text])), prompts_of(["a"]), asked, settings) == [text]


@pytest.mark.parametrize("loop", ["others|", "word ", "a\n"])
def test_a_sentence_without_end_is_stopped(loop):
    model = Reciter([loop * 4000])
    settings = DecodingSettings(max_new_tokens=9000)
    text = generate(backbone_of(model), prompts_of(["a"]), items(1, size=(16, 16)), settings)[0]
    assert len(text) < 1500


def test_irle_has_no_rows_to_count():
    text = "<seg>" + "others *1\n" * 15 + "</seg>"
    model = Reciter([text])
    assert generate(backbone_of(model), prompts_of(["a"]), items(1, codec="irle"), DecodingSettings()) == [text]


def test_the_closing_tag_is_seen_however_tokens_cut_it():
    pieces = ["<pad>", "a</", "s", "eg>b", "x", "</seg>", "</", "seg", ">"]
    tokenizer = Tokenizer(models.WordLevel({piece: i for i, piece in enumerate(pieces)}, unk_token="x"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.decoder = decoders.Fuse()
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>")
    stop = AnswerEnds(wrapped, items(3))
    steps = torch.tensor([[4, 1, 2, 3], [4, 6, 7, 8], [5, 4, 4, 4]]).T
    seen = [stop(step[:, None], torch.empty(0)).tolist() for step in steps]
    assert seen == [[False, False, True], [False, False, True], [False, False, True], [True, True, True]]


@pytest.mark.parametrize("codec", ["rrle", "irle", "full"])
def test_the_bound_admits_the_worst_grid(codec):
    label = "the second red car from the left"
    rng = np.random.default_rng(0)
    bound = token_bound(byte_tokenizer(), items(2, labels=("others", label), size=(12, 5), codec=codec))
    for ids in (rng.integers(0, 2, (12, 5)), np.ones((12, 5), int), np.indices((12, 5)).sum(0) % 2):
        text = answer(f"Here is the mask of {label}:", encode(LabelGrid(ids, ("others", label)), codec))
        assert len(byte_tokenizer()(text)["input_ids"]) <= bound
    assert token_bound(byte_tokenizer(), items(1, size=(64, 64)), limit=100) == 100


words = st.text("aeo日語ß", min_size=1, max_size=9)
lines = st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=3), min_size=1, max_size=3)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=15)
@example(codec="full", names=["日語日"], cells=[[1]])
@example(codec="rrle", names=["日語日", "okapis"], cells=[[0, 1]])
@given(codec=st.sampled_from(CODECS), names=st.lists(words, unique=True, max_size=4), cells=lines)
def test_every_answer_fits_into_the_bound(kind, codec, names, cells):
    """The longest label in tokens need not be the longest in letters; so many cells leave no slack for another."""
    labels = ("others", *names)
    ids = np.resize([np.resize(line, 16) for line in cells], (16, 16)) % len(labels)
    text = answer(", ".join(labels), encode(LabelGrid(ids, labels), codec))
    asked, tokenizer = items(1, labels=labels, size=(16, 16), codec=codec), tokenizer_of(kind)
    assert len(tokenizer(text, add_special_tokens=False)["input_ids"]) <= token_bound(tokenizer, asked)
    assert len(text.encode()) <= byte_bound(asked, 0)


@pytest.mark.parametrize(
    "settings",
    [
        {"do_sample": True, "temperature": 3.0, "repetition_penalty": 9.0, "top_k": 50, "num_beams": 2},
        {"no_repeat_ngram_size": 1},
        {"forced_eos_token_id": 9},
        {"max_time": 1e-9},
        {"exponential_decay_length_penalty": (2, 90.0)},
        {"sequence_bias": [[[5], 90.0]]},
        {"return_dict_in_generate": True},
        {"stop_strings": ["a"]},
        {"num_return_sequences": 2, "do_sample": True},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_generation_settings_of_the_checkpoint_are_overruled(settings):
    model = random_llama().eval()
    plain = generate(backbone_of(model), prompts_of(["abc"]), items(1), DecodingSettings(max_new_tokens=20))
    before = model.generation_config
    model.generation_config.update(**settings)
    assert generate(backbone_of(model), prompts_of(["abc"]), items(1), DecodingSettings(max_new_tokens=20)) == plain
    assert model.generation_config is before, "what an export writes down stays the checkpoint's own"


def test_every_submodule_gets_its_mode_back():
    model = random_llama().train()
    model.model.layers[0].eval()
    before = [module.training for module in model.modules()]
    generate(backbone_of(model), prompts_of(["abc"]), items(1), DecodingSettings(max_new_tokens=2))
    assert [module.training for module in model.modules()] == before
    with evaluating(model):
        assert not any(module.training for module in model.modules())
    with pytest.raises(RuntimeError, match="on purpose"), evaluating(model):
        raise RuntimeError("on purpose")
    assert [module.training for module in model.modules()] == before


def test_the_context_bounds_the_answer_and_a_full_one_is_refused():
    model = random_llama().eval()
    model.config.max_position_embeddings = 16
    text = generate(backbone_of(model), prompts_of(["0123456789"]), items(1), DecodingSettings())[0]
    assert 0 < len(text) <= 6
    with pytest.raises(ValueError, match="context is 16"):
        generate(backbone_of(model), prompts_of(["0" * 16]), items(1), DecodingSettings())


def test_prompts_and_items_must_be_equally_many():
    with pytest.raises(ValueError, match="expected 2, got 1"):
        generate(backbone_of(random_llama()), prompts_of(["a", "b"]), items(1), DecodingSettings())
