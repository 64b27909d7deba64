"""What the reader makes of broken texts: raw string -> grid, one row a case."""

import time

import numpy as np
import pytest
from grids import disk, label_grids
from hypothesis import given, settings
from hypothesis import strategies as st

from text4seg.descriptors import CODECS, Repair, answer, encode, parse, parse_strict

# o others, c red car, d dog, anything else as it stands; rows of 4 cells
SHORT = {"others": "o", "red car": "c", "dog": "d"}


def drawn(decoded):
    return ["".join(SHORT.get(word, word) for word in row) for row in decoded.grid.words()]


RRLE = {
    # lengths
    "a count too small repeats the last label": ("others *2| red car *1\n dog *4\n", ["oocc", "dddd"]),
    "a count too large is cut": ("others *2| red car *9\n dog *4\n", ["oocc", "dddd"]),
    "a count in the middle too large": ("others *3| red car *2| others *1\n dog *4\n", ["oooc", "dddd"]),
    "a count beyond all memory": (f"others *1| red car *1{'0' * 30}\n dog *4\n", ["occc", "dddd"]),
    "a count of 5000 digits": (f"others *1| red car *{'9' * 5000}\n dog *4\n", ["occc", "dddd"]),
    "a count of zero is no cell": ("others *2| dog *0| red car *2\n dog *4\n", ["oocc", "dddd"]),
    "a row of zeros is its last label": ("others *0| red car *0\n dog *4\n", ["cccc", "dddd"]),
    "a negative count is unknown": ("others *-3| red car *1\n dog *4\n", ["oooc", "dddd"]),
    "a leading zero": ("others *04\n dog *4\n", ["oooo", "dddd"]),
    "a plus": ("others *+4\n dog *4\n", ["oooo", "dddd"]),
    "digits of another script are none": ("others *٣| red car *1\n dog *4\n", ["oooc", "dddd"]),
    # runs
    "a lost count takes what the row lacks": ("others| red car *3\n dog *4\n", ["occc", "dddd"]),
    "two lost counts share": ("others *| red car *1| dog\n dog *4\n", ["oocd", "dddd"]),
    "a lost star": ("others 1| red car *3\n dog *4\n", ["occc", "dddd"]),
    "a lost bar": ("others *1 red car *3\n dog *4\n", ["occc", "dddd"]),
    "a lost bar without a blank": ("others *1red car *3\n dog *4\n", ["occc", "dddd"]),
    "two bars": ("others *1|| red car *3\n dog *4\n", ["occc", "dddd"]),
    "two stars": ("others **1| red car *3\n dog *4\n", ["occc", "dddd"]),
    "blanks everywhere": ("  others  *  1 |red car* 3  \n   dog *4 \n", ["occc", "dddd"]),
    "no blanks": ("others*1|red car*3\ndog*4", ["occc", "dddd"]),
    "a lost label lengthens the run before": ("others *1| *3\n dog *4\n", ["oooo", "dddd"]),
    "Others with a capital": ("Others *2| red car *2\n OTHERS *4\n", ["oocc", "oooo"]),
    # rows
    "a missing last row copies the one above": ("others *2| red car *2\n", ["oocc", "oocc"]),
    "surplus rows are dropped": ("others *4\n dog *4\n red car *4\n", ["oooo", "dddd"]),
    "newline without its blank": ("others *4\ndog *4\n", ["oooo", "dddd"]),
    "carriage returns": ("others *4\r\n dog *4\r\n", ["oooo", "dddd"]),
    "old carriage returns": ("others *4\r dog *4\r", ["oooo", "dddd"]),
    "a spelled-out newline": ("others *4\\n dog *4\\n", ["oooo", "dddd"]),
    "blank lines": ("\n\n others *4\n\n dog *4\n\n", ["oooo", "dddd"]),
    "no last newline": ("others *4\n dog *4", ["oooo", "dddd"]),
    "a lost newline between two whole rows": ("others *4| dog *4\n", ["oooo", "dddd"]),
    "a lost newline and bar": ("others *4 dog *4\n", ["oooo", "dddd"]),
    "all as one sequence whose runs cross rows": ("others *6| dog *2\n", ["oooo", "oodd"]),
    "all as one sequence behind a sentence": ("Sure, here it is:\nothers *6| dog *2\n", ["oooo", "oodd"]),
    "a row broken in two": ("others *2\n red car *2\n dog *4\n", ["oocc", "dddd"]),
    "an unreadable row copies the one above": ("others *1| red car *3\n ???\n", ["occc", "occc"]),
    "an unreadable first row copies the one below": ("???\n others *1| red car *3\n", ["occc", "occc"]),
    "prose before the first row": ("Sure, here it is:\nothers *4\n dog *4\n", ["oooo", "dddd"]),
    "prose after the last row": ("others *4\n dog *4\n I hope this helps.\n", ["oooo", "dddd"]),
    # tags and cut-off texts
    "no closing tag": ("Sure.\n<seg>others *4\n dog *4\n", ["oooo", "dddd"]),
    "half a closing tag": ("<seg>others *4\n dog *4\n</se", ["oooo", "dddd"]),
    "no opening tag": ("others *4\n dog *4\n</seg>", ["oooo", "dddd"]),
    "capital tags": ("<SEG>others *4\n dog *4\n</Seg>", ["oooo", "dddd"]),
    "text after the closing tag": ("<seg>others *4\n dog *4\n</seg> bye", ["oooo", "dddd"]),
    "two answers: the first": ("<seg>others *4\n dog *4\n</seg><seg>dog *4\n</seg>", ["oooo", "dddd"]),
    "a second opening tag": ("<seg><seg>others *4\n dog *4\n</seg>", ["oooo", "dddd"]),
    "an opening tag for a closing one": ("<seg>others *4\n dog *4\n<seg>", ["oooo", "dddd"]),
    "an opening tag before the closing one": ("<seg>others *4\n dog *4\n<seg></seg>", ["oooo", "dddd"]),
    "a stray tag inside": ("<seg>others *4\n <seg>dog *4\n</seg>", ["oooo", "dddd"]),
    "tags spoken of": ("Use <seg></seg> tags: <seg>others *4\n dog *4\n</seg>", ["oooo", "dddd"]),
    "tags spoken of, no closing tag": ("Use <seg></seg> tags: <seg>others *4\n dog *4\n", ["oooo", "dddd"]),
    "a tag and a run thought of": ("A <seg> and dog *3.\n<seg>others *4\n dog *4\n</seg>", ["oooo", "dddd"]),
    "cut inside a label": ("<seg>others *1| red car *3\n others *1| red c", ["occc", "occc"]),
    "cut after a star": ("<seg>others *1| red car *3\n others *2| red car *", ["occc", "oocc"]),
    "cut after a run: the row above goes on": ("<seg>others *2| red car *2\n others *1", ["oocc", "oocc"]),
    "cut at the start of a row": ("<seg>others *1| red car *3\n oth", ["occc", "occc"]),
    "a finished short row does not copy": ("<seg>others *2| red car *2\n others *1\n</seg>", ["oocc", "oooo"]),
    # the other published dialect
    "Mapillary": ("others *2, red car *2; dog *4;", ["oocc", "dddd"]),
}  # fmt: skip


