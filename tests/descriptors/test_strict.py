import pytest

from text4seg.descriptors import CODECS, DescriptorError, parse, parse_strict

# text for 2 rows of 4 cells -> row, column, a word of the problem
RRLE = {
    "others *2| car *3\n dog *4\n": (1, 3, "5 cells instead of 4"),
    "others *4\n dog *3\n": (2, 4, "after 3 of 4"),
    "others *4\n": (2, 1, "expected 2 lines of text, got 1"),
    "others *4\n dog *4\n cat *4\n": (3, 1, "expected 2 lines of text, got 3"),
    "others *4\n dog *4": (2, 4, "newline"),
    "others *4\ndog *4\n": (1, 1, "newline inside"),
    "others *1|car *3\n dog *4\n": (1, 1, r"separator '\|'"),
    "others *1| car*3\n dog *4\n": (1, 2, "label \\*count"),
    "others *1| car * 3\n dog *4\n": (1, 2, "whole number"),
    "others *1| car *03\n dog *4\n": (1, 2, "whole number"),
    "others *1| car *-3\n dog *4\n": (1, 2, "whole number"),
    "others *1| car *\n dog *4\n": (1, 2, "whole number"),
    "others *1| car *٣\n dog *4\n": (1, 2, "whole number"),
    "others *0| car *4\n dog *4\n": (1, 1, "whole number"),
    f"others *1| car *{'9' * 5000}\n dog *4\n": (1, 2, "over a billion"),
    "others *1|  car *3\n dog *4\n": (1, 2, "blank"),
    "Others *4\n dog *4\n": (1, 1, "background word"),
    " *4\n dog *4\n": (1, 1, "empty"),
    "": (1, 1, "label"),
    "others *4\n dog *4\n\n": (2, 1, "newline inside"),
    "others *4| car *1\n dog *4\n": (1, 4, "5 cells"),
    "<seg>others *4\n dog *4\n": (0, 0, "without </seg>"),
    "others *4\n dog *4\n</seg>": (0, 0, "</seg> without <seg>"),
    "</seg><seg>others *4\n": (0, 0, "<seg> without </seg>"),
    "<seg>others *4\n dog *4\n</seg> bye": (0, 0, "text after"),
    "<seg>others *4\n <seg> *4\n</seg>": (2, 1, "separator '<seg>'"),
}


@pytest.mark.parametrize("text", RRLE)
def test_the_first_error_is_explained(text):
    row, column, problem = RRLE[text]
    with pytest.raises(DescriptorError, match=problem) as caught:
        parse_strict(text, (2, 4))
    assert (caught.value.row, caught.value.column) == (row, column)
    assert not row or f"row {row}, column {column}" in str(caught.value)
    assert caught.value.found in text
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("codec", "text", "row", "column", "problem"),
    [
        ("irle", "others *6| dog *3\n", 2, 3, "9 cells instead of 8"),
        ("irle", "others *6| dog *1\n", 2, 4, "after 7 of 8"),
        ("irle", "others *4\n dog *4\n", 2, 1, "after 4 of 8"),
        ("irle", "others *8", 2, 4, "newline"),
        ("full", "others| dog| dog\n dog| dog| dog| dog\n", 1, 4, "after 3 of 4"),
        ("full", "a| b| c| d\n a| b| c| d| e\n", 2, 4, "5 cells"),
        ("full", "a| b *1| c| d\n a| b| c| d\n", 1, 2, r"separator '\*'"),
        ("full", "a| b| c| d| a| b| c| d\n", 1, 4, "5 cells"),
        ("full", "a| | c| d\n a| b| c| d\n", 1, 2, "empty"),
    ],
)
def test_the_other_codecs(codec, text, row, column, problem):
    with pytest.raises(DescriptorError, match=problem) as caught:
        parse_strict(text, (2, 4), codec)
    assert (caught.value.row, caught.value.column) == (row, column)


@pytest.mark.parametrize("codec", CODECS)
def test_it_is_a_value_error_and_agrees_with_the_patient_reader(codec):
    with pytest.raises(ValueError, match="row 1"):
        parse_strict("dog *5", (1, 4), codec)
    assert parse("dog *5", (1, 4), codec).status == "repaired" or codec == "full"
