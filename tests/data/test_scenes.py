"""Drawn scenes: what their settings promise, measured on the pictures, and phrases that are true."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from text4seg.data.sources.scenes import examples as drawn
from text4seg.data.sources.scenes.examples import examples
from text4seg.data.sources.scenes.things import COLOURS, SHAPES, TEXTURES
from text4seg.data.sources.settings import ScenesSettings

PLAIN = ScenesSettings(count=250, size=[96, 96])
EVERY_KIND = {"attribute": 1.0, "size": 1, "texture": 1, "relation": 1, "position": 1, "several": 1, "none": 1}
NEAR = 0.06
NOUNS = {"object": None, "objects": None, "crosses": "cross", **{s: s for s in SHAPES}, **{f"{s}s": s for s in SHAPES}}
SIDES = {"left of": ("x", -1), "right of": ("x", 1), "above": ("y", -1), "below": ("y", 1)}
ENDS = {"leftmost": ("x", -1), "rightmost": ("x", 1), "topmost": ("y", -1), "lowest": ("y", 1)}


def scenes_with_things(settings, seed=0):
    """Each example beside the things and owners that it was drawn from, caught on the way to `draw`."""
    caught = []

    def draw(things, *rest):
        found = original(things, *rest)
        caught.append((list(things), found[1]))
        return found

    original = drawn.draw
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drawn, "draw", draw)
        for example in examples(settings, seed):
            yield (example, *caught[-1])


@pytest.fixture(scope="module")
def plain():
    return list(scenes_with_things(PLAIN))


@pytest.fixture(scope="module")
def varied():
    return list(scenes_with_things(replace(PLAIN, count=150, kinds=EVERY_KIND, questions=6)))


def matches(words, thing):
    """Whether a thing is what the plain words say; each word is looked at by itself."""
    for word in words.split():
        if word in ("small", "large"):
            if thing.size != word:
                return False
        elif word in TEXTURES:
            if thing.texture != word:
                return False
        elif word in COLOURS:
            if thing.colour != word:
                return False
        elif NOUNS[word] not in (None, thing.shape):
            return False
    return True


def meant(phrase, things):
    """Indices that an expression means, read from its text by code of its own."""
    relation = re.fullmatch(r"(.+?) (left of|right of|above|below) the (.+)", phrase)
    if relation:
        words, side, anchor = relation.groups()
        (at,) = [i for i, thing in enumerate(things) if matches(anchor, thing)]
        axis, sign = SIDES[side]
        gaps = {
            i: sign * (getattr(thing, axis) - getattr(things[at], axis))
            for i, thing in enumerate(things)
            if i != at and matches(words, thing)
        }
        assert all(abs(gap) >= NEAR for gap in gaps.values()), "borderline"
        return {i for i, gap in gaps.items() if gap > 0}
    first, _, rest = phrase.partition(" ")
    if first in ENDS:
        axis, sign = ENDS[first]
        ranked = sorted((sign * getattr(thing, axis), i) for i, thing in enumerate(things) if matches(rest, thing))
        assert ranked[-1][0] - ranked[-2][0] >= NEAR, "borderline"
        return {ranked[-1][1]}
    words = phrase.removeprefix("all ")
    return {i for i, thing in enumerate(things) if matches(words, thing)}


def test_a_seed_gives_the_same_bytes_and_another_seed_others():
    settings = replace(PLAIN, count=4)
    first, second, other = (list(examples(settings, seed)) for seed in (7, 7, 8))
    for a, b, c in zip(first, second, other, strict=True):
        assert a.image == b.image != c.image
        np.testing.assert_array_equal(a.mask, b.mask)
        assert [r.phrases for r in a.referents] == [r.phrases for r in b.referents]


def test_a_picture_does_not_depend_on_how_many_are_drawn():
    few, many = (list(examples(replace(PLAIN, count=count), 1)) for count in (2, 5))
    assert [example.image for example in few] == [example.image for example in many[:2]]


def test_pictures_hold_four_to_seven_things(plain):
    counts = [len(things) for _, things, _ in plain]
    assert set(counts) == {4, 5, 6, 7}
    for example, _, owners in plain:
        assert example.size == owners.shape == example.mask.shape == (96, 96)
        assert 1 <= len(example.referents) <= PLAIN.questions


def test_no_two_things_share_shape_and_colour(plain):
    assert all(len({(t.shape, t.colour) for t in things}) == len(things) for _, things, _ in plain)


def test_targets_have_the_share_of_the_frame_that_was_asked_for(plain):
    shares = [referent.mask.mean() for example, _, _ in plain for referent in example.referents]
    low, high = PLAIN.target_share
    assert min(shares) >= low
    assert max(shares) <= high
    tight = replace(PLAIN, count=30, target_share=[0.05, 0.08])
    assert all(0.05 <= r.mask.mean() <= 0.08 for example in examples(tight, 0) for r in example.referents)


def distractor_share(plain):
    twins = []
    for example, things, _ in plain:
        for referent in example.referents:
            me = things[int(referent.id)]
            twins.append(any(t is not me and (t.shape == me.shape or t.colour == me.colour) for t in things))
    assert len(twins) > 500
    return np.mean(twins)


def test_about_the_asked_share_of_targets_has_a_distractor(plain):
    # A little more than asked: some pictures hold no thing that stands alone, and ask one question less.
    assert -0.02 < distractor_share(plain) - PLAIN.distractor_share < 0.08


def test_excluded_pairs_are_never_drawn():
    pairs = ["red circle", "blue star"]
    _, mostly = zip(*[(e, t) for e, t, _ in scenes_with_things(replace(PLAIN, count=120))], strict=True)
    assert any(f"{t.colour} {t.shape}" in pairs for things in mostly for t in things), "or the test says nothing"
    for example, things, _ in scenes_with_things(replace(PLAIN, count=120, exclude_pairs=pairs, kinds=EVERY_KIND)):
        assert not any(f"{t.colour} {t.shape}" in pairs for t in things)
        # Nor named: only a question for what is not there could do that.
        assert not any(pair in r.phrases[0] for r in example.referents if r.mask.any() for pair in pairs)


def test_every_phrase_means_exactly_its_mask(varied):
    kinds = set()
    for example, things, owners in varied:
        for referent in example.referents:
            (phrase,) = referent.phrases
            found = meant(phrase, things)
            np.testing.assert_array_equal(referent.mask, np.isin(owners, [i + 1 for i in found]), err_msg=phrase)
            first = phrase.split()[0]
            kinds.add("relation" if " the " in phrase else first if first in ("all", *ENDS) else len(found))
    assert kinds >= {0, 1, "relation", "all", "leftmost", "rightmost", "topmost", "lowest"}


def test_a_single_target_phrase_means_one_thing(plain):
    for example, things, _ in plain:
        assert all(len(meant(r.phrases[0], things)) == 1 for r in example.referents)


def test_a_thing_that_is_named_shows_in_its_colour(plain):
    for example, things, owners in plain[:40]:
        pixels = np.asarray(Image.open(io.BytesIO(example.image)).convert("RGB")).astype(float)
        for number, thing in enumerate(things, 1):
            if thing.texture == "plain" and (owners == number).sum() > 100:
                shown = np.median(pixels[owners == number], axis=0)
                nearest = min(COLOURS, key=lambda name: np.abs(shown - COLOURS[name]).sum())
                assert nearest == thing.colour


@pytest.mark.parametrize("classes", ["shape", "colour", "both"])
def test_the_semantic_mask_names_what_is_drawn(classes):
    for example, things, owners in scenes_with_things(replace(PLAIN, count=5, classes=classes)):
        for number, thing in enumerate(things, 1):
            name = {"shape": thing.shape, "colour": thing.colour, "both": f"{thing.colour} {thing.shape}"}[classes]
            assert {example.labels[v] for v in np.unique(example.mask[owners == number])} <= {name}
        assert (example.mask[owners == 0] == 0).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kinds": {"guess": 1.0}}, "`kinds`"),
        ({"kinds": {"attribute": 0.0}}, "`kinds`"),
        ({"classes": "size"}, "`classes`"),
        ({"objects": [5, 4]}, "`objects`"),
        ({"target_share": [0.9, 1.0]}, "widen `target_share`"),
        ({"kinds": {"attribute": 1.0, "none": -1.0}}, "`kinds`"),
        ({"objects": [4]}, "`objects`"),
        ({"objects": [1, 2, 3]}, "`objects`"),
        ({"size": [64]}, "`size`"),
        ({"size": [0, 64]}, "`size`"),
        ({"size": [100_000, 100_000]}, "`size`"),
        ({"target_share": [0.2]}, "`target_share`"),
        ({"target_share": [0.3, 0.2]}, "`target_share`"),
        ({"distractor_share": 1.5}, "`distractor_share`"),
        ({"textured": -0.1}, "`textured`"),
        ({"questions": 0}, "`questions`"),
        ({"count": -1}, "`count`"),
        ({"exclude_pairs": ["red cirlce"]}, "`exclude_pairs`"),
    ],
)
def test_impossible_settings_are_told(changes, message):
    with pytest.raises(ValueError, match=message):
        next(examples(replace(PLAIN, **changes), 0))
