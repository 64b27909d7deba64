"""Options of the tasks: crops, synonyms, void, parts, several objects, words, separators, more than 254 classes."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from test_task_draws import example, png

from text4seg.data.image import BLANK, open_image
from text4seg.data.items import conversation, items
from text4seg.data.notes import Notes
from text4seg.data.shards.record import from_members, to_members
from text4seg.data.tasks.samples import samples
from text4seg.data.tasks.semantic import shared_words
from text4seg.data.tasks.settings import TaskSettings
from text4seg.data.types import IGNORE_16, Example, Referent
from text4seg.data.variants import Variant

SIZE = (6, 8)


def ask(found, task, notes=None, on_error="raise", **options):
    return list(samples([found], task, TaskSettings(**options), 3, 95, notes, on_error))


def referent(phrase, rows, void=None):
    mask = np.zeros(SIZE, bool)
    mask[rows] = True
    return Referent((phrase,), mask, phrase[:1], void)


def referring(*referents):
    return Example("r", png(*SIZE), SIZE, "drawn", referents=referents)


def test_crops_cut_picture_and_masks_alike():
    height, width = 40, 60
    pixels = np.zeros((height, width, 3), np.uint8)
    mask = np.zeros((height, width), np.uint8)
    mask[10:30, 20:45] = 1
    pixels[mask == 1] = 255

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    whole = Example("c", buffer.getvalue(), (height, width), "drawn", ("others", "box"), mask)
    seen = set()
    for sample in ask(whole, "partial", crops=[16, 24, 300], repeats=40, named=["box"]):
        picture = np.asarray(open_image(sample.image, "c"))
        assert picture.shape[0] == picture.shape[1] == sample.masks.shape[1] == sample.masks.shape[2]
        seen.add(picture.shape[0])
        agree = (picture[..., 0] > 127) == (sample.masks[0] == 1)
        assert agree.mean() > 0.97  # JPEG rounds the edges
    assert seen == {16, 24}
    assert {s.masks.shape[1] for s in ask(whole, "partial", crops=[300], named=["box"])} == {40}


def test_crops_of_one_value_are_left_out_where_asked():
    notes = Notes()
    plain = replace(example(), mask=np.ones(SIZE, np.uint8))
    assert len(ask(plain, "all", repeats=3)) == 3
    assert ask(plain, "all", notes, repeats=3, uniform=False) == []
    assert notes.counts["crops of one single value"] == 3


@pytest.mark.parametrize("shared", [False, True])
def test_synonyms_that_stand_for_several_classes_are_only_drawn_where_asked(shared):
    found = replace(
        example(),
        labels=("others", "bicycle", "motorcycle", "tree"),
        synonyms=((), ("bike", "cycle"), ("bike", "motorbike"), ()),
    )
    assert shared_words(found.labels, found.synonyms) == {"bike": ("bicycle", "motorcycle")}
    used = set()
    for sample in ask(found, "all", repeats=60, synonyms=1.0, shared_synonyms=shared):
        labels = sample.turns[0].labels
        used |= set(labels[1:])
        if labels == ("others", "bike"):  # both classes under one word are one label
            np.testing.assert_array_equal(sample.masks[0], found.mask > 0)
    assert used == {"cycle", "motorbike"} | ({"bike"} if shared else set())
    assert {label for s in ask(found, "all", repeats=20) for label in s.turns[0].labels[1:]} == set(found.labels[1:3])
    assert (
        ask(found, "partial", synonyms=1.0, synonyms_in=["all"], named=["bicycle"])[0].turns[0].labels[1] == "bicycle"
    )


@pytest.mark.parametrize(("void", "value"), [("ignore", 255), ("others", 0)])
def test_void_is_ignored_or_background(void, value):
    mask = np.array(example().mask)
    mask[0] = 255
    (sample,) = ask(replace(example(), mask=mask), "all", void=void)
    assert set(sample.masks[0, 0]) == {value}
    hidden = np.zeros(SIZE, bool)
    hidden[5] = True
    (sample,) = ask(referring(referent("box", slice(0, 2), hidden)), "referring", void=void)
    assert set(sample.masks[0, 5]) == {value}
    text = conversation(sample, Variant("rrle", SIZE, "labelled"), False)[0][1]
    assert text.count("box") == 2


def test_void_is_not_taught_as_background():
    mask = np.full(SIZE, 255, np.uint8)
    mask[:, :3] = 1
    (sample,) = ask(replace(example(), mask=mask), "all")
    spelled = {r: conversation(sample, Variant("rrle", SIZE, r), False)[0][1] for r in ("labelled", "center")}
    assert "others" not in spelled["labelled"]
    assert "others *5" in spelled["center"]


def test_parts_say_whose_they_are():
    labels = ("others", "head of dog", "leg of dog", "head of cat", "dog")
    mask = np.zeros(SIZE, np.uint8)
    mask[0], mask[1], mask[2], mask[3] = 1, 2, 3, 4
    found = replace(example(), labels=labels, mask=mask, wholes=("", "dog", "dog", "cat", ""))
    asked = {}
    for sample in ask(found, "parts", repeats=30):
        (turn,) = sample.turns
        whole = "dog" if "dog" in turn.question else "cat"
        asked[whole] = turn.labels
        for value, label in enumerate(turn.labels[1:], 1):
            np.testing.assert_array_equal(sample.masks[0] == value, mask == labels.index(label))
    assert asked == {"dog": ("others", "head of dog", "leg of dog"), "cat": ("others", "head of cat")}
    assert ask(example(), "parts") == []


def mug() -> Example:
    """A mug that its parts cover wholly, a cup that its handle covers in part, a cloth wholly under a plate."""
    labels = ("others", "mug", "handle of mug", "body of mug", "cup", "handle of cup", "cloth", "plate", "fork")
    mask = np.zeros(SIZE, np.uint8)
    mask[0], mask[1], mask[2], mask[3], mask[4] = 2, 3, 4, 5, 7
    wholes = ("", "", "mug", "mug", "", "cup", "", "", "")
    under = (referent("cloth", slice(4, 5)),)
    return replace(example(), labels=labels, mask=mask, wholes=wholes, referents=under)


def test_an_object_has_the_pixels_of_the_parts_that_are_not_asked_for():
    rows = {"mug": {0, 1}, "handle of mug": {0}, "body of mug": {1}, "cup": {2, 3}, "handle of cup": {3}, "plate": {4}}
    asked = set()
    for task in ("partial", "conditioned"):
        for sample in ask(mug(), task, repeats=60):
            labels = sample.turns[0].labels
            for value, label in enumerate(labels[1:], 1):
                parts = {"handle of " + label, "body of " + label} & set(labels)
                wanted = rows.get(label, set()) - {row for part in parts for row in rows[part]}
                assert set(np.flatnonzero((sample.masks[0] == value).any(axis=1)).tolist()) == wanted, labels
            asked |= set(labels)
    assert asked == {"others", *rows, "fork"}, "a cloth that lies under a plate is not absent"


def test_only_what_was_looked_for_is_asked_for_as_absent():
    seen = replace(mug(), absent=(8,), referents=())
    asked = {label for s in ask(seen, "conditioned", repeats=60, absent=1.0) for label in s.turns[0].labels}
    assert "fork" in asked
    assert "cloth" not in asked
    nothing = replace(seen, absent=())
    asked = {label for s in ask(nothing, "conditioned", repeats=60, absent=1.0) for label in s.turns[0].labels}
    assert not asked & {"fork", "cloth"}


def test_expressions_without_a_target_are_counted_where_the_task_cannot_ask_for_them():
    found = referring(referent("dog", slice(0, 2)), referent("cat", slice(0, 0)))
    for task, count in (("referring", 1), ("generalized", 0)):
        notes = Notes()
        assert len(ask(found, task, notes)) == 2 - count
        assert sum(notes.counts.values()) == count


def test_several_expressions_share_an_answer_and_the_smaller_keeps_its_pixels():
    found = referring(referent("all", slice(0, 6)), referent("top", slice(0, 2)), referent("low", slice(5, 6)))
    sizes = set()
    for sample in ask(found, "referring", objects=3, repeats=30):
        labels, plane = sample.turns[0].labels, sample.masks[0]
        sizes.add(len(labels) - 1)
        assert all(label in sample.turns[0].question for label in labels[1:])
        for phrase, rows in (("top", slice(0, 2)), ("low", slice(5, 6))):
            if phrase in labels:
                assert (plane[rows] == labels.index(phrase)).all()
    assert sizes == {1, 2, 3}
    twins = referring(referent("dog", slice(0, 2)), referent("dog", slice(3, 4)))
    assert {len(s.turns[0].labels) for s in ask(twins, "referring", objects=2, repeats=10)} == {2}


def test_further_turns_may_repeat_a_referent():
    found = referring(referent("top", slice(0, 2)), referent("low", slice(5, 6)))
    pairs = [tuple(t.labels[1] for t in s.turns) for s in ask(found, "referring", turns=2, further="any", repeats=30)]
    assert {a for a, _ in pairs} == {"top", "low"}
    assert {a == b for a, b in pairs} == {True, False}
    assert len(pairs) == 60


def test_words_pass_untouched_and_are_not_scored():
    said = (("What is it?", " A dog. \n"), ("Sure?", "Yes | *"))
    seen = Example("v", png(*SIZE), SIZE, "vqa", dialogue=said)
    for found, image in ((seen, None), (replace(seen, image=None, size=(16, 16)), BLANK)):
        (sample,) = ask(found, "text")
        assert conversation(sample, Variant("rrle", (4, 4), "center"), True) == list(said)
        assert items(sample, Variant("rrle", (4, 4), "center"), True) == []
        assert image in (None, sample.image)
        back = from_members(sample.key, to_members(sample, (4, 4), "rrle", "center"))
        assert back.turns == sample.turns
    assert ask(example(), "text") == []


def test_separators_are_refused_escaped_or_left_out():
    found = referring(referent("a|b * c", slice(0, 2)), referent("top", slice(0, 2)))
    with pytest.raises(ValueError, match=r"drawn r, a: label 'a\|b"):
        ask(found, "referring")
    notes = Notes()
    assert {s.turns[0].labels[1] for s in ask(found, "referring", notes, separators="escape")} == {"a¦b x c", "top"}
    assert notes.as_plain() == {"separators escaped": {"count": 1, "named": ["r: a|b * c"]}}
    notes = Notes()
    assert [s.turns[0].labels[1] for s in ask(found, "referring", notes, separators="skip")] == ["top"]
    assert notes.as_plain() == {"separators skipped": {"count": 1, "named": ["r: a|b * c"]}}


def test_broken_examples_are_counted_and_the_others_go_on():
    broken = [replace(example(), id=str(i), image=b"no picture" if i == 1 else example().image) for i in range(3)]
    notes = Notes()
    found = list(samples(map(replace, broken), "all", TaskSettings(), 3, notes=notes, on_error="skip"))
    assert [s.key for s in found] == ["0-000", "2-000"]
    assert notes.counts["broken"] == 1
    assert "drawn 1 is not a readable image" in notes.named["broken"][0]
    with pytest.raises(ValueError, match="drawn 1"):
        list(samples(broken, "all", TaskSettings(), 3))


@pytest.mark.parametrize(("shown", "kind"), [(20, np.uint8), (254, np.uint8), (300, np.uint16)])
def test_more_than_254_classes(shown, kind):
    labels = ("others", *(f"class {i}" for i in range(1, 848)))
    mask = np.full((30, 30), IGNORE_16, np.uint16)
    mask.reshape(-1)[:shown] = np.arange(848 - shown, 848)
    wide = Example("w", png(30, 30), (30, 30), "ade847", labels, mask)
    (sample,) = ask(wide, "conditioned", absent=1.0, named=list(labels[1:]))
    back = from_members("w", to_members(sample, (30, 30), "rrle", "center"))
    (turn,) = back.turns
    assert (back.masks.dtype, len(turn.labels)) == (kind, 848)
    void = 65535 if kind == np.uint16 else 255
    for place, value in enumerate(mask.reshape(-1).tolist()):
        found = int(back.masks.reshape(-1)[place])
        assert found == void if value == IGNORE_16 else turn.labels[found] == labels[value]
    ((_, text),) = conversation(back, Variant("rrle", (30, 30), "labelled"), False)
    assert "class 847 *" in text
    if kind == np.uint16:
        with pytest.raises(ValueError, match="more than 254 classes"):
            items(back, Variant("rrle", (4, 4), "center"), False)
    else:
        assert items(back, Variant("rrle", (4, 4), "center"), False)[0].mask.max() == (255 if shown < 900 else 0)
