"""No key twice, and masks in as few bits as they need."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image

from text4seg.data.settings import BuildSettings
from text4seg.data.shards.build import build
from text4seg.data.shards.record import from_members, to_members
from text4seg.data.types import Sample, Turn


@pytest.mark.parametrize("shards", [1, 2, 3])
def test_a_key_that_comes_twice_is_named(tmp_path, shards):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.jpg")
    rows = [{"id": name, "image": "a.jpg", "objects": [{"label": "dog"}]} for name in ("one", "two", "three", "two")]
    (tmp_path / "all.jsonl").write_text("\n".join(map(json.dumps, rows)))
    options = {"annotations": str(tmp_path / "all.jsonl"), "images": str(tmp_path)}
    recipe = BuildSettings("rle", options, "generalized", shards=shards)
    with pytest.raises(ValueError, match="the key 'two-000' comes twice"):
        build(recipe, tmp_path / "set", (4, 4), "rrle", "center")


@pytest.mark.parametrize(
    ("highest", "mode", "coded"), [(0, "P", 1), (1, "P", 1), (2, "P", 2), (4, "P", 4), (15, "P", 4), (16, "L", 8)]
)
def test_masks_take_few_bits_and_are_their_greys(highest, mode, coded):
    planes = np.arange(2 * 4 * 6, dtype=np.uint8).reshape(2, 4, 6) % (highest + 1)
    picture = io.BytesIO()
    Image.new("RGB", (6, 4)).save(picture, "JPEG")
    labels = ("others", *(f"thing {number}" for number in range(highest)))
    turns = tuple(Turn(f"{number}?", "Here:", labels, "partial") for number in range(2))
    members = to_members(Sample("a", picture.getvalue(), turns, planes), (2, 2), "rrle", "center")
    np.testing.assert_array_equal(from_members("a", members).masks, planes)
    stored = Image.open(io.BytesIO(members["mask.png"]))
    assert (stored.mode, members["mask.png"][24]) == (mode, coded)  # byte 24: bits a sample
    np.testing.assert_array_equal(np.asarray(stored.convert("L")), planes.reshape(-1, 6))
