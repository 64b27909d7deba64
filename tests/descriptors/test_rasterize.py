import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from text4seg.descriptors import RULES, rasterize
from text4seg.descriptors.rasterize import nearest_index

LABELS = ("others", "a", "b", "c")


def stretch(plane, height, width):
    return np.asarray(Image.fromarray(plane).resize((width, height), Image.Resampling.NEAREST))


def test_the_sampled_pixel_is_pillows_on_every_pair_of_small_sizes():
    for source in range(1, 97):
        line = np.arange(source, dtype=np.int32)[None]
        for target in range(1, 97):
            assert np.array_equal(nearest_index(source, target), stretch(line, 1, target)[0]), (source, target)


@settings(max_examples=150)
@given(st.integers(1, 3000), st.integers(1, 700))
def test_the_sampled_pixel_is_pillows_on_large_sizes(source, target):
    line = np.arange(source, dtype=np.int32)[None]
    assert np.array_equal(nearest_index(source, target), stretch(line, 1, target)[0])


def test_multiplying_instead_of_adding_up_would_not_be_pillows():
    """The proof that the sum in `nearest_index` matters: the plain formula differs somewhere."""
    pairs = [(source, target) for source in range(1, 97) for target in range(1, 97)]
    assert any(
        not np.array_equal(((np.arange(target) + 0.5) * source / target).astype(int), nearest_index(source, target))
        for source, target in pairs
    )


@settings(max_examples=200)
@given(st.tuples(*[st.integers(1, 90)] * 2), st.tuples(*[st.integers(1, 70)] * 2), st.integers(0, 2**32 - 1))
def test_center_is_pillows_nearest_stretch(shape, size, seed):
    mask = np.random.default_rng(seed).integers(0, 5, shape).astype(np.uint8)
    mask[mask == 4] = 255
    expected = stretch(mask, *size)
    grid = rasterize(mask, LABELS, size)
    assert np.array_equal(grid.ids, np.where(expected == 255, 0, expected))
    assert grid.labels == LABELS
    object_mask = mask == 1
    assert np.array_equal(rasterize(object_mask, "a", size).ids, stretch(object_mask.astype(np.uint8), *size))


def by_hand(mask, size, rule, share):
    """The voting rules pixel by pixel; the owner of a pixel is what Pillow paints there."""
    rows, cols = size
    owner = stretch(np.arange(rows * cols, dtype=np.int32).reshape(size), *mask.shape)
    sampled = stretch(mask.astype(np.int32), rows, cols)
    out = np.zeros(size, int)
    for cell in range(rows * cols):
        pixels = mask[owner == cell].tolist()
        where = divmod(cell, cols)
        if not pixels:
            out[where] = 0 if sampled[where] == 255 else sampled[where]
            continue
        votes = [pixel for pixel in pixels if pixel != 255]
        if not votes:
            continue
        count = {label: votes.count(label) for label in range(4)}
        winner = max(range(4), key=lambda label: (count[label], -label))
        best = max((1, 2, 3), key=lambda label: (count[label], -label))
        if rule == "coverage" and count[best] and count[best] >= share * len(votes):
            winner = best
        out[where] = winner
    return out


