"""Wordings of mixed sets: each is of the same questions, and the scores are means over them."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from text4seg import templates
from text4seg.data.settings import DataSettings
from text4seg.descriptors import answer, encode, parse, rasterize
from text4seg.metrics.board import ScoreBoard
from text4seg.report import questions
from text4seg.report.questions import Question, Questions
from text4seg.report.record import record
from text4seg.report.summary import summarise

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "data"))
from fake_item import FakeItem
from shard_sets import keys_of, make, reseal, rewrite, shard

SHORTEST = len(templates.QUESTIONS["partial"])
MASK = np.pad(np.ones((8, 8), np.uint8), (0, 8))


def asked(monkeypatch, wording: str, *tasks: str, swap: bool = False, recipe: dict | None = None) -> list[Question]:
    """The questions of a set with one item of each task."""
    index = SimpleNamespace(shards=[], recipe=recipe or {}, tasks=dict.fromkeys(tasks, 1))
    monkeypatch.setattr(questions.Index, "load", lambda _: index)
    made = [FakeItem(MASK, task=task, turn=turn) for turn, task in enumerate(tasks)]
    monkeypatch.setattr(Questions, "_items", lambda _, words=False: iter([] if words else made))
    every = Questions(Path("DIR"), DataSettings(), wording, swap)
    found = list(every)
    assert swap or every.total() == len(found)
    return found


def line(question: Question, right: bool) -> dict:
    item = question.item
    text = answer("Sure:", encode(rasterize(item.mask, item.labels, item.size))) if right else "no idea"
    decoded = parse(text, item.size, item.codec, item.labels[1:])
    return record(question, decoded, ScoreBoard().update(decoded, item), 9)


@pytest.mark.parametrize("other", ["all", "conditioned", "parts"])
def test_every_wording_is_of_the_same_questions(monkeypatch, other):
    found = asked(monkeypatch, "all", "referring", other)
    numbers = {task: [q.wording for q in found if q.item.task == task] for task in ("referring", other)}
    assert numbers["referring"] == list(range(SHORTEST))
    assert numbers[other] == ([None] if other == "parts" else list(range(SHORTEST)))


def test_wordings_are_those_that_the_shards_were_built_with(monkeypatch, tmp_path):
    lists = tmp_path / "mine.yaml"
    lists.write_text("partial: {questions: ['Mine: {labels}?', 'Or mine: {labels}?']}\n")
    recipe = {"task_options": {"templates": str(lists)}}
    assert [q.item.question for q in asked(monkeypatch, "all", "referring", recipe=recipe)] == [
        "Mine: red car?",
        "Or mine: red car?",
    ]
    lists.unlink()
    assert len(asked(monkeypatch, "stored", "referring", recipe=recipe)) == 1
    with pytest.raises(ValueError, match=r"wording=1 .*no template file at .*mine.yaml.* take wording=stored"):
        asked(monkeypatch, "1", "referring", recipe=recipe)


def test_classes_whose_order_is_not_kept_have_but_the_stored_wording(monkeypatch):
    names = [f"class {number}" for number in range(300)]
    shown_first = ("others", "class 290", *(name for name in names if name != "class 290"))
    many = FakeItem(MASK, task="conditioned", labels=shown_first, question=f"Which are {', '.join(names)}?")
    monkeypatch.setattr(questions.Index, "load", lambda _: SimpleNamespace(shards=[], recipe={}, tasks={}))
    monkeypatch.setattr(Questions, "_items", lambda _, words=False: iter([many]))
    assert [q.item for q in Questions(Path("DIR"), DataSettings(), "stored")] == [many]
    with pytest.raises(ValueError, match="must be stored for questions about 300 classes"):
        list(Questions(Path("DIR"), DataSettings(), "1"))
    kept = replace(many, labels=("others", *names))
    monkeypatch.setattr(Questions, "_items", lambda _, words=False: iter([kept]))
    assert "class 0, class 1, " in next(iter(Questions(Path("DIR"), DataSettings(), "1"))).item.question


def test_one_family_alone_is_asked_in_all_its_wordings(monkeypatch):
    assert len(asked(monkeypatch, "all", "all")) == len(templates.QUESTIONS["all"]) > SHORTEST


@pytest.mark.parametrize("wording", ["all", "3"])
@pytest.mark.parametrize("other", ["all", "parts"])
def test_a_mixed_set_has_the_scores_of_both_in_every_wording(monkeypatch, wording, other):
    """The first is answered rightly, the second not: whatever the number of wordings, half is right."""
    found = asked(monkeypatch, wording, "referring", other)
    summary = summarise([line(question, question.item.task == "referring") for question in found])
    assert summary["scores"]["gIoU"] == 0.5
    assert summary["scores"]["bIoU"] == 1.0, "of the question about one thing"
    assert summary["scores"]["mIoU_bg"] < 1.0, "of the question about classes"
    spread = summary["wordings"].get("spread", {})
    assert {name: value["deviation"] for name, value in spread.items() if value["deviation"]} == {}
    assert len(summary["wordings"].get("each", {})) == (SHORTEST if wording == "all" else 0)


def test_scores_that_a_wording_lacks_are_means_over_the_others(monkeypatch):
    lines = [line(Question(FakeItem(MASK, task=task), n), right=True) for n, task in enumerate(("referring", "all"))]
    summary = summarise(lines)
    assert summary["scores"]["bIoU"] == 1.0
    assert "bIoU" not in summary["wordings"]["spread"]
    assert summary["wordings"]["spread"]["gIoU"]["lowest"] == 1.0


def test_swapped_questions_have_but_the_stored_wording(monkeypatch):
    assert asked(monkeypatch, "stored", "referring", swap=True) == []
    for wording in ("all", "0"):
        with pytest.raises(ValueError, match=f"wording={wording}: take wording=stored"):
            asked(monkeypatch, wording, "referring", swap=True)


def test_what_cannot_be_read_is_told_once_however_often_shards_are_read(tmp_path):
    make(tmp_path)
    broken = keys_of(shard(tmp_path))[0]
    rewrite(shard(tmp_path), lambda name, data: b"{" if name == f"{broken}.qa.json" else data)
    reseal(tmp_path)
    for swap in (False, True):
        every = Questions(tmp_path, DataSettings(on_error="skip"), swap=swap)
        every.index.tasks["text"] = 0  # a set with questions in words is read once more
        for _ in range(2):
            with pytest.warns(UserWarning, match="left out of the scores") as told:
                assert list(every)
            assert len(told) == len(every.broken) == 1
            assert broken in every.broken[0]
