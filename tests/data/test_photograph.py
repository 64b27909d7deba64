"""Photographs that a camera's tag turns, and files that are not what they are called."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, features

from text4seg.data.image import open_image
from text4seg.data.sources.index_masks import read_mask, table
from text4seg.data.sources.photograph import ORIENTATION, as_annotated, header_size
from text4seg.report.prediction import read_picture

STORED = np.zeros((6, 10, 3), np.uint8)
STORED[:3, :5] = (250, 0, 0)
"""The upper left quarter is red."""

RESOLUTION_UNIT, DESCRIPTION = 0x0128, 0x010E
ASCII, LONG, FLOAT = 2, 4, 11
"""Tags, and types that they cannot be of."""


def tagged(path: Path, orientation: int, mode: str = "RGB") -> Path:
    tags = Image.Exif()
    tags[ORIENTATION] = orientation
    Image.fromarray(STORED).convert(mode).save(path, quality=100, subsampling=0, exif=tags)
    return path


def with_a_broken_field(path: Path, field: int, kind: int) -> Path:
    """A picture to be turned to the right, one field of whose EXIF is of a type that it cannot be of."""
    tags = Image.Exif()
    tags[ORIENTATION], tags[RESOLUTION_UNIT], tags[DESCRIPTION] = 6, 2, "two words"
    Image.fromarray(STORED).save(path, quality=100, subsampling="4:4:4", exif=tags)
    data = bytearray(path.read_bytes())
    entry = data.index(struct.pack(">H", field), data.index(b"MM\0*"))
    struct.pack_into(">HI", data, entry + 2, kind, 1)
    path.write_bytes(data)
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


def test_a_tiff_whose_annotation_lies_as_it_is_stored_is_another_picture(tmp_path):
    path = tagged(tmp_path / "a.tif", 6)  # every reader turns it
    assert as_annotated(path, (10, 6)) == path
    assert as_annotated(path, (6, 10)) is None


@pytest.mark.parametrize(("field", "kind"), [(RESOLUTION_UNIT, LONG), (RESOLUTION_UNIT, ASCII), (DESCRIPTION, FLOAT)])
def test_tags_that_nobody_asked_for_may_be_broken(tmp_path, field, kind):
    path = with_a_broken_field(tmp_path / "a.jpg", field, kind)
    shown = red(as_annotated(path, (10, 6)))
    assert shown[:5, 3:].mean() > 0.9 > 0.1 > shown[5:].mean()
    assert (shown == (np.asarray(read_picture(path))[..., 0] > 125)).all()


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")
def test_an_avif_with_a_broken_tag_is_named(tmp_path):
    path = with_a_broken_field(tmp_path / "a.avif", DESCRIPTION, FLOAT)
    with pytest.raises(ValueError, match=r"a\.avif: cannot be read as a picture"):
        read_picture(path)


def picture_bytes(form: str, **more) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(STORED[..., 0]).save(buffer, form, **more)
    return buffer.getvalue()


def refusals(data: bytes, path: Path) -> list[str]:
    """What everything that reads pictures or masks says about bytes that it refuses; any other error is a bug."""
    path.write_bytes(data)
    known, told = table(dict.fromkeys(range(256), 0), 2), []
    for read in (
        lambda: open_image(data, path.name),
        lambda: header_size(path),
        lambda: as_annotated(path, (10, 6)),
        lambda: read_mask(path, known, "names"),
        lambda: read_picture(path),
    ):
        try:
            read()
        except ValueError as error:
            told.append(str(error))
    return told


STRIP_OFFSETS = 0x0111
BROKEN = {
    "a TIFF whose offset is text": (
        picture_bytes("TIFF"),
        struct.pack("<HH", STRIP_OFFSETS, LONG),
        struct.pack("<HH", STRIP_OFFSETS, ASCII),
    ),
    "a PNG whose header is short": (picture_bytes("PNG"), b"\0\0\0\rIHDR", b"\0\0\0\7IHDR"),
    "a BMP of too many colours": (picture_bytes("BMP"), struct.pack("<I", 256), struct.pack("<I", 65000)),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_header_is_refused_by_the_name_of_its_file(tmp_path, name):
    data, old, new = BROKEN[name]
    assert old in data
    told = refusals(data.replace(old, new), tmp_path / "a.bin")
    assert told
    assert all("a.bin is not a readable image" in line or "a.bin: cannot be read" in line for line in told)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::PIL.Image.DecompressionBombWarning")
@given(
    st.sampled_from([picture_bytes(form) for form in ("TIFF", "PNG", "BMP", "GIF", "JPEG", "WEBP")]),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=6),
    st.sampled_from([0, 0, 0, 0, 9, 99]),
)
def test_bytes_that_are_damaged_anywhere_are_read_or_refused_by_name(tmp_path_factory, data, changes, cut):
    damaged = bytearray(data)
    for place, value in changes:
        damaged[place % len(damaged)] = value
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # a header may promise what takes long to fill
        told = refusals(bytes(damaged[: len(damaged) - cut]), tmp_path_factory.getbasetemp() / "damaged.bin")
    assert all("damaged.bin" in line for line in told)


def test_a_picture_beyond_the_limit_is_refused_by_its_size():
    with pytest.raises(ValueError, match=r"^a: 10x6 pixels; the limit is 59\.$"):
        open_image(picture_bytes("PNG"), "a", max_pixels=59)


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xd8\xff", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 6\n%%EndComments\n"]
)
def test_what_is_no_photograph_is_refused(tmp_path, data):
    (tmp_path / "a.jpg").write_bytes(data)
    with pytest.raises(ValueError, match=r"a\.jpg is not a readable image"):
        header_size(tmp_path / "a.jpg")