@pytest.mark.parametrize("case", RRLE)
def test_rrle(case):
    text, rows = RRLE[case]
    decoded = parse(text, (2, 4))
    assert drawn(decoded) == rows
    assert decoded.status == "repaired"
    assert decoded.repairs
    assert decoded.text == text


@pytest.mark.parametrize("case", RRLE)
def test_expected_labels_do_not_change_what_is_read(case):
    text, rows = RRLE[case]
    decoded = parse(text, (2, 4), labels=("dog", "cat", "red car"))
    assert drawn(decoded) == rows
    assert decoded.grid.labels[:4] == ("others", "dog", "cat", "red car")


IRLE = {
    "too short": ("others *2| red car *3\n", ["oocc", "cccc"]),
    "too long": ("others *2| red car *99\n", ["oocc", "cccc"]),
    "no newline at the end": ("others *4| dog *4", ["oooo", "dddd"]),
    "written with rows": ("others *2| red car *2\n dog *4\n", ["oocc", "dddd"]),
    "cut inside a label": ("<seg>others *4| red", ["oooo", "oooo"]),
    "a run without a count is one cell": ("others *3| dog| red car *4\n", ["oood", "cccc"]),
}

FULL = {
    "a short row": ("others| others| red car\n dog| dog| dog| dog\n", ["oocc", "dddd"]),
    "a long row": ("others| others| red car| red car| dog\n others| others| others| others\n", ["oocc", "oooo"]),
    "a long row beside dogs": ("others| others| red car| red car| dog\n dog| dog| dog| dog\n", ["occd", "dddd"]),
    "the published flat list": ("others| others| red car| red car| dog| dog| dog| dog\n", ["oocc", "dddd"]),
    "run lengths mixed in": ("others| others| red car *2\n dog *4\n", ["oocc", "dddd"]),
    "no blanks": ("others|others|red car|red car\ndog|dog|dog|dog", ["oocc", "dddd"]),
    "cut inside a label": ("<seg>others| dog| dog| dog\n others| dog| do", ["oddd", "oddd"]),
    "cut after a label": ("<seg>others| dog| red car| dog\n others| others", ["odcd", "oocd"]),
    "a missing row": ("others| others| red car| red car\n", ["oocc", "oocc"]),
    "a number is part of its label": ("dog 3| dog 3| dog 3| dog 3\n", ["dog 3" * 4] * 2),
}


