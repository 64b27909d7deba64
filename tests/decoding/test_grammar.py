"""The language on vocabularies: it takes every text that is written, and what it lets through can be read."""

from __future__ import annotations

import random
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vocabularies import tokenizer_of

from text4seg.decoding.language.automaton import Language
from text4seg.decoding.language.grammar import Grammar, labels_asked
from text4seg.decoding.language.tokens import Tokens, tokens_of
from text4seg.decoding.language.tracker import AnswerTracker
from text4seg.descriptors import CODECS, OTHERS, LabelGrid, answer, encode, parse, parse_strict
from text4seg.descriptors.labels import fault

KINDS = ("tiny", "bytes", "sentencepiece")
LABELS = (
    (),
    ("red car",),
    ("red", "red car", "r", "car red"),
    ("naïve café", "红色的车", "🚗 on the left"),
    ("others 2", "a, b; c", "2", "seg", "<seg", "\\n", '"', "x" * 80),
)
SIZES = ((1, 1), (1, 12), (3, 2), (9, 16))
label = st.text(min_size=1, max_size=8).filter(lambda word: fault(word) is None and word != OTHERS)


def tracker_of(kind, size, codec, labels, **changes):
    grammar = Grammar(tokens_of(tokenizer_of(kind)), Language(size, codec, labels))
    return AnswerTracker(grammar, len(tokenizer_of(kind)) + 5, **changes)


def walk(tracker, rng, choose=None):
    """Random allowed tokens until the answer is over."""
    written = []
    while not tracker.done:
        ids = tracker.allowed().nonzero()[:, 0].tolist()
        token = rng.choice(ids) if choose is None else choose(ids)
        assert tracker.accept(token)
        written.append(token)
    return written


def text_of(kind, tokens):
    return tokenizer_of(kind).decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)


@settings(max_examples=60)
@given(
    st.sampled_from(KINDS),
    st.sampled_from(CODECS),
    st.tuples(st.integers(1, 6), st.integers(1, 20)),
    st.lists(label, max_size=4, unique=True),
    st.integers(0, 2**32 - 1),
)
def test_every_text_that_is_written_is_in_the_language(kind, codec, size, words, seed):
    rng = np.random.default_rng(seed)
    ids = np.sort(rng.integers(0, len(words) + 1, size)) if seed % 2 else rng.integers(0, len(words) + 1, size)
    text = answer("Here it is:", encode(LabelGrid(ids, (OTHERS, *words)), codec))
    tracker = tracker_of(kind, size, codec, words)
    for token in tokenizer_of(kind)(text, add_special_tokens=False)["input_ids"]:
        assert tracker.allowed()[token]
        assert not tracker.done
        assert tracker.accept(token)
    assert tracker.done
    assert tracker.allowed() is None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("labels", LABELS)
def test_whatever_is_let_through_can_be_read(kind, codec, labels):
    rng = random.Random(0)
    for size in SIZES:
        text = text_of(kind, walk(tracker_of(kind, size, codec, labels, preamble=rng.randrange(6)), rng))
        assert set(parse_strict(text, size, codec).labels) <= {OTHERS, *labels}
        assert parse(text, size, codec, labels).status == "ok"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("codec", CODECS)
def test_open_labels_can_be_read_too(kind, codec):
    rng = random.Random(1)
    for size in ((1, 1), (2, 3)):
        text = text_of(kind, walk(tracker_of(kind, size, codec, None, preamble=2), rng))
        grid = parse_strict(text, size, codec)
        assert all(len(word) <= 64 for word in grid.labels)


@pytest.mark.parametrize(
    "word", ["Others", "oTHERS", "other\u017f", "a  b", " a", "a ", "a\u3000", "a\u1680", "a\xa0", "<seg>"]
)
def test_an_open_label_is_none_that_the_parser_refuses(word):
    for codec, text in (("rrle", "<seg>{} *1\n</seg>"), ("full", "<seg>{}\n</seg>")):
        language = Language((1, 1), codec, None)
        assert language.run(language.start, text.format(word).encode()) is None
        assert language.run(language.start, text.format("other сад ガ").encode()) == language.end


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("codec", "labels"), [("rrle", ("red car", "red")), ("irle", ("é",)), ("full", None)])
def test_what_may_follow_is_what_can_be_accepted(kind, codec, labels):
    tracker, rng = tracker_of(kind, (2, 3), codec, labels, preamble=3), random.Random(2)
    for _ in range(12):
        allowed = tracker.allowed()
        if allowed is None:
            return
        for token in range(len(allowed)):
            assert tracker.accept(token) == bool(allowed[token])
            if allowed[token]:
                tracker.rollback(1)
        tracker.accept(rng.choice(allowed.nonzero()[:, 0].tolist()))


def test_special_tokens_are_never_let_in():
    for kind in KINDS:
        tokenizer = tokenizer_of(kind)
        tracker, rng = tracker_of(kind, (2, 3), "rrle", ("red car",), preamble=2), random.Random(3)
        while not tracker.done:
            assert not tracker.allowed()[tokenizer.all_special_ids].any()
            tracker.accept(rng.choice(tracker.allowed().nonzero()[:, 0].tolist()))


