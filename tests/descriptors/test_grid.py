import numpy as np
import pytest

from text4seg.descriptors import LabelGrid


@pytest.mark.parametrize(
    ("ids", "labels", "match"),
    [
        (np.zeros((0, 3)), ("others",), "non-empty"),
        (np.zeros(3), ("others",), "rows, cols"),
        (np.zeros((2, 2)), ("sky",), "others"),
        (np.zeros((2, 2)), (), "others"),
        (np.zeros((2, 2)), ("others", "a", "a"), "distinct"),
        (np.full((2, 2), 1), ("others",), "0..0"),
        (np.full((2, 2), -1), ("others", "a"), "0..1"),
        (np.full((2, 2), 0.5), ("others", "a"), "whole numbers"),
        (np.full((2, 2), 2**32 + 1), ("others", "a"), "fit 32 bits"),
    ],
)
def test_refuses_what_is_no_grid(ids, labels, match):
    with pytest.raises(ValueError, match=match):
        LabelGrid(ids, labels)


def test_equality_is_by_word_not_by_id():
    a = LabelGrid(np.array([[0, 1, 2]]), ("others", "cat", "dog"))
    b = LabelGrid(np.array([[0, 2, 1]]), ("others", "dog", "cat"))
    assert a == b
    assert a != LabelGrid(np.array([[0, 1, 2]]), ("others", "dog", "cat"))
    assert a != LabelGrid(np.array([[0], [1], [2]]), ("others", "cat", "dog"))
    assert a != "grid"
