"""Counts of one mask against its target, and the class scores made of them, against scikit-learn, scipy and loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco
from scipy import ndimage
from sklearn.metrics import accuracy_score, confusion_matrix, jaccard_score

from text4seg.metrics.boundary import boundary, boundary_counts, boundary_width
from text4seg.metrics.boxes import box_iou, mask_box
from text4seg.metrics.class_iou import ClassIoU, ClassRow, class_scores, label_key
from text4seg.metrics.measure import VOID, measure

NAMES = ("others", "cat", "dog", "cow", "a word")


def pair(seed: int, ids: int = 4, extra: int = 1, shape: tuple[int, int] = (7, 9)):
    """(mask, target): the mask may hold words nobody asked for, the target void pixels."""
    rng = np.random.default_rng(seed)
    sparse = rng.random()
    mask = np.where(rng.random(shape) < sparse, 0, rng.integers(0, ids + extra, shape))
    target = np.where(rng.random(shape) < sparse, 0, rng.integers(0, ids, shape))
    return mask, np.where(rng.random(shape) < 0.2, VOID, target)


@given(st.integers(0, 10**6))
def test_counts_equal_a_loop_over_labels_and_pixels(seed):
    mask, target = pair(seed)
    made = measure(mask, target, 4)
    inter = union = 0
    for label in range(5):
        for m, t in zip(mask.ravel().tolist(), target.ravel().tolist(), strict=True):
            if 0 < label < 4 and t != VOID:
                inter += m == t == label
                union += label in (m, t)
        keep = target != VOID
        guess, true = mask == label, target == label
        expected = (guess & true, guess & keep, guess & (target == 0), guess & ~keep, true)
        assert made.row(label) == tuple(int(one.sum()) for one in expected)
    assert made.overlap == (inter, union)
    assert made.iou == (inter / union if union else 1.0)
    assert made.target == int((target > 0).sum())
    assert made.empty == (not ((mask > 0) & (mask < 4)).any())
    assert sum(n for *_, n in made.pixels) == mask.size


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=5))
@settings(max_examples=40)
def test_class_scores_equal_sklearn(seeds):
    metric = ClassIoU("others")
    masks, targets = zip(*(pair(seed, extra=0) for seed in seeds), strict=True)
    for mask, target in zip(masks, targets, strict=True):
        made = measure(mask, target, 4)
        metric.update({NAMES[i]: made.row(i) for i in range(4)})
    guess, true = np.concatenate(masks).ravel(), np.concatenate(targets).ravel()
    guess, true = guess[true != VOID], true[true != VOID]
    present = [i for i in range(1, 4) if (true == i).any()]
    got = metric.compute()
    if not present:
        assert all(math.isnan(value) for value in got.values())
        return
    everything = [i for i in range(4) if (true == i).any()]
    ious = jaccard_score(true, guess, labels=everything, average=None, zero_division=0)
    inside = true > 0
    assert got == {
        "mIoU": pytest.approx(jaccard_score(true, guess, labels=present, average="macro", zero_division=0), abs=1e-9),
        "mIoU_bg": pytest.approx(np.mean(ious), abs=1e-9),
        "mIoU_nobg": pytest.approx(
            jaccard_score(true[inside], guess[inside], labels=present, average="macro", zero_division=0), abs=1e-9
        ),
        "fwIoU": pytest.approx(np.average(ious, weights=[(true == i).sum() for i in everything]), abs=1e-9),
        "pixel_acc": pytest.approx(accuracy_score(true, guess), abs=1e-9),
    }
    table = confusion_matrix(true, guess, labels=range(4))
    assert {name: row.hits for name, row in metric.table().items()} == {NAMES[i]: table[i, i] for i in range(4)}


def test_class_scores_by_hand():
    # others: 90 pixels, 80 of them right; cat: 10 pixels, 6 found, 5 of the 11 predicted lie on others
    table = {"others": ClassRow(85, 89, 85, 0, 90), "cat": ClassRow(6, 11, 5, 3, 10), "dog": ClassRow(0, 7, 0, 0, 0)}
    got = class_scores(table, "others")
    assert got["mIoU"] == 6 / 15
    assert got["mIoU_bg"] == pytest.approx((6 / 15 + 85 / 94) / 2)
    assert got["mIoU_nobg"] == 6 / 10
    assert got["pixel_acc"] == 91 / 100
    assert got["fwIoU"] == pytest.approx((90 * 85 / 94 + 10 * 6 / 15) / 100)


def test_classes_are_added_by_name_beyond_two_to_the_31():
    metric = ClassIoU("others")
    for _ in range(600):
        metric.update({"cat": (2**31, 2**31 + 1, 0, 0, 2**31 + 2), "others": (1, 1, 1, 0, 1)})
    metric.update({"cat": (1, 1, 0, 0, 1), "cow": (0, 5, 0, 0, 0)})
    assert len(metric.rows) < 300
    row = metric.table()["cat"]
    assert row == (600 * 2**31 + 1, 600 * (2**31 + 1) + 1, 0, 0, 600 * (2**31 + 2) + 1)
    assert metric.compute()["mIoU"] == row.iou
    assert label_key("cat") != label_key("dog")


@given(st.integers(0, 10**6), st.integers(1, 4))
def test_boundaries_equal_scipys_erosion(seed, width):
    mask = np.random.default_rng(seed).random((13, 17)) < 0.8
    inside = ndimage.binary_erosion(mask, np.ones((3, 3)), iterations=width, border_value=0)
    assert (boundary(mask, width) == (mask & ~inside)).all()


def test_boundary_iou_by_hand():
    assert boundary_width((480, 640)) == 16
    assert boundary_width((3, 3)) == 1
    square = np.zeros((20, 20), bool)
    square[5:15, 5:15] = True
    shifted = np.roll(square, 1, axis=1)
    everywhere = np.ones_like(square)
    assert boundary_counts(square, square, everywhere) == (36, 36)
    # rings of 36 pixels share the top and bottom edges but for their ends
    assert boundary_counts(square, shifted, everywhere) == (18, 54)
    assert boundary_counts(square, shifted, ~everywhere) == (0, 0)


@given(st.integers(0, 10**6))
def test_boxes_equal_pycocotools(seed):
    rng = np.random.default_rng(seed)
    masks = [rng.random((9, 12)) < rng.random() * 0.2 for _ in range(2)]
    theirs = [np.array(coco.toBbox(coco.encode(np.asfortranarray(m, dtype=np.uint8)))) for m in masks]
    ours = [mask_box(m) for m in masks]
    for box, (x, y, width, height), m in zip(ours, theirs, masks, strict=True):
        assert box == ((x, y, x + width, y + height) if m.any() else None)
    if all(box is not None for box in ours):
        assert box_iou(*ours) == pytest.approx(float(coco.iou([theirs[0]], [theirs[1]], [0])[0, 0]), abs=1e-9)
    else:
        assert box_iou(*ours) == 0.0


def test_masks_that_cannot_be_compared_are_refused():
    zeros = np.zeros((2, 3), int)
    for mask, target in ((zeros, zeros.T), (zeros, zeros + 2), (zeros - 1, zeros), (zeros, zeros - 2)):
        with pytest.raises(ValueError, match="`target`"):
            measure(mask, target, 2)
