import re
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from text4seg.descriptors import check_labels, normalise
from text4seg.descriptors.labels import Vocabulary, fault


@pytest.mark.parametrize(
    "label",
    [
        "a|b",
        "a*b",
        "a *2",
        "a\nb",
        "a\rb",
        "a<seg>",
        "</seg>",
        " a",
        "a ",
        "a\n",
        "\ta",
        "",
        " ",
        "\u3000a",
        "Others",
        "OTHERS",
    ],
)
def test_refuses_labels_that_cannot_be_read_back(label):
    with pytest.raises(ValueError, match=re.escape(repr(label))):
        check_labels(["others", "fine", label])


@pytest.mark.parametrize(
    "label", ["others", "others 2", "a, b", "o", "Oslo", "<s>", "<seg", "2", "a  b", "红色的车", "x" * 9999]
)
def test_admits_every_other_label(label):
    assert fault(label) is None


BLANKS = "".join(chr(code) for code in range(sys.maxunicode + 1) if chr(code).isspace())


@settings(max_examples=1000)
@given(st.lists(st.text(st.one_of(st.sampled_from(f"|*<>/seg,oOthers \n\r{BLANKS}"), st.characters()), max_size=8)))
def test_the_quick_looks_agree_with_the_rule(labels):
    def sound(label):
        separators = ("|", "*", "\n", "\r", "<seg>", "</seg>")
        apart = label == "others" or label.casefold() != "others"
        return bool(label) and label == label.strip() and apart and not any(piece in label for piece in separators)

    assert [fault(label) is None for label in labels] == list(map(sound, labels))
    if all(map(sound, labels)):
        check_labels(["others", *labels])
    else:
        with pytest.raises(ValueError, match="A label is one line of text"):
            check_labels(["others", *labels])


def test_no_kind_of_blank_may_stand_at_an_end():
    assert len(BLANKS) > 20
    assert not [code for code in map(ord, BLANKS) if not (fault(f"{chr(code)}a") and fault(f"a{chr(code)}"))]
    assert not [hex(ord(blank)) for blank in set(BLANKS) - {"\n", "\r"} if fault(f"a{blank}b")]


def test_normalise():
    assert normalise(" The RED_car!! ") == "the red car"
    assert normalise("...") == ""
    assert normalise("`it's`\u200b -- the\u3000dog^") == "it s the dog"
    assert normalise("CAFE\u0301 12") == normalise("caf\u00e9_12") == "caf\u00e9 12"


@pytest.mark.parametrize(
    ("one", "other"),
    [("गाय", "गोय"), ("C++", "C#"), ("C++", "C"), ("คน", "คืน"), ("\U0001f415", "\U0001f408"), ("5 €", "5 $")],
)
def test_what_tells_words_apart_is_kept(one, other):
    """Vowel signs and symbols are no punctuation."""
    assert normalise(one) != normalise(other)
    words = Vocabulary([one])
    assert (words.id_of(one), words.id_of(other)) == (1, 2)


def test_a_word_is_matched_exactly_first_then_normalised_then_kept():
    words = Vocabulary(["Red Car", "red car", "dog"])
    assert [words.id_of(word) for word in ("red car", "RED-CAR", "Red Car", "dog.", "OTHERS", "cat", "Cat")] == [
        2, 1, 1, 3, 0, 4, 5,
    ]  # fmt: skip
    assert words.names == ["others", "Red Car", "red car", "dog", "cat", "Cat"]
    assert words.matched == [("RED-CAR", "Red Car"), ("dog.", "dog"), ("OTHERS", "others")]


def test_labels_without_letters_match_only_exactly():
    words = Vocabulary(["?", "!"])
    assert [words.id_of(word) for word in ("!", "?", "...")] == [2, 1, 3]


def test_without_expected_labels_only_the_background_word_is_matched():
    words = Vocabulary()
    assert [words.id_of(word) for word in ("Dog", "dog", "Others", "others.")] == [1, 2, 0, 3]
