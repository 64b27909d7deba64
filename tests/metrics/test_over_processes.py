"""Every score of the board, added up over 1, 2 and 3 processes with uneven shares, against other people's arithmetic.

The reference sees masks only: pycocotools for areas, boxes and their overlaps, scikit-learn for classes, scipy for
outlines. The grids have a cell a pixel, so that a mask is what its text says.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from pycocotools import mask as coco
from scipy import ndimage
from sklearn.metrics import accuracy_score, jaccard_score

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from fake_item import FakeItem

from text4seg.descriptors import LabelGrid, encode, parse
from text4seg.metrics.board import PRECISIONS, ScoreBoard

SHAPE, VOID, SEEDS = (12, 16), 255, range(5)
CLASSES = ("others", "cat", "dog", "cow")
Answer = tuple[FakeItem, np.ndarray | None]
"""An item, and the mask that was answered; None: an answer that cannot be read."""


def answers(seed: int) -> list[Answer]:
    """Ten items: targets and none, answers good, wrong, empty and unreadable, classes that differ from item to item."""
    rng = np.random.default_rng(seed)
    made: list[Answer] = []
    for number in range(10):
        labels = CLASSES[: 2 + number % 3] if number >= 6 else ("others", "it")
        target = np.zeros(SHAPE, np.uint8)
        for label in range(1, len(labels)):
            top, left = rng.integers(0, 8, 2)
            target[top : top + rng.integers(2, 6), left : left + rng.integers(2, 9)] = label
        if number in (2, 3, 5):
            target[:] = 0
        noise = rng.random(SHAPE) < (0.05, 0.3, 0.0, 0.2)[number % 4]
        guess = np.where(noise, rng.integers(0, len(labels), SHAPE), target)
        if number < 2:  # boxes are told apart by shifts: with noise they would all be the whole picture
            guess = np.roll(target, rng.integers(0, 5), axis=number)
        if number % 2:
            target[rng.random(SHAPE) < 0.1] = VOID
        item = FakeItem(target, labels, size=SHAPE, task="all" if number >= 6 else "referring", turn=number)
        item.box = (left - 0.5, top + 0.25, left + 5.0, top + 4.5) if number < 2 else None
        made.append((item, None if number in (4, 5, 9) else guess))
    return made


def put(board: ScoreBoard, answer: Answer) -> None:
    item, guess = answer
    text = "?" if guess is None else encode(LabelGrid(guess.astype(np.int32), item.labels))
    board.update(parse(text, item.size, item.codec, item.labels[1:]), item)


def rle(mask: np.ndarray) -> Any:
    return coco.encode(np.asfortranarray(mask.astype(np.uint8)))


def overlap(guess: np.ndarray, target: np.ndarray) -> tuple[int, int]:
    """Areas of intersection and union by pycocotools, summed over the labels, void pixels taken out of both."""
    seen, inter, union = target != VOID, 0, 0
    for label in range(1, 4):
        pair = [rle((mask == label) & seen) for mask in (guess, target)]
        inter += int(coco.area(coco.merge(pair, intersect=True)))
        union += int(coco.area(coco.merge(pair)))
    return inter, union


def outline(mask: np.ndarray) -> np.ndarray:
    width = max(1, round(0.02 * float(np.hypot(*SHAPE))))
    return mask & ~ndimage.binary_erosion(mask, np.ones((3, 3)), iterations=width)


def same_box(guess: np.ndarray, box: np.ndarray) -> bool:
    return bool(guess.any()) and coco.iou([coco.toBbox(rle(guess))], [box], [0])[0, 0] >= 0.5


def reference(made: list[Answer]) -> dict[str, float]:
    """The scores from masks alone."""
    overlaps, ious, edges, found = [], [], [], {name: [] for name in ("N-acc", "T-acc", "REC", "REC_mask")}
    for item, answered in made:
        guess = np.zeros(SHAPE, int) if answered is None else answered
        overlaps.append(overlap(guess, item.mask))
        inter, union = overlaps[-1]
        ious.append(0.0 if answered is None else inter / union if union else 1.0)
        if item.task == "all":
            continue
        thing, seen = item.mask == 1, item.mask != VOID
        lines = [outline(mask) & seen for mask in (guess == 1, thing)]
        both, either = (lines[0] & lines[1]).sum(), (lines[0] | lines[1]).sum()
        edges.append(0.0 if answered is None else both / either if either else 1.0)
        if not thing.any():
            found["N-acc"].append(answered is not None and not guess.any())
            continue
        found["T-acc"].append(answered is not None and guess.any())
        found["REC_mask"].append(same_box(guess, coco.toBbox(rle(thing))))
        if item.box:
            left, top, right, bottom = item.box
            found["REC"].append(same_box(guess, np.array([left, top, right - left, bottom - top])))
        for at in PRECISIONS:
            found.setdefault(f"Pr@{at}", []).append(ious[-1] >= at)
    inter, union = np.sum(overlaps, axis=0)
    scores = {"cIoU": inter / union, "gIoU": np.mean(ious), "bIoU": np.mean(edges), **by_class(made)}
    return scores | {name: np.mean(hits) for name, hits in found.items()}


def by_class(made: list[Answer]) -> dict[str, float]:
    """Class scores by scikit-learn, over all pixels that count."""
    pairs = [
        (item.mask, np.zeros(SHAPE, int) if guess is None else guess) for item, guess in made if item.task == "all"
    ]
    true, guess = (np.concatenate([pair[i].ravel() for pair in pairs]) for i in (0, 1))
    true, guess = true[true != VOID], guess[true != VOID]
    there = [i for i in range(4) if (true == i).any()]
    ious = jaccard_score(true, guess, labels=there, average=None)
    inside = jaccard_score(true[true > 0], guess[true > 0], labels=there[1:], average=None)
    return {
        "mIoU": ious[1:].mean(),
        "mIoU_bg": ious.mean(),
        "mIoU_nobg": inside.mean(),
        "fwIoU": np.average(ious, weights=[(true == i).sum() for i in there]),
        "pixel_acc": accuracy_score(true, guess),
    }


def owner(number: int, ranks: int) -> int:
    """Uneven: the last process has every third item, the first all others, one between them none."""
    return 0 if number % 3 else ranks - 1


def score(rank: int, ranks: int, place: str) -> None:
    """One process of a group."""
    if ranks > 1:
        torch.distributed.init_process_group("gloo", f"file://{place}/store", rank=rank, world_size=ranks)
    found = []
    for seed in SEEDS:
        board = ScoreBoard()
        for number, answer in enumerate(answers(seed)):
            if owner(number, ranks) == rank:
                put(board, answer)
        found.append(board.compute())
    torch.save(found, f"{place}/{rank}.pt")
    if ranks > 1:
        torch.distributed.destroy_process_group()


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_every_score_equals_an_independent_reference(tmp_path, ranks):
    if ranks == 1:
        score(0, 1, str(tmp_path))
    else:
        mp.spawn(score, args=(ranks, str(tmp_path)), nprocs=ranks)
    expected = [reference(answers(seed)) for seed in SEEDS]
    verdicts = {"ok": 0.7, "repaired": 0.0, "invalid": 0.3, "unmatched": 0.0}
    for rank in range(ranks):
        for found, right in zip(torch.load(tmp_path / f"{rank}.pt"), expected, strict=True):
            assert {name: found[name] for name in right} == pytest.approx(right, abs=1e-9)
            assert {name: found[name] for name in verdicts} == pytest.approx(verdicts)
            ceilings = {f"ceiling_{name}": 1.0 for name in right}
            assert {name: found[name] for name in ceilings if "REC" not in name} == {
                name: 1.0 for name in ceilings if "REC" not in name
            }
            rest = set(found) - set(right) - set(verdicts) - set(ceilings)
            assert rest == {"all_others", "ceiling_all_others"}, "a score without a reference"


def test_the_cases_tell_scores_apart():
    """No score is 0 or 1 throughout: a reference that agrees on that says little."""
    found = [reference(answers(seed)) for seed in SEEDS]
    for name in found[0]:
        assert len({round(scores[name], 6) for scores in found}) > 1 or name in ("N-acc", "T-acc"), name
