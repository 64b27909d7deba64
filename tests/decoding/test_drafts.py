"""Drafts: valid trees, well-formed texts, no exception on any tokens, and the right text whatever is proposed."""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vocabularies import KINDS, tokenizer_of

from text4seg.decoding.contract import Draft
from text4seg.decoding.drafts.geometry import GeometryDrafter
from text4seg.decoding.drafts.habits import Habits
from text4seg.decoding.drafts.spelling import Spelling
from text4seg.descriptors import CODECS, LabelGrid, answer, encode
from text4seg.templates import DEFAULT

LABELS = ("others", "red car", "red", "cär ü", "日本 cat")
OPENERS = ("Here is the mask:", "Here it is:", "Found it:")


@cache
def spelling_of(kind: str) -> Spelling:
    return Spelling(tokenizer_of(kind))


def drafter(kind: str, size: tuple[int, int], codec: str = "rrle", **given) -> GeometryDrafter:
    return GeometryDrafter(spelling_of(kind), LABELS, size, codec, **{"openers": OPENERS, **given})


def ids_of(kind: str, text: str) -> list[int]:
    return tokenizer_of(kind)(text, add_special_tokens=False)["input_ids"]


def bytes_of(kind: str, tokens: list[int]) -> bytes:
    return b"".join(spelling_of(kind).piece(token) for token in tokens)


def check_tree(draft: Draft, width: int, branches: int) -> list[list[int]]:
    """Whether the draft is a tree within its bounds; gives the paths to its leaves."""
    assert len(draft.tokens) == len(draft.parents) <= width
    assert all(-1 <= parent < i for i, parent in enumerate(draft.parents))
    assert len(set(zip(draft.parents, draft.tokens, strict=True))) == len(draft.tokens), "a token twice behind another"
    leaves = set(range(len(draft.tokens))) - set(draft.parents)
    assert len(leaves) <= branches
    paths = []
    for leaf in leaves:
        path = []
        while leaf >= 0:
            path.append(draft.tokens[leaf])
            leaf = draft.parents[leaf]
        paths.append(path[::-1])
    return paths


def begins_well(text: str, size: tuple[int, int], codec: str) -> bool:
    """Whether a body, with its tags or without the end, is the beginning of a well-formed one."""
    body = text.removeprefix("<seg>")
    line = size[0] * size[1] if codec == "irle" else size[1]
    lines = 1 if codec == "irle" else size[0]
    for number in range(lines):
        room, lead = line, " " if number else ""
        while room:
            runs = [
                (f"{lead}{label}" + ("" if codec == "full" else f" *{count}") + ("\n" if count == room else "|"), count)
                for label in LABELS
                for count in ((1,) if codec == "full" else range(1, room + 1))
            ]
            if any(run.startswith(body) for run, _ in runs):
                return True
            run, count = next(((run, count) for run, count in runs if body.startswith(run)), ("", 0))
            if not run:
                return False
            body, room, lead = body[len(run) :], room - count, " "
    return "</seg>".startswith(body)


@st.composite
def grids(draw, most: int = 6) -> LabelGrid:
    rows, cols = draw(st.integers(1, most)), draw(st.integers(1, most))
    cells = draw(st.lists(st.integers(0, len(LABELS) - 1), min_size=rows, max_size=rows * cols))
    return LabelGrid(np.sort(np.resize(cells, (rows, cols)), axis=draw(st.sampled_from((0, 1)))), LABELS)


widths = st.integers(0, 60)
branchings = st.sampled_from((1, 2, 7, 99))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("codec", CODECS)
@settings(max_examples=20)
@given(grid=grids(), width=widths, branches=branchings, opener=st.sampled_from((*OPENERS, "Well, look: ", "")))
def test_a_perfect_teacher_s_text_comes_out(kind, codec, grid, width, branches, opener) -> None:
    text = answer(opener, encode(grid, codec))
    right = ids_of(kind, text)
    guesser = drafter(kind, grid.size, codec)
    written: list[int] = []
    while len(written) < len(right):
        draft = guesser.propose(written, width, branches)
        for path in check_tree(draft, width, branches):
            whole = bytes_of(kind, written + path).decode("utf-8", "ignore")
            if "<seg>" in whole:
                assert begins_well("<seg>" + whole.partition("<seg>")[2], grid.size, codec), whole
        written += right[len(written) :][: draft.agreeing(right[len(written) :]) + 1]
    assert bytes_of(kind, written).decode().strip() == text.strip()
    assert guesser.propose(written, width, branches) == Draft()


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=50)
@given(data=st.data(), codec=st.sampled_from(CODECS), width=widths, branches=branchings)
def test_no_tokens_whatever_bring_it_down(kind, data, codec, width, branches) -> None:
    """Random tokens, malformed rows, characters cut in the middle; calls need not follow each other."""
    pieces = (
        "<seg>",
        "</seg>",
        "others *3| red *1\n",
        " *",
        "9999999999",
        "|",
        "\n",
        " ",
        "日",
        "red car",
        "Found it:",
    )
    parts = st.one_of(
        st.sampled_from(pieces).map(lambda text: ids_of(kind, text)),
        st.sampled_from(pieces).map(lambda text: ids_of(kind, text)[:-1]),
        st.lists(st.integers(0, len(tokenizer_of(kind)) + 3), max_size=4),
    )
    guesser = drafter(kind, (3, 4), codec)
    for _ in range(3):
        accepted = [token for part in data.draw(st.lists(parts, max_size=12)) for token in part]
        check_tree(guesser.propose(accepted, width, branches), width, branches)
        assert guesser.propose(accepted, width, branches) == guesser.propose(accepted, width, branches)


