"""VQA accuracy against the definition taken word by word, and what counts as the same answer."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from text4seg.metrics.vqa import comparable, vqa_accuracy


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
