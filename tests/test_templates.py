"""Questions and answers: enough of them, slots filled, nothing given away; a user's own lists."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from text4seg.templates import ANSWERS, DEFAULT, FAMILIES, JOINER, NO_TARGET_ANSWERS, QUESTIONS, Templates, hint

PAPER = {"all": (13, 11), "partial": (6, 10), "conditioned": (7, 13)}
"""Numbers of questions and answers in the published lists."""
LABELS = st.lists(st.text("abc {}%\\1", min_size=1, max_size=8), min_size=1, max_size=4)


@pytest.mark.parametrize("family", PAPER)
def test_there_are_at_least_as_many_as_in_the_paper(family):
    questions, answers = PAPER[family]
    assert len(set(QUESTIONS[family])) == len(QUESTIONS[family]) >= questions
    assert len(set(ANSWERS[family])) == len(ANSWERS[family]) >= answers


@given(st.sampled_from(sorted(FAMILIES)), LABELS, st.integers())
def test_every_label_is_in_the_question_as_it_is(task, labels, seed):
    question, opener = DEFAULT.ask(task, labels, random.Random(seed))
    assert (JOINER.join(labels) in question) == (task != "all") or JOINER.join(labels) in question
    assert "{labels}" not in question + opener or "{labels}" in "".join(labels)
    assert opener


@given(st.sampled_from(["generalized", "conditioned", "partial"]), LABELS, st.integers())
def test_a_question_does_not_tell_whether_there_is_a_target(task, labels, seed):
    there = DEFAULT.ask(task, labels, random.Random(seed), found=True)
    missing = DEFAULT.ask(task, labels, random.Random(seed), found=False)
    assert there[0] == missing[0]
    assert missing[1] in NO_TARGET_ANSWERS
    assert there[1] not in NO_TARGET_ANSWERS


def test_the_fixed_template_is_the_same_every_time():
    assert {DEFAULT.fixed("referring", ["the dog"]) for _ in range(9)} == {DEFAULT.fixed("referring", ["the dog"])}
    assert DEFAULT.fixed("referring", ["a"], 1) != DEFAULT.fixed("referring", ["a"], 0)
    question, opener = DEFAULT.fixed("generalized", ["a"], found=False)
    assert question == DEFAULT.fixed("generalized", ["a"])[0]
    assert opener in NO_TARGET_ANSWERS


def test_an_unknown_task_is_named():
    with pytest.raises(ValueError, match="unknown task 'reffering'"):
        DEFAULT.ask("reffering", ["a"], random.Random(0))


def test_the_hint_names_the_format():
    assert hint("rrle", (8, 12)) == " (8x12 rrle)"


def test_own_lists_from_yaml(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("partial:\n  questions: ['Wo ist {labels}?']\n  answers: ['Hier:']\n")
    mine = Templates.load(path)
    assert mine.ask("referring", ["der Hund"], random.Random(0)) == ("Wo ist der Hund?", "Hier:")
    assert mine.questions["all"] == QUESTIONS["all"]


def test_own_answers_for_what_is_not_there(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("no_target: {answers: ['Das gibt es hier nicht:']}\n")
    mine = Templates.load(path)
    assert mine.ask("referring", ["x"], random.Random(0), found=False)[1] == "Das gibt es hier nicht:"
    assert mine.ask("referring", ["x"], random.Random(0))[1] in ANSWERS["partial"]


def test_the_published_file_by_path_is_read_and_never_run(tmp_path):
    path = tmp_path / "question_answer_list.py"
    path.write_text(
        "import os\nos.abort()\n"
        "QUESTION_PARTIAL = ['Show the [class_name] now?']\nANSWER_PARTIAL = ['It is:']\n"
        "QUESTION_CONDITION = ['Only [class_name].']\nOTHER = 3\n"
    )
    theirs = Templates.load(path)
    assert theirs.ask("partial", ["a", "b"], random.Random(0)) == ("Show the a, b now?", "It is:")
    assert theirs.fixed("conditioned", ["c"])[0] == "Only c."
    assert theirs.answers["all"] == ANSWERS["all"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.yaml", "partial: {questions: ['no slot']}", "has no slot"),
        ("a.yaml", "partial: {questions: []}", "non-empty list"),
        ("a.yaml", "partial: {answers: [3]}", "non-empty list of strings"),
        ("a.yaml", "some: {questions: ['a {labels}']}", "unknown family 'some'"),
        ("a.yaml", "[1, 2]", "must map families"),
        ("a.yaml", "a: [", "not YAML"),
        ("a.yaml", "partial: {question: ['a {labels}']}", "no list 'question'; expected questions or answers"),
        ("a.yaml", "no_target: {questions: ['a {labels}']}", "no list 'questions'; expected answers"),
        ("a.yaml", "partial: {answers: ['It is <seg>:']}", "holds <seg>"),
        ("a.yaml", b"partial: {answers: ['sch\xf6n']}", "a.yaml is not YAML"),
        ("a.py", "X = 1", "no QUESTION_"),
        ("a.py", "QUESTION_ALL = 'one text'", "not a plain list of strings"),
        ("a.py", "ANSWER_ALL = ['a', 3]", "not a plain list of strings"),
        ("a.py", "def broken(:", "not Python"),
        ("a.py", "QUESTION_ALL = open('x').read()", "not a plain list"),
    ],
)
def test_bad_lists_say_what_is_wrong(tmp_path, name, text, message):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=message):
        Templates.load(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match="no template file"):
        Templates.load(tmp_path / "none.yaml")
