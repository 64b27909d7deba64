"""The board's rules: what an answer that is unreadable, about something else or empty does to each score."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from text4seg.descriptors import encode, parse, rasterize
from text4seg.metrics.board import ScoreBoard
from text4seg.metrics.tally import from_json, to_json

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from fake_item import FakeItem


def scene(seed: int, labels=("others", "red car"), task="referring", size=(4, 4)) -> FakeItem:
    """Random blocks, some void pixels."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, len(labels), (6, 5)) * (rng.random((6, 5)) < 0.6)
    mask = np.kron(blocks, np.ones((9, 11), int)).astype(np.uint8)
    mask[:3, :7] = 255
    return FakeItem(mask, labels, key=f"scene{seed}", size=size, task=task)


def perfect(item: FakeItem) -> str:
    return encode(rasterize(item.mask, item.labels, item.size, item.rule), item.codec)


def put(board: ScoreBoard, item: FakeItem, text: str):
    return board.update(parse(text, item.size, item.codec, item.labels[1:]), item)


@pytest.mark.parametrize("rule", ["center", "majority", "coverage"])
@pytest.mark.parametrize("method", ["nearest", "smooth"])
def test_a_perfect_model_scores_exactly_the_ceiling(rule, method):
    board = ScoreBoard(method)
    for seed in range(6):
        item = scene(seed, ("others", "cat", "dog"), "all", size=(3, 7))
        item.rule = rule
        score = put(board, item, perfect(item))
        assert score.iou == score.ceiling
    scores = board.compute()
    for name in ("cIoU", "gIoU", "mIoU", "all_others"):
        assert scores[name] == scores[f"ceiling_{name}"], name
    assert 0 < scores["mIoU"] < 1
    assert scores["ok"] == 1.0


def test_by_hand():
    board = ScoreBoard()
    mask = np.zeros((4, 4), np.uint8)
    mask[0, :] = 1
    half, blind, empty = FakeItem(mask), FakeItem(mask), FakeItem(mask * 0)
    assert put(board, half, "red car *2| others *2\n others *4\n others *4\n others *4\n").iou == 0.5
    assert put(board, blind, "I cannot see it.").iou == 0.0
    assert put(board, empty, "others *4\n" * 4).iou == 1.0
    assert put(board, empty, "").iou == 0.0
    scores = board.compute()
    assert scores["cIoU"] == 2 / 8
    assert scores["gIoU"] == pytest.approx((0.5 + 0 + 1 + 0) / 4)
    assert scores["ceiling_cIoU"] == scores["ceiling_gIoU"] == 1.0
    assert "mIoU" not in scores
    assert (scores["ok"], scores["repaired"], scores["invalid"]) == (0.25, 0.25, 0.5)
    assert scores["all_others"] == 0.25
    assert scores["ceiling_all_others"] == 0.5


def test_an_answer_in_words_of_its_own_marks_nothing():
    board = ScoreBoard()
    item = square(0, 0, 4)
    put(board, item, perfect(item).replace("red car", "lorry"))
    assert board.compute()["all_others"] == 1.0
    put(board, item, perfect(item).replace("red car", "lorry", 1))
    scores = board.compute()
    assert (scores["all_others"], scores["unmatched"], scores["T-acc"]) == (0.5, 1.0, 0.5)


def square(top: int, left: int, side: int, **changes) -> FakeItem:
    """A square target on 8 x 8 pixels; the grid has a cell a pixel."""
    mask = np.zeros((8, 8), np.uint8)
    mask[top : top + side, left : left + side] = 1
    return FakeItem(mask, size=(8, 8), **changes)


