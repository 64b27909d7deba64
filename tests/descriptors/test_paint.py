import numpy as np
import pytest
from grids import label_grids
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from text4seg.descriptors import LabelGrid, paint, rasterize

shapes = st.tuples(st.integers(1, 150), st.integers(1, 150))


@settings(max_examples=120)
@given(label_grids(longest=40), shapes)
def test_nearest_is_pillows_nearest_stretch(grid, shape):
    painted = paint(grid, shape)
    assert painted.dtype == np.int32
    assert np.array_equal(painted, np.asarray(Image.fromarray(grid.ids).resize(shape[::-1], Image.Resampling.NEAREST)))


@settings(max_examples=60)
@given(label_grids(longest=12), st.integers(1, 9), st.integers(1, 9))
def test_what_was_painted_is_read_back(grid, down, across):
    shape = (grid.size[0] * down, grid.size[1] * across)
    for rule in ("center", "majority", "coverage"):
        assert rasterize(paint(grid, shape), grid.labels, grid.size, rule) == grid


@settings(max_examples=60)
@given(label_grids(longest=12), st.integers(1, 9), st.integers(1, 9))
def test_smooth_is_the_strongest_bilinear_plane(grid, down, across):
    height, width = grid.size[0] * down, grid.size[1] * across
    planes = np.stack(
        [
            np.asarray(
                Image.fromarray((grid.ids == i).astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR)
            )
            for i in range(len(grid.labels))
        ]
    )
    painted = paint(grid, (height, width), "smooth")
    taken = np.take_along_axis(planes, painted[None], 0)[0]
    assert (taken >= planes.max(0) - 1e-5).all()


def test_smooth_cuts_corners_and_breaks_ties_to_the_lowest_id():
    grid = LabelGrid(np.array([[0, 0], [0, 1]]), ("others", "a"))
    assert (paint(grid, (40, 40), "smooth") == 1).sum() < (paint(grid, (40, 40)) == 1).sum()
    assert paint(LabelGrid(np.array([[0, 1]]), ("others", "a")), (1, 3), "smooth").tolist() == [[0, 0, 1]]


def test_painting_smaller_than_the_grid():
    grid = LabelGrid(np.eye(8, dtype=int), ("others", "a"))
    assert paint(grid, (2, 2)).shape == paint(grid, (2, 2), "smooth").shape == (2, 2)


@pytest.mark.parametrize(
    ("shape", "method", "match"), [((0, 4), "nearest", "shape"), ((4, 4), "cubic", "nearest, smooth")]
)
def test_refusals(shape, method, match):
    with pytest.raises(ValueError, match=match):
        paint(LabelGrid(np.zeros((2, 2)), ("others",)), shape, method)
