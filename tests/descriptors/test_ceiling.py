import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from text4seg.descriptors import RULES, ceiling, overlap, paint, rasterize


@pytest.mark.parametrize("method", ["nearest", "smooth"])
@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.sampled_from(RULES), st.tuples(*[st.integers(1, 40)] * 2))
def test_counts_are_those_of_a_comparison_pixel_by_pixel(method, seed, rule, shape):
    labels = ("others", "a", "b", "absent")
    mask = np.kron(np.random.default_rng(seed).integers(0, 4, shape), np.ones((3, 2), int)).astype(np.uint8)
    mask[mask == 3] = 255
    found = ceiling(mask, labels, (5, 7), rule, method=method)
    guess = paint(rasterize(mask, labels, (5, 7), rule), mask.shape, method)
    for i in range(4):
        hit, miss = (guess == i) & (mask == i), ((guess == i) & (mask != 255)) | (mask == i)
        assert (found.intersection[i], found.union[i]) == (hit.sum(), miss.sum())
    assert found.intersection.dtype == found.union.dtype == np.int64


def test_a_mask_made_of_cells_reaches_one_and_a_lost_object_zero():
    mask = np.zeros((32, 32), dtype=bool)
    mask[8:16, 4:12] = True
    assert ceiling(mask, "a", (8, 8)).iou().tolist() == [1.0, 1.0]
    lost = np.zeros((32, 32), dtype=bool)
    lost[0, 0] = True
    assert ceiling(lost, "a", (8, 8)).iou()[1] == 0.0


def test_a_label_that_nobody_has_counts_as_asked():
    found = ceiling(np.zeros((4, 4), np.uint8), ("others", "a"), (2, 2))
    assert found.iou().tolist() == [1.0, 1.0]
    assert found.iou(empty=0.0).tolist() == [1.0, 0.0]


def test_ids_beyond_the_labels_are_plain_misses():
    found = overlap(np.array([[0, 5, 5]]), np.array([[0, 1, -1]]), 2)
    assert found.intersection.tolist() == [1, 0]
    assert found.union.tolist() == [1, 1]


def test_finer_grids_have_higher_ceilings():
    y, x = np.mgrid[:240, :320]
    mask = (y - 117) ** 2 + (x - 161) ** 2 < 70**2
    values = [ceiling(mask, "a", (n, n)).iou()[1] for n in (8, 16, 32, 64)]
    assert values == sorted(values)
    assert values[-1] > 0.96
