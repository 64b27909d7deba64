"""Crops and flips: picture and mask stay together, answers stay true, and the set of pictures stays small."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from text4seg.data.augment import augmented, crop_box
from text4seg.data.settings import AugmentSettings
from text4seg.data.types import Sample, Turn

COLOURS = np.array([[10, 10, 10], [250, 0, 0], [0, 250, 0]], np.uint8)


def scene(
    task: str = "conditioned", label: str = "cat", size: tuple[int, int] = (40, 60)
) -> tuple[Image.Image, Sample]:
    """A picture whose colours are its mask, so that the two can be compared after any cut."""
    mask = np.zeros(size, np.uint8)
    mask[10:30, 20:35] = 1
    mask[12:38, 40:55] = 2
    turn = Turn("q", "", ("others", label, "dog"), task)  # type: ignore[arg-type]
    return Image.fromarray(COLOURS[mask]), Sample("k", b"", (turn,), mask[None])


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), flip=st.floats(0, 1), crops=st.integers(0, 6), smallest=st.floats(0.05, 1))
def test_the_mask_follows_the_picture(seed, flip, crops, smallest) -> None:
    image, sample = scene()
    varied, found = augmented(image, sample, AugmentSettings(flip, crops, smallest), random.Random(seed))
    assert np.array_equal(np.asarray(varied), COLOURS[found.masks[0]])
    assert set(np.unique(found.masks)) == {0, 1, 2}, "a crop that loses an object is not taken"


def test_a_picture_that_was_decoded_smaller_is_cut_at_the_same_place() -> None:
    image, sample = scene(size=(400, 600))
    small = image.resize((300, 200), Image.Resampling.NEAREST)
    options = AugmentSettings(crops=1, smallest=0.99)
    for seed in range(8):
        varied, found = augmented(small, sample, options, random.Random(seed))
        wanted = Image.fromarray(COLOURS[found.masks[0]]).resize(varied.size, Image.Resampling.NEAREST)
        assert (np.asarray(varied) == np.asarray(wanted)).mean() > 0.97


def test_a_picture_has_no_more_looks_than_its_crops_allow() -> None:
    image, sample = scene()
    big = replace(sample, masks=np.zeros_like(sample.masks))  # nothing to lose: every crop is taken
    options = AugmentSettings(flip=0.5, crops=3, smallest=0.3)
    looks = {augmented(image, big, options, random.Random(seed))[0].tobytes() for seed in range(200)}
    assert 2 < len(looks) <= 2 * (3 + 1)


@pytest.mark.parametrize("task", ["referring", "generalized", "text", "parts"])
def test_questions_that_may_speak_of_places_are_left_alone(task) -> None:
    image, sample = scene(task)
    for seed in range(20):
        assert augmented(image, sample, AugmentSettings(1.0, 4, 0.2), random.Random(seed)) == (image, sample)


def test_a_left_arm_is_not_mirrored() -> None:
    image, sample = scene(label="left arm")
    for seed in range(20):
        assert augmented(image, sample, AugmentSettings(flip=1.0), random.Random(seed))[0] is image
    mirrored, _ = augmented(*scene(), AugmentSettings(flip=1.0), random.Random(0))
    assert np.array_equal(np.asarray(mirrored), np.asarray(image)[:, ::-1])


def test_numbered_instances_keep_their_places() -> None:
    image, sample = scene("all", label="dog 1")
    for seed in range(20):
        assert augmented(image, sample, AugmentSettings(1.0, 4, 0.2), random.Random(seed)) == (image, sample)


@given(st.integers(1, 500), st.integers(1, 500), st.text(), st.integers(1, 9), st.floats(0.05, 1))
def test_a_crop_lies_inside_and_depends_on_key_and_number_only(width, height, key, number, smallest) -> None:
    options = AugmentSettings(smallest=smallest)
    left, top, right, bottom = crop_box((width, height), options, key, number)
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    assert crop_box((width, height), options, key, number) == (left, top, right, bottom)
