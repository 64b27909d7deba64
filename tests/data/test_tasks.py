"""Questions about scenes: planes that match their labels, the same ones for the same seed, in any order."""

from __future__ import annotations

import io
import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from text4seg.data.items import conversation
from text4seg.data.sources.scenes.examples import examples
from text4seg.data.sources.settings import ScenesSettings
from text4seg.data.tasks.samples import samples
from text4seg.data.tasks.settings import TaskSettings
from text4seg.data.types import IGNORE, Example, Referent
from text4seg.data.variants import Variant
from text4seg.templates import ANSWERS, NO_TARGET_ANSWERS, QUESTIONS

TASKS = ("referring", "generalized", "all", "partial", "conditioned", "semantic", "mix")
SCENES = ScenesSettings(
    count=25, size=[48, 48], questions=3, classes="any", kinds={"attribute": 2, "none": 1, "several": 1}, noise=0
)
MIX = {"referring": 1.0, "all": 1.0, "conditioned": 1.0}


@pytest.fixture(scope="module")
def scenes():
    return list(examples(SCENES, 3))


def ask(found, task, seed=0, **changes):
    settings = TaskSettings(**{"weights": MIX if task == "mix" else {}, **changes})
    return list(samples(found, task, settings, seed))


def plain(found):
    return [(sample.key, sample.turns, sample.masks.tobytes()) for sample in found]


def mask_of(example, label):
    """Where a label of a turn lies, found from the example alone."""
    for referent in example.referents:
        if label in referent.phrases:
            return referent.mask
    assert label in example.labels
    return example.mask == example.labels.index(label)


@pytest.mark.parametrize("task", TASKS)
def test_every_plane_matches_its_labels(scenes, task):
    by_id = {example.id: example for example in scenes}
    found = ask(scenes, task, turns=2)
    assert found
    for sample in found:
        example = by_id[sample.key.rpartition("-")[0]]
        assert sample.masks.shape == (len(sample.turns), *example.size)
        assert sample.masks.dtype == np.uint8
        for turn, plane in zip(sample.turns, sample.masks, strict=True):
            assert turn.labels[0] == "others"
            for value, label in enumerate(turn.labels[1:], 1):
                np.testing.assert_array_equal(plane == value, mask_of(example, label))
            assert plane.max() < len(turn.labels)


@pytest.mark.parametrize("task", TASKS)
def test_a_seed_decides_everything_and_the_order_nothing(scenes, task):
    first = ask(scenes, task, seed=4, turns=2)
    assert plain(first) == plain(ask(scenes, task, seed=4, turns=2))
    assert plain(first) != plain(ask(scenes, task, seed=5, turns=2))
    backwards = ask(scenes[::-1], task, seed=4, turns=2)
    assert sorted(plain(backwards)) == sorted(plain(first))
    assert plain(ask(scenes[7:8], task, seed=4, turns=2)) == [
        part for part in plain(first) if part[0].startswith(scenes[7].id)
    ]


def test_only_generalized_asks_for_what_is_not_there(scenes):
    assert any(not referent.mask.any() for example in scenes for referent in example.referents)
    assert all(plane.any() for sample in ask(scenes, "referring") for plane in sample.masks)
    assert all(plane.any() for sample in ask(scenes, "mix", weights={"referring": 1.0, "all": 1.0}, turns=3)
               for turn, plane in zip(sample.turns, sample.masks, strict=True) if turn.task == "referring")  # fmt: skip
    assert any(not plane.any() for sample in ask(scenes, "generalized") for plane in sample.masks)


def test_a_missing_target_changes_the_answer_but_no_question(scenes):
    for sample in ask(scenes, "generalized"):
        for turn, plane in zip(sample.turns, sample.masks, strict=True):
            openers = ANSWERS["partial"] if plane.any() else NO_TARGET_ANSWERS
            assert turn.answer_prefix in openers
            assert turn.question in {question.replace("{labels}", turn.labels[1]) for question in QUESTIONS["partial"]}


@pytest.mark.parametrize("task", ["all", "partial", "conditioned"])
def test_questions_come_from_their_list_and_name_what_is_asked(scenes, task):
    used = Counter()
    for sample in ask(scenes, task, turns=3):
        for turn in sample.turns:
            assert turn.task == task
            if task == "all":
                assert turn.question in QUESTIONS["all"]
                used[turn.question] += 1
                continue
            heads = [q for q in QUESTIONS[task] if turn.question.startswith(q.split("{labels}")[0])]
            assert any(turn.question.endswith(q.split("{labels}")[1]) for q in heads)
            assert all(label in turn.question for label in turn.labels[1:])
            used[heads[0]] += 1
    assert len(used) > 5


def test_conditioned_lists_absent_classes_and_sometimes_others(scenes):
    turns = [
        (turn, plane)
        for sample in ask(scenes, "conditioned", turns=8)
        for turn, plane in zip(sample.turns, sample.masks, strict=True)
    ]
    absent = [len(np.unique(plane[plane > 0])) < len(turn.labels) - 1 for turn, plane in turns]
    assert 0.8 < np.mean(absent) < 0.97
    assert 0.35 < np.mean(["others" in turn.question for turn, _ in turns]) < 0.65
    never = ask(scenes, "conditioned", absent=0.0, others_listed=0.0)
    assert not any("others" in sample.turns[0].question for sample in never)
    assert all(len(np.unique(s.masks[s.masks > 0])) == len(s.turns[0].labels) - 1 for s in never)


