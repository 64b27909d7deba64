"""The published arithmetic: equal to what the published scripts gave for the same predictions, and where it errs.

`published.json` was written by `python benchmarks/legacy.py CLONE --write tests/metrics/published.json`.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from text4seg.metrics.legacy import legacy_hit, legacy_referring, legacy_scores, legacy_semantic
from text4seg.metrics.measure import measure

HERE = Path(__file__).parent
PUBLISHED = json.loads((HERE / "published.json").read_text())


def benchmark():
    spec = importlib.util.spec_from_file_location("legacy_benchmark", HERE.parents[1] / "benchmarks" / "legacy.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("seed", sorted(PUBLISHED))
def test_equal_to_the_published_scripts(seed):
    assert len(PUBLISHED[seed]) == 4
    ours = benchmark().scored(int(seed))
    assert {name: ours[name] for name in PUBLISHED[seed]} == PUBLISHED[seed]


def test_an_empty_answer_is_right_where_nothing_is_and_a_tiny_iou_is_not_zero():
    found = legacy_referring([[(0, 0), (1, 2)], [(0, 4)]])
    assert found["legacy_gIoU"] == pytest.approx((1 + 0.5 + 0) / 3, abs=1e-5)
    assert found["legacy_gIoU"] != (1 + 0.5 + 0) / 3
    assert found["legacy_cIoU"] == pytest.approx(1 / 6)
    assert legacy_referring([]) == {}


def test_sums_are_rounded_to_32_bits():
    exact = 2**24 + 1
    assert legacy_referring([[(exact, exact + 2)]])["legacy_cIoU"] == np.float32(exact) / np.float32(exact + 2)
    assert float(np.float32(exact)) != exact


def test_boxes_are_a_pixel_short():
    assert not legacy_hit((0, 0, 5, 1), (0, 0, 5, 1)), "a mask of one row has no box"
    assert not legacy_hit(None, None)
    assert not legacy_hit((0, 0, 3, 2), (0, 0, 5, 2)), "just 0.5 is not enough"
    assert legacy_hit((0, 0, 4, 2), (0, 0, 5, 2))


def test_background_is_never_charged():
    mask = np.array([[1, 1, 1, 1]])
    target = np.array([[0, 0, 1, -1]])
    made = measure(mask, target, 3)
    found = legacy_semantic([{"others": made.row(0), "cat": made.row(1)}], ["others", "cat", "cow"])
    # others: 2 of 2 although every pixel is wrong; cat: 1 of 2, void is charged; cow is nowhere and counts as 0
    assert found["legacy_mIoU"] == pytest.approx((1 + 0.5 + 0) / 3)


def test_nothing_scored_has_no_legacy_numbers():
    assert legacy_scores([]) == {}
