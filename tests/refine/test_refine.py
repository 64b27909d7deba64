"""Refiners: the CRF against a loop over all pairs of pixels, borders that move to where colours change."""

from __future__ import annotations

import numpy as np
import pytest

from text4seg.descriptors import LabelGrid, paint
from text4seg.refine.crf import _Alike, _Near, dense_crf
from text4seg.refine.refiner import refiner
from text4seg.refine.settings import CrfSettings, RefineSettings


def picture(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Two halves of clearly different colour with noise; the border is at 60 % of the width."""
    rng = np.random.default_rng(seed)
    pixels = np.full((*shape, 3), (60, 90, 120), np.float64)
    pixels[:, int(0.6 * shape[1]) :] = (200, 160, 90)
    return (pixels + rng.normal(0, 4, pixels.shape)).clip(0, 255).astype(np.uint8)


def features(pixels: np.ndarray, size: float, colour: float) -> np.ndarray:
    rows, cols = np.mgrid[: pixels.shape[0], : pixels.shape[1]]
    return np.stack([rows / size, cols / size, *(pixels[..., c] / colour for c in range(3))], -1).reshape(-1, 5)


def pairwise(points: np.ndarray, plane: np.ndarray) -> np.ndarray:
    """The sum over all pixels, one by one."""
    squared = ((points[:, None] - points[None]) ** 2).sum(-1)
    return (np.exp(-0.5 * squared) @ plane.ravel()).reshape(plane.shape)


def test_the_kernel_of_place_equals_a_sum_over_all_pixels():
    plane = np.random.default_rng(1).random((20, 26)).astype(np.float32)
    points = features(np.zeros((20, 26, 3)), 3.0, 1.0)
    assert _Near(plane.shape, 3.0)(plane) == pytest.approx(pairwise(points, plane), rel=2e-3)


def test_the_kernel_of_colour_is_near_a_sum_over_all_pixels():
    pixels = picture((24, 40))
    plane = np.random.default_rng(1).random((24, 40)).astype(np.float32)
    ones = np.ones_like(plane)
    points = features(pixels.astype(float), 8.0, 13.0)
    kernel = _Alike(pixels, 8.0, 13.0)
    ours, exact = kernel(plane) / kernel(ones), pairwise(points, plane) / pairwise(points, ones)
    # what matters is the mean over like pixels: it hardly differs, and halves of another colour are not heard
    assert np.abs(ours - exact).max() < 0.05
    left = np.zeros_like(plane)
    left[:, : int(0.6 * 40)] = 1
    shares = kernel(left) / kernel(ones)
    assert shares[:, :20].min() > 0.99
    assert shares[:, 28:].max() < 0.01


def test_each_pixel_hears_another_as_loudly_as_it_is_heard():
    """What is splatted to the corners of a cell is sliced from the same corners with the same weights."""
    rng = np.random.default_rng(5)
    kernel = _Alike(rng.integers(0, 256, (17, 23, 3)).astype(np.uint8), 8.0, 40.0)
    first, second = rng.random((2, 17, 23)).astype(np.float32)
    assert (first * kernel(second)).sum() == pytest.approx((kernel(first) * second).sum(), rel=1e-5)


def test_a_border_moves_to_where_the_colour_changes():
    pixels = picture((60, 80))
    truth = np.zeros((60, 80), int)
    truth[:, 48:] = 1
    coarse = np.zeros_like(truth)
    coarse[:, 43:] = 1
    for ids in (coarse, coarse * 7):
        found = dense_crf(pixels, ids)
        assert found.dtype == np.int32
        assert ((found > 0) == truth).mean() > 0.99 > ((coarse > 0) == truth).mean()
        assert set(np.unique(found)) == set(np.unique(ids))


def test_three_labels_and_one():
    pixels = picture((40, 50))
    ids = np.zeros((40, 50), int)
    ids[:, 25:30] = 2
    ids[:, 30:] = 5
    assert set(np.unique(dense_crf(pixels, ids))) <= {0, 2, 5}
    assert (dense_crf(pixels, np.full((40, 50), 3)) == 3).all()
    unmoved = dense_crf(pixels, ids, CrfSettings(steps=0))
    assert (unmoved == ids).all(), "without a step the coarse mask stays"
    with pytest.raises(ValueError, match="the picture has"):
        dense_crf(pixels, ids.T)


def test_refiners_by_name():
    grid = LabelGrid(np.array([[0, 1], [0, 0]]), ("others", "cat"))
    pixels = picture((16, 20))
    for name, method in (("none", "nearest"), ("smooth", "smooth")):
        assert (refiner(RefineSettings(name=name))(grid, pixels) == paint(grid, (16, 20), method)).all()
    assert refiner(RefineSettings(name="crf"))(grid, pixels).shape == (16, 20)
    with pytest.raises(ValueError, match="none, smooth, crf"):
        refiner(RefineSettings(name="sum"))
