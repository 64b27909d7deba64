"""Rows that are wrong on purpose: which they are, where they lie in the text, and that nothing of them is learnt."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shard_sets import data_settings, make

from text4seg.data.items import conversation, flawed_conversation
from text4seg.data.lanes import lanes_of
from text4seg.data.position import Position
from text4seg.data.shards.index import Index
from text4seg.data.stream import Seat, TrainStream
from text4seg.data.types import Sample, Turn
from text4seg.data.variants import Variant
from text4seg.descriptors import LabelGrid, encode, row_spans, with_wrong_rows
from text4seg.models.processor import Processor
from text4seg.models.registry import load_processor
from text4seg.models.settings import ModelSettings

LABELS = ("others", "red car", "Straße", "猫")
GRIDS = st.integers(1, 6).flatmap(
    lambda rows: st.integers(1, 6).flatmap(
        lambda columns: st.lists(
            st.lists(st.integers(0, len(LABELS) - 1), min_size=columns, max_size=columns), min_size=rows, max_size=rows
        )
    )
).map(lambda ids: LabelGrid(np.array(ids, np.int32), LABELS))  # fmt: skip


@pytest.fixture(scope="module")
def processor() -> Processor:
    return load_processor(ModelSettings(path="random"))


def turns_of(planes: list[np.ndarray]) -> Sample:
    turns = tuple(Turn(f"Where? {n}", "Here it is:", LABELS, "conditioned") for n in range(len(planes)))
    return Sample("k", b"", turns, np.stack(planes).astype(np.uint8))


def renamed(row: np.ndarray) -> Iterator[tuple[int, ...]]:
    """All that a row becomes where its labels change places, turned by any number of columns."""
    for places in itertools.permutations(range(1, len(LABELS))):
        changed = np.array([0, *places])[row]
        yield from (tuple(np.roll(changed, turned).tolist()) for turned in range(len(row)))


@given(grid=GRIDS, share=st.floats(0, 1), seed=st.integers(0, 99))
def test_a_wrong_row_is_made_of_a_row_of_the_same_grid_and_the_others_stay(grid, share, seed):
    found, wrong = with_wrong_rows(grid, share, random.Random(seed))
    assert wrong == sorted(set(wrong))
    possible = {made for row in grid.ids for made in renamed(row)}
    for row, (before, after) in enumerate(zip(grid.ids, found.ids, strict=True)):
        assert tuple(after.tolist()) in possible if row in wrong else np.array_equal(before, after)


def test_wrong_rows_name_every_label_of_the_question_alike_and_keep_the_background():
    grid = LabelGrid(np.tile([0, 1], (3000, 1)), LABELS)
    found, _ = with_wrong_rows(grid, 1.0, random.Random(0))
    assert np.bincount(found.ids.ravel(), minlength=4) == pytest.approx([3000, 1000, 1000, 1000], abs=120)
    alone = LabelGrid(grid.ids, LABELS[:2])
    assert {tuple(row) for row in with_wrong_rows(alone, 1.0, random.Random(0))[0].ids} == {(0, 1), (1, 0)}


def test_about_the_share_that_was_asked_for_is_wrong():
    grid = LabelGrid(np.arange(2000).reshape(1000, 2) % 4, LABELS)
    assert len(with_wrong_rows(grid, 0.3, random.Random(0))[1]) == pytest.approx(300, abs=60)
    assert with_wrong_rows(grid, 0.0, random.Random(0))[1] == []
    assert len(with_wrong_rows(grid, 1.0, random.Random(0))[1]) == 1000


@given(grid=GRIDS, codec=st.sampled_from(["rrle", "full"]), start=st.integers(0, 50))
def test_the_spans_of_all_rows_cut_the_text_into_its_lines(grid, codec, start):
    odd = ("others", "red\u2028car", "a\x0bb\x0c\x1cc", "\u732b\x85d")  # what str.splitlines takes for line breaks
    body = encode(LabelGrid(grid.ids, odd), codec)
    spans = row_spans(body, list(range(grid.size[0])), start)
    text = "x" * start + body
    assert [text[a:b] for a, b in spans] == [line + "\n" for line in body.removesuffix("\n").split("\n")]


@settings(deadline=None)
@given(
    num=st.integers(1, 3),
    codec=st.sampled_from(["rrle", "full"]),
    share=st.sampled_from([0.0, 0.5, 1.0]),
    seed=st.integers(0, 99),
)
def test_what_is_learnt_spells_the_right_rows_and_what_surrounds_them(processor, num, codec, share, seed):
    grids = list(np.random.default_rng(seed).integers(0, 4, (num, 6, 6)))
    sample, variant = turns_of(grids), Variant(codec, (6, 6), "center")
    turns, spans = flawed_conversation(sample, variant, False, share, random.Random(seed))
    ids, mask = processor.tokens(turns, spans)
    assert ids == processor.tokens(turns)[0], "what is learnt changes nothing about what is read"
    learnt = processor.tokenizer.decode([token for token, yes in zip(ids, mask, strict=True) if yes])
    wanted = ""
    for (_, said), wrong in zip(turns, spans, strict=True):
        for start, stop in reversed(wrong):
            said = said[:start] + said[stop:]
        wanted += said + processor.tokenizer.eos_token
    # A token may hold the end of one row and the beginning of the next: then only blanks are learnt or not with it.
    assert "".join(learnt.split()) == "".join(wanted.split())
    right = conversation(sample, variant, False)
    for (_, said), (_, true), wrong in zip(turns, right, spans, strict=True):
        lines, truth = (text.split("<seg>")[1].split("\n") for text in (said, true))
        numbers = {said[:start].count("\n") - 1 for start, _ in wrong}
        assert all(a == b for row, (a, b) in enumerate(zip(lines, truth, strict=True)) if row not in numbers)


def test_a_training_stream_leaves_wrong_rows_out_of_what_is_learnt(tmp_path, processor):
    make(tmp_path / "set", count=8, shards=1)

    def labels(share: float, codec: str = "rrle"):
        lanes = lanes_of({"set": (tmp_path / "set", Index.load(tmp_path / "set"), None)})
        options = data_settings(wrong_rows=share, codec=codec, batch_size=8)
        stream = TrainStream(lanes, options, processor, 5, Seat(), Position.start(1), lambda batch: 0.0)
        return next(iter(stream))["labels"]

    taught = [int((labels(share) != -100).sum()) for share in (0.0, 0.5, 1.0)]
    assert taught[0] > taught[1] > taught[2] > 0, "the sentence before and the end are always learnt"
    assert (labels(1.0, "irle") == labels(0.0, "irle")).all(), "a codec without rows has none that could be wrong"
    assert (labels(0.5) == labels(0.5)).all()


def test_a_tokenizer_that_knows_no_characters_is_refused_at_once(tmp_path, processor, monkeypatch):
    make(tmp_path / "set", count=2, shards=1)
    lanes = lanes_of({"set": (tmp_path / "set", Index.load(tmp_path / "set"), None)})
    monkeypatch.setattr(type(processor.tokenizer), "is_fast", False)
    with pytest.raises(ValueError, match=r"data\.wrong_rows.*fast tokenizer"):
        TrainStream(lanes, data_settings(wrong_rows=0.1), processor, 5, Seat(), Position.start(1), lambda batch: 0.0)
