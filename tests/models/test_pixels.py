"""The model's square against the formula written out, and batches of pictures."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from text4seg.models.processor import Encoded, ImageGeometry, Processor
from text4seg.models.registry import load_processor
from text4seg.models.settings import ModelSettings

CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))


@pytest.fixture(scope="module")
def processor() -> Processor:
    return load_processor(ModelSettings(path="random"))


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P"])
def test_pixels_are_the_formula_to_the_last_bit(mode):
    drawn = np.random.default_rng(0).integers(0, 256, (37, 53, 3), np.uint8)
    image = Image.fromarray(drawn).convert(mode)
    found = ImageGeometry(24, 4, *CLIP).pixels(image)
    square = np.asarray(image.convert("RGB").resize((24, 24), Image.Resampling.BICUBIC), np.float32)
    mean, std = (np.array(three, np.float32) for three in CLIP)
    assert (found.dtype, found.is_contiguous()) == (torch.float32, True)
    np.testing.assert_array_equal(found.numpy(), ((square / 255 - mean) / std).transpose(2, 0, 1))


def test_pictures_of_one_and_of_several_parts_stand_behind_each_other(processor):
    for parts in ((1, 1, 1), (2, 2), (1, 3, 2)):
        pictures = [torch.rand(number, 3, 4, 4) for number in parts]
        batch = processor.collate([Encoded([1, 2], [False, True], {"pixel_values": one}) for one in pictures])
        assert torch.equal(batch["pixel_values"], torch.cat(pictures))


def test_the_words_between_the_template_change_with_each_conversation(processor):
    asked = [[("Where?", "Here."), ("And?", None)], [("What is it?", "A dog."), ("Sure?", "Yes.")], [("Q", None)]]
    fresh = [load_processor(ModelSettings(path="random")).tokens(turns) for turns in asked]
    assert [processor.tokens(turns) for turns in asked + asked] == fresh + fresh
    assert fresh[0] != fresh[1]
