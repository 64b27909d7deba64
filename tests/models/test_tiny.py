"""The tiny family: its size, its seed and its tokenizer."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from text4seg.models.families.conv_tower import sincos_2d
from text4seg.models.families.tiny import SIZES
from text4seg.models.families.vocabulary import MAX_COUNT, tiny_tokenizer
from text4seg.models.registry import load_backbone, load_processor
from text4seg.models.settings import ModelSettings

TOKENIZER = tiny_tokenizer()


def random_tiny(**options) -> ModelSettings:
    return ModelSettings(path="random", options=options)


def test_it_is_small() -> None:
    backbone = load_backbone(random_tiny())
    assert sum(p.numel() for p in backbone.model.parameters()) <= 4_000_000
    assert backbone.processor.geometry.num_tokens == (SIZES["image"] // SIZES["patch"]) ** 2
    assert backbone.loaded == "RANDOM weights"


def test_a_seed_gives_the_same_weights_and_leaves_the_global_one_alone() -> None:
    torch.manual_seed(1)
    one, after = load_backbone(random_tiny()).model.state_dict(), torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), after)
    two = load_backbone(random_tiny()).model.state_dict()
    other = load_backbone(random_tiny(seed=1)).model.state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)


def test_an_unknown_option() -> None:
    with pytest.raises(ValueError, match=r"may hold image, .*got \['layers'\]"):
        load_processor(random_tiny(layers=3))


def test_places_are_told_apart() -> None:
    places = sincos_2d(4, 16)
    assert places.shape == (16, 16)
    assert torch.cdist(places, places).fill_diagonal_(1).min() > 0.1
    # Row 1, column 0 and row 0, column 1 hold the same waves in the other's half.
    assert torch.equal(places[4, :8], places[1, 8:])


@pytest.mark.parametrize("count", range(1, MAX_COUNT + 1))
def test_a_count_and_its_separator_are_one_token(count) -> None:
    for text in (f" *{count}|", f" *{count}\n", f" *{count}"):
        assert len(TOKENIZER.tokenize(text)) == 1, text


def test_words_of_scenes_are_one_token() -> None:
    for word in ("others", "circle", "leftmost", "red", "<seg>", "</seg>"):
        assert len(TOKENIZER.tokenize(word)) == 1
        assert word in ("<seg>", "</seg>") or len(TOKENIZER.tokenize(f" {word}|")) == 1


def test_the_tokenizer_is_the_same_every_time() -> None:
    assert tiny_tokenizer().get_vocab() == TOKENIZER.get_vocab()


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=80))
def test_any_text_comes_back(text) -> None:
    ids = TOKENIZER(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    assert TOKENIZER.decode(ids, clean_up_tokenization_spaces=False) == text
    assert not set(ids) & set(TOKENIZER.all_special_ids)


@given(st.lists(st.tuples(st.sampled_from(["others", "red circle", "a b"]), st.integers(1, 99)), min_size=1))
def test_a_descriptor_comes_back(runs) -> None:
    text = "<seg>" + "|".join(f" {label} *{count}" for label, count in runs) + "\n</seg>"
    assert TOKENIZER.decode(TOKENIZER(text)["input_ids"], clean_up_tokenization_spaces=False) == text