@pytest.mark.parametrize(("codec", "case"), [("irle", c) for c in IRLE] + [("full", c) for c in FULL])
def test_irle_and_full(codec, case):
    text, rows = {"irle": IRLE, "full": FULL}[codec][case]
    decoded = parse(text, (2, 4), codec)
    assert drawn(decoded) == rows
    assert decoded.status == "repaired"
    assert decoded.repairs


@pytest.mark.parametrize(
    "text",
    ["", " ", "\n", "<seg></seg>", "<seg>\n</seg>", "I cannot see a car.", "*", "|", "*4", "* 4| *2\n", "others",
     "others *", "<seg>others", "others *-1\n", "\x00", "\ud800", "<seg", "<", "🚗"],
)  # fmt: skip
def test_invalid_when_no_run_can_be_read(text):
    decoded = parse(text, (2, 4), labels=["dog"])
    assert decoded.status == "invalid"
    assert drawn(decoded) == ["oooo", "oooo"]
    assert decoded.grid.labels == ("others", "dog")


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("I cannot see a car.", "invalid"),
        ("", "invalid"),
        ("<seg>|||</seg>", "invalid"),
        ("<seg>a car\n", "repaired"),
        ("Dog", "repaired"),
    ],
)
def test_full_tells_cells_from_prose(text, status):
    assert parse(text, (2, 4), "full", labels=["dog"]).status == status


def test_a_line_of_two_whole_rows_is_split():
    decoded = parse("others *4| dog *4\n red car *4\n", (3, 4))
    assert drawn(decoded) == ["oooo", "dddd", "cccc"]
    assert decoded.repairs == (Repair(0, "split a line of 8 cells into 2 rows"),)
    assert drawn(parse("others *3| dog *5\n red car *4\n", (3, 4))) == ["oood", "cccc", "cccc"]
    assert drawn(parse("others *4| dog *4\n red car *4\n", (2, 4))) == ["oooo", "cccc"]


def test_a_line_of_two_rows_with_a_wrong_count_is_split_where_one_label_meets_itself():
    decoded = parse("dog *4\n others *1| red car *3| others *1| others *4\n dog *4\n", (4, 4))
    assert drawn(decoded) == ["dddd", "occo", "oooo", "dddd"]
    assert decoded.repairs == (Repair(1, "split a line of 9 cells into 2 rows"), Repair(1, "5 cells cut to 4"))
    assert drawn(parse("dog *4\n others *3| others *1| red car *3\n", (4, 4)))[1:] == ["oooo", "occc", "occc"]
    # rows are missing, but this is one row and one wrong count: no label meets itself
    assert drawn(parse("dog *4\n others *4| red car *3\n dog *4\n", (4, 4))) == ["dddd", "oooo", "dddd", "dddd"]


@given(label_grids(longest=12), st.data())
def test_a_lost_newline_and_a_wrong_count_cost_no_further_row(grid, data):
    grid.ids[:, [0, -1]] = 0
    rows, half = encode(grid)[:-1].split("\n "), (grid.size[1] - 1) // 2
    if len(rows) < 3 or not half:
        return
    row = data.draw(st.integers(0, len(rows) - 2))
    runs = f"{rows[row]}| {rows[row + 1]}".split("| ")
    run = data.draw(st.integers(0, len(runs) - 1))
    word, _, count = runs[run].rpartition(" *")
    runs[run] = f"{word} *{data.draw(st.integers(max(1, int(count) - half), int(count) + half))}"
    rows[row : row + 2] = ["| ".join(runs)]
    read, expected = parse("\n ".join(rows) + "\n", grid.size).grid.words(), grid.words()
    assert read[:row] + read[row + 2 :] == expected[:row] + expected[row + 2 :]