def test_going_back_leads_to_the_same_places():
    tracker, rng = tracker_of("tiny", (4, 7), "rrle", ("red", "red car")), random.Random(4)
    tokens = tokenizer_of("tiny")("Yes:\n<seg>" + "red *7\n " * 3 + "red *7\n</seg>")["input_ids"]
    masks = []
    for token in tokens:
        masks.append(tracker.allowed().clone())
        tracker.accept(token)
    assert tracker.done
    while tracker.accepted:
        tracker.rollback(rng.randint(1, min(5, tracker.accepted)))
        assert tracker.allowed().equal(masks[tracker.accepted])
        assert not tracker.done
    with pytest.raises(ValueError, match="got 1"):
        tracker.rollback(1)


def test_the_sentence_is_free_for_so_many_tokens_then_the_tag_must_come():
    for preamble in (0, 1, 9):
        tracker = tracker_of("bytes", (1, 2), "rrle", ("red car",), preamble=preamble)
        a = tokenizer_of("bytes")("a")["input_ids"][0]
        for _ in range(preamble):
            assert tracker.accept(a)
        assert not tracker.accept(a)
        text = text_of("bytes", walk(tracker, random.Random(5)))
        assert text.removeprefix("\n").startswith("<seg>")


def test_a_tag_that_has_begun_is_finished_when_the_sentence_is_cut_off():
    for begun, rest in (("ab<", "seg>"), ("<seg", ">"), ("ab</s", "<seg>"), ("<<s", "eg>")):
        tracker = tracker_of("bytes", (1, 1), "full", (), preamble=len(begun))
        for token in tokenizer_of("bytes")(begun)["input_ids"]:
            assert tracker.accept(token)
        assert text_of("bytes", walk(tracker, random.Random(6), min)).removeprefix("\n").startswith(rest)


def test_the_sentence_closes_no_descriptor_and_opens_none_that_cannot_go_on():
    pieces = [b"<", b"seg", b">", b"</", b">x", b">others", b"<seg>", b"<seg>o", b"a</seg>", b"<seg>x", b"o", None, b""]
    grammar = Grammar(Tokens(pieces), Language((1, 1), "rrle", ("red",)))

    def allowed(*tokens):
        tracker = AnswerTracker(grammar, len(pieces))
        assert all(map(tracker.accept, tokens))
        return [i for i, yes in enumerate(tracker.allowed().tolist()) if yes]

    assert allowed() == [0, 1, 2, 3, 4, 5, 6, 7, 10]
    assert allowed(0, 1) == [0, 1, 2, 3, 5, 6, 7, 10]
    assert allowed(3, 1) == [0, 1, 3, 6, 7, 10]
    assert allowed(0, 1, 2) == [10]


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Yes:\n<seg>red *2\n red *2\n</seg>", None),
        ("Yes:\n<seg>red *2\n red *3\n</seg>", "3"),
        ("Yes:\n<seg>blue *2\n", "b"),
        ("Yes:</seg>", ">"),
        ("Y" * 60 + "<seg>", "Y"),
    ],
)
def test_a_report_says_where_a_text_leaves_the_language(text, left):
    tracker = tracker_of("bytes", (2, 2), "rrle", ("red",), mode="report")
    written = tokenizer_of("bytes")(text)["input_ids"]
    for token in written:
        assert tracker.allowed() is None
        assert tracker.accept(token)
    assert tracker.done == text.endswith("</seg>")
    if left is None:
        assert tracker.left_at is None
    else:
        assert text[tracker.left_at] == left
        tracker.rollback(len(text) - tracker.left_at)
        assert tracker.left_at is None


def test_a_report_follows_to_the_end_token():
    tokenizer = tokenizer_of("bytes")
    tracker = tracker_of("bytes", (2, 2), "rrle", ("red",), mode="report", ends=[tokenizer.eos_token_id])
    for token in tokenizer("No.")["input_ids"]:
        tracker.accept(token)
    assert not tracker.done
    tracker.accept(tokenizer.eos_token_id)
    assert tracker.done
    assert tracker.left_at == 3


def test_the_closing_tag_is_seen_outside_the_language_however_it_is_cut():
    pieces = [b"<seg>", b"x", b"</", b"se", b"g>\n"]
    grammar = Grammar(Tokens(pieces), Language((1, 1), "rrle", ("red",)))
    tracker = AnswerTracker(grammar, len(pieces), "report")
    for token in (0, 1, 2, 3, 4):
        assert not tracker.done
        tracker.accept(token)
    assert (tracker.done, tracker.left_at) == (True, 1)


def test_labels_are_taken_from_the_question_only():
    item = SimpleNamespace(
        question="Where are the red car and the dog?", labels=("others", "dog", "red car"), task="partial"
    )
    assert labels_asked(item) == ("dog", "red car")
    item.labels = ("others", "dog", "cat")
    assert labels_asked(item) is None
    item.labels, item.task = ("others", "dog"), "all"
    assert labels_asked(item) is None


def test_a_label_that_cannot_be_written_is_refused():
    with pytest.raises(ValueError, match="separator"):
        Language((2, 2), "rrle", ("a|b",))
    with pytest.raises(ValueError, match="codec"):
        Language((2, 2), "rle", ("a",))
