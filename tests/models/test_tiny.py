"""The tiny family: its size, its seed and its tokenizer."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

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


def test_a_head_may_have_more_words_than_the_tokenizer() -> None:
    backbone = load_backbone(random_tiny(vocabulary=2000))
    assert len(backbone.head.weight) == 2000 > len(TOKENIZER)
    assert len(load_backbone(random_tiny(vocabulary=5)).head.weight) == len(TOKENIZER)


def test_an_unknown_option() -> None:
    with pytest.raises(ValueError, match=r"may hold image, .*got \['layers'\]"):
        load_processor(random_tiny(layers=3))


def test_a_place_is_as_loud_as_what_is_seen_there() -> None:
    """Where features drown it, the language model does not find rows (see the tower's docstring)."""
    backbone = load_backbone(random_tiny())
    picture = Image.effect_noise((128, 128), 100).convert("RGB")
    features_TC = backbone.part("vision")(backbone.processor.geometry.pixels(picture)[None]).last_hidden_state[0]
    side = backbone.processor.geometry.tokens_a_side
    features_RCD = features_TC.reshape(side, side, -1)
    of_rows = (features_RCD.mean(1) - features_TC.mean(0)).var()
    of_cols = (features_RCD.mean(0) - features_TC.mean(0)).var()
    assert min(of_rows, of_cols) > 0.2 * features_TC.var()


def test_a_chain_of_rows_and_columns_is_the_order_of_the_patches() -> None:
    tower = load_backbone(random_tiny()).part("vision")
    blank = torch.zeros(1, 3, 128, 128)
    before = tower(blank).last_hidden_state
    with torch.no_grad():
        tower.rows[2] += 1
        tower.cols[:, 5] += 1
    moved = (tower(blank).last_hidden_state - before)[0].mean(-1).reshape(8, 8)
    assert torch.allclose(moved[2, 5], torch.tensor(2.0), atol=1e-4)
    assert torch.allclose(moved[2].sum() + moved[:, 5].sum(), torch.tensor(8.0 + 8 + 2), atol=1e-3)
    assert torch.allclose(moved[3, 4], torch.tensor(0.0), atol=1e-4)


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