@given(label_grids(longest=8), st.data())
def test_a_blank_row_keeps_its_place(grid, data):
    rows = encode(grid)[:-1].split("\n ")
    if len(rows) < 3:
        return
    row = data.draw(st.integers(1, len(rows) - 2))
    rows[row] = data.draw(st.sampled_from(("", " ", "\t\r")))
    expected = grid.words()
    expected[row] = expected[row - 1]
    assert parse("\n ".join(rows) + "\n", grid.size).grid.words() == expected


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("others *4\n\n dog *4\n\n red car *4\n", ["oooo", "dddd", "cccc", "cccc"]),
        ("\n others *4\n dog *4\n red car *4\n", ["oooo", "dddd", "cccc", "cccc"]),
        ("others *4\n\n dog *4| red car *4\n others *4\n", ["oooo", "dddd", "cccc", "oooo"]),
        ("others *4\n\n dog *4\n oth", ["oooo", "oooo", "dddd", "dddd"]),
    ],
    ids=["lines apart", "outside", "beside a lost newline", "cut"],
)
def test_a_blank_line_is_a_row_only_where_one_is_missing(text, rows):
    assert drawn(parse(text, (4, 4))) == rows


NEIGHBOURS = {
    "the first count is too small": ("others *1| red car *2| others *3", "oocc" + "ooo"),
    "the first count is too large": ("others *5| red car *2| others *3", "oocc" + "ooo"),
    "the middle count is too large": ("others *2| red car *9| others *3", "oocc" + "ooo"),
    "the last count is too small": ("others *2| red car *2| others *1", "oocc" + "ooo"),
    "the middle count is zero": ("others *2| red car *0| others *3", "oocc" + "ooo"),
    "no single count explains it": ("others *9| red car *9| others *3", "ooooooo"),
}


@pytest.mark.parametrize("case", NEIGHBOURS)
def test_the_neighbours_say_which_count_is_wrong(case):
    wrong, row = NEIGHBOURS[case]
    right = "others *2| red car *2| others *3"
    assert drawn(parse(f"{right}\n {wrong}\n {right}\n", (3, 7))) == ["ooccooo", row, "ooccooo"]
    for text, where in ((f"{right}\n {wrong}\n", 1), (f"{wrong}\n {right}\n", 0)):
        assert drawn(parse(text, (2, 7)))[where] == row


def test_where_the_neighbours_do_not_decide_the_end_of_the_row_is_mended():
    assert drawn(parse("dog *4\n others *1| red car *1\n dog *4\n", (3, 4)))[1] == "occc"
    assert drawn(parse("others *1| red car *1\n others *1| red car *1\n", (2, 4))) == ["occc", "occc"]


def test_others_absent_means_a_full_frame_object():
    decoded = parse("sky *2\n sky *2\n", (2, 2))
    assert decoded.status == "ok"
    assert (decoded.grid.ids == decoded.grid.labels.index("sky")).all()
    assert decoded.grid.labels == ("others", "sky")


def test_labels_are_matched_exactly_then_normalised_and_else_kept():
    text = "others *1| Red-car *1| red car *1| cat *1\n"
    decoded = parse(text, (1, 4), labels=["dog", "red car"])
    assert decoded.grid.labels == ("others", "dog", "red car", "cat")
    assert decoded.grid.ids.tolist() == [[0, 2, 2, 3]]
    assert decoded.repairs == (Repair(-1, "label 'Red-car' read as 'red car'"),)
    assert decoded.status == "repaired"
    assert parse("cat *4\n", (1, 4), labels="dog").status == "ok"
    assert parse("others. *4\n", (1, 4), labels="dog").grid.ids.sum() == 0


@pytest.mark.parametrize("labels", [["a*b"], ["others", "x|y"], ["a\nb"]])
def test_a_label_that_cannot_be_written_is_never_read_as_well_formed(labels):
    assert parse(f"{labels[-1]} *4\n", (1, 4), labels=labels).status == "repaired"


@pytest.mark.parametrize(
    ("text", "repairs"),
    [
        ("others *3\n dog *4\n", [Repair(0, "3 cells filled up to 4")]),
        ("others *4\n dog *5\n", [Repair(1, "5 cells cut to 4")]),
        ("others *4\n", [Repair(1, "missing rows (1): copied from the row above")]),
        ("others *4\n dog *4\n dog *4\n", [Repair(1, "dropped lines after the last row (1)")]),
        ("others *4| dog *4\n", [Repair(-1, "read as one sequence of cells: its newlines are missing")]),
        ("others *1\n dog *3\n dog *4\n", [Repair(0, "joined a row that was broken in two")]),
        ("others *4\n ?\n", [Repair(1, "no run in this row: copied from its neighbour")]),
        ("Well:\n others *4\n dog *4\n", [Repair(-1, "dropped lines without a run (1)")]),
        ("others *4\n dog  *4\n", [Repair(-1, "separators or tags put right")]),
    ],
)
def test_repairs_say_what_was_done_in_which_row(text, repairs):
    assert parse(text, (2, 4)).repairs == tuple(repairs)