def test_the_semantic_mixture_is_the_papers(scenes):
    drawn = Counter(turn.task for sample in ask(scenes, "semantic", turns=40) for turn in sample.turns)
    total = drawn.total()
    assert total == 25 * 40
    for task, share in (("all", 0.1), ("partial", 0.3), ("conditioned", 0.6)):
        assert drawn[task] / total == pytest.approx(share, abs=0.05)


def test_the_first_turn_can_be_fixed(scenes):
    found = ask(scenes, "mix", turns=3, first="all")
    assert {sample.turns[0].task for sample in found} == {"all"}
    assert {turn.task for sample in found for turn in sample.turns[1:]} == {"referring", "all", "conditioned"}


def test_fixed_templates_leave_nothing_to_chance(scenes):
    questions = {sample.turns[0].question for sample in ask(scenes, "all", fixed_template=True)}
    assert questions == {QUESTIONS["all"][0]}


def test_fixed_templates_do_not_claim_what_is_not_there(scenes):
    """Neither those of a built set nor the plain wording that a variant puts in their place."""
    found = ask(scenes, "generalized", fixed_template=True)
    variant = Variant("rrle", (4, 4), "center", plain=True)
    seen = set()
    for sample in found:
        (turn,), ((_, text),) = sample.turns, conversation(sample, variant, False)
        there = bool(sample.masks.any())
        assert turn.answer_prefix == (ANSWERS["partial"] if there else NO_TARGET_ANSWERS)[0]
        assert text.startswith(turn.answer_prefix)
        seen.add(there)
    assert seen == {True, False}


def test_ignored_pixels_stay_ignored_and_keys_lose_their_dots():
    buffer = io.BytesIO()
    Image.new("RGB", (3, 2)).save(buffer, "PNG")
    mask = np.array([[0, 1, IGNORE], [2, 2, IGNORE]], np.uint8)
    example = Example("a.b/c d", buffer.getvalue(), (2, 3), "cars", ("others", "dog", "red car"), mask)
    (sample,) = ask([example], "partial", named=["red car"])
    assert re.fullmatch(r"a_b_c_d-[0-9a-f]{8}-000", sample.key)
    assert sample.image[:3] == b"\xff\xd8\xff"
    np.testing.assert_array_equal(sample.masks, [[[0, 0, IGNORE], [1, 1, IGNORE]]])


def test_phrases_all_asks_every_expression(scenes):
    mask = np.ones(scenes[0].size, bool)
    example = replace(scenes[0], referents=(Referent(("one", "two", "three"), mask),))
    assert len(ask([example], "referring")) == 1
    asked = [turn.labels[1] for sample in ask([example], "referring", phrases="all", turns=2) for turn in sample.turns]
    assert sorted(asked) == ["one", "three", "two"]


@pytest.mark.parametrize(
    ("task", "changes", "message"),
    [
        ("guess", {}, "unknown task 'guess'"),
        ("all", {"turns": 0}, "`task_options.turns` must be 1 or more"),
        ("referring", {"phrases": "every"}, "random or all"),
        ("mix", {"weights": {}}, "must name some of"),
        ("semantic", {"weights": {"guess": 1.0}}, "must name some of"),
        ("partial", {"named": ["unicorn"]}, "asks for 'unicorn'"),
        ("semantic", {"weights": {"all": 0.0}}, "must name some of"),
        ("conditioned", {"absent": 1.5}, "`task_options.absent`"),
        ("conditioned", {"others_listed": -1.0}, "`task_options.others_listed`"),
    ],
)
def test_mistakes_are_told(scenes, task, changes, message):
    with pytest.raises(ValueError, match=message):
        ask(scenes, task, **changes)


def test_a_label_with_a_separator_names_the_example(scenes):
    example = replace(scenes[0], referents=(Referent(("red|car",), np.ones(scenes[0].size, bool)),))
    with pytest.raises(ValueError, match=f"scenes {example.id}"):
        ask([example], "referring")


@pytest.mark.parametrize(("phrase", "message"), [("others", "names the background"), ("a\ud800b", "no Unicode text")])
def test_a_phrase_that_no_answer_can_carry_names_the_example_and_the_ref(scenes, phrase, message):
    example = replace(scenes[0], referents=(Referent((phrase,), np.ones(scenes[0].size, bool), "ref-7"),))
    with pytest.raises(ValueError, match=f"scenes {example.id}, ref-7: .*{message}"):
        ask([example], "referring")


def test_a_class_that_is_named_twice_names_the_example(scenes):
    named = [scenes[0].labels[1]] * 2
    with pytest.raises(ValueError, match=f"scenes {scenes[0].id}: .*asked for twice"):
        ask(scenes[:1], "partial", named=named)


@pytest.mark.parametrize("quality", [0, 101, -3])
def test_the_quality_of_a_jpeg_has_limits(scenes, quality):
    with pytest.raises(ValueError, match="`quality` must be 1 to 100"):
        list(samples(scenes, "all", TaskSettings(), 0, quality))