def test_shares_of_targets_by_hand():
    board = ScoreBoard()
    item, nothing = square(0, 0, 4), square(0, 0, 0)
    put(board, item, perfect(item))  # IoU 1
    put(board, item, perfect(square(0, 0, 3)))  # IoU 9/16, box too
    put(board, item, perfect(square(4, 4, 2)))  # IoU 0
    put(board, item, perfect(nothing))  # nothing marked
    put(board, item, "I do not know")  # unreadable
    put(board, nothing, perfect(nothing))
    put(board, nothing, perfect(item))
    put(board, nothing, "?")
    scores = board.compute()
    assert [scores[f"Pr@{at}"] for at in (0.5, 0.6, 0.9)] == [0.4, 0.2, 0.2]
    assert scores["T-acc"] == 3 / 5
    assert scores["N-acc"] == 1 / 3
    assert scores["REC_mask"] == 2 / 5
    assert "REC" not in scores, "no annotated boxes"
    assert scores["bIoU"] < scores["gIoU"] == pytest.approx((1 + 9 / 16 + 1) / 8)
    assert scores["ceiling_T-acc"] == scores["ceiling_N-acc"] == scores["ceiling_Pr@0.9"] == 1.0


def test_the_annotated_box_counts_where_there_is_one():
    board = ScoreBoard()
    item = square(0, 0, 4)
    item.box = (0.0, 0.0, 8.0, 8.0)
    put(board, item, perfect(item))
    scores = board.compute()
    assert (scores["REC"], scores["REC_mask"]) == (0.0, 1.0)


def test_a_tally_is_kept_as_json():
    for seed, (item, text) in enumerate(answers()):
        made = put(ScoreBoard(), item, text).tally
        again = from_json(json.loads(json.dumps(to_json(made))))
        assert again == made, seed
        assert again.rows() == made.rows()


def test_a_refined_mask_counts_and_the_coarse_one_is_shown_beside_it():
    item = square(0, 0, 4)
    board = ScoreBoard(refined=True)
    decoded = parse(perfect(square(0, 0, 3)), item.size, item.codec, item.labels[1:])
    board.update(decoded, item, refined_HW=item.mask)
    scores = board.compute()
    assert (scores["cIoU"], scores["coarse_cIoU"]) == (1.0, 9 / 16)


def test_a_word_nobody_asked_for_counts_as_others():
    mask = np.ones((4, 4), np.uint8)
    board = ScoreBoard()
    score = put(board, FakeItem(mask), "dog *2| red car *2\n red car *4\n red car *4\n RED-CAR *4\n")
    assert score.iou == 14 / 16
    assert score.tally.unmatched
    assert score.mask.tolist()[0] == [0, 0, 1, 1]
    assert board.compute()["unmatched"] == 1.0


def test_a_class_predicted_where_it_was_not_asked_for_costs_that_class():
    board = ScoreBoard()
    cats = FakeItem(np.ones((2, 2), np.uint8), ("others", "cat"), size=(2, 2), task="all")
    dogs = FakeItem(np.ones((2, 2), np.uint8), ("others", "dog"), size=(2, 2), task="all")
    put(board, cats, "cat *1| dog *1\n cat *2\n")
    put(board, dogs, "dog *2\n dog *2\n")
    assert {name: row.iou for name, row in board.by_class().items()} == {"cat": 3 / 4, "dog": 4 / 5}
    assert board.compute()["mIoU"] == pytest.approx((3 / 4 + 4 / 5) / 2)


def test_reset_forgets_and_an_empty_board_is_empty():
    board = ScoreBoard()
    assert board.compute() == {}
    put(board, scene(0), perfect(scene(0)))
    assert board.compute()
    board.reset()
    assert board.compute() == {}


def test_a_grid_parsed_with_other_labels_or_another_size_is_refused():
    item = scene(0)
    with pytest.raises(ValueError, match="size"):
        ScoreBoard().update(parse("others *2\n", (1, 2), "rrle", item.labels[1:]), item)
    with pytest.raises(ValueError, match="labels"):
        ScoreBoard().update(parse("others *4\n" * 4, item.size), item)


def answers() -> list[tuple[FakeItem, str]]:
    """Seven items of two tasks with good, wrong and unreadable answers."""
    made = []
    for seed in range(7):
        task, labels = ("all", ("others", "cat", f"class {seed}")) if seed % 2 else ("referring", ("others", "red car"))
        item = scene(seed, labels, task)
        made.append((item, [perfect(item), "what?", perfect(item).replace("others", labels[-1], 1)][seed % 3]))
    return made
