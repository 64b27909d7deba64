"""Drafts on wide grids, at every beginning of an answer: a guess may be wrong, but nothing raises."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vocabularies import tokenizer_of

from text4seg.decoding.drafts.geometry import GeometryDrafter
from text4seg.decoding.drafts.spelling import Spelling
from text4seg.descriptors import CODECS, LabelGrid, answer, encode

LABELS = ("others", "red car", "ox")


def propose_everywhere(grid: LabelGrid, codec: str, steps: int = 1) -> None:
    """Ask for a draft behind every beginning of the right answer (or every so many tokens)."""
    tokenizer = tokenizer_of("bytes")
    tokens = tokenizer(answer("Here:", encode(grid, codec)), add_special_tokens=False)["input_ids"]
    drafter = GeometryDrafter(Spelling(tokenizer), LABELS[1:], grid.size, codec)
    for end in range(0, len(tokens) + 1, steps):
        draft = drafter.propose(tokens[:end], 4, 2)
        assert len(draft.tokens) == len(draft.parents) <= 4


@pytest.mark.parametrize(("rows", "cols"), [(24, 24), (32, 32), (3, 64)])
def test_an_object_as_wide_as_the_grid_in_the_codec_full(rows, cols) -> None:
    """A run under nothing of its label that has gone on for longer than any that the forecast counts with."""
    ids = np.zeros((rows, cols), int)
    ids[1:] = 1
    propose_everywhere(LabelGrid(ids[:3], LABELS), "full")


@settings(max_examples=30)
@given(
    data=st.data(),
    rows=st.integers(1, 3),
    cols=st.integers(1, 40),
    codec=st.sampled_from(CODECS),
    steps=st.integers(2, 5),
)
def test_no_grid_brings_it_down(data, rows, cols, codec, steps) -> None:
    ends = st.one_of(st.integers(0, rows).map(lambda row: row * cols), st.integers(0, cols * rows))
    lengths = np.diff([0, *sorted(data.draw(st.lists(ends, max_size=4))), cols * rows])
    ids = np.repeat(data.draw(st.lists(st.integers(0, 2), min_size=len(lengths), max_size=len(lengths))), lengths)
    propose_everywhere(LabelGrid(ids.reshape(rows, cols), LABELS), codec, steps)
