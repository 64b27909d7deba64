import numpy as np
import pytest
from grids import ODD_LABELS, label_grids
from hypothesis import given, settings
from hypothesis import strategies as st

from text4seg.descriptors import (
    CODECS,
    LabelGrid,
    answer,
    encode,
    encode_many,
    max_text,
    parse,
    parse_strict,
    run_lengths,
)


def grid_of(*rows):
    words = [row.split() for row in rows]
    names = {"o": "others", "c": "red car", "s": "sky", "t": "tree", "g": "grass"}
    labels = ("others", *dict.fromkeys(names[w] for row in words for w in row if w != "o"))
    return LabelGrid(np.array([[labels.index(names[w]) for w in row] for row in words]), labels)


TOYS = [
    (grid_of("o o c c", "o c c c", "o o o o", "c c c c"),
     "others *2| red car *2\n others *1| red car *3\n others *4\n red car *4\n"),
    (grid_of(*["o o o o"] * 4), "others *4\n others *4\n others *4\n others *4\n"),
    (grid_of(*["s s s s"] * 4), "sky *4\n sky *4\n sky *4\n sky *4\n"),
    (grid_of("s s s s", "s s t t", "g g g g", "g g g o"),
     "sky *4\n sky *2| tree *2\n grass *4\n grass *3| others *1\n"),
]  # fmt: skip


@pytest.mark.parametrize(("grid", "text"), TOYS)
def test_the_published_examples_byte_for_byte(grid, text):
    assert encode(grid) == text
    decoded = parse(text, (4, 4))
    assert decoded.grid == grid
    assert (decoded.status, decoded.repairs) == ("ok", ())


def test_the_other_codecs_on_an_example():
    grid = grid_of("o o c", "c c o")
    assert encode(grid, "irle") == "others *2| red car *3| others *1\n"
    assert encode(grid, "full") == "others| others| red car\n red car| red car| others\n"


@given(label_grids())
def test_run_lengths_are_the_counts_of_the_text_where_the_runs_end(grid):
    found = run_lengths(grid.ids)
    rows = encode(grid).removesuffix("\n").split("\n")
    counts = [[int(run.rpartition("*")[2]) for run in row.split("| ")] for row in rows]
    assert [[n for n in row.tolist() if n] for row in found] == counts
    assert [np.flatnonzero(row).tolist() for row in found] == [(np.cumsum(row) - 1).tolist() for row in counts]


@pytest.mark.parametrize("codec", CODECS)
@settings(max_examples=120)
@given(label_grids())
def test_round_trip(codec, grid):
    text = encode(grid, codec)
    decoded = parse(text, grid.size, codec)
    assert decoded.status == "ok"
    assert decoded.grid == grid
    assert parse_strict(text, grid.size, codec) == grid
    tagged = parse(answer("Here you are, in 3 rows:", text), grid.size, codec, grid.labels)
    assert tagged.status == "ok"
    assert tagged.grid.labels == grid.labels
    assert np.array_equal(tagged.grid.ids, grid.ids)


@pytest.mark.parametrize("codec", CODECS)
def test_round_trip_of_every_odd_label_at_once(codec):
    labels = ("others", *ODD_LABELS)
    grid = LabelGrid(np.arange(len(labels) * 8).reshape(8, -1) % len(labels), labels)
    assert parse(encode(grid, codec), grid.size, codec).grid == grid


def test_more_labels_than_a_byte_can_count():
    labels = ("others", *(f"class {i}" for i in range(847)))
    grid = LabelGrid(np.arange(64 * 64).reshape(64, 64) % 848, labels)
    assert parse(encode(grid), (64, 64), labels=labels).grid == grid


@pytest.mark.parametrize("codec", CODECS)
@settings(max_examples=40)
@given(st.lists(label_grids(longest=9), max_size=6))
def test_many_grids_at_once_are_the_same_texts(codec, grids):
    grids = grids + grids[::-1]
    assert encode_many(grids, codec) == [encode(grid, codec) for grid in grids]


def test_a_batch_longer_than_one_stack():
    rng = np.random.default_rng(0)
    grids = [LabelGrid(rng.integers(0, 3, (32, 32)), ("others", f"a{i}", "b")) for i in range(150)]
    assert encode_many(grids) == [encode(grid) for grid in grids]


@pytest.mark.parametrize("label", ["a|b", "a *2", "b\n", "</seg>", " a", "", "Others"])
@pytest.mark.parametrize("codec", CODECS)
def test_separators_in_labels_are_refused(codec, label):
    grid = LabelGrid(np.zeros((2, 2)), ("others", label))
    for write in (encode, lambda grid, codec: encode_many([grid, grid], codec)):
        with pytest.raises(ValueError, match="rename it"):
            write(grid, codec)


@pytest.mark.parametrize("call", [lambda: encode(TOYS[0][0], "rle"), lambda: encode_many([], "rle"),
                                  lambda: max_text((1, 1), "a", "rle"), lambda: parse("", (1, 1), "rle"),
                                  lambda: parse_strict("", (1, 1), "rle")])  # fmt: skip
def test_an_unknown_codec_is_refused(call):
    with pytest.raises(ValueError, match="rrle, irle, full"):
        call()


@pytest.mark.parametrize("codec", CODECS)
@settings(max_examples=100)
@given(label_grids(longest=12))
def test_no_text_is_longer_than_max_text(codec, grid):
    longest = max_text(grid.size, grid.labels, codec)
    assert len(encode(grid, codec)) <= len(longest)
    assert parse(longest, grid.size, codec).status == "ok"
    assert max_text(grid.size, grid.labels[1:], codec) == longest


def test_max_text_is_every_cell_a_run():
    assert max_text((2, 3), "a car", "rrle") == "others *1| a car *1| others *1\n others *1| a car *1| others *1\n"
    assert max_text((1, 2), (), "rrle") == "others *2\n"
    assert max_text((1, 2), "the red car", "full") == "the red car| the red car\n"
