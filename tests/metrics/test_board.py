"""The board's rules: what an answer that is unreadable, about something else or empty does to each score."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp

from text4seg.descriptors import encode, parse, rasterize
from text4seg.metrics.board import ScoreBoard

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


def test_a_word_nobody_asked_for_counts_as_others():
    mask = np.ones((4, 4), np.uint8)
    board = ScoreBoard()
    score = put(board, FakeItem(mask), "dog *2| red car *2\n red car *4\n red car *4\n RED-CAR *4\n")
    assert score.iou == 14 / 16
    assert score.unmatched
    assert score.mask.tolist()[0] == [0, 0, 1, 1]
    assert board.compute()["unmatched"] == 1.0


def test_a_class_predicted_where_it_was_not_asked_for_costs_that_class():
    board = ScoreBoard()
    cats = FakeItem(np.ones((2, 2), np.uint8), ("others", "cat"), size=(2, 2), task="all")
    dogs = FakeItem(np.ones((2, 2), np.uint8), ("others", "dog"), size=(2, 2), task="all")
    put(board, cats, "cat *1| dog *1\n cat *2\n")
    put(board, dogs, "dog *2\n dog *2\n")
    assert board.by_class() == {"cat": 3 / 4, "dog": 4 / 5}
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


def scored_by(rank: int, ranks: int, place: str) -> None:
    """One process of a group; rank 0 gets the even items, so it sees no class question."""
    torch.distributed.init_process_group("gloo", f"file://{place}/store", rank=rank, world_size=ranks)
    board = ScoreBoard()
    for i, (item, text) in enumerate(answers()):
        if i % ranks == rank:
            put(board, item, text)
    torch.save(board.compute(), f"{place}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_gloo_ranks_score_like_one_process(tmp_path):
    board = ScoreBoard()
    for item, text in answers():
        put(board, item, text)
    mp.spawn(scored_by, args=(2, str(tmp_path)), nprocs=2)
    for rank in range(2):
        assert torch.load(tmp_path / f"{rank}.pt") == board.compute()
