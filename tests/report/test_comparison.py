"""Two evaluations compared: intervals against a loop that draws pictures one by one, and the door."""

from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pytest

from text4seg import compare as door
from text4seg.report import comparison
from text4seg.report.comparison import compare, read_items


def line(number: int, iou: float, picture: str, status: str = "ok") -> dict:
    union = 100 + 7 * number
    return {
        "key": f"k{number}",
        "turn": 0,
        "wording": None,
        "picture": picture,
        "iou": iou,
        "intersection": round(iou * union),
        "union": union,
        "status": status,
    }


def evaluation(seed: int, shift: float = 0.0) -> dict:
    rng = np.random.default_rng(seed)
    lines = [line(i, float(np.clip(rng.random() + shift, 0, 1)), f"p{i // 3}") for i in range(60)]
    return {(one["key"], 0, None): one for one in lines}


def test_intervals_equal_a_loop_over_drawn_pictures():
    first, second = evaluation(1), evaluation(2, 0.1)
    found = {row.name: row for row in compare(first, second, draws=4000)}
    rng, drawn = np.random.default_rng(9), []
    groups: dict[str, list] = {}
    for place, one in first.items():
        groups.setdefault(one["picture"], []).append(place)
    for _ in range(4000):
        places = [place for name in rng.choice(list(groups), len(groups)) for place in groups[name]]
        drawn.append(np.mean([second[place]["iou"] for place in places]) - np.mean([first[p]["iou"] for p in places]))
    row = found["gIoU"]
    assert row.change == pytest.approx(np.mean([second[p]["iou"] - first[p]["iou"] for p in first]))
    assert [row.low, row.high] == pytest.approx(np.percentile(drawn, [2.5, 97.5]), abs=0.01)
    inter, union = (sum(one[name] for one in first.values()) for name in ("intersection", "union"))
    assert found["cIoU"].first == pytest.approx(inter / union)


@pytest.mark.parametrize("held", [1, 7 * 20, 300 * 20])
def test_draws_are_held_in_pieces_and_are_the_same(monkeypatch, held):
    whole = compare(evaluation(1), evaluation(2, 0.1), draws=1000, seed=5)
    monkeypatch.setattr(comparison, "HELD", held)
    tracemalloc.start()
    pieces = compare(evaluation(1), evaluation(2, 0.1), draws=1000, seed=5)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [row.name for row in pieces] == [row.name for row in whole]
    assert [row[1:] for row in pieces] == [pytest.approx(row[1:], rel=1e-12, abs=1e-15) for row in whole]
    assert peak < 1000 * 20 * 8 * 2, "the table of all draws as whole numbers and as floats"


def test_the_same_is_not_told_apart_and_a_clear_gain_is():
    assert not any(row.clear for row in compare(evaluation(1), evaluation(1), draws=200))
    better = {place: {**one, "iou": min(1.0, one["iou"] + 0.05)} for place, one in evaluation(1).items()}
    assert next(row for row in compare(evaluation(1), better, draws=500) if row.name == "gIoU").clear


def test_other_questions_and_other_pictures_are_refused():
    first = evaluation(1)
    with pytest.raises(ValueError, match="no question in common"):
        compare(first, {("other", 0, None): line(0, 1.0, "p0")})
    with pytest.raises(ValueError, match=r"other wordings \(\['None'\] and \['0'\]"):
        compare(first, {(key, turn, 0): one for (key, turn, _), one in first.items()})
    other = {place: {**one, "picture": "x"} for place, one in first.items()}
    with pytest.raises(ValueError, match="another picture"):
        compare(first, other)


def measured(one: dict, pixels: list[list[int]]) -> dict:
    return {**one, "tally": {"views": {"": {"pixels": pixels}}}}


def test_another_target_of_the_same_picture_is_refused_and_other_answers_about_one_are_not():
    first = {place: measured(one, [[0, 0, 50], [1, 0, 20]]) for place, one in evaluation(1).items()}
    answered = {place: measured(one, [[0, 0, 40], [0, 1, 10], [1, 1, 20]]) for place, one in evaluation(2).items()}
    assert compare(first, answered, draws=10)
    elsewhere = {place: measured(one, [[0, 0, 49], [1, 0, 21]]) for place, one in evaluation(1).items()}
    with pytest.raises(ValueError, match=r"after something else in the second evaluation.*same shards"):
        compare(first, elsewhere)


@pytest.mark.parametrize("end", ["\n", ""], ids=["ended", "cut"])
@pytest.mark.parametrize("damage", ['{"a": 1}', "[]", "null", '{"key": "k1", "tu', "\0\0\0", "\udcff"])
def test_a_damaged_line_is_named(tmp_path, damage, end):
    text = json.dumps(line(0, 1.0, "p")) + "\n" + damage + end
    (tmp_path / "items.jsonl").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ValueError, match=r"items\.jsonl, line 2 is no answer .*evaluate again"):
        read_items(tmp_path)


def test_answers_in_words_alone_are_not_compared(tmp_path):
    (tmp_path / "items.jsonl").write_text(json.dumps({**line(0, 1.0, "p"), "task": "text"}) + "\n")
    with pytest.raises(ValueError, match="answers in words are not compared"):
        read_items(tmp_path)


def test_the_door(tmp_path, capsys):
    for name, seed in (("a", 1), ("b", 2)):
        folder = tmp_path / name / "eval" / "val"
        folder.mkdir(parents=True)
        text = "".join(json.dumps(one) + "\n" for one in evaluation(seed).values())
        (folder / "items.jsonl").write_text(text)
    assert len(read_items(tmp_path / "a")) == 60
    assert door.main([str(tmp_path / "a"), str(tmp_path / "b" / "eval" / "val"), "--draws", "100"]) == 0
    assert "60 questions in common" in capsys.readouterr().out
    assert door.main([str(tmp_path / "a"), str(tmp_path)]) == 2
    assert "holds no items.jsonl" in capsys.readouterr().err
