"""VQA accuracy against the definition taken word by word, and what counts as the same answer."""

from __future__ import annotations

import re
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from text4seg.metrics.vqa import comparable, processed, vqa_accuracy


@given(st.lists(st.sampled_from(["yes", "no", "two"]), min_size=2, max_size=10), st.sampled_from(["yes", "no", "x"]))
def test_accuracy_is_the_mean_over_leaving_one_person_out(references, answer):
    groups = list(combinations(references, len(references) - 1))
    expected = sum(min(1.0, group.count(answer) / 3) for group in groups) / len(groups)
    assert vqa_accuracy(answer, references) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("Yes.", "yes"),
        ("the red CAR", "red car"),
        ("two", "2"),
        ("1,000", "1000"),
        ("3.5 m", "3.5 m"),
        ("10:30", "10:30"),
        ("None", "0"),
        ("an apple, a pear", "apple pear"),
        ("what?!", "what"),
        ("it\u2019s", "it's"),
        ("", ""),
        ("A", "a"),
        ("The a.", "the a"),
        ("...", "..."),
    ],
)
def test_answers_are_made_comparable(written, meant):
    assert comparable(written) == meant
    assert comparable(meant) == meant


def test_one_reference_is_an_exact_match_and_none_is_refused():
    assert vqa_accuracy("The Cat", ["cat"]) == 1.0
    assert vqa_accuracy("cats", ["cat"]) == 0.0
    with pytest.raises(ValueError, match="`references` is empty"):
        vqa_accuracy("cat", [])


@pytest.mark.parametrize("written", ["", "the", "...", "B"])
def test_the_letter_of_an_option_equals_itself_only(written):
    assert vqa_accuracy("(A).", ["A"]) == 1.0
    assert vqa_accuracy(written, ["A"]) == 0.0


@pytest.mark.parametrize(("people", "accuracy"), [(2, 1 / 3), (3, 2 / 3), (4, 1.0), (10, 1.0)])
def test_few_people_who_agree_count_as_the_evaluation_server_counts_them(people, accuracy):
    assert vqa_accuracy("cat", ["cat"] * people) == pytest.approx(accuracy)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("t-shirt", "t shirt"),
        ("long-sleeve - shirt", "longsleeve shirt"),
        ("1,000-2,000", "10002000"),
        ("1,000 t-shirts", "1000 tshirts"),
        ("red,blue", "red blue"),
        ("red, blue", "red blue"),
        ("red, blue,green", "red bluegreen"),
        ("3.5 m.", "3.5 m"),
        (".5", ".5"),
        ("5.", "5"),
        ("p.m.", "pm"),
        ("10:30", "10:30"),
        ("50%", "50%"),
        ("Q&A #1 $2", "q&a #1 $2"),
        ("(Two) women's", "2 women's"),
        ("None of the ten", "0 of 10"),
        ("dont know", "don't know"),
        ("The dog's; it couldntve", "dog's it couldntve"),
        ("couldnt've y'allll", "couldn't've y'all'll"),
        ("Im hes shes", "im he's shes"),
        ("somebody'd", "somebodyd"),
        ("it\u2019s", "it\u2019s"),
        ("the", ""),
        ("?!", ""),
    ],
)
def test_answers_are_processed_as_published(written, meant):
    assert processed(written) == meant


ANOTHER = ["other"]
"""Makes people disagree."""


@pytest.mark.parametrize(
    ("written", "references", "right"),
    [
        ("t shirt", ["t-shirt"] * 9 + ANOTHER, True),
        ("t shirt", ["t-shirt"] * 10, True),
        ("50", ["50%"] * 9 + ANOTHER, False),
        ("2", ["two"] * 9 + ANOTHER, True),
        ("2", ["two"] * 10, True),
        ("two", ["2"] * 9 + ANOTHER, True),
        ("dont know", ["don't know"] * 9 + ANOTHER, True),
        ("1000", ["1,000"] * 9 + ANOTHER, True),
        ("3.5", ["3.5"] * 9 + ANOTHER, True),
        ("35", ["3.5"] * 9 + ANOTHER, False),
        ("the Cat.", ["cat"] * 9 + ANOTHER, True),
        ("Yes", ["yes"] * 9 + ANOTHER, True),
        ("Yes", ["yes"] * 10, True),
        ("", ["a"] * 10, False),
        ("B", ["a"] * 10, False),
        (" yes\n", ["yes"] * 10, True),
        ("in\ttown", ["in town"] * 10, True),
        ("the bus", ["the bus"] * 10, True),
        ("bus", ["the bus", "the bus "] * 5, True),
        ("", ["a"] * 9 + ANOTHER, True),
    ],
)
def test_several_people_count_as_published(written, references, right):
    assert vqa_accuracy(written, references) == float(right)


def restated(text: str) -> str:
    kept = text
    for mark in ";/[]{}()=+_-><@`,?!" + '"' + chr(92):
        beside = mark + " " in text or " " + mark in text or re.search("[0-9],[0-9]", text)
        kept = ("" if beside else " ").join(kept.split(mark))
    kept = "".join(sign for sign, after in zip(kept, (kept + "x")[1:], strict=True) if sign != "." or after.isdigit())
    words = [{"two": "2", "none": "0", "dont": "don't"}.get(word, word) for word in kept.lower().split()]
    return " ".join(word for word in words if word not in ("a", "an", "the"))


SAID = st.lists(st.sampled_from([*" -.,;%'1a", " ", "two", "None", "dont", "t-shirt", "The"]), max_size=6).map("".join)


@given(st.lists(SAID, min_size=1, max_size=3), st.data())
def test_accuracy_of_several_people_equals_a_restatement(pool, data):
    references = data.draw(st.lists(st.sampled_from(pool), min_size=2, max_size=10))
    answer = data.draw(st.sampled_from([*pool, pool[0].upper(), pool[0].replace("-", " "), pool[0] + "."]))
    said, people = answer.strip(), [one.strip() for one in references]
    if len(set(people)) > 1:
        said, people = restated(said), [restated(one) for one in people]
    else:
        said, people = restated(said) or said.lower(), [restated(one) or one.lower() for one in people]
    groups = list(combinations(people, len(people) - 1))
    expected = sum(min(1.0, group.count(said) / 3) for group in groups) / len(groups)
    assert vqa_accuracy(answer, references) == pytest.approx(expected, abs=1e-12)
