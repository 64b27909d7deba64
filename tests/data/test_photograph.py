"""Photographs that a camera's tag turns, and files that are not what they are called."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from text4seg.data.sources.photograph import ORIENTATION, as_annotated, header_size

STORED = np.zeros((6, 10, 3), np.uint8)
STORED[:3, :5] = (250, 0, 0)
"""The upper left quarter is red."""


def tagged(path: Path, orientation: int, mode: str = "RGB") -> Path:
    tags = Image.Exif()
    tags[ORIENTATION] = orientation
    Image.fromarray(STORED).convert(mode).save(path, quality=100, subsampling=0, exif=tags)
    return path


def red(picture: bytes | Path) -> np.ndarray:
    opened = Image.open(io.BytesIO(picture) if isinstance(picture, bytes) else picture)
    return np.asarray(opened.convert("RGB"))[..., 0] > 125


@pytest.mark.parametrize("mode", ["RGB", "CMYK"])
def test_a_quarter_turn_follows_the_annotation(tmp_path, mode):
    path = tagged(tmp_path / "a.jpg", 6, mode)  # shown turned to the right: the red quarter is at the upper right
    turned = red(as_annotated(path, (10, 6)))
    assert turned.shape == (10, 6)
    assert turned[:5, 3:].mean() > 0.9 > 0.1 > turned[5:].mean()


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_an_annotation_of_the_stored_size_takes_the_pixels_as_stored(tmp_path, orientation):
    path = tagged(tmp_path / "a.jpg", orientation)
    assert as_annotated(path, (6, 10)) == path


@pytest.mark.parametrize(("orientation", "size"), [(1, (10, 6)), (3, (10, 6)), (6, (10, 7)), (6, (5, 3))])
def test_another_size_is_another_picture(tmp_path, orientation, size):
    assert as_annotated(tagged(tmp_path / "a.jpg", orientation), size) is None


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xd8\xff", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 6\n%%EndComments\n"]
)
def test_what_is_no_photograph_is_refused(tmp_path, data):
    (tmp_path / "a.jpg").write_bytes(data)
    with pytest.raises(ValueError, match=r"a\.jpg is not a readable image"):
        header_size(tmp_path / "a.jpg")
