"""cIoU and gIoU against brute force, pycocotools and scikit-learn, and by hand."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco
from sklearn.metrics import jaccard_score

from text4seg.metrics.counts import item_counts
from text4seg.metrics.cumulative_iou import CumulativeIoU, cumulative_iou
from text4seg.metrics.mean_item_iou import MeanItemIoU, item_ious, mean_item_iou

VOID = 255


@st.composite
def maps(draw, ids: int, void: bool = True):
    """(preds, target) with ids below `ids`; the target may hold void pixels."""
    items, height, width = draw(st.integers(1, 4)), draw(st.integers(1, 6)), draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = (items, height, width)
    empty = draw(st.floats(0, 1))
    preds = np.where(rng.random(shape) < empty, 0, rng.integers(0, ids, shape))
    target = np.where(rng.random(shape) < empty, 0, rng.integers(0, ids, shape))
    if void:
        target = np.where(rng.random(shape) < 0.2, VOID, target)
    return torch.from_numpy(preds), torch.from_numpy(target)


def brute_item(preds, target) -> tuple[int, int]:
    """Sum over the foreground ids of each id's intersection and union, pixel by pixel."""
    inter = union = 0
    for foreground in {*preds.flatten().tolist(), *target.flatten().tolist()} - {0, VOID}:
        for p, t in zip(preds.flatten().tolist(), target.flatten().tolist(), strict=True):
            if t != VOID:
                inter += p == foreground and t == foreground
                union += p == foreground or t == foreground
    return inter, union


@given(maps(ids=4))
def test_item_counts_equal_a_loop_over_ids_and_pixels(pair):
    inter, union = item_counts(*pair)
    assert list(zip(inter.tolist(), union.tolist(), strict=True)) == [
        brute_item(p, t) for p, t in zip(*pair, strict=True)
    ]


@given(maps(ids=2, void=False))
def test_binary_scores_equal_pycocotools_and_sklearn(pair):
    preds, target = (part.numpy().astype(np.uint8) for part in pair)
    ious, inter, union = [], 0, 0
    for p, t in zip(preds, target, strict=True):
        a, b = coco.encode(np.asfortranarray(p)), coco.encode(np.asfortranarray(t))
        together = int(coco.area(coco.merge([a, b])))
        shared = int(coco.area(coco.merge([a, b], intersect=True)))
        inter, union = inter + shared, union + together
        ious.append(float(coco.iou([a], [b], [False])[0, 0]) if together else 1.0)
        assert ious[-1] == pytest.approx(jaccard_score(t.ravel(), p.ravel(), zero_division=1.0))
    assert float(mean_item_iou(*pair)) == pytest.approx(np.mean(ious), abs=1e-12)
    assert float(cumulative_iou(*pair)) == pytest.approx(inter / union if union else 1.0, abs=1e-12)


@given(maps(ids=4), st.integers(0, 2**32 - 1))
@settings(max_examples=50)
def test_classes_equal_functions_however_the_items_are_dealt_out(pair, seed):
    preds, target = pair
    order = np.random.default_rng(seed).permutation(len(preds))
    invalid = torch.arange(len(preds)) % 3 == 1
    ciou, giou = CumulativeIoU(), MeanItemIoU()
    for i in order:
        ciou.update(preds[i : i + 1], target[i : i + 1])
        giou.update(preds[i : i + 1], target[i : i + 1], invalid[i : i + 1])
    assert float(ciou.compute()) == float(cumulative_iou(preds, target))
    assert float(giou.compute()) == pytest.approx(float(mean_item_iou(preds, target, invalid)), abs=2e-12)


def test_the_toy_case_that_the_packaged_metric_scores_otherwise():
    """Three items: perfect, half found, empty against empty: cIoU, gIoU and torchmetrics' MeanIoU all differ."""
    from torchmetrics.segmentation import MeanIoU as Packaged

    target = torch.zeros(3, 1, 20, dtype=torch.long)
    preds = torch.zeros(3, 1, 20, dtype=torch.long)
    target[0, 0, :16] = preds[0, 0, :16] = 1
    target[1, 0, :2], preds[1, 0, :1] = 1, 1
    assert float(cumulative_iou(preds, target)) == pytest.approx(17 / 18)  # 0.944
    assert float(mean_item_iou(preds, target)) == pytest.approx((1 + 0.5 + 1) / 3)  # 0.833
    packaged = Packaged(num_classes=2, include_background=False, input_format="index")
    assert float(packaged(preds, target)) == pytest.approx(0.75)


def test_empty_pairs_and_invalid_answers():
    nothing, something = torch.zeros(1, 2, 2, dtype=torch.bool), torch.ones(1, 2, 2, dtype=torch.bool)
    yes = torch.tensor([True])
    assert item_ious(nothing, nothing).item() == 1.0
    assert item_ious(nothing, nothing, yes).item() == 0.0
    assert item_ious(something, nothing).item() == 0.0
    assert item_ious(something, something, yes).item() == 0.0
    assert cumulative_iou(nothing, nothing).item() == 1.0
    assert cumulative_iou(torch.cat([nothing, something]), torch.cat([something, something])).item() == 0.5


def test_void_pixels_count_nowhere():
    target = torch.tensor([[[1, 0, VOID, VOID]]])
    for guess in ([1, 0, 0, 0], [1, 0, 1, 1]):
        preds = torch.tensor([[guess]])
        assert cumulative_iou(preds, target).item() == mean_item_iou(preds, target).item() == 1.0
    assert cumulative_iou(torch.tensor([[[1, 0, 1, 1]]]), target, ignore_index=None).item() == 1 / 5


def test_uint8_maps_do_not_wrap_around():
    target = torch.full((1, 40, 40), 200, dtype=torch.uint8)
    assert item_counts(target, target)[0].tolist() == [1600]


def test_sums_pass_two_to_the_31():
    ciou = CumulativeIoU()
    ciou.intersection += 2**32 + 1
    ciou.union += 2**33 + 3
    ciou.update(torch.ones(1, 1, 4, dtype=torch.bool), torch.ones(1, 1, 4, dtype=torch.bool))
    assert float(ciou.compute()) == (2**32 + 5) / (2**33 + 7)


def test_mean_item_iou_is_the_same_to_the_last_bit_in_any_order():
    rng = np.random.default_rng(0)
    pairs = [torch.from_numpy(rng.integers(0, 2, (2, 1, 7, 5))) for _ in range(300)]
    exact = sum(Fraction(*brute_item(p[0], t[0])) for p, t in pairs) / 300
    scores = set()
    for seed in range(3):
        metric = MeanItemIoU()
        for i in np.random.default_rng(seed).permutation(300):
            metric.update(*pairs[i])
        scores.add(float(metric.compute()))
    assert len(scores) == 1
    assert scores.pop() == pytest.approx(float(exact), abs=1e-12)


@pytest.mark.parametrize(
    ("preds", "target", "message"),
    [
        (torch.zeros(1, 2, 2), torch.zeros(1, 2, 2), "bool or integer"),
        (torch.zeros(2, 2).long(), torch.zeros(2, 2).long(), r"\[N, H, W\]"),
        (torch.zeros(1, 2, 2).long(), torch.zeros(1, 2, 3).long(), "one shape"),
    ],
)
def test_maps_that_cannot_be_compared_are_refused(preds, target, message):
    with pytest.raises(ValueError, match=message):
        cumulative_iou(preds, target)


def test_misshapen_flags_are_refused():
    zeros = torch.zeros(1, 1, 2, dtype=torch.long)
    with pytest.raises(ValueError, match="`invalid`"):
        mean_item_iou(zeros, zeros, torch.tensor([True, False]))