@pytest.mark.parametrize("kind", KINDS)
def test_a_square_is_carried_down(kind) -> None:
    """Rows that repeat are drafted several at once, to the end of the answer."""
    ids = np.zeros((6, 6), dtype=int)
    ids[2:, 2:4] = 1
    text = answer("Found it:", encode(LabelGrid(ids, LABELS[:2])))
    right = ids_of(kind, text)
    given_rows = text.index("others *2| red car *2| others *2\n") + len("others *2| red car *2| others *2\n")
    accepted = ids_of(kind, text[:given_rows])
    assert right[: len(accepted)] == accepted
    guesser = GeometryDrafter(spelling_of(kind), ("red car",), (6, 6))
    rest = right[len(accepted) :]
    assert guesser.propose(accepted, 400).agreeing(rest) == len(rest)


def test_a_drift_goes_on() -> None:
    """The end of the object moves one cell a row: a tree has the next move, and a chain has it once it is a habit."""
    rows = [[0] * 2 + [1] * n + [0] * (10 - n) for n in range(1, 8)]
    text = "<seg>" + encode(LabelGrid(np.array(rows), ("others", "dog")))
    accepted = ids_of("merges", text)
    following = ids_of("merges", text + " others *2| dog *8| others *2\n")[len(accepted) :]
    guesser = GeometryDrafter(spelling_of("merges"), ("dog",), (12, 12))
    assert guesser.propose(accepted, 60, 20).agreeing(following) == len(following)
    habits = Habits()
    for _ in range(5):
        GeometryDrafter(spelling_of("merges"), ("dog",), (12, 12), habits=habits).propose(accepted, 1)
    guesser = GeometryDrafter(spelling_of("merges"), ("dog",), (12, 12), habits=habits)
    assert guesser.propose(accepted, 60).agreeing(following) == len(following)


def test_likelier_tokens_come_first() -> None:
    """A narrow tree is the beginning of a wide one."""
    accepted = ids_of("merges", "<seg>others *6\n others *2| red car *3| others *1\n")
    wide = drafter("merges", (6, 6)).propose(accepted, 80, 99)
    assert len(wide.tokens) == 80
    for width in (1, 10, 40):
        narrow = drafter("merges", (6, 6)).propose(accepted, width, 99)
        assert narrow.tokens == wide.tokens[:width]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cut", [1, 2, 5, 8, 9, 10, 11, 12, 15, 16, 17, 22, 26, 29])
def test_text_cut_into_other_tokens_is_still_continued(kind, cut) -> None:
    """The model spelled a run letter by letter up to here; the draft goes on from the bytes."""
    text = "<seg>others *4\n others *1| red car *2| others *1\n"
    whole = ids_of(kind, text + " others *1| red car *2| others *1\n")
    head = text + " others *1| red car *2| others *1\n"[:cut]
    letters = [token for letter in head for token in ids_of("bytes", letter)]
    draft = GeometryDrafter(spelling_of("bytes"), ("red car",), (4, 4)).propose(letters, 60, 20)
    paths = check_tree(draft, 60, 20)
    assert any((head.encode() + bytes_of("bytes", path)).startswith(bytes_of(kind, whole).strip()) for path in paths)


def test_a_token_across_the_border_breaks_nothing() -> None:
    """`Ġred Ġcar` spelled oddly: pieces of a merge that the tokenizer would have made."""
    tokenizer = tokenizer_of("merges")
    accepted = ids_of("merges", "<seg>others *4\n others *2|")
    odd = [token for letter in " re" for token in tokenizer.convert_tokens_to_ids([letter.replace(" ", "\u0120")])]
    draft = GeometryDrafter(spelling_of("merges"), ("red car",), (4, 4)).propose(accepted + odd, 30, 9)
    assert any(bytes_of("merges", path).startswith(b"d car *") for path in check_tree(draft, 30, 9))