@settings(max_examples=100)
@given(label_grids(longest=16), st.data())
def test_one_wrong_count_costs_one_row(grid, data):
    rows = encode(grid)[:-1].split("\n ")
    row = data.draw(st.integers(0, len(rows) - 1))
    runs = rows[row].split("| ")
    run = data.draw(st.integers(0, len(runs) - 1))
    runs[run] = f"{runs[run].rpartition(' *')[0]} *{data.draw(st.integers(1, 40))}"
    rows[row] = "| ".join(runs)
    if len(rows) == 1:
        return
    read = parse("\n ".join(rows) + "\n", grid.size).grid.words()
    expected = grid.words()
    assert read[:row] + read[row + 1 :] == expected[:row] + expected[row + 1 :]


@given(label_grids(longest=8), st.lists(st.sampled_from(("<seg>", "<seg></seg>", "dog *3", "\n ", "<think>", "|"))))
def test_what_is_said_of_tags_before_an_answer_does_not_change_it(grid, said):
    assert parse("".join(said) + answer("", encode(grid)), grid.size).grid.words() == grid.words()


def test_a_run_of_no_cells_is_read():
    assert parse("<seg>dog *0</seg>", (2, 4)).status == "repaired"


def flat_repair(text, size):
    """The published repair: all cells in one list, filled up or cut at its end."""
    words = []
    for run in text[:-1].replace("\n ", "| ").split("| "):
        word, _, count = run.rpartition(" *")
        words += [word] * int(count)
    words = (words + words[-1:] * (size * size))[: size * size]
    return np.array(words).reshape(size, size) != "others"


@pytest.mark.parametrize(
    ("slip", "ours_at_least", "flat_at_most"),
    [("by one", 0.985, 0.87), ("up to three", 0.985, 0.76), ("any", 0.98, 0.6), ("to zero", 0.98, 0.75)],
)
def test_random_single_count_errors_keep_the_iou(slip, ours_at_least, flat_at_most):
    rng = np.random.default_rng(7)
    ours, flat = [], []
    for _ in range(1500):
        grid = disk(rng)
        parts = encode(grid).split("*")
        which = rng.integers(1, len(parts))
        old = int("".join(c for c in parts[which][:2] if c.isdigit()))
        reach = {"by one": 1, "up to three": 3, "any": 16, "to zero": 0}[slip]
        new = rng.choice([n for n in range(1, 17) if 0 < abs(n - old) <= reach] or [0])
        parts[which] = str(new) + parts[which].lstrip("0123456789")
        text, truth = "*".join(parts), grid.ids > 0
        for values, found in ((ours, parse(text, labels="red car").grid.ids == 1), (flat, flat_repair(text, 16))):
            values.append((found & truth).sum() / (found | truth).sum())
    print(f"mean IoU after one wrong count ({slip}): by row {np.mean(ours):.4f}, flat {np.mean(flat):.4f}")
    assert np.mean(ours) >= ours_at_least
    assert np.mean(flat) < flat_at_most


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(
    "text",
    ["|" * 10**5, "*" * 10**5, "\n" * 10**6, "<" * 10**6, "9" * 10**6, "a *9999999| " * 10**5, "a *1\n " * 10**5,
     "x" * 10**6, "<seg>" * 10**5, "*1" * 10**5, "a " * 10**5 + "*3", "a *" + "1" * 10**6, "\\n" * 10**5, "a|" * 10**5,
     "a *0| " * 10**5 + "b *3\n a *16\n", "<seg><seg></seg>" * 10**5],
    ids=range(16),
)  # fmt: skip
def test_long_nonsense_takes_no_long_time(text, codec):
    start = time.perf_counter()
    assert parse(text, (16, 16), codec, labels=["dog"]).grid.size == (16, 16)
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize("read", [parse, parse_strict])
@pytest.mark.parametrize("size", [(0, 4), (4, 0), (-1, 2), (2, 2, 2)])
def test_an_empty_size_is_refused(size, read):
    with pytest.raises(ValueError, match="`size` must be"):
        read("others *4\n", size)


def test_prose_around_the_tags_is_well_formed():
    text = answer("Two rows, 'car | dog' *3:", "others *2\n dog *2\n") + "\n"
    assert parse(text, (2, 2)).status == "ok"