@pytest.mark.parametrize("rule", ["majority", "coverage"])
@settings(max_examples=150)
@given(
    st.tuples(*[st.integers(1, 24)] * 2),
    st.tuples(*[st.integers(1, 7)] * 2),
    st.integers(0, 2**32 - 1),
    st.sampled_from((0.1, 0.25, 0.5, 1.0)),
)
def test_votes_are_counted_as_by_hand(rule, shape, size, seed, share):
    rng = np.random.default_rng(seed)
    mask = rng.choice([0, 1, 2, 3, 255], shape, p=[0.3, 0.2, 0.1, 0.1, 0.3]).astype(np.uint8)
    mask[: shape[0] // 2, : shape[1] // 2] = 255
    assert np.array_equal(rasterize(mask, LABELS, size, rule, share=share).ids, by_hand(mask, size, rule, share))


def test_a_small_object_survives_coverage_and_nothing_else():
    mask = np.zeros((64, 64), dtype=bool)
    mask[:3, :3] = True  # 9 of the 16 pixels of the first cell at 16x16 are more than half; of 64 at 8x8 a seventh
    found = {rule: rasterize(mask, "bird", (8, 8), rule, share=0.125).ids.sum() for rule in RULES}
    assert found == {"center": 0, "majority": 0, "coverage": 1, "labelled": 0}
    assert rasterize(mask, "bird", (8, 8), "coverage", share=0.15).ids.sum() == 0


def test_ignored_pixels_do_not_vote_and_ties_go_to_the_lowest_id():
    cell = np.array([[255, 255, 255], [2, 2, 1], [0, 0, 255]], dtype=np.uint8)
    assert rasterize(cell, LABELS, (1, 1), "majority").ids.item() == 0
    cell[2] = (1, 0, 255)
    assert rasterize(cell, LABELS, (1, 1), "majority").ids.item() == 1
    assert rasterize(np.full((4, 4), 255, np.uint8), LABELS, (2, 2), "majority").ids.sum() == 0


@settings(max_examples=100)
@given(st.tuples(*[st.integers(1, 30)] * 2), st.tuples(*[st.integers(1, 9)] * 2), st.integers(0, 2**32 - 1))
def test_without_ignored_samples_labelled_is_center(shape, size, seed):
    mask = np.random.default_rng(seed).choice([0, 1, 2, 3, 255], shape).astype(np.uint8)
    found = rasterize(mask, LABELS, size, "labelled").ids
    sampled = stretch(mask, *size)
    assert np.array_equal(found[sampled < 255], sampled[sampled < 255])
    assert set(np.unique(found)) <= {*np.unique(mask).tolist(), *([0] if (mask == 255).all() else [])}


def test_labelled_asks_the_other_pixels_then_the_neighbours():
    mask = np.full((6, 8), 255, np.uint8)
    mask[0, 2:4], mask[0, 6] = 1, 2  # cells of 2x2: the first row is void, 1, void, 2
    assert rasterize(mask, LABELS, (3, 4), "labelled").ids.tolist() == [[1, 1, 1, 2]] * 3
    assert rasterize(mask, LABELS, (3, 4), "center").ids.sum() == 0
    assert rasterize(np.full((4, 4), 255, np.uint8), LABELS, (2, 2), "labelled").ids.sum() == 0


def test_eight_bits_ignore_255_with_any_number_of_labels():
    labels = ("others", *map(str, range(1, 400)))
    mask = np.array([[254, 255]], np.uint8)
    assert rasterize(mask, labels, (1, 2), "center").ids.tolist() == [[254, 0]]
    assert rasterize(mask.astype(np.uint16), labels, (1, 2), ignore=65535).ids.tolist() == [[254, 255]]
    with pytest.raises(ValueError, match="also the id of the label '255'"):
        rasterize(mask.astype(np.uint16), labels, (1, 2))


@pytest.mark.parametrize("rule", RULES)
def test_a_mask_smaller_than_the_grid(rule):
    grid = rasterize(np.array([[True, False]]), "a", (4, 4), rule)
    assert grid.ids.tolist() == [[1, 1, 0, 0]] * 4


@pytest.mark.parametrize("labels", ["a", ["a"], ("others", "a")])
def test_the_name_of_the_object_is_enough(labels):
    mask = np.array([[0, 1]])
    assert rasterize(mask.astype(bool), labels, (1, 2)).words() == [["others", "a"]]
    if not isinstance(labels, list):
        assert rasterize(mask, labels, (1, 2)).words() == [["others", "a"]]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"mask_HW": np.zeros((2, 2, 3), np.uint8)}, "height, width"),
        ({"mask_HW": np.zeros((0, 2), np.uint8)}, "non-empty"),
        ({"mask_HW": np.zeros((2, 2))}, "float64"),
        ({"mask_HW": np.full((2, 2), 7)}, r"\[7\]"),
        ({"mask_HW": np.full((2, 2), -1)}, r"\[-1\]"),
        ({"mask_HW": np.full((2, 2), 255), "ignore": None}, r"\[255\]"),
        ({"mask_HW": np.ones((2, 2), bool)}, "one label"),
        ({"labels": ("a", "b")}, "others"),
        ({"labels": ()}, "others"),
        ({"ignore": 2}, "'b'"),
        ({"rule": "centre"}, "center, majority, coverage"),
        ({"size": (0, 4)}, "size"),
        ({"share": 0.0}, "share"),
    ],
)
def test_refusals_name_what_was_given(change, match):
    given_ = {"mask_HW": np.zeros((2, 2), np.uint8), "labels": LABELS, **change}
    with pytest.raises(ValueError, match=match):
        rasterize(**given_)