@pytest.mark.parametrize("kind", KINDS)
def test_known_openings_are_proposed(kind) -> None:
    guesser = drafter(kind, (4, 4))
    draft = guesser.propose([], 200, 99)
    texts = [bytes_of(kind, path).decode("utf-8", "ignore") for path in check_tree(draft, 200, 99)]
    assert all(any(text.startswith(opener + "\n<seg>others *") for text in texts) for opener in OPENERS)
    begun = guesser.propose(ids_of(kind, "Found"), 60, 1)
    assert bytes_of(kind, begun.tokens).decode("utf-8", "ignore").startswith(" it:\n<seg>others *")


@pytest.mark.parametrize(
    ("there", "rest"), [("Something else:", "\n<seg>"), ("Well.\n<s", "eg>"), ("Well:\n", "<seg>")]
)
def test_behind_an_unknown_sentence_the_tag_is_proposed(there, rest) -> None:
    draft = drafter("bytes", (4, 4)).propose(ids_of("bytes", there), 20)
    assert bytes_of("bytes", draft.tokens).decode("utf-8", "ignore").startswith(rest)
    assert drafter("bytes", (4, 4)).propose(ids_of("bytes", "No idea"), 20) == Draft()


def test_an_item_s_drafter_knows_the_templates() -> None:
    item = SimpleNamespace(task="referring", question="the dog", labels=("others", "dog"), size=(4, 4), codec="rrle")
    guesser = GeometryDrafter.of_item(spelling_of("bytes"), item)
    for opener in (DEFAULT.answers["partial"][3], DEFAULT.no_target_answers[1]):
        draft = guesser.propose(ids_of("bytes", opener[:8]), 60)
        assert bytes_of("bytes", draft.tokens).decode("utf-8", "ignore").startswith(f"{opener[8:]}\n<seg>others *")
    words = SimpleNamespace(task="text", question="?", labels=("others",), size=(2, 2), codec="rrle")
    assert GeometryDrafter.of_item(spelling_of("bytes"), words).propose([], 9) == Draft()


@pytest.mark.parametrize(("task", "rest"), [("all", b""), ("conditioned", b"ebra *")])
def test_labels_that_the_question_does_not_name_are_not_known(task, rest) -> None:
    item = SimpleNamespace(task=task, question="a zebra", labels=("others", "zebra"), size=(2, 2), codec="rrle")
    draft = GeometryDrafter.of_item(spelling_of("bytes"), item).propose(ids_of("bytes", "<seg>z"), 6)
    assert bytes_of("bytes", draft.tokens) == rest


def test_a_row_that_does_not_add_up_costs_one_row() -> None:
    guesser = GeometryDrafter(spelling_of("bytes"), ("dog",), (5, 4))
    assert guesser.propose(ids_of("bytes", "<seg>others *4\n others *9| d"), 20) == Draft()
    assert guesser.propose(ids_of("bytes", "<seg>others *4\n others *4|"), 20) == Draft()
    accepted = ids_of("bytes", "<seg>others *4\n others *9| dog *1\n others *2| dog *2\n")
    assert bytes_of("bytes", guesser.propose(accepted, 60).tokens).startswith(b" others *2| dog *2\n")


def test_labels_that_the_answer_brings_are_learnt() -> None:
    accepted = ids_of("bytes", "<seg>zebra *4\n zebra *4\n")
    draft = GeometryDrafter(spelling_of("bytes"), ("dog",), (5, 4)).propose(accepted, 60)
    assert bytes_of("bytes", draft.tokens).startswith(b" zebra *4\n zebra *4\n")


def test_shared_habits_count_each_run_once() -> None:
    """Calling again, and starting the answer again, count nothing twice."""
    habits = Habits()
    guesser = GeometryDrafter(spelling_of("bytes"), ("dog",), (5, 4), habits=habits)
    accepted = ids_of("bytes", "<seg>others *4\n others *2| dog *2\n")
    before = [list(habits.next_label(case)) for case in range(3)]
    guesser.propose(accepted, 9)
    after = [list(habits.next_label(case)) for case in range(3)]
    assert after != before
    guesser.propose(ids_of("bytes", "<seg>"), 9)
    guesser.propose(accepted, 9)
    assert [list(habits.next_label(case)) for case in range(3)] == after
