"""What chance decides in questions: the mixture and the wordings as stated (chi-square), the same bytes for a seed."""

from __future__ import annotations

import io
from collections import Counter

import numpy as np
import pytest
from PIL import Image
from scipy.stats import chisquare

from text4seg.data.sources.options import from_options
from text4seg.data.tasks.samples import samples
from text4seg.data.tasks.settings import TaskSettings, preset
from text4seg.data.types import Example
from text4seg.templates import ANSWERS, QUESTIONS

UNLIKELY = 1e-4
"""A fair draw fails one test in ten thousand; seeds are fixed, so this decides once."""


def png(height, width):
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def example(height=6, width=8, classes=4):
    mask = np.arange(height * width, dtype=np.uint8).reshape(height, width) % (classes - 1)
    labels = ("others", *(f"class {i}" for i in range(1, classes)))
    return Example("a", png(height, width), (height, width), "drawn", labels, mask)


def turns_of(task, **options):
    settings = from_options(TaskSettings, preset(task, options), "task_options")
    return [sample.turns for sample in samples([example()], task, settings, 7)]


@pytest.fixture(scope="module")
def many():
    """100,000 semantic questions."""
    return [turn for turns in turns_of("semantic", turns=10, repeats=10_000) for turn in turns]


def test_the_mixture_is_one_to_three_to_six(many):
    drawn = Counter(turn.task for turn in many)
    assert drawn.total() == 100_000
    found = [drawn[task] for task in ("all", "partial", "conditioned")]
    assert chisquare(found, [10_000, 30_000, 60_000]).pvalue > UNLIKELY
    assert chisquare(found, [11_000, 30_000, 59_000]).pvalue < UNLIKELY  # one in a hundred more would be noticed


@pytest.mark.parametrize("task", ["all", "partial", "conditioned"])
def test_every_wording_is_as_likely_as_the_others(many, task):
    heads = {text: text.split("{labels}") for text in QUESTIONS[task]}
    asked, opened = Counter(), Counter()
    for turn in (turn for turn in many if turn.task == task):
        opened[turn.answer_prefix] += 1
        head = next(t for t, h in heads.items() if turn.question.startswith(h[0]) and turn.question.endswith(h[-1]))
        asked[head] += 1
    assert chisquare([asked[text] for text in QUESTIONS[task]]).pvalue > UNLIKELY
    found = [opened[text] for text in ANSWERS[task]]  # answers about classes that are not there open otherwise
    assert chisquare(found).pvalue > UNLIKELY


def test_the_published_sampling():
    """After an `all` turn always `conditioned`, else 1 : 3 : 6; labels joined by a bar."""
    groups = turns_of("semantic", compat="text4seg_v1", repeats=20_000, crops=[], synonyms=0.0)
    assert {len(turns) for turns in groups} == {2}
    first = Counter(turns[0].task for turns in groups)
    assert chisquare([first[t] for t in ("all", "partial", "conditioned")], [2000, 6000, 12000]).pvalue > UNLIKELY
    after = {task: Counter(turns[1].task for turns in groups if turns[0].task == task) for task in first}
    assert set(after["all"]) == {"conditioned"}
    for task in ("partial", "conditioned"):
        total = after[task].total()
        expected = [share * total for share in (0.1, 0.3, 0.6)]
        assert chisquare([after[task][t] for t in ("all", "partial", "conditioned")], expected).pvalue > UNLIKELY
    asked = next(turn for turns in groups for turn in turns if turn.task == "partial" and len(turn.labels) > 2)
    assert "|".join(asked.labels[1:]) in asked.question


def test_referring_compat_asks_every_sentence_twice():
    with pytest.raises(ValueError, match=r"no `task_options\.compat`=text4seg_v1 for the task 'parts'"):
        preset("parts", {"compat": "text4seg_v1"})
    with pytest.raises(ValueError, match=r"no `task_options\.compat`=v2"):
        preset("semantic", {"compat": "v2"})
    settings = from_options(TaskSettings, preset("referring", {"compat": "text4seg_v1"}), "task_options")
    assert (settings.repeats, settings.turns, settings.phrases) == (2, 1, "all")


@pytest.mark.parametrize("task", ["semantic", "all"])
def test_the_same_seed_gives_the_same_bytes(task):
    options = {"crops": [4], "repeats": 30, "turns": 2}
    settings = TaskSettings(**options)

    def told(seed):
        return [(s.key, s.image, s.turns, s.masks.tobytes()) for s in samples([example()], task, settings, seed)]

    assert told(1) == told(1) != told(2)
    assert len({(image, masks) for _, image, _, masks in told(1)}) > 5  # visits differ
